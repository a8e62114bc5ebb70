"""Utterances in, estimates out: the node around `Recognition`."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from erc_msgs.msg import EmotionEstimate, EmotionLabels, SpeakerCorrection
from erc_msgs.msg import Utterance as UtteranceMessage
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from std_srvs.srv import Trigger

from erc_ros.adapters import message_class, size_of
from erc_ros.inference.estimate import MODALITIES, Estimate
from erc_ros.nodes import diagnostics
from erc_ros.nodes.diagnostics import Latencies, Losses, Meter
from erc_ros.nodes.handover import Handover
from erc_ros.nodes.inbox import Inbox, Item, Worker
from erc_ros.nodes.managed_node import ManagedNode
from erc_ros.nodes.messages import (
    add_latency,
    estimate_message,
    expression_message,
    labels_message,
    speaker_correction_value,
    utterance_value,
)
from erc_ros.parameters import EmotionNodeConfig
from erc_ros.pipeline import Recognition
from erc_ros.values.events import Event, SpeakerCorrected, UtteranceEvent

UTTERANCE_QOS = QoSProfile(depth=50, reliability=QoSReliabilityPolicy.RELIABLE)
ESTIMATE_QOS = QoSProfile(depth=50, reliability=QoSReliabilityPolicy.RELIABLE)
LATCHED_QOS = QoSProfile(
    depth=1,
    reliability=QoSReliabilityPolicy.RELIABLE,
    durability=QoSDurabilityPolicy.TRANSIENT_LOCAL,
)
EXPRESSION = "hri_msgs/msg/Expression"
CORRECTIONS = 50  # that may wait, as many as the topic keeps
FACES_KEPT = 16  # publishers of expressions, one per face; the longest unused one goes


@dataclass(frozen=True)
class Sent:
    """A message of a topic. published: ns, on the clock of its publisher's machine."""

    message: Any
    published: int


