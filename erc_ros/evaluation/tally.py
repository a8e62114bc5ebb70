"""A recording's conversations as sums from which every figure follows.

What is summed adds up over conversations, so that a figure of many recordings needs none of them in
memory, and a bootstrap draws conversations by adding their sums.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from erc_ros.evaluation.matching import covered
from erc_ros.evaluation.records import AnswerMatch, Prediction, Recording, Segment
from erc_ros.metrics.classification import confusion, reliability
from erc_ros.metrics.concordance import moments
from erc_ros.metrics.timelines import Errors, Extent, Span, identification_errors, speaker_mapping
from erc_ros.metrics.word_errors import (
    TimedWord,
    WordErrors,
    cp_errors,
    tcp_errors,
    timed_words,
    words_of,
)
from erc_ros.values.nanoseconds import NS, seconds

COLLAR = seconds(0.25)  # on each side of the truth's boundaries, as Wu et al. 2023 have it
BINS = 15  # of confidence
NOISE_EDGES = (10.0, 20.0, 30.0)  # dB, between the groups of signal-to-noise ratio

Sums = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """The answers to matched segments with an emotion, each (N,), probabilities (N, C).

    truth: label's index. speaker: the annotators'. modalities: such as "text + audio". covered:
    whether the label was published, as its confidence was at least `min_confidence`.
    """

    truth: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    speaker: tuple[str, ...]
    modalities: tuple[str, ...]
    noise: tuple[str, ...]
    covered: NDArray[np.bool_]

    def sums(self, chosen: NDArray[np.bool_] | None = None) -> dict[str, Sums]:
        """Sums of the chosen answers, or of all.

        confusion (C, C); reliability: count, right and confidence of bins (3, BINS); coverage:
        answers, those with a published label, those of them that are right.
        """
        truth, p, covered = self.truth, self.probabilities, self.covered
        if chosen is not None:
            truth, p, covered = truth[chosen], p[chosen], covered[chosen]
        classes = p.shape[1]
        if not len(truth):
            return {
                "confusion": np.zeros((classes, classes)),
                "reliability": np.zeros((3, BINS)),
                "coverage": np.zeros(3),
            }
        right = covered & (p.argmax(axis=1) == truth)
        bins = reliability(truth, p, BINS)
        return {
            "confusion": confusion(truth, p.argmax(axis=1), classes).astype(np.float64),
            "reliability": np.stack([bins.count, bins.right, bins.confidence]).astype(np.float64),
            "coverage": np.array([len(truth), covered.sum(), right.sum()], np.float64),
        }


@dataclass(frozen=True, slots=True, eq=False)
class ScoredConversation:
    """One conversation of a recording: what is resampled.

    sums: name -> additive sums. Times are in s. `teer`, `steer`, `der`: total, missed, false alarm,
        confusion; `cpwer`, `tcpwer`: errors, words; `valence`, `arousal`: see `moments`;
        `matching`: segments, utterances, matched, missed, merged, split, invented.
    latencies: ns, (L,). missed_by: the annotators' speaker -> (segments, missed).
    """

    recording: str
    sums: Mapping[str, Sums]
    answered: Answered
    latencies: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    missed_by: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def conversations(recording: Recording) -> list[ScoredConversation]:
    """The recording's conversations, as the pipeline told them apart; one if it told none.

    A segment of the truth is in the conversation that is nearest in time to its middle.

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
    found = []
    for number in range(len(names)):
        matches = [
            match
            for match in recording.matches
            if (
                of_truth[match.truth]
                if match.truth is not None
                else of_prediction[match.prediction or 0]
            )
            == number
        ]
        found.append(
            _conversation(
                recording,
                [s for s, of in zip(truth, of_truth, strict=True) if of == number],
                [
                    p
                    for p, of in zip(recording.predictions, of_prediction, strict=True)
                    if of == number
                ],
                matches,
            )
        )
    return found


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
    """Conversation -> its first start and last end, in the order of time."""
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
    segments = recording.truth.segments if recording.truth is not None else ()
    pairs = [
        (segments[match.truth], recording.predictions[match.prediction])
        for match in matches
        if match.truth is not None and match.prediction is not None
    ]
    answered = _answered(recording, pairs)
    sums = answered.sums()
    if truth:
        sums |= _timelines(truth, predictions) | _words(truth, predictions, pairs)
    if recording.truth is not None:
        sums["matching"] = _matching(recording, matches)
    for name in ("valence", "arousal"):
        told = [(getattr(s, name), getattr(p, name)) for s, p in pairs]
        known = [pair for pair in told if pair[0] is not None]
        if known:
            sums[name] = moments(*np.array(known, np.float64).T)
    latencies = [p.latency for p in predictions if p.latency is not None]
    return ScoredConversation(
        recording.name,
        sums,
        answered,
        np.array(latencies, np.int64),
        _missed_by(recording, matches),
    )


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
    """Which modalities counted, such as "text + audio"."""
    names = ("text", "audio", "visual")
    there = [name for name, had in zip(names, prediction.modalities, strict=True) if had]
    return " + ".join(there) or "none"


