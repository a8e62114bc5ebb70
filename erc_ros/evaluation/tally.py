"""Sums over a recording's conversations from which every figure is computed.

The sums of several conversations add up, so that figures of many recordings need no recording in
memory, and a bootstrap sample is a weighted sum.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from erc_ros.annotations.records import Segment
from erc_ros.evaluation.matching import outcome
from erc_ros.evaluation.records import AnswerMatch, Prediction, Recording
from erc_ros.metrics.classification import confusion, reliability
from erc_ros.metrics.concordance import moments
from erc_ros.metrics.timelines import (
    Errors,
    Extent,
    Span,
    emotion_diarization_errors,
    identification_errors,
    jaccard_errors,
    speaker_mapping,
)
from erc_ros.metrics.word_errors import (
    TimedWord,
    WordErrors,
    cp_errors,
    tcp_errors,
    timed_words,
    words_of,
)
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.utterance import MODALITIES

COLLAR = seconds(0.25)  # on each side of annotated boundaries, as in Wu et al. 2023
BLOCK = seconds(30.0)  # of time, resampled as a unit where there are few conversations
NEUTRAL = "neutral"  # not an emotion for the emotion diarization error
BINS = 15  # of confidence
NOISE_EDGES = (10.0, 20.0, 30.0)  # dB, between the groups of signal-to-noise ratio

Sums = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """The predictions for matched segments with an emotion, each (N,), probabilities (N, C).

    Attributes:
        truth: index of the annotated label. speaker: as annotated.
        modalities: such as "text + audio". noise: group of signal-to-noise ratio.
        covered: whether the label was published (confidence of at least `min_confidence`).
    """

    truth: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    speaker: tuple[str, ...]
    modalities: tuple[str, ...]
    noise: tuple[str, ...]
    covered: NDArray[np.bool_]

    def sums(self, chosen: NDArray[np.bool_] | None = None) -> dict[str, Sums]:
        """Return the sums of the chosen predictions, or of all.

        Returns:
            confusion (C, C); reliability (3, BINS): count, correct and confidence of each bin;
            coverage: predictions, published labels, correct ones among these.
        """
        truth, p, covered = self.truth, self.probabilities, self.covered
        if chosen is not None:
            truth, p, covered = truth[chosen], p[chosen], covered[chosen]
        classes = p.shape[1]
        if not len(truth):
            empty = {"confusion": (classes, classes), "reliability": (3, BINS), "coverage": (3,)}
            return {name: np.zeros(shape) for name, shape in empty.items()}
        correct = covered & (p.argmax(axis=1) == truth)
        bins = reliability(truth, p, BINS)
        return {
            "confusion": confusion(truth, p.argmax(axis=1), classes).astype(np.float64),
            "reliability": np.stack([bins.count, bins.right, bins.confidence]).astype(np.float64),
            "coverage": np.array([len(truth), covered.sum(), correct.sum()], np.float64),
        }


@dataclass(frozen=True, slots=True, eq=False)
class ScoredConversation:
    """A conversation of a recording, or a block of it: a unit of resampling.

    Attributes:
        sums: name -> additive sums. Times are in s. `teer`, `steer`, `der`, `eder`: total, missed,
            false alarm, confusion; `jer`: errors, speakers; `cpwer`, `tcpwer`: errors, words;
            `valence`, `arousal`: see `moments`; `matching`: segments, utterances, matched, missed,
            merged, split, invented.
        latencies: ns, (L,). missed_by: annotated speaker -> (segments, missed).
        blocks: number of a block of `BLOCK` -> its part, without words and `jer`, which cannot be
            divided.
    """

    recording: str
    sums: Mapping[str, Sums]
    answered: Answered
    latencies: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    missed_by: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    blocks: Mapping[int, ScoredConversation] = field(default_factory=dict)


def conversations(recording: Recording) -> list[ScoredConversation]:
    """Return the recording's conversations as the pipeline separated them, at least one.

    An annotated segment belongs to the conversation that is nearest in time to its middle.

    Raises:
        ValueError: probabilities or labels of another label set than the recording's.
    """
    _check(recording)
    truth = recording.truth.segments if recording.truth is not None else ()
    ends = _ends(recording.predictions)
    names = list(ends) or [""]
    edges = [(ends[first][1] + ends[second][0]) // 2 for first, second in pairwise(names)]
    of_truth = [int(np.searchsorted(edges, (s.start + s.end) // 2)) for s in truth]
    of_prediction = [names.index(p.conversation_id) for p in recording.predictions]
    matches: list[list[AnswerMatch]] = [[] for _ in names]
    for match in recording.matches:
        is_annotated = match.truth is not None
        matches[of_truth[match.truth or 0] if is_annotated else of_prediction[_index(match)]] += [
            match
        ]
    return [
        _conversation(
            recording,
            [s for s, of in zip(truth, of_truth, strict=True) if of == number],
            [p for p, of in zip(recording.predictions, of_prediction, strict=True) if of == number],
            own,
        )
        for number, own in enumerate(matches)
    ]


def _index(match: AnswerMatch) -> int:
    assert match.prediction is not None
    return match.prediction


def _check(recording: Recording) -> None:
    labels = recording.labels
    for prediction in recording.predictions:
        if prediction.label not in labels or len(prediction.probabilities) != len(labels):
            raise ValueError(
                f"{recording.name}: the estimate of utterance {prediction.utterance_id} is "
                f"{prediction.label!r} with {len(prediction.probabilities)} probabilities, the "
                f"labels are {', '.join(labels)}: estimates of another label set"
            )
    for segment in recording.truth.segments if recording.truth is not None else ():
        if segment.emotion is not None and segment.emotion not in labels:
            raise ValueError(
                f"{recording.name}: {segment.source.file} says {segment.emotion!r}, the labels "
                f"are {', '.join(labels)}: map it with --labels"
            )


def _ends(predictions: Sequence[Prediction]) -> dict[str, tuple[int, int]]:
    """Return conversation -> its first start and last end, sorted by time."""
    ends: dict[str, tuple[int, int]] = {}
    for each in sorted(predictions, key=lambda p: p.start):
        first, last = ends.get(each.conversation_id, (each.start, each.end))
        ends[each.conversation_id] = first, max(last, each.end)
    return ends


def _conversation(
    recording: Recording,
    truth: Sequence[Segment],
    predictions: Sequence[Prediction],
    matches: Sequence[AnswerMatch],
) -> ScoredConversation:
    whole = _part(recording, predictions, matches)
    first = min([*(s.start for s in truth), *(p.start for p in predictions)], default=0) // BLOCK
    last = max([*(s.end for s in truth), *(p.end for p in predictions)], default=0) // BLOCK
    windows = [(n * BLOCK, (n + 1) * BLOCK) for n in range(first, last + 1)]
    over_time = _timelines(truth, predictions, windows) if truth else [{} for _ in windows]
    total: dict[str, Sums] = {}
    blocks = {}
    for number, own in zip(range(first, last + 1), over_time, strict=True):
        part = _part(
            recording,
            [p for p in predictions if p.start // BLOCK == number],
            [match for match in matches if _start(recording, match) // BLOCK == number],
        )
        blocks[number] = ScoredConversation(
            recording.name, {**part.sums, **own}, part.answered, part.latencies
        )
        total = {name: total.get(name, np.zeros(4)) + sums for name, sums in own.items()}
    whole_only = _words(truth, predictions, _pairs(recording, matches)) if truth else {}
    if timelines := _speaker_timelines(truth, predictions):
        whole_only["jer"] = np.array(jaccard_errors(*timelines, _extent(truth), COLLAR), np.float64)
    return ScoredConversation(
        recording.name,
        {**whole.sums, **total, **whole_only},
        whole.answered,
        whole.latencies,
        _missed_by(recording, matches),
        blocks,
    )


def _start(recording: Recording, match: AnswerMatch) -> int:
    if recording.truth is not None and match.truth is not None:
        return recording.truth.segments[match.truth].start
    return recording.predictions[_index(match)].start


def _pairs(
    recording: Recording, matches: Sequence[AnswerMatch]
) -> list[tuple[Segment, Prediction]]:
    segments = recording.truth.segments if recording.truth is not None else ()
    return [
        (segments[match.truth], recording.predictions[match.prediction])
        for match in matches
        if match.truth is not None and match.prediction is not None
    ]


def _part(
    recording: Recording, predictions: Sequence[Prediction], matches: Sequence[AnswerMatch]
) -> ScoredConversation:
    """Return the sums that are counted per utterance."""
    pairs = _pairs(recording, matches)
    answered = _answered(recording, pairs)
    sums = answered.sums()
    if recording.truth is not None:
        sums["matching"] = _matching(recording, matches)
    for name in ("valence", "arousal"):
        values = [(getattr(s, name), getattr(p, name)) for s, p in pairs]
        if annotated := [pair for pair in values if pair[0] is not None]:
            sums[name] = moments(*np.array(annotated, np.float64).T)
    latencies = [p.latency for p in predictions if p.latency is not None]
    return ScoredConversation(recording.name, sums, answered, np.array(latencies, np.int64))


def _answered(recording: Recording, pairs: Sequence[tuple[Segment, Prediction]]) -> Answered:
    labels = recording.labels
    kept = [(s, p) for s, p in pairs if s.emotion is not None]
    return Answered(
        np.array([labels.index(s.emotion or "") for s, _ in kept], np.int64),
        np.array([p.probabilities for _, p in kept], np.float64).reshape(-1, len(labels)),
        tuple(s.speaker for s, _ in kept),
        tuple(modalities_of(p) for _, p in kept),
        tuple(noise_of(p) for _, p in kept),
        np.array([not p.is_unknown for _, p in kept], bool),
    )


def modalities_of(prediction: Prediction) -> str:
    """Return the modalities that were used, such as "text + audio"."""
    used = zip(MODALITIES, prediction.modalities, strict=True)
    return " + ".join(name for name, is_used in used if is_used) or "none"


def noise_of(prediction: Prediction) -> str:
    """Return the group of the signal-to-noise ratio, such as "10 to 20 dB"."""
    ratio = prediction.signal_to_noise
    if ratio is None:
        return "no sound"
    place = int(np.searchsorted(NOISE_EDGES, ratio, side="right"))
    if place == 0:
        return f"below {NOISE_EDGES[0]:g} dB"
    if place == len(NOISE_EDGES):
        return f"{NOISE_EDGES[-1]:g} dB and more"
    return f"{NOISE_EDGES[place - 1]:g} to {NOISE_EDGES[place]:g} dB"


def _missed_by(recording: Recording, matches: Sequence[AnswerMatch]) -> dict[str, tuple[int, int]]:
    counts: dict[str, tuple[int, int]] = {}
    for match in matches:
        if recording.truth is not None and match.truth is not None:
            segment = recording.truth.segments[match.truth]
            count, missed = counts.get(segment.speaker, (0, 0))
            counts[segment.speaker] = count + 1, missed + (_outcome(recording, match) == "missed")
    return counts


def _matching(recording: Recording, matches: Sequence[AnswerMatch]) -> Sums:
    counts = Counter(_outcome(recording, match) for match in matches)
    kinds = [counts[name] for name in ("matched", "missed", "merged", "split", "invented")]
    matched, missed, merged, split, invented = kinds
    return np.array([matched + missed + merged, matched + split + invented, *kinds], np.float64)


def _outcome(recording: Recording, match: AnswerMatch) -> str:
    segments = recording.truth.segments if recording.truth is not None else ()
    return outcome(
        None if match.truth is None else segments[match.truth],
        None if match.prediction is None else recording.predictions[match.prediction],
        segments,
        recording.predictions,
    )


# --- over time ---


def _timelines(
    truth: Sequence[Segment],
    predictions: Sequence[Prediction],
    windows: Sequence[tuple[int, int]],
) -> list[dict[str, Sums]]:
    """Compute DER, EDER, TEER and sTEER of each window, from first to last annotated time.

    Segments without a known emotion are excluded from EDER, TEER and sTEER. There is neither DER
    nor sTEER if a segment has no speaker.
    """
    extent = _extent(truth)
    labeled = [s for s in truth if s.emotion is not None]
    labeled_time = _without(extent, [(s.start, s.end) for s in truth if s.emotion is None])
    kinds: dict[str, tuple[list[Span], list[Span], Extent]] = {}
    if labeled:
        kinds["teer"] = (
            [Span(s.start, s.end, s.speaker, s.emotion) for s in labeled],
            [Span(p.start, p.end, p.speaker, p.label) for p in predictions],
            labeled_time,
        )
    if timelines := _speaker_timelines(truth, predictions):
        speakers, mapped = timelines
        kinds["der"] = (speakers, mapped, extent)
        if labeled:
            kinds["steer"] = (
                [Span(s.start, s.end, s.speaker, (s.speaker, s.emotion)) for s in labeled],
                [
                    replace(span, label=(span.label, p.label))
                    for span, p in zip(mapped, predictions, strict=True)
                ],
                labeled_time,
            )
    emotional = (
        [Span(s.start, s.end, "", s.emotion) for s in labeled if s.emotion != NEUTRAL],
        [Span(p.start, p.end, "", p.label) for p in predictions if p.label != NEUTRAL],
    )
    errors = [
        {
            name: _sums(
                identification_errors(
                    _near(reference, window), _near(hypothesis, window), _cut(time, window), COLLAR
                )
            )
            for name, (reference, hypothesis, time) in kinds.items()
        }
        for window in windows
    ]
    if labeled:
        for sums, window in zip(errors, windows, strict=True):
            reference, hypothesis = (_near(spans, window) for spans in emotional)
            sums["eder"] = _sums(
                emotion_diarization_errors(reference, hypothesis, _cut(labeled_time, window))
            )
    return errors


def _extent(truth: Sequence[Segment]) -> Extent:
    return [(min(s.start for s in truth), max(s.end for s in truth))]


def _speaker_timelines(
    truth: Sequence[Segment], predictions: Sequence[Prediction]
) -> tuple[list[Span], list[Span]] | None:
    """Return annotated and estimated speakers under one mapping; None if a speaker is missing."""
    if not truth or not all(s.speaker for s in truth):
        return None
    speakers = [Span(s.start, s.end, s.speaker, s.speaker) for s in truth]
    own = [Span(p.start, p.end, p.speaker, p.speaker) for p in predictions]
    mapping = speaker_mapping(speakers, own, _extent(truth), COLLAR)
    return speakers, [
        replace(span, label=mapping.get(span.label, ("unmapped", span.label))) for span in own
    ]


def _near(spans: Sequence[Span], window: tuple[int, int]) -> list[Span]:
    """Return the spans that are in the window or whose collar may reach into it."""
    first, last = window[0] - COLLAR, window[1] + COLLAR
    return [span for span in spans if span.start <= last and span.end >= first]


def _cut(extent: Extent, window: tuple[int, int]) -> Extent:
    parts = [(max(start, window[0]), min(end, window[1])) for start, end in extent]
    return [(start, end) for start, end in parts if start < end]


def _without(extent: Extent, holes: Sequence[tuple[int, int]]) -> Extent:
    left = list(extent)
    for first, last in holes:
        left = [
            part
            for start, end in left
            for part in ((start, min(end, first)), (max(start, last), end))
            if part[0] < part[1]
        ]
    return left


def _sums(errors: Errors) -> Sums:
    parts = (errors.total, errors.missed, errors.false_alarm, errors.confusion)
    return np.array(parts, np.float64) / NS


# --- words ---


def _words(
    truth: Sequence[Segment],
    predictions: Sequence[Prediction],
    pairs: Sequence[tuple[Segment, Prediction]],
) -> dict[str, Sums]:
    """Compute cpWER and tcpWER where words are annotated and every segment has a speaker.

    Utterances that match a segment without annotated words are excluded.
    """
    if not all(s.speaker for s in truth) or all(s.text is None for s in truth):
        return {}
    excluded = {p.utterance_id for s, p in pairs if s.text is None}
    reference: dict[Hashable, list[TimedWord]] = {}
    hypothesis: dict[Hashable, list[TimedWord]] = {}
    for segment in truth:
        if segment.text is not None:
            words = timed_words(words_of(segment.text), segment.start, segment.end)
            reference.setdefault(segment.speaker, []).extend(words)
    for p in sorted(predictions, key=lambda p: (p.start, p.end)):
        if p.utterance_id not in excluded:
            words = timed_words(words_of(p.text), p.start, p.end)
            hypothesis.setdefault(p.speaker, []).extend(words)
    plain = [
        {speaker: [w.text for w in words] for speaker, words in each.items()}
        for each in (reference, hypothesis)
    ]
    return {
        "cpwer": _word_sums(cp_errors(*plain)),
        "tcpwer": _word_sums(tcp_errors(reference, hypothesis)),
    }


def _word_sums(errors: WordErrors) -> Sums:
    return np.array([errors.errors, errors.words], np.float64)