class EmotionNode(ManagedNode):
    """Names the emotion of each utterance.

    Args:
        subscribes: take `utterances` and `speaker_corrections` from the topics; False: they come
            by `receive` in memory.
    """

    def __init__(self, subscribes: bool = True, **options: Any) -> None:
        self._subscribes = subscribes
        self._recognition: Recognition | None = None
        self._inbox: Inbox | None = None
        self._worker: Worker | None = None
        self._outputs: dict[str, Any] = {}
        self._faces: OrderedDict[str, Any] = OrderedDict()
        self._live_subscriptions: list[Any] = []
        self._live_service: Any = None
        super().__init__("emotion_node", **options)

    # Lifecycle ------------------------------------------------------------------------------

    def load(self) -> None:
        p = self.parameters
        self._expression_type = message_class(EXPRESSION)
        if p["publish_expression"] and self._expression_type is None:
            raise ValueError("publish_expression needs hri_msgs, which is not installed here")
        self._recognition = Recognition(p.config(EmotionNodeConfig))
        self._received, self._published, self._bad = Meter(), Meter(), 0
        self._bad_before = 0
        self._losses = Losses()
        self._held: deque[tuple[int, SpeakerCorrected]] = deque()
        self._latencies: dict[str, Latencies] = {"total": Latencies()}
        self._outputs = {
            "emotions": self.publish_on(EmotionEstimate, "emotions", ESTIMATE_QOS),
            "labels": self.publish_on(EmotionLabels, "emotion_labels", LATCHED_QOS),
        }
        bundle = self._recognition.bundle
        self.get_logger().info(
            f"bundle {bundle.name} {bundle.version} ({bundle.sha256[:12]}) on {p['device']}"
        )

    def start(self) -> None:
        assert self._recognition is not None
        self._outputs["labels"].publish(labels_message(self._recognition.bundle))
        self._inbox = inbox = Inbox(
            {
                "utterances": self.parameters["utterance_queue"],
                "corrections": CORRECTIONS,
                "reset": 1,
            },
            silent=frozenset({"reset"}),
        )
        self._worker = Worker("recognition", inbox, self._handle, self.failed)
        if self._subscribes:
            corrections = self.subscribe_to(
                SpeakerCorrection, "speaker_corrections", self._hear_correction, UTTERANCE_QOS
            )
            utterances = self.subscribe_to(
                UtteranceMessage,
                "utterances",
                lambda message, info: self._hear_utterance(message, info, corrections),
                UTTERANCE_QOS,
            )
            self._live_subscriptions = [corrections, utterances]
        self._live_service = self.create_service(Trigger, "~/reset", self._reset)

    def stop(self) -> None:
        for subscription in self._live_subscriptions:
            self.destroy_subscription(subscription)
        self._live_subscriptions = []
        if self._live_service is not None:
            self.destroy_service(self._live_service)
        self._live_service = None
        if self._worker is not None:
            self._worker.stop()
        self._worker = None

    def release(self) -> None:
        if self._recognition is not None:
            self._recognition.close()
        self._recognition = None
        for publisher in self._outputs.values():
            self.destroy_lifecycle_publisher(publisher)
        for publisher in self._faces.values():
            self.destroy_publisher(publisher)
        self._outputs = {}
        self._faces.clear()

    # Callbacks: they only enqueue -----------------------------------------------------------

    def receive(self, handed: Handover) -> None:
        """Take what the other node in this process hands over."""
        is_correction = isinstance(handed.event, SpeakerCorrected)
        self._put("corrections" if is_correction else "utterances", handed)

    def _hear_utterance(self, message: UtteranceMessage, info: Any, corrections: Any) -> None:
        # The executor takes one message of each topic in turn: first all corrections that are there
        with corrections.handle:
            while taken := corrections.handle.take_message(corrections.msg_type, corrections.raw):
                self._hear_correction(*taken)
        self._losses.note(info)
        self._put("utterances", Sent(message, info["source_timestamp"]))

    def _hear_correction(self, message: SpeakerCorrection, info: Any) -> None:
        self._put("corrections", Sent(message, info["source_timestamp"]))

    def _put(self, name: str, what: Handover | Sent) -> None:
        if self._inbox is not None and self._worker is not None:
            now = time.monotonic_ns()
            if name == "utterances":
                self._received.tick(now)
            self._inbox.put(name, what, now, size_of(what))

    def _reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        assert self._inbox is not None
        self._inbox.put("reset", None)
        response.success = True
        response.message = "the history of the conversation will be forgotten"
        return response

    # The worker -----------------------------------------------------------------------------

    def _handle(self, item: Item) -> None:
        assert self._recognition is not None
        taken = time.monotonic_ns()
        if item.input == "reset":
            self._recognition.reset()
            return
        handed = item.value
        if isinstance(handed, Sent):
            if item.input == "corrections":
                self._hold(speaker_correction_value(handed.message), handed.published)
                return
            self._catch_up(handed.published)
            event = UtteranceEvent(utterance_value(handed.message))
            handed = Handover(event, item.arrived, {})
        stages = {**handed.stages, "handover": taken - item.arrived}
        self._recognise(handed.event, handed.arrived, stages)

    def _hold(self, correction: SpeakerCorrected, published: int) -> None:
        """Keep a correction until the next utterance that was published after it.

        Two topics have no common order: a correction may overtake the utterances that it names.
        Nothing is answered to it before that utterance, so waiting costs nothing.
        """
        assert self._recognition is not None
        self._held.append((published, correction))
        if len(self._held) > CORRECTIONS:
            self._recognition.feed(self._held.popleft()[1])

    def _catch_up(self, published: int) -> None:
        """Take the corrections that were published until then (ns)."""
        assert self._recognition is not None
        while self._held and self._held[0][0] <= published:
            self._recognition.feed(self._held.popleft()[1])

    def _recognise(self, event: Event, arrived: int, stages: dict[str, int]) -> None:
        recognition = self._recognition
        assert recognition is not None
        recognition.publish_provisional = self.parameters["publish_provisional"]
        for found in recognition.feed(event):
            estimate = found.estimate
            message = estimate_message(
                estimate, recognition.bundle, self.parameters["publish_text"]
            )
            total = time.monotonic_ns() - arrived
            stages = {**stages, **estimate.latency}
            add_latency(message, stages, total)
            self._outputs["emotions"].publish(message)
            self._express(estimate)
            self._count(estimate, stages, total)

    def _express(self, estimate: Estimate) -> None:
        face = estimate.utterance.face_id
        if not (self.parameters["publish_expression"] and face):
            return
        if face not in self._faces:
            topic = f"{self.parameters['humans_namespace']}/faces/{face}/expression"
            self._faces[face] = self.create_publisher(self._expression_type, topic, ESTIMATE_QOS)
            if len(self._faces) > FACES_KEPT:
                self.destroy_publisher(self._faces.popitem(last=False)[1])
        self._faces.move_to_end(face)
        self._faces[face].publish(expression_message(self._expression_type, estimate))

    def _count(self, estimate: Estimate, stages: dict[str, int], total: int) -> None:
        self._published.tick(time.monotonic_ns())
        for name, duration in {**stages, "total": total}.items():
            self._latencies.setdefault(name, Latencies()).add(duration)
        for note in estimate.notes:
            self.complain("input of the models", note)

    def failed(self, item: Item, error: Exception) -> None:
        """Count the utterance as lost, and say why."""
        self._bad += 1
        super().failed(item, error)

    # Diagnostics ----------------------------------------------------------------------------

    def statuses(self, now: int) -> list[DiagnosticStatus]:
        assert self._recognition is not None
        recognition = self._recognition
        problems = []
        if new := self._bad - self._bad_before:
            problems.append(diagnostics.warning(f"{new} utterances could not be used, see the log"))
        self._bad_before = self._bad
        inbox = self._inbox
        values: dict[str, object] = {
            "utterances_received": self._received.count,
            "utterances_per_minute": 60 * self._received.hertz(now),
            "estimates": self._published.count,
            **{f"with_{name}": recognition.counts[f"with_{name}"] for name in MODALITIES},
            "queued": inbox.depth("utterances") if inbox else 0,
            "queued_bytes": inbox.bytes("utterances") if inbox else 0,
            "dropped": sum(map(inbox.dropped, ("utterances", "corrections"))) if inbox else 0,
            "lost_by_dds": self._losses.count,
            "unusable": self._bad,
            "relabelled": recognition.counts["relabelled"],
            "not_relabelled": recognition.counts["not_relabelled"],
        }
        for name, latencies in list(self._latencies.items()):
            values[f"latency_{name}_p50_ms"] = latencies.milliseconds(0.5)
            values[f"latency_{name}_p95_ms"] = latencies.milliseconds(0.95)
        bundle = recognition.bundle
        models = {
            "bundle": f"{bundle.name} {bundle.version}",
            "bundle_sha256": bundle.sha256,
            "bundle_folder": bundle.folder,
            **{f"device_{part}": where for part, where in recognition.devices().items()},
            "labels": " ".join(bundle.labels),
        }
        return [
            diagnostics.status("recogniser", values, problems),
            diagnostics.status("bundle", models),
        ]
