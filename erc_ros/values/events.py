"""What a listener tells: utterances, the end of a conversation, and what it counted."""

from __future__ import annotations

from dataclasses import dataclass

from erc_ros.values.utterance import Utterance


@dataclass(frozen=True, slots=True)
class UtteranceEvent:
    """An utterance: a draft while its text is awaited (`is_final` False), then the final one.

    A final text may match several drafts at once, or only a part of one: the final utterance then
    has the id of the first, with another span, and the other drafts never become final.
    """

    utterance: Utterance


@dataclass(frozen=True, slots=True)
class TextCorrected:
    """A final utterance again: its text came late, or the speech recognizer corrected it.

    before: the text it had, "" if none.
    """

    utterance: Utterance
    before: str


@dataclass(frozen=True, slots=True)
class SpeakerCorrected:
    """From `start` to `end` (ns) it was speaker `after`, not `before` as said; "" = unknown.

    utterance_ids: drafts and final ones that were given to `before`.
    """

    conversation_id: str
    utterance_ids: tuple[str, ...]
    start: int
    end: int
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class ConversationEnded:
    """History and speakers of this conversation are forgotten. stamp: ns."""

    conversation_id: str
    stamp: int


@dataclass(frozen=True, slots=True)
class Counted:
    """Something happened `amount` times; `name` is a key of `UtteranceAssembler.counters()`."""

    name: str
    stamp: int  # ns
    amount: int = 1


@dataclass(frozen=True, slots=True)
class DeviceReplaced:
    """Another device sends a modality ("audio" or "visual") from now on."""

    modality: str


Event = (
    UtteranceEvent | TextCorrected | SpeakerCorrected | ConversationEnded | DeviceReplaced | Counted
)
