"""Rows of a replay, one per estimate, for files, images and comparisons."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from erc_ros.inference.message_fields import estimate_fields
from erc_ros.values.nanoseconds import NS
from erc_ros.values.why import Why, rounded, why_of_message

if TYPE_CHECKING:
    from erc_ros.inference.bundle import Bundle
    from erc_ros.inference.estimate import Estimate


@dataclass(frozen=True)
class BundleName:
    """The model package that made the estimates."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True)
class Row:
    """One estimate in the output files. Times are in ns on the clock of the recording."""

    conversation_id: str
    utterance_id: str
    speaker_id: str
    voice_id: str
    face_id: str
    person_id: str
    start: int
    end: int
    text: str
    label: str
    confidence: float
    valence: float
    arousal: float
    probabilities: dict[str, float]  # label -> probability
    modalities: dict[str, bool]  # "text", "audio", "visual" -> whether it was used
    weights: dict[str, float]  # likewise, its weight
    is_final: bool
    overlap: float | None = None  # share of time with two or more speakers; None = unknown
    latency: int | None = None  # ns from the last input to the estimate; None = not measured
    why: dict[str, Why] = field(default_factory=dict)  # of the available modalities; {} = unknown
    text_excluded: str = ""  # why a text was not used, as in the message; "" = used, or no text

    @property
    def most_probable(self) -> str:
        """The most probable label, even if `label` is empty because of low confidence."""
        return self.label or max(self.probabilities, key=self.probabilities.__getitem__, default="")

    def moved(self, offset: int) -> Row:
        """Return the row with its times shifted by `offset` ns."""
        return replace(self, start=self.start + offset, end=self.end + offset)


def with_row(rows: Sequence[Row], row: Row) -> list[Row]:
    """Add a row; a final row replaces an earlier final row with the same ids."""
    ids = row.conversation_id, row.utterance_id
    for place, other in enumerate(rows):
        if (other.conversation_id, other.utterance_id) == ids and other.is_final and row.is_final:
            return [*rows[:place], row, *rows[place + 1 :]]
    return [*rows, row]


def relabelled(
    rows: Sequence[Row], conversation_id: str, utterance_ids: Collection[str], speaker_id: str
) -> list[Row]:
    """Assign some utterances of a conversation to another speaker."""
    return [
        replace(row, speaker_id=speaker_id)
        if row.conversation_id == conversation_id and row.utterance_id in utterance_ids
        else row
        for row in rows
    ]


def row_of_estimate(estimate: Estimate, bundle: Bundle) -> Row:
    """Return the row of an estimate."""
    message = SimpleNamespace(**estimate_fields(estimate, bundle))
    return _row(message, message.start, message.end)


def row_of_message(message: Any, latency: int | None = None) -> Row:
    """Return the row of an erc_msgs/EmotionEstimate. latency: ns."""
    start, end = (time.sec * NS + time.nanosec for time in (message.start, message.end))
    return _row(message, start, end, latency)


def _row(message: Any, start: int, end: int, latency: int | None = None) -> Row:
    return Row(
        **{name: getattr(message, name) for name in _AS_IN_THE_MESSAGE},
        start=start,
        end=end,
        confidence=rounded(message.confidence),
        valence=rounded(message.valence),
        arousal=rounded(message.arousal),
        probabilities=_named(message.labels, message.probabilities),
        modalities=dict(zip(message.modality_names, map(bool, message.modalities), strict=True)),
        weights=_named(message.modality_names, message.modality_weights),
        overlap=overlap_or_none(message.overlap),
        latency=latency,
        why=why_of_message(message),
    )


_AS_IN_THE_MESSAGE = (
    *("conversation_id", "utterance_id", "speaker_id", "voice_id", "face_id", "person_id"),
    *("text", "label", "is_final", "text_excluded"),
)


def overlap_or_none(value: float) -> float | None:
    """Return the overlap for the output files, with NaN as None for JSON."""
    return None if math.isnan(value) else rounded(value)


def _named(names: Sequence[str], values: Any) -> dict[str, float]:
    return {name: rounded(value) for name, value in zip(names, values, strict=True)}
