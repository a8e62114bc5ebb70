"""Annotations of one recording.

Every time is integer nanoseconds since the recording's first message (its `origin`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Source:
    """Where an annotation comes from.

    file: its name. tier: "" where the format has no tiers. line: of the file in texts, number of
    the annotation within its tier in ELAN and TextGrid, 0 where unknown.
    """

    file: str
    tier: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Segment:
    """An annotated segment of one speaker. None: not annotated; text "": annotated, no words.

    start, end: ns since the recording's first message; 0 <= start < end <= duration.
    speaker: as annotated; "" where there is no name.
    emotion: a label of the evaluated label set, after the mapping; None also where the annotated
        label is not mapped (it is then counted in `Annotations.unmapped`).
    valence, arousal: -1..1.
    source: of the annotation that gave the span.
    """

    start: int
    end: int
    speaker: str
    text: str | None = None
    emotion: str | None = None
    valence: float | None = None
    arousal: float | None = None
    source: Source = Source("")


@dataclass(frozen=True, slots=True)
class TierReading:
    """How a tier, or the annotations of one person in a file without tiers, were read.

    kinds: "speech", "text", "emotion", "valence", "arousal"; empty: excluded.
    speaker: "" where there is no name. annotations: how many.
    excluded: why it is not used, "" otherwise.
    """

    file: str
    tier: str
    kinds: tuple[str, ...]
    speaker: str
    annotations: int
    excluded: str = ""


@dataclass(frozen=True, slots=True)
class Annotations:
    """The annotation of one recording, sorted by (start, end, speaker).

    unmapped: annotated emotion -> number of segments that are not scored because of it.
    repaired: what was repaired while reading ("annotations past the end, cut") -> how often.
    undecided: segments without emotion, because the annotators' labels have no majority.
    adjudicated: segments whose emotion was adjudicated.
    files: names of the files it was read from.
    readings: how each of their tiers was read. notices: sentences for the user.
    """

    segments: tuple[Segment, ...]
    unmapped: Mapping[str, int] = field(default_factory=dict)
    repaired: Mapping[str, int] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    readings: tuple[TierReading, ...] = ()
    notices: tuple[str, ...] = ()
    undecided: int = 0
    adjudicated: int = 0
