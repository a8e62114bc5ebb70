"""The emotion node: wraps `Recognition`; receives utterances and publishes estimates."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from erc_msgs.msg import EmotionEstimate, EmotionLabels, EmotionStates, SpeakerCorrection
from erc_msgs.msg import Utterance as UtteranceMessage
from erc_msgs.srv import ForgetPerson, GetEmotion, SetBundle
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from std_srvs.srv import Trigger

from erc_ros.adapters import size_of
from erc_ros.inference.emotion_changes import EmotionChanges
from erc_ros.inference.emotion_state import EmotionStateTracker
from erc_ros.inference.engines.background import EngineBuild
from erc_ros.inference.estimate import Estimate
from erc_ros.nodes import diagnostics, services
from erc_ros.nodes.diagnostics import Latencies, Lossiness, Meter
from erc_ros.nodes.dialogue_outputs import DialogueOutputs
from erc_ros.nodes.engagement import Engagement
from erc_ros.nodes.event_log import Field
from erc_ros.nodes.expressions import Expressions
from erc_ros.nodes.handover import Handover
from erc_ros.nodes.inbox import Inbox, Item, Worker
from erc_ros.nodes.managed_node import ManagedNode
from erc_ros.nodes.matching_qos import LATCHED_QOS
from erc_ros.nodes.messages import (
    add_latency,
    estimate_message,
    labels_message,
    speaker_correction_value,
    states_message,
    utterance_value,
)
from erc_ros.nodes.resequencer import Resequencer
from erc_ros.parameters import EmotionNodeConfig
from erc_ros.pipeline import Recognition, crop_size
from erc_ros.values.errors import ErcValueError
from erc_ros.values.events import (
    ConversationEnded,
    Event,
    SpeakerCorrected,
    TextCorrected,
    UtteranceEvent,
)
from erc_ros.values.nanoseconds import seconds
from erc_ros.values.utterance import MODALITIES

UTTERANCE_QOS = QoSProfile(depth=50, reliability=QoSReliabilityPolicy.RELIABLE)
ESTIMATE_QOS = QoSProfile(depth=50, reliability=QoSReliabilityPolicy.RELIABLE)
CORRECTIONS = 50  # maximum number of queued corrections, the same as the depth of the topic
LOOK = 0.25  # s between two queries of the graph
TICK = 0.05  # s between two checks for messages that have waited too long
PATIENCE = seconds(0.1)  # for which an utterance waits for an earlier correction
STATES_PERIOD = seconds(1.0)  # between two messages of `emotion_state` without utterances


# An event (None for an unusable message), the number of its message, and its arrival time (ns).
Arrived = tuple[Event | None, int, int]


class EmotionNode(ManagedNode):
    """Estimates the emotion of each utterance.

    Args:
        subscribes: subscribe to `utterances` and `speaker_corrections`; False: `receive` takes
            them in memory.
    """

    def __init__(self, subscribes: bool = True, **options: Any) -> None:
        self._subscribes = subscribes
        self._recognition: Recognition | None = None
        self._inbox: Inbox | None = None
        self._worker: Worker | None = None
        self._outputs: dict[str, Any] = {}
        self._expressions: Expressions | None = None
        self._engagement: Engagement | None = None
        self._dialogue: DialogueOutputs | None = None
        self._live_subscriptions: list[Any] = []
        self._engines: EngineBuild | None = None
        self._live: list[Any] = []  # timers of the active node
        self.is_sensed: Callable[[str], bool] | None = None
        """Whether this process has a sensed person with an id; None: another process knows."""
        super().__init__("emotion_node", **options)
        offers = services.Services(self, lambda: self._inbox)
        offers.offer(Trigger, "~/reset", self._reset)
        offers.offer(ForgetPerson, "~/forget_person", self._forget_person)
        offers.offer(GetEmotion, "~/get_emotion", self._get_emotion)
        offers.offer_loading(
            SetBundle, "~/set_bundle", self._load_bundle, self._take_bundle, self._describe_bundle
        )

    # Lifecycle ------------------------------------------------------------------------------

    def load(self) -> None:
        p = self.parameters
        if p["publish_expression"]:
            self._expressions = Expressions(self, p["humans_namespace"])
        if p["omit_disengaged"]:
            self._engagement = Engagement(self, p["humans_namespace"])
        self._settings = p.config(EmotionNodeConfig).used_recognition
        self._recognition = Recognition(self._settings)
        self._received, self._published, self._bad = Meter(), Meter(), 0
        self._bad_before = self._excluded_before = 0
        self._lossiness = Lossiness()
        self._order: Resequencer[Arrived] = Resequencer(PATIENCE)
        self._states = EmotionStateTracker(
            self._settings.emotion_state, self._recognition.bundle.anchors
        )
        self._dialogue = self._dialogue_outputs()
        self._opt_outs_followed = self.opt_outs.concerned
        self._states_sent = 0  # ns on the monotonic clock
        self._latencies: dict[str, Latencies] = {"total": Latencies()}
        self._outputs = {
            "emotions": self.publish_on(EmotionEstimate, "emotions", ESTIMATE_QOS),
            "labels": self.publish_on(EmotionLabels, "emotion_labels", LATCHED_QOS),
            "states": self.publish_on(EmotionStates, "emotion_state", LATCHED_QOS),
        }
        self._build_engines()
        bundle = self._recognition.bundle
        devices = ", ".join(dict.fromkeys(self._recognition.devices().values()))
        self.get_logger().info(
            f"bundle {bundle.name} {bundle.version} ({bundle.sha256[:12]}) on {devices}"
        )

    def start(self) -> None:
        assert self._recognition is not None
        self._outputs["labels"].publish(labels_message(self._recognition.bundle))
        self._inbox = inbox = Inbox(
            {
                "utterances": self._settings.utterance_queue,
                "corrections": CORRECTIONS,
                services.INPUT: services.MAX_CALLS,
                "tick": 1,
            },
            silent=frozenset({services.INPUT, "tick"}),
        )
        self._worker = Worker(
            "recognition", inbox, self._handle, self.failed, self._finish, self.consent.wait
        )
        if self._subscribes:
            corrections = self.subscribe_to(
                SpeakerCorrection, "speaker_corrections", self._receive_correction, UTTERANCE_QOS
            )
            utterances = self.subscribe_to(
                UtteranceMessage, "utterances", self._receive_utterance, UTTERANCE_QOS
            )
            self._live_subscriptions = [corrections, utterances]
        self._live = [
            self.create_timer(TICK, self._tick, clock=self.steady),
            self.create_timer(LOOK, self._look, clock=self.steady),
        ]

    def stop(self) -> None:
        for subscription in self._live_subscriptions:
            self.destroy_subscription(subscription)
        self._live_subscriptions = []
        for timer in self._live:
            self.destroy_timer(timer)
        self._live = []
        if self._worker is not None:
            self._worker.stop()
        self._worker = None

    def _dialogue_outputs(self) -> DialogueOutputs:
        assert self._recognition is not None
        labels = self._recognition.bundle.labels
        return DialogueOutputs(self, EmotionChanges(self._settings.emotion_state, labels))

    def _build_engines(self) -> None:
        """Start to build engines for the current bundle, and abort a former build."""
        if self._engines is not None:
            self._engines.close()
        self._engines = None
        if self._recognition is None:
            return
        if self.parameters["build_engines"] and self.parameters["device"] == "auto":
            self._engines = self._recognition.build_engines()

    def release(self) -> None:
        former, self._recognition = self._recognition, None
        self._build_engines()
        if former is not None:
            former.close()
        for publisher in self._outputs.values():
            self.destroy_lifecycle_publisher(publisher)
        self._outputs = {}
        for part in (self._expressions, self._engagement, self._dialogue):
            if part is not None:
                part.close()
        self._expressions = self._engagement = self._dialogue = None

    def crop_size(self) -> int:
        """Return the size (pixels) of face crops that the bundle expects; 0: unknown."""
        recognition = self._recognition
        if recognition is None:
            return crop_size(self.parameters["bundle"])
        visual = recognition.bundle.visual
        return 0 if visual is None else visual.size

    # Callbacks: they only enqueue -----------------------------------------------------------

    def receive(self, handed: Handover) -> None:
        """Enqueue an event from the other node in this process."""
        is_correction = isinstance(handed.event, SpeakerCorrected)
        self._put("corrections" if is_correction else "utterances", handed)

    def _receive_utterance(self, message: UtteranceMessage) -> None:
        self._put("utterances", message)

    def _receive_correction(self, message: SpeakerCorrection) -> None:
        self._put("corrections", message)

    def _tick(self) -> None:
        if self._inbox is not None:
            self._inbox.put("tick", None)

    def _look(self) -> None:
        for part in (self._expressions, self._engagement):
            if part is not None:
                part.look()

    def _put(self, name: str, value: Handover | UtteranceMessage | SpeakerCorrection) -> None:
        if self._inbox is not None and self._worker is not None:
            now = time.monotonic_ns()
            if name == "utterances":
                self._received.tick(now)
            self._inbox.put(name, value, now, size_of(value))

    # The worker -----------------------------------------------------------------------------

    def _handle(self, item: Item) -> None:
        assert self._recognition is not None
        taken = time.monotonic_ns()
        if self._opt_outs_followed is not self.opt_outs.concerned:
            self._follow_opt_outs()
        if item.input == services.INPUT:
            item.value.run()
            return
        if item.input == "tick":
            self._take(self._order.advance(taken))
            if self._states.persons() and taken - self._states_sent >= STATES_PERIOD:
                self._publish_states()
            return
        if isinstance(item.value, Handover):
            self._recognize(item.value, item.arrived)
            return
        message, event = item.value, None
        try:
            event = (
                speaker_correction_value(message)
                if item.input == "corrections"
                else UtteranceEvent(utterance_value(message))
            )
        finally:  # the number of an unusable message counts, too, so that later ones do not wait
            arrived = (event, message.sequence, item.arrived)
            self._take(self._order.feed(message.sequence, arrived, taken))

    def _take(self, items: Iterable[Arrived]) -> None:
        """Handle messages in the order of their numbers."""
        for event, sequence, arrived in items:
            if event is not None:
                self._recognize(Handover(event, arrived, {}, sequence), arrived)

    def _finish(self) -> None:
        """Handle what still waits for lost messages, before the worker ends."""
        self._take(self._order.advance(time.monotonic_ns() + PATIENCE))

    def _recognize(self, handed: Handover, arrived: int) -> None:
        """Publish the estimates for an event. arrived: ns (monotonic), at this node."""
        recognition, event = self._recognition, handed.event
        assert recognition is not None
        stages = {**handed.stages, "handover": time.monotonic_ns() - arrived}
        if isinstance(event, SpeakerCorrected):
            self._states.correct(event)
        elif isinstance(event, ConversationEnded):
            self._states.end_conversation(event.conversation_id)
        elif isinstance(event, (UtteranceEvent, TextCorrected)):
            if self.opt_outs.covers(event.utterance):
                self.opt_outs.link(event.utterance)
                return
            if event.utterance.faces:
                self._check_crops(len(event.utterance.faces[0].pixels))
        recognition.publish_provisional = self.parameters["publish_provisional"]
        recognition.min_confidence = self.parameters["min_confidence"]
        for result in recognition.feed(event):
            estimate = result.estimate
            text = self.consent.allowed and self.parameters["publish_text"]
            message = estimate_message(estimate, recognition.bundle, text, handed.sequence)
            total = time.monotonic_ns() - handed.arrived
            stages = {**stages, **estimate.latency}
            add_latency(message, stages, total)
            self._outputs["emotions"].publish(message)
            if self._expressions is not None:
                self._expressions.tell(estimate)
            if self._dialogue is not None:
                self._dialogue.tell_estimate(estimate, text and self._is_meant(estimate))
            self._states.feed(estimate)
            self._publish_states()
            self._count(estimate, stages, total)

    def _is_meant(self, estimate: Estimate) -> bool:
        """Whether the text is passed on to the robot's dialogue."""
        person = estimate.utterance.person_id
        return self._engagement is None or not self._engagement.is_disengaged(person)

    def _follow_opt_outs(self) -> None:
        """Forget texts, voices, faces and states of people who opted out.

        The history of a conversation cannot be split by person, and an unknown speaker may be any
        of them. An id that is sensed without a state, such as a face that no speech was attributed
        to, may belong to any speaker: then all states are forgotten.
        """
        assert self._recognition is not None
        opt_outs = self.opt_outs
        new = opt_outs.concerned - self._opt_outs_followed
        self._opt_outs_followed = opt_outs.concerned
        if not new:
            return
        self._recognition.forget_conversation()
        self._states.forget_unknown()
        without_state = {name for name in new if not self._states.forget(name)}
        if any("/" not in name for name in without_state & opt_outs.ids - opt_outs.absent):
            self._states.clear()
        if self._expressions is not None:
            self._expressions.withdraw()
        self._publish_states()

    def listens_on(self) -> list[str]:
        topics = [subscription.topic_name for subscription in self._live_subscriptions]
        return sorted(topics) if self._subscribes else ["utterance_node of this process"]

    def has_person(self, name: str) -> bool | None:
        if self.configured and self._states.has(name):
            return True
        return None if self.is_sensed is None else self.is_sensed(name)

    def event_fields(self) -> dict[str, Field]:
        """Return the versions of the models and the counts of their estimates."""
        if self._recognition is None:
            return {}
        bundle, counts = self._recognition.bundle, self._recognition.counts
        return {
            "bundle": bundle.name,
            "bundle_version": bundle.version,
            "bundle_sha256": bundle.sha256,
            "estimates": counts["estimates"],
            **{f"with_{name}": counts[f"with_{name}"] for name in MODALITIES},
        }

    def _check_crops(self, size: int) -> None:
        assert self._recognition is not None
        visual = self._recognition.bundle.visual
        if visual is not None and size < visual.size:
            self.complain(
                "face crops",
                f"face crops have {size} pixels, the bundle expects {visual.size}: set the "
                f"parameter face_crop_size of utterance_node to {visual.size}",
            )

    # Services ---------------------------------------------------------------------------------

    def _reset(self, request: Trigger.Request, response: Trigger.Response) -> str:
        assert self._recognition is not None
        self._recognition.reset()
        return "the history of the conversation was deleted"

    def _forget_person(self, request: ForgetPerson.Request, response: ForgetPerson.Response) -> str:
        count = self._states.forget(request.person_id) if request.person_id else 0
        if not count:
            raise ErcValueError("there is no state of a person with this name")
        self._publish_states()
        return f"{count} utterances were deleted"

    def _get_emotion(self, request: GetEmotion.Request, response: GetEmotion.Response) -> str:
        assert self._recognition is not None
        now = self.get_clock().now().nanoseconds
        states = [
            state
            for state in self._states.present(now)
            if request.person_id in ("", state.person.person_id)
            and request.conversation_id in ("", state.person.conversation_id)
            and request.speaker_id in ("", state.person.speaker_id)
        ]
        if not states:
            raise ErcValueError("there is no state of this person")
        min_confidence = self.parameters["min_confidence"]
        message = states_message(states[-1:], self._recognition.bundle, now, min_confidence)
        response.labels, (response.state,) = message.labels, message.states
        speaker = response.state.speaker_id
        name = response.state.person_id or (f"speaker {speaker}" if speaker else "unknown speaker")
        label = response.state.label or "unknown"
        return f"{name}: {label} {max(response.state.probabilities):.2f}"

    def _load_bundle(self, request: SetBundle.Request) -> Recognition:
        """Load a bundle while the current one stays in use; an error leaves the current one."""
        config = self.parameters.config(EmotionNodeConfig).used_recognition
        return Recognition(replace(config, bundle=request.bundle))

    def _take_bundle(self, loaded: Recognition, response: SetBundle.Response) -> str:
        assert self._recognition is not None
        former, self._recognition = self._recognition, loaded
        self._build_engines()
        former.close()
        bundle = loaded.bundle
        self.parameters.replace("bundle", str(bundle.folder))
        self._states = EmotionStateTracker(self._settings.emotion_state, bundle.anchors)
        if self._dialogue is not None:
            self._dialogue.close()
        self._dialogue = self._dialogue_outputs()
        self._outputs["labels"].publish(labels_message(bundle))
        self._publish_states()
        self._describe_bundle(response)
        return f"{bundle.name} {bundle.version} is in use"

    def _describe_bundle(self, response: SetBundle.Response) -> None:
        recognition = self._recognition
        if recognition is None:
            return
        bundle = recognition.bundle
        response.bundle_name, response.bundle_version = bundle.name, bundle.version
        response.bundle_sha256 = bundle.sha256

    # ------------------------------------------------------------------------------------------

    def _publish_states(self) -> None:
        """Publish the current emotion of each person, with the time of the node's clock."""
        assert self._recognition is not None
        now = self.get_clock().now().nanoseconds
        states = self._states.present(now)
        if self._dialogue is not None:
            self._dialogue.tell_states(states, now)
        min_confidence = self.parameters["min_confidence"]
        message = states_message(states, self._recognition.bundle, now, min_confidence)
        self._outputs["states"].publish(message)
        self._states_sent = time.monotonic_ns()

    def _count(self, estimate: Estimate, stages: dict[str, int], total: int) -> None:
        self._published.tick(time.monotonic_ns())
        for name, duration in {**stages, "total": total}.items():
            self._latencies.setdefault(name, Latencies()).add(duration)
        for note in estimate.notes:
            self.complain("input of the models", note)

    def failed(self, item: Item, error: Exception) -> None:
        """Count the utterance as unusable and log the reason."""
        self._bad += 1
        super().failed(item, error)

    # Diagnostics ----------------------------------------------------------------------------

    def statuses(self, now: int) -> list[DiagnosticStatus]:
        assert self._recognition is not None
        recognition = self._recognition
        problems = []
        if new := self._bad - self._bad_before:
            problems.append(diagnostics.warning(f"{new} utterances could not be used; see the log"))
        self._bad_before = self._bad
        excluded = recognition.texts_excluded()
        if (new := sum(excluded.values()) - self._excluded_before) > 0:
            reads = ", ".join(recognition.bundle.languages) or "the words of its tokenizer"
            reasons = ", ".join(f"{name} {count}" for name, count in excluded.items())
            text = (
                f"{new} texts were not used (total: {reasons}); the bundle supports {reads}: "
                "check language and locale of the speech recognizer, or use another bundle"
            )
            problems.append(diagnostics.warning(text))
        self._excluded_before = sum(excluded.values())
        inbox = self._inbox
        dropped = sum(map(inbox.dropped, ("utterances", "corrections"))) if inbox else 0
        problems += self._lossiness.problems(self._received.count, dropped, self._order.lost, now)
        values: dict[str, object] = {
            "utterances_received": self._received.count,
            "utterances_per_minute": 60 * self._received.hertz(now),
            "estimates": self._published.count,
            **{f"with_{name}": recognition.counts[f"with_{name}"] for name in MODALITIES},
            "queued": inbox.depth("utterances") if inbox else 0,
            "queued_bytes": inbox.bytes("utterances") if inbox else 0,
            "dropped": dropped,
            "lost_by_dds": self._order.lost,
            "unusable": self._bad,
            "texts_excluded": sum(excluded.values()),
            **{f"texts_excluded_{name}": count for name, count in excluded.items()},
            "relabelled": recognition.counts["relabelled"],
            "not_relabelled": recognition.counts["not_relabelled"],
            **{f"reliability_{name}": round(p, 3) for name, p in recognition.reliability.items()},
            **({"not_trusted": "; ".join(recognition.distrust)} if recognition.distrust else {}),
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
            diagnostics.status("recognizer", values, problems),
            diagnostics.status("bundle", models),
            *([diagnostics.engines(self._engines.state)] if self._engines else []),
        ]
