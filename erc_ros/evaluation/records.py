"""What an evaluation speaks of: frozen values without behaviour.

Every time is integer nanoseconds since the recording's first message (its `origin`), so that truth
and answers of one recording lie on one axis that begins at 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from erc_ros.values.why import Why


@dataclass(frozen=True, slots=True)
class Source:
    """Where an annotation stands, for messages.

    file: its name. tier: "" where the format has none. line: of the file in texts, number of the
    annotation within its tier in ELAN and TextGrid, 0 where unknown.
    """

    file: str
    tier: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Segment:
    """One stretch of the truth: who, what, how, as far as somebody annotated it.

    None says "not annotated", which is not the same as "" (annotated: no words).

    start, end: ns since the recording's first message; 0 <= start < end <= duration.
    speaker: the annotators' name of the speaker; "" where nobody was named.
    emotion: a label of the evaluated label set, after the mapping; None also where the annotated
        label is not mapped (it is then counted in `Truth.unmapped`).
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
    speaker: whose, "" where nobody is named. annotations: how many.
    excluded: why nothing of it was used, "" otherwise.
    """

    file: str
    tier: str
    kinds: tuple[str, ...]
    speaker: str
    annotations: int
    excluded: str = ""


@dataclass(frozen=True, slots=True)
class Truth:
    """What people annotated of one recording, in the order of (start, end, speaker).

    unmapped: annotated emotion -> how many segments carry it without being evaluated for it.
    repaired: what was mended while reading ("annotations past the end, cut") -> how often.
    files: names of the files it was read from.
    readings: how each of their tiers was read. notices: what the user should know of, in sentences.
    """

    segments: tuple[Segment, ...]
    unmapped: Mapping[str, int] = field(default_factory=dict)
    repaired: Mapping[str, int] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    readings: tuple[TierReading, ...] = ()
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """One utterance as the pipeline answered it.

    start, end: ns since the recording's first message, start < end; of an utterance without sound,
        the second before its text.
    latency: ns from the end of the speech to the estimate on the recording's own clock: what
        waiting for text and certainty costs. It is the same in every run; computing comes on top.
        None: unknown.
    speaker: index within the conversation ("0", "1", ...), "" unknown; with `conversation_id` it
        names somebody, since numbers begin again in every conversation.
    probabilities: (C,) in the order of `Recording.labels`, sum 1.
    valence, arousal: -1..1.
    label: the most probable one. is_unknown: its confidence is below `min_confidence`, so that the
        robot publishes no label. confidence: as it is published; None = the largest probability.
    modalities, weights: text, audio, visual: which ones counted, and how much (sum 1, or 0).
    speaker_confidence, overlap: 0..1; None = unknown. overlap: share of its time in which two or
        more people speak.
    signal_to_noise: dB of its sound above the recording's noise; None = no sound.
    audio: (n,) int16, mono, 16 kHz. face: the middle face crop, a PNG file's bytes.
    why: modality -> what it contributed, of those that were there; {} where that is not known.
    is_final: False for a draft whose final never came.
    """

    utterance_id: str
    conversation_id: str
    start: int
    end: int
    speaker: str
    text: str
    label: str
    probabilities: NDArray[np.float64]
    valence: float
    arousal: float
    modalities: tuple[bool, bool, bool]
    weights: tuple[float, float, float]
    speaker_confidence: float | None = None
    overlap: float | None = None
    latency: int | None = None
    signal_to_noise: float | None = None
    audio: NDArray[np.int16] | None = None
    face: bytes | None = None
    is_final: bool = True
    is_unknown: bool = False
    confidence: float | None = None
    why: Mapping[str, Why] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AnswerMatch:
    """A segment of the truth and the prediction that is compared with it, as indices.

    truth None: the pipeline invented the utterance; prediction None: it missed the segment. Every
    index of both stands in exactly one match.
    """

    truth: int | None
    prediction: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """One recording, answered by one system, joined with its truth.

    name: of the bag, unique within an evaluation. system: what answered (a bundle's or a parameter
        file's name); two systems side by side give two Recordings of one name.
    origin: ns, stamp of the first message on the recording's own clock. duration: ns.
    labels: the bundle's emotions, in the order of every `Prediction.probabilities`.
    truth: None where nobody annotated it; `matches` is then empty.
    annotators: name -> its segments, where several annotators were named; `truth` is then what most
        of them say.
    warnings, counts: as the replay and the reading of truth counted them.
    error: why the recording could not be evaluated, "" where it could; all else is then empty.
    """

    name: str
    system: str
    origin: int
    duration: int
    labels: tuple[str, ...]
    truth: Truth | None = None
    predictions: tuple[Prediction, ...] = ()
    matches: tuple[AnswerMatch, ...] = ()
    warnings: Mapping[str, int] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    error: str = ""
    annotators: Mapping[str, tuple[Segment, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with its 95 % bootstrap interval over conversations.

    low, high: None where nothing can be resampled (one conversation). n: what it was taken over
    (utterances, words, seconds: see docs/how-to/evaluate.md at the figure's name).
    value: None where it is undefined (no such truth).
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: float = 0.0


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Answers of about one confidence: their mean confidence, the share of right ones, how many."""

    confidence: float
    accuracy: float
    count: int


@dataclass(frozen=True, slots=True)
class SystemScores:
    """Everything measured of one system over all recordings.

    figures: name ("weighted_f1", "f1 joy", "teer", "der", "cpwer", ...) -> figure; the names and
        their definitions are the table of docs/how-to/evaluate.md.
    groups: what was told apart ("speaker", "modalities", "signal_to_noise", "recording") -> group
        -> figures.
    confusion: (C, C), row the truth, column the answer, over matched utterances.
    reliability: bins of confidence in ascending order, without empty ones.
    risk_coverage: (share answered, share of wrong ones among them), most confident first.
    latencies: ns, of every estimate that has one, ascending.
    """

    system: str
    labels: tuple[str, ...]
    figures: Mapping[str, Figure]
    groups: Mapping[str, Mapping[str, Mapping[str, Figure]]] = field(default_factory=dict)
    confusion: tuple[tuple[int, ...], ...] = ()
    reliability: tuple[ReliabilityBin, ...] = ()
    risk_coverage: tuple[tuple[float, float], ...] = ()
    latencies: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure of system `a` minus that of `b` on the same conversations (paired bootstrap).

    low, high: 95 % interval; p: two-sided. All None where nothing can be resampled.
    """

    figure: str
    a: str
    b: str
    value: float
    low: float | None
    high: float | None
    p: float | None


@dataclass(frozen=True, slots=True)
class Scores:
    """The result of an evaluation: each system's scores, and the differences of the first two.

    settings: what the figures depend on (collar, matching, range of time), for the report.
    """

    systems: tuple[SystemScores, ...]
    comparisons: tuple[Comparison, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
