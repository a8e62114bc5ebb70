"""Outputs for the dialogue of the robot: annotated speech, and changes of emotion."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from erc_msgs.msg import EmotionChange as EmotionChangeMessage
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from std_msgs.msg import String

from erc_ros.inference.emotion_changes import EmotionChange, EmotionChanges
from erc_ros.inference.emotion_state import EmotionState
from erc_ros.inference.estimate import Estimate
from erc_ros.nodes.messages import to_time

if TYPE_CHECKING:
    from erc_ros.nodes.managed_node import ManagedNode

QOS = QoSProfile(depth=50, reliability=QoSReliabilityPolicy.RELIABLE)
REMEMBERED = 64  # utterances whose text was published


class DialogueOutputs:
    """Publishes `~/annotated_speech` and `~/emotion_changes`."""

    def __init__(self, node: ManagedNode, changes: EmotionChanges) -> None:
        self._node, self._changes = node, changes
        self._speech = node.publish_on(String, "~/annotated_speech", QOS)
        self._events = node.publish_on(EmotionChangeMessage, "~/emotion_changes", QOS)
        self._published: deque[tuple[str, str]] = deque(maxlen=REMEMBERED)

    def tell_estimate(self, estimate: Estimate, text: bool) -> None:
        """Publish a text once, with its emotion; text: whether it may be published."""
        utterance = estimate.utterance
        key = (utterance.conversation_id, utterance.utterance_id)
        if text and utterance.text and estimate.is_final and key not in self._published:
            self._published.append(key)
            self._speech.publish(String(data=annotated(estimate)))

    def tell_states(self, states: Sequence[EmotionState], now: int) -> None:
        """Publish each change of a person's label. now: ns."""
        for change in self._changes.feed(states):
            self._events.publish(_message(change, now))

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in (self._speech, self._events):
            self._node.destroy_lifecycle_publisher(publisher)


def annotated(estimate: Estimate) -> str:
    """Return the text with speaker and emotion, such as `[anna, anger 0.81] He keeps my money`.

    An unknown speaker or emotion is omitted. Square brackets in the text become round ones, so that
    speech cannot look like an annotation.
    """
    utterance = estimate.utterance
    speaker = f"speaker {utterance.speaker_id}" if utterance.speaker_id else ""
    name = utterance.person_id or speaker
    emotion = f"{estimate.label} {estimate.confidence:.2f}" if estimate.label else ""
    annotation = ", ".join(_plain(part) for part in (name, emotion) if part)
    text = _plain(utterance.text)
    return f"[{annotation}] {text}" if annotation else text


def _plain(text: str) -> str:
    return " ".join(text.translate(str.maketrans("[]", "()")).split())


def _message(change: EmotionChange, now: int) -> EmotionChangeMessage:
    message = EmotionChangeMessage(
        person_id=change.person.person_id,
        conversation_id=change.person.conversation_id,
        speaker_id=change.person.speaker_id,
        label=change.label,
        former_label=change.former_label,
        probability=change.probability,
    )
    message.header.stamp = to_time(now)
    return message
