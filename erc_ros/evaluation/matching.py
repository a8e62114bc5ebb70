"""Matching of annotated segments and predicted utterances.

A segment and an utterance may be compared if they share at least half of the shorter one's time.
Among all one-to-one assignments of such pairs, the one with the greatest sum of intersections by
unions is taken. Speakers and labels play no part.

Without a match, a segment of which at least half is within utterances is merged, an utterance of
which at least half is within segments is split; other segments are missed, utterances invented.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from erc_ros.annotations.records import Segment
from erc_ros.evaluation.names import clean
from erc_ros.evaluation.records import AnswerMatch, Prediction
from erc_ros.replay.clocks import TimeSpan
from erc_ros.values.nanoseconds import NS

MILLISECOND = NS // 1000  # ELAN rounds times to it


def match(truth: Sequence[TimeSpan], predictions: Sequence[TimeSpan]) -> tuple[AnswerMatch, ...]:
    """Match segments and utterances; each occurs once in the result, sorted by time."""
    pairs = _candidates(truth, predictions)
    matched = [pair for group in _connected(pairs) for pair in _best(group)]
    matches = [AnswerMatch(t, p) for t, p in matched]
    of_truth, of_predictions = {t for t, _ in matched}, {p for _, p in matched}
    matches += [AnswerMatch(t, None) for t in range(len(truth)) if t not in of_truth]
    matches += [AnswerMatch(None, p) for p in range(len(predictions)) if p not in of_predictions]

    def time(each: AnswerMatch) -> tuple[int, int, int]:
        span = truth[each.truth] if each.truth is not None else predictions[each.prediction or 0]
        return span.start, span.end, each.truth is None

    return tuple(sorted(matches, key=time))


def covered(span: TimeSpan, others: Sequence[TimeSpan]) -> bool:
    """Return whether at least half of a span is within the others."""
    shared, until = 0, span.start
    near = [each for each in others if each.start < span.end and each.end > span.start]
    for other in sorted(near, key=lambda other: other.start):
        begin, end = max(other.start, until), min(other.end, span.end)
        if end > begin:
            shared, until = shared + end - begin, end
    return 2 * shared >= span.end - span.start


def unedited(segments: Sequence[Segment], predictions: Sequence[Prediction], duration: int) -> int:
    """Return how many segments equal an utterance in times (1 ms), words and emotion.

    A draft of `erc annotate` has such segments until an annotator edits them. Where utterances
    without audio have the times of their texts, the number is 0 unless it is that of all segments.
    """
    has_emotions = any(segment.emotion is not None for segment in segments)
    equal = with_audio = 0
    for pair in match(segments, predictions):
        if pair.truth is None or pair.prediction is None:
            continue
        segment, prediction = segments[pair.truth], predictions[pair.prediction]
        emotion = None if prediction.is_unknown or not has_emotions else prediction.label
        if (
            abs(segment.start - prediction.start) <= MILLISECOND
            and abs(segment.end - min(prediction.end, duration)) <= MILLISECOND
            and (segment.text is None or segment.text.split() == clean(prediction.text).split())
            and segment.emotion == emotion
        ):
            equal += 1
            with_audio += prediction.modalities[1]
    return equal if equal == len(segments) else with_audio


def outcome(
    segment: TimeSpan | None,
    answer: TimeSpan | None,
    segments: Sequence[TimeSpan],
    predictions: Sequence[TimeSpan],
) -> str:
    """Return "matched", "missed", "merged", "split" or "invented" for a match of these two.

    Args:
        segments, predictions: all of the recording.
    """
    if segment is not None and answer is not None:
        return "matched"
    if segment is not None:
        return "merged" if covered(segment, predictions) else "missed"
    return "split" if answer is not None and covered(answer, segments) else "invented"


_Pairs = dict[tuple[int, int], float]


def _candidates(truth: Sequence[TimeSpan], predictions: Sequence[TimeSpan]) -> _Pairs:
    """Return (segment, utterance) -> intersection over union of possible pairs."""
    order = sorted(range(len(predictions)), key=lambda p: predictions[p].start)
    starts = np.array([predictions[p].start for p in order], np.int64)
    longest = max((each.end - each.start for each in predictions), default=0)
    pairs: _Pairs = {}
    for t, segment in enumerate(truth):
        first = int(np.searchsorted(starts, segment.start - longest))
        last = int(np.searchsorted(starts, segment.end))
        for p in order[first:last]:
            other = predictions[p]
            shared = min(segment.end, other.end) - max(segment.start, other.start)
            lengths = segment.end - segment.start, other.end - other.start
            if shared > 0 and 2 * shared >= min(lengths):
                pairs[t, p] = shared / (sum(lengths) - shared)
    return pairs


def _connected(pairs: _Pairs) -> list[_Pairs]:
    """Divide pairs into groups without a common segment or utterance, which stay small."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not pairs:
        return []
    rows, columns = np.array(list(pairs)).T
    columns = columns + rows.max() + 1
    size = int(columns.max()) + 1
    graph = coo_array((np.ones(len(rows)), (rows, columns)), (size, size))
    group_of = connected_components(graph, directed=False)[1]
    groups: dict[int, _Pairs] = {}
    for pair, value in pairs.items():
        groups.setdefault(int(group_of[pair[0]]), {})[pair] = value
    return list(groups.values())


def _best(group: _Pairs) -> list[tuple[int, int]]:
    from scipy.optimize import linear_sum_assignment

    rows = sorted({t for t, _ in group})
    columns = sorted({p for _, p in group})
    cost = np.zeros((len(rows), len(columns)))
    for (t, p), value in group.items():
        cost[rows.index(t), columns.index(p)] = -value
    chosen = zip(*linear_sum_assignment(cost), strict=True)
    return [pair for row, column in chosen if (pair := (rows[row], columns[column])) in group]
