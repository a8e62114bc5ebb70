"""What every text data set becomes: conversations of labelled utterances."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

LABELS = ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")  # MELD's order


@dataclass(frozen=True, slots=True)
class LabelledUtterance:
    """One utterance and the emotion that people heard in it.

    speaker: 0 unknown, 1..9 by first appearance in the conversation (`encoders.text`). label: index
    into LABELS. start, end: ns from the recording's beginning; None where unknown or impossible.
    votes: how raters voted, a share for each label, empty where unknown.
    """

    text: str
    speaker: int
    label: int
    index: int  # as numbered by the data set
    start: int | None = None
    end: int | None = None
    votes: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Conversation:
    """Utterances in their order."""

    name: str
    utterances: tuple[LabelledUtterance, ...]


def count(conversations: Iterable[Conversation]) -> int:
    """Utterances in all of them."""
    return sum(len(conversation.utterances) for conversation in conversations)