def noise_of(prediction: Prediction) -> str:
    """The group of its signal-to-noise ratio, such as "10 to 20 dB"."""
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
    found: dict[str, tuple[int, int]] = {}
    for match in matches:
        if recording.truth is not None and match.truth is not None:
            segment = recording.truth.segments[match.truth]
            count, missed = found.get(segment.speaker, (0, 0))
            is_missed = match.prediction is None and not covered(segment, recording.predictions)
            found[segment.speaker] = count + 1, missed + is_missed
    return found


def _matching(recording: Recording, matches: Sequence[AnswerMatch]) -> Sums:
    assert recording.truth is not None
    matched = missed = merged = split = invented = 0
    for match in matches:
        if match.truth is not None and match.prediction is not None:
            matched += 1
        elif match.truth is not None:
            is_merged = covered(recording.truth.segments[match.truth], recording.predictions)
            merged, missed = merged + is_merged, missed + (not is_merged)
        else:
            prediction = recording.predictions[match.prediction or 0]
            is_piece = covered(prediction, recording.truth.segments)
            split, invented = split + is_piece, invented + (not is_piece)
    segments, utterances = matched + missed + merged, matched + split + invented
    return np.array([segments, utterances, matched, missed, merged, split, invented], np.float64)


# --- over time ---


def _timelines(truth: Sequence[Segment], predictions: Sequence[Prediction]) -> dict[str, Sums]:
    """DER, TEER and sTEER, from the first to the last annotated moment.

    Time of segments whose emotion is not known is left out of TEER and sTEER, and both speaker
    figures are left out where a segment names nobody.
    """
    extent = [(min(s.start for s in truth), max(s.end for s in truth))]
    felt = [s for s in truth if s.emotion is not None]
    known = _without(extent, [(s.start, s.end) for s in truth if s.emotion is None])
    found: dict[str, Sums] = {}
    if felt:
        reference = [Span(s.start, s.end, s.speaker, s.emotion) for s in felt]
        hypothesis = [Span(p.start, p.end, _who(p), p.label) for p in predictions]
        found["teer"] = _sums(identification_errors(reference, hypothesis, known, COLLAR))
    if all(s.speaker for s in truth):
        speakers = [Span(s.start, s.end, s.speaker, s.speaker) for s in truth]
        heard = [Span(p.start, p.end, _who(p), _who(p)) for p in predictions]
        mapping = speaker_mapping(speakers, heard, extent, COLLAR)
        named = {_who(p): mapping.get(_who(p), ("nobody", _who(p))) for p in predictions}
        heard = [Span(p.start, p.end, _who(p), named[_who(p)]) for p in predictions]
        found["der"] = _sums(identification_errors(speakers, heard, extent, COLLAR))
        if felt:
            both = [Span(s.start, s.end, s.speaker, (s.speaker, s.emotion)) for s in felt]
            answers = [
                Span(p.start, p.end, _who(p), (named[_who(p)], p.label)) for p in predictions
            ]
            found["steer"] = _sums(identification_errors(both, answers, known, COLLAR))
    return found


def _who(prediction: Prediction) -> Hashable:
    """Somebody of the conversation; whoever is unknown is one more speaker like the others."""
    return prediction.speaker


def _without(extent: Extent, holes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    left = list(extent)
    for first, last in holes:
        left = [
            piece
            for start, end in left
            for piece in ((start, min(end, first)), (max(start, last), end))
            if piece[0] < piece[1]
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
    """cpWER and tcpWER where words are annotated and everybody is named.

    Utterances that match a segment without annotated words are left out.
    """
    if not all(s.speaker for s in truth) or all(s.text is None for s in truth):
        return {}
    unknown = {p.utterance_id for s, p in pairs if s.text is None}
    said: dict[Hashable, list[TimedWord]] = {}
    heard: dict[Hashable, list[TimedWord]] = {}
    for segment in truth:
        if segment.text is not None:
            words = timed_words(words_of(segment.text), segment.start, segment.end)
            said.setdefault(segment.speaker, []).extend(words)
    for p in sorted(predictions, key=lambda p: (p.start, p.end)):
        if p.utterance_id not in unknown:
            heard.setdefault(_who(p), []).extend(timed_words(words_of(p.text), p.start, p.end))
    plain = [
        {who: [w.text for w in words] for who, words in each.items()} for each in (said, heard)
    ]
    return {
        "cpwer": _word_sums(cp_errors(*plain)),
        "tcpwer": _word_sums(tcp_errors(said, heard)),
    }


def _word_sums(errors: WordErrors) -> Sums:
    return np.array([errors.errors, errors.words], np.float64)
