"""One row per estimate: what a replay writes, draws and compares."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from erc_ros.inference.estimate import why_of
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import MODALITIES
from erc_ros.values.why import Why, rounded, why_of_message

if TYPE_CHECKING:
    from erc_ros.inference.bundle import Bundle
    from erc_ros.inference.estimate import Estimate


@dataclass(frozen=True)
class BundleName:
    """Which models answered."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True)
class Row:
    """One estimate, as it is written. Times in ns on the clock of the recording."""

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
    modalities: dict[str, bool]  # "text", "audio", "visual" -> whether it counted
    weights: dict[str, float]  # likewise, how much
    is_final: bool
    overlap: float | None = None  # share of the time in which two or more speak; None = unknown
    latency: int | None = None  # ns from the last input to the estimate; None = not measured
    why: dict[str, Why] = field(
        default_factory=dict
    )  # of the modalities that were there; {} = unknown
    text_excluded: str = ""  # why a text was not used, as in the message; "" = it was, or none came

    @property
    def most_probable(self) -> str:
        """The label, also where the confidence is too small for one (`label` is empty)."""
        return self.label or max(self.probabilities, key=self.probabilities.__getitem__, default="")

    def moved(self, offset: int) -> Row:
        """The same, `offset` ns later."""
        return replace(self, start=self.start + offset, end=self.end + offset)


def with_row(rows: Sequence[Row], row: Row) -> list[Row]:
    """The rows with one more; a final one that came before with the same ids is replaced."""
    ids = row.conversation_id, row.utterance_id
    for place, other in enumerate(rows):
        if (other.conversation_id, other.utterance_id) == ids and other.is_final and row.is_final:
            return [*rows[:place], row, *rows[place + 1 :]]
    return [*rows, row]


def relabelled(
    rows: Sequence[Row], conversation_id: str, utterance_ids: Collection[str], speaker_id: str
) -> list[Row]:
    """The rows with another speaker in some of a conversation's utterances."""
    return [
        replace(row, speaker_id=speaker_id)
        if row.conversation_id == conversation_id and row.utterance_id in utterance_ids
        else row
        for row in rows
    ]


def row_of_estimate(estimate: Estimate, bundle: Bundle) -> Row:
    """From the core."""
    said = estimate.utterance
    return Row(
        conversation_id=said.conversation_id,
        utterance_id=said.utterance_id,
        speaker_id=said.speaker_id,
        voice_id=said.voice_id,
        face_id=said.face_id,
        person_id=said.person_id,
        start=said.start,
        end=said.end,
        text=said.text,
        label=estimate.label,
        confidence=rounded(estimate.confidence),
        valence=rounded(estimate.valence),
        arousal=rounded(estimate.arousal),
        probabilities=_named(bundle.labels, estimate.probabilities),
        modalities=dict(zip(MODALITIES, map(bool, estimate.modalities), strict=True)),
        weights=_named(MODALITIES, estimate.weights),
        is_final=estimate.is_final,
        overlap=overlap_or_none(said.overlap),
        text_excluded=estimate.text_excluded,
        why=why_of(estimate, bundle.labels),
    )


def row_of_message(message: Any, latency: int | None = None) -> Row:
    """From an erc_msgs/EmotionEstimate."""
    return Row(
        conversation_id=message.conversation_id,
        utterance_id=message.utterance_id,
        speaker_id=message.speaker_id,
        voice_id=message.voice_id,
        face_id=message.face_id,
        person_id=message.person_id,
        start=message.start.sec * NS + message.start.nanosec,
        end=message.end.sec * NS + message.end.nanosec,
        text=message.text,
        label=message.label,
        confidence=rounded(message.confidence),
        valence=rounded(message.valence),
        arousal=rounded(message.arousal),
        probabilities=_named(message.labels, message.probabilities),
        modalities=dict(zip(message.modality_names, map(bool, message.modalities), strict=True)),
        weights=_named(message.modality_names, message.modality_weights),
        is_final=message.is_final,
        overlap=overlap_or_none(message.overlap),
        latency=latency,
        text_excluded=message.text_excluded,
        why=why_of_message(message),
    )


def overlap_or_none(value: float) -> float | None:
    """An utterance's overlap as it is written; NaN is None, which JSON can say."""
    return None if math.isnan(value) else rounded(value)


def _named(names: Sequence[str], values: Any) -> dict[str, float]:
    return {name: rounded(value) for name, value in zip(names, values, strict=True)}
