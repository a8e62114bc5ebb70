"""Events of the pipeline: utterances, corrections, ends of conversations, and counters."""

from __future__ import annotations

from dataclasses import dataclass

from erc_ros.values.utterance import Utterance


@dataclass(frozen=True, slots=True)
class UtteranceEvent:
    """An utterance: a draft while its text is pending (`is_final` False), then the final one.

    A final text may match several drafts, or only a part of one: the final utterance then has the
    id of the first draft and a different time span, and the other drafts never become final.
    """

    utterance: Utterance


@dataclass(frozen=True, slots=True)
class TextCorrected:
    """A final utterance with a new text: it arrived late, or the speech recognizer corrected it.

    before: the previous text; "" if there was none.
    """

    utterance: Utterance
    before: str


@dataclass(frozen=True, slots=True)
class SpeakerCorrected:
    """The speaker from `start` to `end` (ns) is `after` instead of `before`; "" = unknown.

    utterance_ids: drafts and final utterances that had been attributed to `before`.
    """

    conversation_id: str
    utterance_ids: tuple[str, ...]
    start: int
    end: int
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class ConversationEnded:
    """A conversation ended: its history and speakers are deleted. stamp: ns."""

    conversation_id: str
    stamp: int


@dataclass(frozen=True, slots=True)
class Counted:
    """A counter increased by `amount`; `name` is a key of `UtteranceAssembler.counters()`."""

    name: str
    stamp: int  # ns
    amount: int = 1


@dataclass(frozen=True, slots=True)
class DeviceReplaced:
    """The device that sends a modality ("audio" or "visual") was replaced by another."""

    modality: str


Event = (
    UtteranceEvent | TextCorrected | SpeakerCorrected | ConversationEnded | DeviceReplaced | Counted
)
