"""What the utterance node gives to the emotion node where both are in one process."""

from __future__ import annotations

from dataclasses import dataclass

from erc_ros.values.events import ConversationEnded, SpeakerCorrected
from erc_ros.values.utterance import Utterance


@dataclass(frozen=True)
class Handover:
    """An utterance, who said earlier ones, or the end of a conversation.

    arrived: ns on the monotonic clock, of the input that completed it.
    stages: ns spent until now, by name.
    """

    what: Utterance | SpeakerCorrected | ConversationEnded
    arrived: int
    stages: dict[str, int]
