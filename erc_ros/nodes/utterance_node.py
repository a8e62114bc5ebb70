"""Sensors in, utterances out: the node around erc_ros.dialogue.listener."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, get_args

from diagnostic_msgs.msg import DiagnosticStatus
from erc_msgs.msg import Utterance as UtteranceMessage
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from std_srvs.srv import Trigger

from erc_ros.dialogue.listener import (
    ConversationEnded,
    Event,
    Listener,
    ListenerConfig,
    UtteranceEvent,
)
from erc_ros.dialogue.transcript import Transcript
from erc_ros.dialogue.utterance import Utterance
from erc_ros.nodes import diagnostics
from erc_ros.nodes.adapters import (
    ADAPTERS,
    RobotSpeaking,
    SoundChunk,
    UnusableMessageError,
    message_class,
    stamp_of,
)
from erc_ros.nodes.handover import Handover
from erc_ros.nodes.inbox import Inbox, Item, Worker
from erc_ros.nodes.inputs import Input
from erc_ros.nodes.messages import utterance_message, with_frame
from erc_ros.nodes.pace import Pace
from erc_ros.nodes.places import model_folder
from erc_ros.nodes.process import run_nodes
from erc_ros.nodes.stage import Stage
from erc_ros.sensing.audio import AudioEvent, AudioFormat, AudioStream, Sound, decode
from erc_ros.sensing.faces import FaceDetector, FaceTracker, HaarDetector, YuNetDetector
from erc_ros.sensing.frames import Frame
from erc_ros.sensing.nanoseconds import NS

TICK = 0.1  # s between two looks at the clock, for timeouts
LOOK = 0.25  # s between two looks for publishers
INFO_TIMEOUT = 6 * NS  # sound waits this long for the audio_info, which comes every 5 s
CLOCKS_APART = 5 * NS  # stamps this far from the node's clock are reported
CAMERA, ROBOT = ("image", "image/compressed"), ("robot_speaking",)
# Sensor data: best effort as in REP-2003, so that it fits every publisher; sound gets a deep
# history, since a lost chunk is heard and a lost frame is not seen.
IMAGE_QOS = QoSProfile(depth=5, reliability=QoSReliabilityPolicy.BEST_EFFORT)
AUDIO_QOS = QoSProfile(depth=100, reliability=QoSReliabilityPolicy.BEST_EFFORT)
TEXT_QOS = QoSProfile(depth=50, reliability=QoSReliabilityPolicy.RELIABLE)
STREAM_EVENTS = tuple(kind.__name__ for kind in get_args(AudioEvent) if kind is not Sound)


class UtteranceNode(Stage):
    """Listens to camera, microphone and speech recogniser; each of them may be missing.

    Args:
        hand_over: takes utterances in memory; None: the node is alone in its process.
    """

    def __init__(self, hand_over: Callable[[Handover], None] | None = None, **options: Any) -> None:
        self._hand_over = hand_over
        self._listener: Listener | None = None
        self._tracker: FaceTracker | None = None
        self._publisher: Any = None
        self._worker: Worker | None = None
        self._inputs: dict[str, Input] = {}
        self._live: list[Any] = []  # timers, services and subscriptions of the active node
        self._counts: Counter[str] = Counter()
        self._heard: dict[str, int] = {}
        self._clock_offset = 0
        super().__init__("utterance_node", defaults={"publish_media": hand_over is None}, **options)

    # Lifecycle ------------------------------------------------------------------------------

    def load(self) -> None:
        p = self.parameters
        config = ListenerConfig(
            expect_text=p["expect_text"],
            text_timeout=p["text_timeout"],
            conversation_gap=p["conversation_gap"],
            robot_tail=p["robot_tail"],
        )
        speaker_model = None
        if p["speaker_model"] not in ("", "none"):
            speaker_model = model_folder(p["speaker_model"])
        self._listener = Listener(config, speaker_model)
        self._tracker = None
        self._pace = Pace(p["face_rate"])
        if p["image_type"] != "none":
            self._tracker = FaceTracker(self._detector(), p["face_rate"])
        self._stream = AudioStream()
        self._parameter_format = AudioFormat(
            p["audio_rate"], p["audio_channels"], p["audio_format"]
        )
        self._format: AudioFormat | None = self._parameter_format
        self._refused = ""
        self._is_info_offered = self._is_informed = False
        self._held: deque[SoundChunk] = deque(maxlen=p["audio_queue"])
        self._frame_ids = {"audio": "", "image": ""}
        self._counts = Counter(dict.fromkeys(STREAM_EVENTS, 0))
        self._counts.update(samples=0, frames_searched=0, utterances=0)
        self._publisher = self.publish_on(UtteranceMessage, "utterances", TEXT_QOS)

    def _detector(self) -> FaceDetector:
        if self.parameters["face_detector"] == "haar":
            return HaarDetector()
        file = self.parameters["face_model"]
        if not Path(file).is_file():
            raise ValueError(
                f"face_detector yunet needs its ONNX file: face_model is {file!r}, which is no file"
            )
        return YuNetDetector(Path(file))

    def start(self) -> None:
        p = self.parameters
        self._inbox = inbox = Inbox(
            {
                "audio": p["audio_queue"],
                "audio_info": 10,
                "image": p["image_queue"],
                "speech": p["speech_queue"],
                "robot_speaking": 100,
                "tick": 1,
                "reset": 1,
            },
            silent=frozenset({"tick", "reset"}),
        )
        self._inputs = {}
        info = "audio_common_msgs/msg/AudioInfo"
        if p["audio_type"] == "none" or not message_class(info):
            info = "none"
        for source in (
            Input(self, inbox, "audio", ("audio",), p["audio_type"], AUDIO_QOS, True),
            Input(self, inbox, "audio_info", ("audio_info",), info, TEXT_QOS, False),
            Input(self, inbox, "image", CAMERA, p["image_type"], IMAGE_QOS, True, self._is_due),
            Input(self, inbox, "speech", ("speech",), p["speech_type"], TEXT_QOS, False),
            Input(self, inbox, "robot_speaking", ROBOT, "std_msgs/msg/Bool", TEXT_QOS, False),
        ):
            self._inputs[source.name] = source
        self._look()
        self._live = [
            self.create_timer(TICK, self._tick),
            self.create_timer(LOOK, self._look, clock=self.steady),
            self.create_service(Trigger, "~/reset", self._reset),
        ]
        self._worker = Worker("listener", inbox, self._handle, self.failed, self._finish)

    def stop(self) -> None:
        for source in self._inputs.values():
            source.close()
        for entity in self._live:
            destroy = self.destroy_service if hasattr(entity, "srv_type") else self.destroy_timer
            destroy(entity)
        self._live = []
        if self._worker is not None:
            self._worker.stop()
        self._worker = None
        self._inputs = {}

    def release(self) -> None:
        self._listener = self._tracker = None
        self._inputs = {}
        if self._publisher is not None:
            self.destroy_lifecycle_publisher(self._publisher)
        self._publisher = None

    # Callbacks: they only enqueue -----------------------------------------------------------

    def _is_due(self, image: Any) -> bool:
        return self._pace.takes(stamp_of(image.header) or self.get_clock().now().nanoseconds)

    def _tick(self) -> None:
        self._inbox.put("tick", self.get_clock().now().nanoseconds)

    def _look(self) -> None:
        for source in self._inputs.values():
            source.look()
        self._is_info_offered = self.count_publishers("audio_info") > 0

    def _reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._inbox.put("reset", None)
        response.success = True
        response.message = "what comes from now on belongs to a new conversation"
        return response

    # The worker -----------------------------------------------------------------------------

    def _handle(self, item: Item) -> None:
        assert self._listener is not None
        taken = time.monotonic_ns()
        if item.input == "tick":
            events: Iterable[Event] = self._listener.advance(item.value) if item.value else []
            self._heard = dict(self._listener.counters())
        elif item.input == "reset":
            events = self._listener.reset()
        else:
            type_name, message, arrival = item.value
            events = self._take(ADAPTERS[type_name].read(message, arrival), arrival)
        self._give(events, item.arrived, taken)

    def _take(self, value: object, arrival: int) -> list[Event]:
        assert self._listener is not None
        if isinstance(value, SoundChunk):
            return self._hear(value)
        if isinstance(value, Frame):
            return self._see(value, arrival)
        if isinstance(value, Transcript):
            self._compare_clocks(value.stamp, arrival)
            return self._listener.feed_transcript(value)
        if isinstance(value, RobotSpeaking):
            return self._listener.feed_robot_speaking(value.stamp, value.speaking)
        if isinstance(value, AudioFormat):
            self._format, self._refused, self._is_informed = value, "", True
        return []

    def _hear(self, chunk: SoundChunk) -> list[Event]:
        self._held.append(chunk)
        if self._awaits_info(chunk.arrival):
            return []
        events: list[Event] = []
        while self._held:
            events += self._listen(self._held.popleft())
        return events

    def _awaits_info(self, arrival: int) -> bool:
        """Somebody will say what the bytes mean, so do not guess; but nothing waits for ever."""
        if not self._is_informed and arrival - self._held[0].arrival > INFO_TIMEOUT:
            self._is_informed = True
            self.complain("audio_info", "no audio_info came: sound is read as the parameters say")
        return self._is_info_offered and not self._is_informed

    def _listen(self, chunk: SoundChunk) -> list[Event]:
        assert self._listener is not None
        if self._format is None:
            raise UnusableMessageError(self._refused)
        self._compare_clocks(chunk.stamp, chunk.arrival)
        self._frame_ids["audio"] = chunk.frame_id or self._frame_ids["audio"]
        samples = decode(chunk.data, self._format)
        events: list[Event] = []
        for event in self._stream.feed(samples, chunk.stamp, self._format.rate, chunk.arrival):
            if isinstance(event, Sound):
                self._counts["samples"] += len(event.samples)
            else:
                self._note(event)
            events += self._listener.feed_sound(event)
        return events

    def _note(self, event: AudioEvent) -> None:
        name = type(event).__name__
        self._counts[name] += 1
        self.complain(f"audio {name}", f"audio: {_ADVICE.get(name, name)}, see /diagnostics")

    def _see(self, frame: Frame, arrival: int) -> list[Event]:
        assert self._listener is not None
        if self._tracker is None:
            return []
        self._compare_clocks(frame.stamp, arrival)
        self._frame_ids["image"] = frame.frame_id or self._frame_ids["image"]
        self._counts["frames_searched"] += 1
        events: list[Event] = []
        for face in self._tracker.feed(frame):
            events += self._listener.feed_face(face)
        return events

    def _compare_clocks(self, stamp: int | None, arrival: int) -> None:
        if stamp is not None:
            self._clock_offset = arrival - stamp

    def _give(self, events: Iterable[Event], arrived: int, taken: int) -> None:
        for event in events:
            if isinstance(event, UtteranceEvent):
                self._publish(event.utterance, arrived, taken)
            elif isinstance(event, ConversationEnded) and self._hand_over is not None:
                self._hand_over(Handover(event, arrived, {}))

    def _publish(self, utterance: Utterance, arrived: int, taken: int) -> None:
        frame_id = self._frame_ids["audio"] or self._frame_ids["image"]
        utterance = with_frame(utterance, frame_id)
        self._counts["utterances"] += utterance.is_final
        if self._hand_over is not None:
            stages = {
                "waiting": taken - arrived,
                "dialogue": time.monotonic_ns() - taken,
            }
            self._hand_over(Handover(utterance, arrived, stages))
        text, media = self.parameters["publish_text"], self.parameters["publish_media"]
        self._publisher.publish(utterance_message(utterance, text, media))

    def _finish(self) -> None:
        """The last thing before the worker ends: nothing that was said is lost."""
        assert self._listener is not None
        now = time.monotonic_ns()
        for event in self._stream.flush():
            self._give(self._listener.feed_sound(event), now, now)
        self._give(self._listener.flush(), now, now)
        self._stream.reset()
        if self._tracker is not None:
            self._tracker.reset()

    def failed(self, item: Item, error: Exception) -> None:
        """Count it with its input; audio that cannot be understood stays refused."""
        if item.input in self._inputs:
            self._inputs[item.input].bad += 1
        if item.input == "image":
            self._pace.again()
        if item.input == "audio_info":
            self._format, self._refused, self._is_informed = None, str(error), True
        super().failed(item, error)

    # Diagnostics ----------------------------------------------------------------------------

    def statuses(self, now: int) -> list[DiagnosticStatus]:
        found = [source.status(now) for source in list(self._inputs.values())]
        problems = [diagnostics.error(self._refused)] if self._refused else []
        if abs(self._clock_offset) > CLOCKS_APART:
            text = (
                f"stamps are {self._clock_offset / NS:.0f} s behind this node's clock: play "
                "recordings with --clock and set use_sim_time, or synchronise the machines"
            )
            problems.append(diagnostics.warning(text))
        counts = {**self._counts, "frames_not_due": self._pace.skipped, **self._heard}
        found.append(diagnostics.status("dialogue", counts, problems))
        return found


_ADVICE = {
    "Gap": "samples are missing, the network or the driver may be too slow",
    "Overlap": "samples came twice and are dropped",
    "Jump": "the stamps jumped, the sound goes on as a new stretch",
    "Drift": "the microphone's clock drifts, corrected by its stamps",
    "Repaired": "samples that are not finite or out of range were repaired",
    "RateChange": "the sample rate changed in mid-stream",
    "Silent": "nothing but exact zeros, the microphone may be muted",
    "Clipping": "the microphone is overdriven, lower its gain",
    "WrongStamps": "stamps were wrong, placed by counting samples",
}


def main(args: list[str] | None = None) -> int:
    """The executable `utterance_node`: this node alone, its messages carry sound and faces."""
    return run_nodes(lambda: [UtteranceNode()], args)


if __name__ == "__main__":
    raise SystemExit(main())
