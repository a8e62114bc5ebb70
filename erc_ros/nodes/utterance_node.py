"""Sensors in, utterances out: the node around erc_ros.dialogue.assembler."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, get_args

from diagnostic_msgs.msg import DiagnosticStatus
from erc_msgs.msg import SpeakerCorrection as SpeakerCorrectionMessage
from erc_msgs.msg import Utterance as UtteranceMessage
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from std_srvs.srv import Trigger

from erc_ros.adapters import message_class, stamp_of
from erc_ros.dialogue.assembler import (
    ConversationEnded,
    Event,
    SpeakerCorrected,
    TextCorrected,
    UtteranceAssembler,
    UtteranceEvent,
)
from erc_ros.dialogue.voice_activity import SileroVoiceActivity
from erc_ros.nodes import diagnostics
from erc_ros.nodes.handover import Handover
from erc_ros.nodes.humans import Humans
from erc_ros.nodes.inbox import Inbox, Item, Worker
from erc_ros.nodes.inputs import Input
from erc_ros.nodes.messages import speaker_correction_message, utterance_message, with_frame
from erc_ros.nodes.pace import Pace
from erc_ros.nodes.process import run_nodes
from erc_ros.nodes.stage import Stage
from erc_ros.pipeline import Senses, TrackedFace, assembler_config, microphone
from erc_ros.resources import known_voices, speaker_networks
from erc_ros.sensing.audio import Sound
from erc_ros.sensing.faces import FaceDetector, FaceTracker, HaarDetector, YuNetDetector
from erc_ros.sensing.frames import Frame
from erc_ros.sensing.microphone import MicrophoneEvent, Replugged, SoundChunk
from erc_ros.values.nanoseconds import NS
from erc_ros.values.transcript import Transcript
from erc_ros.values.utterance import Utterance

TICK = 0.1  # s between two looks at the clock, for timeouts
LOOK = 0.25  # s between two looks for publishers
CLOCKS_APART = 5 * NS  # stamps this far from the node's clock are reported
CAMERA, ROBOT = ("image", "image/compressed"), ("robot_speaking",)
# Sensor data: best effort as in REP-2003, so that it fits every publisher; sound gets a deep
# history, since a lost chunk is heard and a lost frame is not seen.
IMAGE_QOS = QoSProfile(depth=5, reliability=QoSReliabilityPolicy.BEST_EFFORT)
AUDIO_QOS = QoSProfile(depth=100, reliability=QoSReliabilityPolicy.BEST_EFFORT)
TEXT_QOS = QoSProfile(depth=50, reliability=QoSReliabilityPolicy.RELIABLE)
STREAM_EVENTS = tuple(kind.__name__ for kind in get_args(MicrophoneEvent) if kind is not Sound)


class UtteranceNode(Stage):
    """Listens to camera, microphone and speech recogniser; each of them may be missing.

    Args:
        hand_over: takes utterances in memory; None: the node is alone in its process.
    """

    def __init__(self, hand_over: Callable[[Handover], None] | None = None, **options: Any) -> None:
        self._hand_over = hand_over
        self._senses: Senses | None = None
        self._outputs: dict[str, Any] = {}
        self._worker: Worker | None = None
        self._inputs: dict[str, Input] = {}
        self._humans: Humans | None = None
        self._live: list[Any] = []  # timers, services and subscriptions of the active node
        self._counts: Counter[str] = Counter()
        self._heard: dict[str, int] = {}
        self._clock_offset = 0
        super().__init__("utterance_node", defaults={"publish_media": hand_over is None}, **options)

    # Lifecycle ------------------------------------------------------------------------------

    def load(self) -> None:
        p = self.parameters
        listener = UtteranceAssembler(
            assembler_config(p), SileroVoiceActivity(), speaker_networks(p), known_voices(p)
        )
        self._pace = Pace(p["face_rate"])
        tracker = None
        if p["image_type"] != "none":
            tracker = FaceTracker(self._detector(), p["face_rate"])
        self._senses = Senses(microphone(p), tracker, listener)
        self._senses.counts.update(dict.fromkeys(STREAM_EVENTS, 0), samples=0, frames_searched=0)
        self._frame_ids = {"audio": "", "image": ""}
        self._counts = Counter(utterances=0)
        self._outputs = {
            "utterances": self.publish_on(UtteranceMessage, "utterances", TEXT_QOS),
            "corrections": self.publish_on(
                SpeakerCorrectionMessage, "speaker_corrections", TEXT_QOS
            ),
        }

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
                "humans": 100,
                "replug": 1,
                "tick": 1,
                "reset": 1,
            },
            silent=frozenset({"tick", "reset", "replug"}),
        )
        self._humans = humans = Humans(self, inbox, p["humans_namespace"], p["face_rate"])
        self._inputs = {}
        info = "audio_common_msgs/msg/AudioInfo"
        if p["audio_type"] == "none" or not message_class(info):
            info = "none"
        for source in (
            Input(
                self,
                inbox,
                "audio",
                ("audio",),
                p["audio_type"],
                AUDIO_QOS,
                True,
                replugged=lambda: inbox.put("replug", None),
            ),
            Input(self, inbox, "audio_info", ("audio_info",), info, TEXT_QOS, False),
            Input(self, inbox, "image", CAMERA, p["image_type"], IMAGE_QOS, True, self._is_due),
            Input(
                self,
                inbox,
                "speech",
                ("speech",),
                p["speech_type"],
                TEXT_QOS,
                False,
                wanted=lambda message: not humans.has_voices,
            ),
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
        if self._humans is not None:
            self._humans.close()
        for entity in self._live:
            destroy = self.destroy_service if hasattr(entity, "srv_type") else self.destroy_timer
            destroy(entity)
        self._live = []
        if self._worker is not None:
            self._worker.stop()
        self._worker = self._humans = None
        self._inputs = {}

    def release(self) -> None:
        self._senses = None
        self._inputs = {}
        for publisher in self._outputs.values():
            self.destroy_lifecycle_publisher(publisher)
        self._outputs = {}

    # Callbacks: they only enqueue -----------------------------------------------------------

    def _is_due(self, image: Any) -> bool:
        return self._pace.takes(stamp_of(image.header) or self.get_clock().now().nanoseconds)

    def _tick(self) -> None:
        self._inbox.put("tick", self.get_clock().now().nanoseconds)

    def _look(self) -> None:
        for source in self._inputs.values():
            source.look()
        if self._humans is not None:
            self._humans.look()
        if self._senses is not None:
            self._senses.microphone.expects_info = self.count_publishers("audio_info") > 0

    def _reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._inbox.put("reset", None)
        response.success = True
        response.message = "what comes from now on belongs to a new conversation"
        return response

    # The worker -----------------------------------------------------------------------------

    def _handle(self, item: Item) -> None:
        assert self._senses is not None
        taken, listener = time.monotonic_ns(), self._senses.listener
        if item.input == "tick":
            events: Iterable[Event | MicrophoneEvent] = (
                listener.advance(item.value) if item.value else []
            )
            self._heard = dict(listener.counters())
        elif item.input == "reset":
            events = listener.reset()
        elif item.input == "replug":
            events = self._senses.replug()
        else:
            adapter, message, arrival = item.value
            value = adapter.read(message, arrival)
            self._note_stamp(value, arrival)
            events = self._senses.take(value)
        self._give(events, item.arrived, taken)

    def _note_stamp(self, value: object, arrival: int) -> None:
        """The clock and the frame of what came."""
        if isinstance(value, TrackedFace):
            value = value.frame
        if isinstance(value, (SoundChunk, Frame)):
            kind = "audio" if isinstance(value, SoundChunk) else "image"
            self._frame_ids[kind] = self._frame_ids[kind] or value.frame_id
        if isinstance(value, (SoundChunk, Frame, Transcript)):
            self._compare_clocks(value.stamp, arrival)

    def _note(self, event: MicrophoneEvent) -> None:
        if isinstance(event, Replugged):
            self._frame_ids["audio"] = ""
        name = type(event).__name__
        self.complain(f"audio {name}", f"audio: {_ADVICE.get(name, name)}, see /diagnostics")

    def _compare_clocks(self, stamp: int | None, arrival: int) -> None:
        if stamp is not None:
            self._clock_offset = arrival - stamp

    def _give(self, events: Iterable[Event | MicrophoneEvent], arrived: int, taken: int) -> None:
        for event in events:
            if isinstance(event, (UtteranceEvent, TextCorrected)):
                self._publish(event.utterance, arrived, taken)
            elif isinstance(event, SpeakerCorrected):
                message = speaker_correction_message(event, self._frame_id)
                self._outputs["corrections"].publish(message)
                if self._hand_over is not None:
                    self._hand_over(Handover(event, arrived, {}))
            elif isinstance(event, ConversationEnded):
                if self._hand_over is not None:
                    self._hand_over(Handover(event, arrived, {}))
            elif type(event).__name__ in STREAM_EVENTS:
                self._note(event)

    @property
    def _frame_id(self) -> str:
        return self._frame_ids["audio"] or self._frame_ids["image"]

    def _publish(self, utterance: Utterance, arrived: int, taken: int) -> None:
        utterance = with_frame(utterance, self._frame_id)
        self._counts["utterances"] += utterance.is_final
        if self._hand_over is not None:
            stages = {
                "waiting": taken - arrived,
                "dialogue": time.monotonic_ns() - taken,
            }
            self._hand_over(Handover(utterance, arrived, stages))
        text, media = self.parameters["publish_text"], self.parameters["publish_media"]
        self._outputs["utterances"].publish(utterance_message(utterance, text, media))

    def _finish(self) -> None:
        """The last thing before the worker ends: nothing that was said is lost."""
        assert self._senses is not None
        now = time.monotonic_ns()
        self._give(self._senses.flush(), now, now)

    def failed(self, item: Item, error: Exception) -> None:
        """Count it with its input; audio that cannot be understood stays refused."""
        if item.input in self._inputs:
            self._inputs[item.input].bad += 1
        if item.input == "humans" and self._humans is not None:
            self._humans.bad += 1
        if item.input == "image":
            self._pace.again()
        if item.input == "audio_info" and self._senses is not None:
            self._senses.microphone.refuse(str(error))
        super().failed(item, error)

    # Diagnostics ----------------------------------------------------------------------------

    def statuses(self, now: int) -> list[DiagnosticStatus]:
        assert self._senses is not None
        found = [source.status(now) for source in list(self._inputs.values())]
        if self._humans is not None:
            found.append(self._humans.status(now))
        refused = self._senses.microphone.refused
        problems = [diagnostics.error(refused)] if refused else []
        if abs(self._clock_offset) > CLOCKS_APART:
            text = (
                f"stamps are {self._clock_offset / NS:.0f} s behind this node's clock: play "
                "recordings with --clock and set use_sim_time, or synchronise the machines"
            )
            problems.append(diagnostics.warning(text))
        counts = {
            **self._senses.counts,
            **self._heard,
            **self._counts,
            "frames_not_due": self._pace.skipped,
            "stamp_delay_ms": round(self._clock_offset / 1e6, 1),
        }
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
    "SecondMicrophone": "two microphones publish on one topic, the first is kept: remap the other",
    "NoInfo": "no audio_info came, sound is read as the parameters say",
    "NotWaited": "too much sound waits for audio_info, the oldest is dropped",
    "Replugged": "another device publishes in place of the former one",
}


def main(args: list[str] | None = None) -> int:
    """The executable `utterance_node`: this node alone, its messages carry sound and faces."""
    return run_nodes(lambda: [UtteranceNode()], args)


if __name__ == "__main__":
    raise SystemExit(main())
