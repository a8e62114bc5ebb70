"""The utterance node: wraps `Perception`; receives sensor data and publishes utterances."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, get_args

from diagnostic_msgs.msg import DiagnosticStatus
from erc_msgs.msg import SpeakerCorrection as SpeakerCorrectionMessage
from erc_msgs.msg import Utterance as UtteranceMessage
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from std_srvs.srv import Trigger

from erc_ros.adapters import message_class, speech_type
from erc_ros.input_reader import TICK, InputReader
from erc_ros.nodes import diagnostics, services
from erc_ros.nodes.event_log import Field
from erc_ros.nodes.handover import Handover
from erc_ros.nodes.humans import Humans
from erc_ros.nodes.inbox import Inbox, Item, Worker
from erc_ros.nodes.inputs import Input
from erc_ros.nodes.live_view import LiveView
from erc_ros.nodes.managed_node import ManagedNode
from erc_ros.nodes.messages import speaker_correction_message, utterance_message
from erc_ros.nodes.people_services import PeopleServices
from erc_ros.nodes.sensing_notice import SensingNotice
from erc_ros.nodes.voices import Voices
from erc_ros.parameters import UtteranceNodeConfig
from erc_ros.pipeline import (
    FormatExpected,
    InputRefused,
    MicrophoneReplaced,
    Perception,
    PerceptionEvent,
    RobotMoving,
    RobotSpeaking,
    TrackedFace,
)
from erc_ros.sensing.audio import AudioSamples
from erc_ros.sensing.frames import Frame
from erc_ros.sensing.images import ImageError
from erc_ros.sensing.microphone import ADVICE, AudioChunk, MicrophoneEvent
from erc_ros.values.errors import ErcValueError, safe_message
from erc_ros.values.events import (
    ConversationEnded,
    DeviceReplaced,
    SpeakerCorrected,
    TextCorrected,
    UtteranceEvent,
)
from erc_ros.values.nanoseconds import NS
from erc_ros.values.transcript import Transcript
from erc_ros.values.utterance import Utterance

LOOK = 0.25  # s between two queries of the graph
CLOCKS_APART = 5 * NS  # deviation of stamps from the node's clock that is reported
CAMERA, ROBOT = ("image", "image/compressed"), ("robot_speaking",)
# Images: best effort as in REP-2003, which is compatible with every publisher. Audio must not lose
# chunks: it has a deep history, and is reliable if all its publishers are.
IMAGE_QOS = QoSProfile(depth=5, reliability=QoSReliabilityPolicy.BEST_EFFORT)
AUDIO_QOS = QoSProfile(depth=100, reliability=QoSReliabilityPolicy.RELIABLE)
TEXT_QOS = QoSProfile(depth=50, reliability=QoSReliabilityPolicy.RELIABLE)
STREAM_EVENTS = tuple(kind for kind in get_args(MicrophoneEvent) if kind is not AudioSamples)
FOR_RECOGNITION = (
    UtteranceEvent,
    TextCorrected,
    SpeakerCorrected,
    ConversationEnded,
    DeviceReplaced,
)


def not_recorded(method: str, *arguments: object) -> None:
    """The default recorder: does nothing."""


class UtteranceNode(ManagedNode):
    """Subscribes to camera, microphone and speech recognizer; each of them is optional.

    Args:
        hand_over: takes the events for the emotion recognizer in memory; None: the process has no
            other node.
        record: called in the worker before each call of `Perception`, with the method's name and
            its arguments. The same calls of a `Pipeline` reproduce the nodes' output exactly.
        min_crop_size: size of face crops (pixels) that the models of this process expect; 0:
            unknown.
    """

    def __init__(
        self,
        hand_over: Callable[[Handover], None] | None = None,
        record: Callable[..., None] = not_recorded,
        min_crop_size: Callable[[], int] = lambda: 0,
        **options: Any,
    ) -> None:
        self._min_crop_size = min_crop_size
        self._hand_over = hand_over
        self._record = record
        self._perception: Perception | None = None
        self._voices: Voices | None = None
        self._notice: SensingNotice | None = None
        self._opt_outs_noticed: frozenset[str] = frozenset()
        self._view: LiveView | None = None
        self._outputs: dict[str, Any] = {}
        self._worker: Worker | None = None
        self._inputs: dict[str, Input] = {}
        self._humans: Humans | None = None
        self._live: list[Any] = []  # timers of the active node
        self._counts: Counter[str] = Counter()
        self._counters: dict[str, int] = {}
        self._clock_offset = 0
        super().__init__("utterance_node", defaults={"publish_media": hand_over is None}, **options)
        offers = services.Services(self, lambda: self._inbox)
        offers.offer(Trigger, "~/reset", self._reset)
        PeopleServices(offers, self._working, lambda: self.parameters["known_voices"], self.consent)

    # Lifecycle ------------------------------------------------------------------------------

    def load(self) -> None:
        config = self.parameters.config(UtteranceNodeConfig)
        period = self.parameters["provisional_period"]
        if period and self._hand_over is None and self.parameters["publish_media"]:
            raise ErcValueError(
                f"provisional_period {period:g} would publish all audio of an "
                "utterance again with each draft: run both nodes in one process "
                "(mode:=single), or set it to 0"
            )
        perception = config.used_perception
        self._settings = perception
        self._reader = InputReader(perception.face_rate)
        self._perception = Perception(perception, opt_outs=self.opt_outs)
        self._notice = SensingNotice(self, self.parameters["deployment_context"], perception.sensed)
        self._update_crop_size()
        p = self.parameters
        if p["publish_view"]:
            self._view = LiveView(self, p["humans_namespace"])
        if p["publish_voices"]:
            self._voices = Voices(self, p["humans_namespace"], p["publish_voice_audio"])
        names = (kind.__name__ for kind in STREAM_EVENTS)
        self._counters = {**dict.fromkeys(names, 0), **self._perception.counters()}
        self._counts = Counter(utterances=0)
        self._sequence = 0  # number of the last message on `utterances` and `speaker_corrections`
        self._outputs = {
            "utterances": self.publish_on(UtteranceMessage, "utterances", TEXT_QOS),
            "corrections": self.publish_on(
                SpeakerCorrectionMessage, "speaker_corrections", TEXT_QOS
            ),
        }

    def start(self) -> None:
        p, queues, sensed = self.parameters, self._settings, self._settings.sensed
        self._inbox = inbox = Inbox(
            {
                "audio": queues.audio_queue,
                "audio_info": 10,
                "image": queues.image_queue,
                "speech": queues.speech_queue,
                "robot_speaking": 100,
                "robot_moving": 100,
                "humans": 1000,  # mostly small messages of many people; also bounded in bytes
                "voice_sound": queues.audio_queue,
                "microphone": 10,
                "tick": 1,
                "robot_gone": 2,
                services.INPUT: services.MAX_CALLS,
            },
            silent=frozenset({"tick", "microphone", "robot_gone", services.INPUT}),
        )
        reader = self._reader
        unused: tuple[str, ...] = () if "visual" in sensed else ("/cropped", "/landmarks")
        unused += () if "audio" in sensed else ("/audio",)
        self._humans = humans = Humans(self, inbox, reader, p["humans_namespace"], unused)
        camera = p["image_type"] if "visual" in sensed else "none"
        self._inputs = {}
        self._format_expected = False
        info = "audio_common_msgs/msg/AudioInfo"
        if p["audio_type"] == "none" or not message_class(info):
            info = "none"
        for source in (
            Input(
                self,
                inbox,
                reader,
                "audio",
                ("audio",),
                p["audio_type"],
                AUDIO_QOS,
                True,
                matched=True,
                replaced=lambda: inbox.put("microphone", MicrophoneReplaced()),
            ),
            Input(self, inbox, reader, "audio_info", ("audio_info",), info, TEXT_QOS, False),
            Input(self, inbox, reader, "image", CAMERA, camera, IMAGE_QOS, True),
            Input(
                self,
                inbox,
                reader,
                "speech",
                ("speech",),
                speech_type(p["speech_type"]),
                TEXT_QOS,
                False,
                wanted=lambda message: not humans.has_voices,
            ),
            Input(
                self,
                inbox,
                reader,
                "robot_speaking",
                ROBOT,
                "std_msgs/msg/Bool",
                TEXT_QOS,
                False,
                matched=True,
                lost=self._robot_is_gone,
            ),
            Input(
                self,
                inbox,
                reader,
                "robot_moving",
                ("robot_moving",),
                "auto" if p["while_moving"] != "ignore" else "none",
                TEXT_QOS,
                False,
                matched=True,
                lost=self._motion_is_gone,
            ),
        ):
            self._inputs[source.name] = source
        self._look()
        self._live = [
            self.create_timer(TICK / NS, self._tick),
            self.create_timer(LOOK, self._look, clock=self.steady),
        ]
        self._worker = Worker(
            "perception", inbox, self._handle, self.failed, self._finish, self.consent.wait
        )

    def stop(self) -> None:
        for source in self._inputs.values():
            source.close()
        if self._humans is not None:
            self._humans.close()
        for timer in self._live:
            self.destroy_timer(timer)
        self._live = []
        if self._worker is not None:
            self._worker.stop()
        self._worker = self._humans = None
        self._inputs = {}
        if self._notice is not None:
            self._publish_sensing(active=False)

    def release(self) -> None:
        if self._perception is not None:
            self._perception.close()
        self._perception = None
        for part in (self._voices, self._view, self._notice):
            if part is not None:
                part.close()
        self._voices = self._view = self._notice = None
        self._inputs = {}
        for publisher in self._outputs.values():
            self.destroy_lifecycle_publisher(publisher)
        self._outputs = {}

    # Callbacks: they only enqueue -----------------------------------------------------------

    def _tick(self) -> None:
        self._inbox.put("tick", self.get_clock().now().nanoseconds)

    def _update_crop_size(self) -> None:
        """Apply the parameter and the size that the current bundle expects."""
        size = max(self.parameters["face_crop_size"], self._min_crop_size())
        self._working().set_crop_size(size)

    def _look(self) -> None:
        self._update_crop_size()
        for source in self._inputs.values():
            source.look()
        for part in (self._voices, self._view):
            if part is not None:
                part.look()
        if self._humans is not None:
            self._humans.look()
        expected = self.count_publishers(self.resolve_topic_name("audio_info")) > 0
        if expected != self._format_expected:
            self._format_expected = expected
            self._inbox.put("microphone", FormatExpected(expected))

    def _robot_is_gone(self) -> None:
        """Accept speech again after the publisher of `robot_speaking` has ended."""
        now = self.get_clock().now().nanoseconds
        self._inbox.put("robot_gone", RobotSpeaking(now, False))

    def _motion_is_gone(self) -> None:
        """Assume that the robot is still after the publisher of `robot_moving` has ended."""
        now = self.get_clock().now().nanoseconds
        self._inbox.put("robot_gone", RobotMoving(now, False))

    # The worker -----------------------------------------------------------------------------

    def _handle(self, item: Item) -> None:
        taken = time.monotonic_ns()
        if item.input == "tick":
            if item.value:  # a simulated clock is 0 before its first message
                self._give(self._call("advance", item.value), item.arrived, taken)
                if self._voices is not None:
                    self._voices.advance(*self._working().speaking(), item.value)
                self._publish_sensing(item.value)
            self._counters = {**self._counters, **self._working().counters()}
        elif item.input == services.INPUT:
            item.value.run()
        elif item.input in ("microphone", "robot_gone"):
            self._give(self._call("feed", item.value), item.arrived, taken)
        else:
            adapter, message, arrival = item.value
            value, problem = self._reader.read(adapter, message, arrival)
            if problem:
                self._refuse(item.input, problem)
            self._note_stamp(value, arrival)
            if isinstance(value, TrackedFace):
                self._note_face(value.face_id, value.frame.stamp)
            if isinstance(value, Frame):
                self._crop_faces(value, item.arrived, taken)
            self._give(self._call("feed", value), item.arrived, taken)
            # Last, as drawing must not delay an utterance.
            if self._view is not None and isinstance(value, Frame) and self.consent.allowed:
                self._view.show(value, self._working().faces)

    def _publish_sensing(self, now: int = 0, active: bool = True) -> None:
        """Publish the sensed people if they changed. now: ns; 0: the current time."""
        notice, perception = self._notice, self._working()
        assert notice is not None
        if self._opt_outs_noticed is not self.opt_outs.concerned:
            self._opt_outs_noticed = self.opt_outs.concerned
            for name in self._opt_outs_noticed:
                notice.remove(name, perception.matched)
        for face in perception.faces if active else ():
            self._note_face(face.track_id, face.stamp)
        now = now or self.get_clock().now().nanoseconds
        notice.publish(now, self.consent.allowed, len(self.opt_outs), active)

    def _note_face(self, face_id: str, stamp: int) -> None:
        if self._notice is not None and not self._working().is_opted_out("face", face_id):
            self._notice.note_face(face_id, stamp)

    def listens_on(self) -> list[str]:
        return [topic for source in self._inputs.values() for topic in source.topics()]

    def has_person(self, name: str) -> bool:
        notice, perception = self._notice, self._perception
        if notice is None or perception is None:
            return False
        return notice.has(name, perception.matched)

    def event_fields(self) -> dict[str, Field]:
        """Return the numbers of utterances and conversations."""
        counts = self._perception.counters() if self._perception is not None else {}
        names = {
            "utterances": "utterances",
            "utterances_dropped": "opted_out",
            "conversations": "conversations",
        }
        return {name: counts.get(counter, 0) for name, counter in names.items()}

    def _crop_faces(self, frame: Frame, arrived: int, taken: int) -> None:
        """Feed the crops of a frame before the frame, so that no other face detection runs."""
        humans = self._humans
        try:
            for face in humans.crops(frame) if humans is not None else ():
                self._note_face(face.face_id, face.frame.stamp)
                self._give(self._call("feed", face), arrived, taken)
        except ImageError as error:
            self._refuse("image", str(error))

    def _reset(self, request: Trigger.Request, response: Trigger.Response) -> str:
        now = time.monotonic_ns()
        self._give(self._call("reset"), now, now)
        return "later input belongs to a new conversation"

    def _working(self) -> Perception:
        assert self._perception is not None
        return self._perception

    def _call(self, method: str, *arguments: object) -> list[PerceptionEvent]:
        self._record(method, *arguments)
        events: list[PerceptionEvent] = getattr(self._perception, method)(*arguments)
        return events

    def _note_stamp(self, value: object, arrival: int) -> None:
        """Measure the difference between the clock of the input and that of the node."""
        if isinstance(value, TrackedFace):
            value = value.frame
        if not arrival:  # a simulated clock without a message
            return
        if isinstance(value, (AudioChunk, Frame, Transcript)) and value.stamp is not None:
            self._clock_offset = arrival - value.stamp

    def _give(self, events: Iterable[PerceptionEvent], arrived: int, taken: int) -> None:
        now = time.monotonic_ns()
        stages = {"waiting": taken - arrived, "dialogue": now - taken}
        voices = self._voices
        named = events if voices is None else map(voices.named, events)
        numbered = [(event, self._number(event)) for event in named]
        # First the events that start work in another thread, then the slower messages.
        for event, sequence in numbered:
            if self._hand_over is not None and isinstance(event, FOR_RECOGNITION):
                self._hand_over(Handover(event, arrived, stages, sequence))
        for event, sequence in numbered:
            if voices is not None:
                allowed = self.consent.allowed
                text = allowed and self.parameters["publish_text"]
                voices.tell(event, text, allowed, self._working().known_names)
            if isinstance(event, (UtteranceEvent, TextCorrected)):
                if self._notice is not None:
                    self._notice.note_utterance(event.utterance)
                self._publish(event.utterance, sequence)
            elif isinstance(event, ConversationEnded) and self._notice is not None:
                self._notice.end_conversation()
            elif isinstance(event, SpeakerCorrected):
                frame_id = self._working().frame_id
                message = speaker_correction_message(event, frame_id, sequence)
                self._outputs["corrections"].publish(message)
            elif isinstance(event, InputRefused):
                self._refuse(event.source, event.reason)
            elif isinstance(event, STREAM_EVENTS):
                name = type(event).__name__
                self.complain(f"audio {name}", f"audio: {ADVICE[name]}, see /diagnostics")

    def _number(self, event: PerceptionEvent) -> int:
        """Return the number of an event's message, counted over both topics; 0: no message."""
        if not isinstance(event, (UtteranceEvent, TextCorrected, SpeakerCorrected)):
            return 0
        self._sequence += 1
        return self._sequence

    def _publish(self, utterance: Utterance, sequence: int) -> None:
        self._counts["utterances"] += utterance.is_final
        allowed = self.consent.allowed
        text = allowed and self.parameters["publish_text"]
        media = allowed and self.parameters["publish_media"]
        self._outputs["utterances"].publish(utterance_message(utterance, text, media, sequence))

    def _finish(self) -> None:
        """Publish pending utterances before the worker ends."""
        now = time.monotonic_ns()
        self._give(self._call("flush"), now, now)

    def failed(self, item: Item, error: Exception) -> None:
        """Report an error of the worker."""
        self._refuse(item.input, safe_message(error))

    def _refuse(self, source: str, reason: str) -> None:
        """Count an unusable message of an input and log the reason."""
        if source in self._inputs:
            self._inputs[source].bad += 1
        if source in ("humans", "voice_sound") and self._humans is not None:
            self._humans.bad += 1
        self._reader.refused(source)
        self.complain(source, f"{source}: {reason}")

    # Diagnostics ----------------------------------------------------------------------------

    def statuses(self, now: int) -> list[DiagnosticStatus]:
        assert self._perception is not None
        statuses = [source.status(now) for source in list(self._inputs.values())]
        if self._humans is not None:
            statuses.append(self._humans.status(now))
        refused = self._perception.refused_format
        problems = [diagnostics.error(refused)] if refused else []
        topic = self.resolve_topic_name("utterances")
        if (others := self.count_publishers(topic) - 1) > 0:
            text = (
                f"{others} other nodes publish on {topic}, so that subscribers merge all "
                "conversations into one. Remap it, or give each robot a namespace"
            )
            problems.append(diagnostics.warning(text))
        if abs(self._clock_offset) > CLOCKS_APART:
            side = "behind" if self._clock_offset > 0 else "ahead of"
            text = (
                f"stamps are {abs(self._clock_offset) / NS:.0f} s {side} this node's clock: play "
                "recordings with --clock and set use_sim_time, or synchronize the machines"
            )
            problems.append(diagnostics.warning(text))
        counts = {
            **self._counters,
            **self._counts,
            "frames_not_due": self._reader.skipped,
            "stamp_delay_ms": round(self._clock_offset / 1e6, 1),
        }
        statuses.append(diagnostics.status("dialogue", counts, problems))
        return statuses
