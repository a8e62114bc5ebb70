"""Error rates of labeled time segments: DER, TEER, sTEER, EDER and JER.

The first three rates differ in the labels only. At each time, let r be the number of labels in the
reference, h that in the hypothesis, and c the number of labels in both. Then max(0, r - h) labels
are missed, max(0, h - r) are false alarms and min(r, h) - c are confused. The error rate is the
integral of these numbers divided by the integral of r. In overlapped speech, the label of each
speaker counts. The result equals `pyannote.metrics.identification.IdentificationErrorRate`, with
which the tests compare it. This implementation does not need pandas and returns sums for
bootstraps.

DER: NIST RT; TEER and sTEER: Wu et al., "Integrating Emotion Recognition with Speech Recognition
and Speaker Diarisation for Conversations", Interspeech 2023.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Extent = Sequence[tuple[int, int]]
"""Scored time spans (start, end) in ns."""


@dataclass(frozen=True, slots=True)
class Span:
    """A label from `start` to `end` (ns). Adjacent spans of one track and label are merged.

    track: for example a speaker; the same label in two tracks at one time counts twice.
    """

    start: int
    end: int
    track: Hashable
    label: Hashable


@dataclass(frozen=True, slots=True)
class Errors:
    """Durations in ns of the reference labels and of each type of error."""

    total: int
    missed: int
    false_alarm: int
    confusion: int

    @property
    def rate(self) -> float:
        """Error rate; NaN for an empty reference. May exceed 1."""
        wrong = self.missed + self.false_alarm + self.confusion
        return wrong / self.total if self.total else float("nan")


def identification_errors(
    reference: Sequence[Span], hypothesis: Sequence[Span], extent: Extent, collar: int = 0
) -> Errors:
    """Compute the durations of missed, false and confused labels.

    Args:
        collar: ns that are excluded on each side of every boundary of the reference.
    """
    reference = _united(reference)
    edges, widths = _cells(reference, hypothesis, extent, collar)
    labels = list(dict.fromkeys([*(s.label for s in reference), *(s.label for s in hypothesis)]))
    of = {label: place for place, label in enumerate(labels)}
    r = _by_label(_counts(reference, edges), of, len(widths))
    h = _by_label(_counts(hypothesis, edges), of, len(widths))
    right = np.minimum(r, h).sum(axis=0)
    in_r, in_h = r.sum(axis=0), h.sum(axis=0)
    return Errors(
        int(widths @ in_r),
        int(widths @ np.maximum(0, in_r - in_h)),
        int(widths @ np.maximum(0, in_h - in_r)),
        int(widths @ (np.minimum(in_r, in_h) - right)),
    )


def emotion_diarization_errors(
    reference: Sequence[Span], hypothesis: Sequence[Span], extent: Extent
) -> Errors:
    """Compute the errors of the set of emotions of all speakers; `rate` is the EDER.

    The EDER is the time in which the sets of emotions differ, divided by the scored time. The
    error is a miss if the hypothesis has no emotion, a false alarm if the reference has no
    emotion, otherwise a confusion (which includes Wang's "overlap"). Source: Wang et al., "Speech
    Emotion Diarization", ASRU 2023.

    Args:
        reference, hypothesis: spans without those of neutral speech, which counts as silence.
    """
    edges, widths = _cells(reference, hypothesis, extent, 0)
    labels = list(dict.fromkeys([*(s.label for s in reference), *(s.label for s in hypothesis)]))
    of = {label: place for place, label in enumerate(labels)}
    r, h = (_by_label(_counts(s, edges), of, len(widths)) > 0 for s in (reference, hypothesis))
    differ, in_r, in_h = (r != h).any(axis=0), r.any(axis=0), h.any(axis=0)
    return Errors(
        int(widths.sum()),
        int(widths @ (differ & ~in_h)),
        int(widths @ (differ & ~in_r)),
        int(widths @ (differ & in_r & in_h)),
    )


def jaccard_errors(
    reference: Sequence[Span], hypothesis: Sequence[Span], extent: Extent, collar: int = 0
) -> tuple[float, int]:
    """Compute the Jaccard errors of the reference labels; their mean is the JER.

    The Jaccard error of a label is 1 - |R and H| / |R or H|, where R and H are the times at which
    reference and hypothesis have it: 0 for equal times, 1 for a label that the hypothesis lacks.
    The JER weights each speaker equally, however long they speak, and never exceeds 1. The result
    equals `pyannote.metrics.diarization.JaccardErrorRate`, with which the tests compare it. Source:
    Ryant et al., "The Second DIHARD Diarization Challenge", Interspeech 2019.

    Args:
        hypothesis: spans with the labels of the reference (see `speaker_mapping`).

    Returns:
        sum of the errors, and number of labels in the scored time of the reference.
    """
    reference = _united(reference)
    edges, widths = _cells(reference, hypothesis, extent, collar)
    of = {label: place for place, label in enumerate(dict.fromkeys(s.label for s in reference))}
    shared = [s for s in hypothesis if s.label in of]
    r, h = (_by_label(_counts(spans, edges), of, len(widths)) > 0 for spans in (reference, shared))
    in_both, in_either, is_scored = (r & h) @ widths, (r | h) @ widths, r @ widths > 0
    errors = 1 - in_both[is_scored] / in_either[is_scored]
    return float(errors.sum()), int(is_scored.sum())


def speaker_mapping(
    reference: Sequence[Span], hypothesis: Sequence[Span], extent: Extent, collar: int = 0
) -> dict[Hashable, Hashable]:
    """Return the one-to-one mapping of hypothesis to reference labels with most common time.

    Labels without common time are not included.
    """
    from scipy.optimize import linear_sum_assignment

    reference = _united(reference)
    edges, widths = _cells(reference, hypothesis, extent, collar)
    r, h = _counts(reference, edges), _counts(hypothesis, edges)
    rows, columns = (list(dict.fromkeys(label for _, label in spans)) for spans in (h, r))
    places = [{label: place for place, label in enumerate(names)} for names in (rows, columns)]
    label_counts = [
        _by_label(spans, of, len(widths)) for spans, of in zip((h, r), places, strict=True)
    ]
    shared = (label_counts[0] * widths) @ label_counts[1].T  # (hypothesis, reference), ns
    pairs = zip(*linear_sum_assignment(-shared), strict=True)
    return {rows[row]: columns[column] for row, column in pairs if shared[row, column] > 0}


def _united(spans: Sequence[Span]) -> list[Span]:
    """Merge adjacent and overlapping spans of one track and label."""
    merged: dict[tuple[Hashable, Hashable], Span] = {}
    united = []
    for span in sorted(spans, key=lambda span: span.start):
        key = span.track, span.label
        last = merged.get(key)
        if last is not None and span.start <= last.end:
            merged[key] = replace(last, end=max(last.end, span.end))
            continue
        if last is not None:
            united.append(last)
        merged[key] = span
    return united + list(merged.values())


def _cells(
    reference: Sequence[Span], hypothesis: Sequence[Span], extent: Extent, collar: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the edges (K + 1,) of cells with constant labels, and their scored widths (K,), ns."""
    own = np.array([(s.start, s.end) for s in reference], np.int64).reshape(-1, 2)
    others = np.array([(s.start, s.end) for s in hypothesis], np.int64).reshape(-1, 2)
    scored = np.array(extent, np.int64).reshape(-1, 2)
    boundaries = np.unique(own)
    near = np.stack([boundaries - collar, boundaries + collar], axis=1)
    edges = np.unique(np.concatenate([each.ravel() for each in (own, others, scored, near)]))
    if len(edges) < 2:
        return np.zeros(1, np.int64), np.zeros(0, np.int64)
    inside = _depth(scored, edges) > 0
    if collar:
        inside &= _depth(near, edges) == 0
    return edges, np.diff(edges) * inside


def _depth(spans: NDArray[np.int64], edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of spans (N, 2) that cover each cell, (K,)."""
    change = np.zeros(len(edges), np.int64)
    np.add.at(change, np.searchsorted(edges, spans[:, 0]), 1)
    np.add.at(change, np.searchsorted(edges, spans[:, 1]), -1)
    return np.cumsum(change)[:-1]


def _counts(
    spans: Sequence[Span], edges: NDArray[np.int64]
) -> Mapping[tuple[Hashable, Hashable], NDArray[np.int64]]:
    """Return (track, label) -> indicator of its cells, (K,)."""
    grouped: dict[tuple[Hashable, Hashable], list[tuple[int, int]]] = {}
    for span in spans:
        grouped.setdefault((span.track, span.label), []).append((span.start, span.end))
    return {
        key: np.minimum(1, _depth(np.array(own, np.int64), edges)) for key, own in grouped.items()
    }


def _by_label(
    counts: Mapping[tuple[Hashable, Hashable], NDArray[np.int64]],
    of: Mapping[Hashable, int],
    cells: int,
) -> NDArray[np.int64]:
    """Return the count of each label in each cell, (labels, K)."""
    cell_counts = np.zeros((len(of), cells), np.int64)
    for (_, label), indicator in counts.items():
        cell_counts[of[label]] += indicator
    return cell_counts
