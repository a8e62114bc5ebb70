"""The values of an evaluation.

Every time is integer nanoseconds since the recording's first message (its `origin`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from erc_ros.annotations.records import Annotations, Segment
from erc_ros.metrics.figure import Figure
from erc_ros.values.why import Why


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """The estimate of one utterance.

    start, end: ns since the recording's first message, start < end; of an utterance without audio,
        the second before its text.
    latency: ns from the end of the speech to the estimate on the recording's clock, without
        computing time; the same in every run. None: unknown.
    speaker: index within the conversation ("0", "1", ...), "" unknown. person: their name, or "".
    probabilities: (C,) in the order of `Recording.labels`, sum 1.
    valence, arousal: -1..1.
    label: the most probable one. is_unknown: its confidence is below `min_confidence`, so that the
        robot publishes no label. confidence: as it is published; None = the largest probability.
    modalities, weights: of text, audio, visual: whether it was used, its share (sum 1, or 0).
    speaker_confidence, overlap: 0..1; None = unknown. overlap: share of its time in which two or
        more people speak.
    signal_to_noise: dB; None = no audio.
    audio: (n,) int16, mono, 16 kHz. face: the middle face crop, a PNG file's bytes.
    why: modality -> what it contributed, of those that were used; {} where that is unknown.
    is_final: False for a draft without a final estimate.
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
    person: str = ""


@dataclass(frozen=True, slots=True)
class AnswerMatch:
    """Indices of an annotated segment and of the prediction that is compared with it.

    Each index is in exactly one match; None: there is no partner.
    """

    truth: int | None
    prediction: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """The predictions of one system for one recording, with annotations.

    name: unique within an evaluation. system: name of a model package or parameter file; two
        systems give two Recordings of one name.
    origin: ns, stamp of the first message on the recording's own clock. duration: ns.
    labels: the bundle's emotions, in the order of every `Prediction.probabilities`.
    truth: None without annotations; `matches` is then empty.
    annotators: name -> segments, where several annotators are named; `truth` is their majority.
    warnings, counts: of the replay. robot: (start, end) in which the robot spoke, as it announced.
    error: why the recording could not be evaluated, otherwise ""; the rest is then empty.
    """

    name: str
    system: str
    origin: int
    duration: int
    labels: tuple[str, ...]
    truth: Annotations | None = None
    predictions: tuple[Prediction, ...] = ()
    matches: tuple[AnswerMatch, ...] = ()
    warnings: Mapping[str, int] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    error: str = ""
    annotators: Mapping[str, tuple[Segment, ...]] = field(default_factory=dict)
    robot: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Predictions of similar confidence: mean confidence, share of correct ones, count."""

    confidence: float
    accuracy: float
    count: int


@dataclass(frozen=True, slots=True)
class SystemScores:
    """All scores of one system over all recordings.

    figures: name ("weighted_f1", "f1 joy", "teer", "der", "cpwer", ...) -> figure; see
        docs/reference/scores.md.
    groups: kind ("speaker", "modalities", "signal_to_noise", "recording") -> group -> figures.
    confusion: (C, C), row = annotated, column = predicted, over matched utterances.
    reliability: bins of confidence in ascending order, without empty ones.
    risk_coverage: (coverage, share of wrong ones), most confident first.
    latencies: ns, ascending.
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
    """A figure of system `a` minus that of `b` (paired bootstrap).

    low, high: 95 % interval; p: two-sided; p_corrected: for all figures that are compared (Holm).
    None where there is too little to resample.
    """

    figure: str
    a: str
    b: str
    value: float
    low: float | None
    high: float | None
    p: float | None
    p_corrected: float | None = None


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of each system, and the differences of the first two.

    settings: what the figures depend on (collar, matching, range of time), for the report.
    """

    systems: tuple[SystemScores, ...]
    comparisons: tuple[Comparison, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
