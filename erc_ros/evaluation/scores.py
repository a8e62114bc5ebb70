"""Figures of conversations, their intervals, and two systems side by side.

What each name means stands in docs/how-to/evaluate.md. Intervals: percentile bootstrap (Efron and
Tibshirani 1993), whole conversations drawn with replacement, as what is said in one is not
independent; comparisons draw the same conversations for both systems.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from erc_ros.evaluation.metric import Metric, value_of
from erc_ros.evaluation.records import (
    Comparison,
    Figure,
    ReliabilityBin,
    Scores,
    SystemScores,
)
from erc_ros.evaluation.tally import ScoredConversation, Sums
from erc_ros.metrics.classification import SCORES, draws
from erc_ros.metrics.concordance import concordance
from erc_ros.metrics.selective import area_under_risk_coverage, risk_coverage
from erc_ros.plugins import PluginError

RESAMPLES = 1000
SEED = 0
DIGITS = 6  # of every figure
CURVE = 200  # points of the risk-coverage curve at most

Drawn = NDArray[np.float64]
"""(R + 1,): a figure as it is, then of each resample; NaN where it is undefined."""

_EMOTION = ("accuracy", "weighted_f1", "macro_f1")
_TIMES = ("teer", "steer", "der")
_WORDS = ("cpwer", "tcpwer")
_PARTS = ("missed", "false_alarm", "confusion")
# figure -> (numerator, denominator) among the sums of `matching`
_MATCHING = {
    "missed": (3, 0),
    "merged": (4, 0),
    "split": (5, 1),
    "invented": (6, 1),
}


def evaluate(
    systems: Mapping[str, tuple[Sequence[str], Sequence[ScoredConversation]]],
    settings: Mapping[str, str] | None = None,
    metrics: Sequence[Metric] = (),
) -> Scores:
    """Scores of each system, and the differences of the first two.

    Args:
        systems: name -> (labels, conversations of all recordings, in the recordings' order).
        metrics: of other packages, in addition to the figures of this one.

    Raises:
        PluginError: a metric has the name of another figure.
        ValueError: two systems with other labels: their answers cannot be compared.
    """
    names = list(systems)
    labels = [tuple(found[0]) for found in systems.values()]
    if len(set(labels)) > 1:
        raise ValueError(
            "the systems answer with other labels, which cannot be compared: "
            + "; ".join(f"{n}: {', '.join(each)}" for n, each in zip(names, labels, strict=True))
        )
    found = [system_scores(name, *systems[name], metrics) for name in names]
    comparisons: tuple[Comparison, ...] = ()
    if len(names) > 1:
        comparisons = compare(names[0], names[1], systems[names[0]], systems[names[1]], metrics)
    return Scores(tuple(found), comparisons, dict(settings or {}))


def system_scores(
    name: str,
    labels: Sequence[str],
    conversations: Sequence[ScoredConversation],
    metrics: Sequence[Metric] = (),
) -> SystemScores:
    """Everything of one system."""
    labels = tuple(labels)
    sums = _total(conversations)
    groups = {
        "recording": {
            recording: _figures([c for c in conversations if c.recording == recording], labels)
            for recording in dict.fromkeys(c.recording for c in conversations)
        },
        "speaker": _speakers(conversations, labels),
        "modalities": _grouped(conversations, labels, lambda c: c.answered.modalities),
        "signal_to_noise": _grouped(conversations, labels, lambda c: c.answered.noise),
    }
    return SystemScores(
        name,
        labels,
        _figures(conversations, labels, metrics),
        {kind: found for kind, found in groups.items() if found},
        tuple(tuple(int(n) for n in row) for row in sums["confusion"]) if sums else (),
        _reliability(sums),
        _curve(conversations),
        tuple(sorted(int(each) for c in conversations for each in c.latencies)),
    )


def compare(
    a: str,
    b: str,
    of_a: tuple[Sequence[str], Sequence[ScoredConversation]],
    of_b: tuple[Sequence[str], Sequence[ScoredConversation]],
    metrics: Sequence[Metric] = (),
) -> tuple[Comparison, ...]:
    """a minus b, of every figure that both have.

    The unit that is drawn is a conversation where both systems told as many apart in each
    recording, else a recording.
    """
    units = [_recordings(found[1]) for found in (of_a, of_b)]
    names = [name for name in units[0] if name in units[1]]
    if all(len(units[0][name]) == len(units[1][name]) for name in names):
        pairs = [[[c] for name in names for c in each[name]] for each in units]
    else:
        pairs = [[each[name] for name in names] for each in units]
    drawn = [_drawn(each, of_a[0], metrics) for each in pairs]
    found = []
    for figure in drawn[0]:
        if figure not in drawn[1]:
            continue
        difference = drawn[0][figure] - drawn[1][figure]
        value, resampled = difference[0], difference[1:][~np.isnan(difference[1:])]
        if np.isnan(value):
            continue
        if len(pairs[0]) < 2 or not len(resampled):
            found.append(Comparison(figure, a, b, _rounded(value), None, None, None))
            continue
        low, high = np.quantile(resampled, (0.025, 0.975))
        below = float((resampled < 0).mean() + (resampled == 0).mean() / 2)
        p = min(1.0, 2 * min(below, 1 - below))
        found.append(Comparison(figure, a, b, *(_rounded(each) for each in (value, low, high, p))))
    return tuple(found)


def _recordings(conversations: Sequence[ScoredConversation]) -> dict[str, list[ScoredConversation]]:
    found: dict[str, list[ScoredConversation]] = defaultdict(list)
    for conversation in conversations:
        found[conversation.recording].append(conversation)
    return found


# --- figures of conversations ---


def _figures(
    conversations: Sequence[ScoredConversation],
    labels: Sequence[str],
    metrics: Sequence[Metric] = (),
) -> dict[str, Figure]:
    drawn = _drawn([[each] for each in conversations], labels, metrics)
    counts = _counts(_total(conversations), conversations, labels)
    return {name: _figure(values, counts(name)) for name, values in drawn.items()}


def _figure(values: Drawn, n: float) -> Figure:
    if np.isnan(values[0]):
        return Figure(None, None, None, n)
    resampled = values[1:][~np.isnan(values[1:])]
    if not len(resampled):
        return Figure(_rounded(values[0]), None, None, n)
    low, high = np.quantile(resampled, (0.025, 0.975))
    return Figure(_rounded(values[0]), _rounded(low), _rounded(high), n)


def _rounded(value: float) -> float:
    return round(float(value), DIGITS) + 0.0  # no -0.0


def _drawn(
    units: Sequence[Sequence[ScoredConversation]],
    labels: Sequence[str],
    metrics: Sequence[Metric] = (),
) -> dict[str, Drawn]:
    """Every figure of the units, as they are and resampled; without resamples of a single unit."""
    if not units:
        return {}
    weights = np.ones((1, len(units)))
    if len(units) > 1:
        weights = np.vstack([weights, draws(len(units), RESAMPLES, SEED)])
    totals = [_total(each) for each in units]
    names = dict.fromkeys(name for each in totals for name in each)
    sums = {name: _weighted(weights, [each.get(name) for each in totals]) for name in names}
    found = _of_emotions(sums, labels)
    for name in _TIMES:
        if name in sums:
            total, *parts = np.moveaxis(sums[name], -1, 0)
            found[name] = _ratio(sum(parts), total)
            found |= {
                f"{name} {part}": _ratio(wrong, total)
                for part, wrong in zip(_PARTS, parts, strict=True)
            }
    for name in _WORDS:
        if name in sums:
            found[name] = _ratio(sums[name][:, 0], sums[name][:, 1])
    if "matching" in sums:
        for name, (part, whole) in _MATCHING.items():
            found[name] = _ratio(sums["matching"][:, part], sums["matching"][:, whole])
    for name in ("valence", "arousal"):
        if name in sums:
            found[f"{name} concordance"] = concordance(sums[name])
    found |= _of_answers(units, weights)
    for metric in metrics:
        if metric.name in found:
            raise PluginError(f"metric {metric.name!r} has the name of another figure")
        found[metric.name] = _of_metric(metric, units, weights, labels)
    return found


def _of_metric(
    metric: Metric,
    units: Sequence[Sequence[ScoredConversation]],
    weights: Drawn,
    labels: Sequence[str],
) -> Drawn:
    answered = [conversation.answered for unit in units for conversation in unit]
    of = np.repeat(range(len(units)), [sum(len(c.answered.truth) for c in unit) for unit in units])
    truth = np.concatenate([each.truth for each in answered])
    probabilities = np.concatenate([each.probabilities for each in answered])
    rows = [np.repeat(np.arange(len(truth)), row[of].astype(np.int64)) for row in weights]
    return np.array([value_of(metric, truth[row], probabilities[row], labels) for row in rows])


def _total(conversations: Iterable[ScoredConversation]) -> dict[str, Sums]:
    found: dict[str, Sums] = {}
    for conversation in conversations:
        for name, sums in conversation.sums.items():
            found[name] = found[name] + sums if name in found else sums
    return found


def _weighted(weights: Drawn, sums: Sequence[Sums | None]) -> Sums:
    """(R + 1, units), sums of each unit -> (R + 1, ...)."""
    shape = next(each.shape for each in sums if each is not None)
    stacked = np.stack([np.zeros(shape) if each is None else each for each in sums])
    return np.tensordot(weights, stacked, axes=1)


def _ratio(part: Sums, whole: Sums) -> Drawn:
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Drawn = np.where(whole > 0, part / whole, np.nan)
    return result


def _of_emotions(sums: Mapping[str, Sums], labels: Sequence[str]) -> dict[str, Drawn]:
    counts = sums["confusion"]  # (R + 1, C, C)
    some = counts.sum(axis=(-2, -1)) > 0
    if not some[0]:
        return {}
    with np.errstate(divide="ignore", invalid="ignore"):
        found = {name: np.where(some, SCORES[name](counts), np.nan) for name in _EMOTION}
        right = np.diagonal(counts, axis1=-2, axis2=-1)
        occurs = counts.sum(axis=-1) + counts.sum(axis=-2)
        f1 = np.where(occurs > 0, 2 * right / occurs, np.nan)
    found |= {f"f1 {label}": f1[:, c] for c, label in enumerate(labels)}
    count, hits, confidence = np.moveaxis(sums["reliability"], -2, 0)
    of_label = counts.sum(axis=-1)
    recalls = np.divide(right, of_label, out=np.zeros_like(of_label), where=of_label > 0)
    found["unweighted_recall"] = _ratio(recalls.sum(axis=-1), (of_label > 0).sum(axis=-1))
    found["majority_accuracy"] = _ratio(of_label.max(axis=-1), of_label.sum(axis=-1))
    found["chance_accuracy"] = np.where(some, 1 / len(labels), np.nan)
    answers, covered, right_of_covered = np.moveaxis(sums["coverage"], -1, 0)
    found["coverage"] = _ratio(covered, answers)
    found["accuracy_covered"] = _ratio(right_of_covered, covered)
    found["calibration_error"] = _ratio(np.abs(hits - confidence).sum(-1), count.sum(-1))
    return found


def _of_answers(units: Sequence[Sequence[ScoredConversation]], weights: Drawn) -> dict[str, Drawn]:
    """Figures that need every answer: what abstaining would gain, and latency."""
    found: dict[str, Drawn] = {}
    confidence, right, of = _answers(units)
    if len(right):
        found["area_under_risk_coverage"] = np.array(
            [area_under_risk_coverage(confidence, right, row[of]) for row in weights]
        )
    latency = [each for unit in units for c in unit for each in c.latencies]
    if latency:
        unit_of = np.repeat(range(len(units)), [sum(len(c.latencies) for c in u) for u in units])
        order = np.argsort(latency)
        ordered, unit_of = np.array(latency)[order] / 1e6, unit_of[order]
        for percent in (50, 95):
            found[f"latency_p{percent}_ms"] = np.array(
                [_quantile(ordered, row[unit_of], percent / 100) for row in weights]
            )
    return found


def _answers(
    units: Sequence[Sequence[ScoredConversation]],
) -> tuple[Drawn, NDArray[np.bool_], NDArray[np.int64]]:
    """(confidence, right, unit) of every answer to a segment with an emotion."""
    confidence, right, of = [np.zeros(0)], [np.zeros(0, bool)], [np.zeros(0, np.int64)]
    for number, unit in enumerate(units):
        for conversation in unit:
            answered = conversation.answered
            if len(answered.truth):
                confidence.append(answered.probabilities.max(axis=1))
                right.append(answered.probabilities.argmax(axis=1) == answered.truth)
                of.append(np.full(len(answered.truth), number))
    return np.concatenate(confidence), np.concatenate(right), np.concatenate(of)


def _quantile(ordered: Drawn, weights: Drawn, share: float) -> float:
    """The value that at least `share` of the weight does not exceed."""
    heap = np.cumsum(weights)
    if heap[-1] == 0:
        return float("nan")
    return float(ordered[int(np.searchsorted(heap, share * heap[-1]))])


def _counts(
    sums: Mapping[str, Sums], conversations: Sequence[ScoredConversation], labels: Sequence[str]
) -> Callable[[str], float]:
    """What a figure was taken over: utterances, seconds or words."""

    def count(name: str) -> float:
        kind = name.split(" ")[0]
        if kind in _TIMES:
            return round(float(sums[kind][0]), 3)
        if kind in _WORDS:
            return float(sums[kind][1])
        if name in _MATCHING:
            return float(sums["matching"][_MATCHING[name][1]])
        if name.endswith(" concordance"):
            return float(sums[kind][0])
        if name.startswith("latency"):
            return float(sum(len(c.latencies) for c in conversations))
        if name == "accuracy_covered":
            return float(sums["coverage"][1])
        if name.startswith("f1 "):
            return float(sums["confusion"][labels.index(name[3:])].sum())
        return float(sums["confusion"].sum())

    return count


# --- groups, and pictures ---


def _grouped(
    conversations: Sequence[ScoredConversation],
    labels: Sequence[str],
    names_of: Callable[[ScoredConversation], Sequence[str]],
) -> dict[str, dict[str, Figure]]:
    """Figures of the answers of each group, by its name."""
    names = sorted({name for c in conversations for name in names_of(c)})
    found = {}
    for name in names:
        chosen = []
        for conversation in conversations:
            mask = np.array([each == name for each in names_of(conversation)], bool)
            if mask.any():
                answered = conversation.answered
                sums = answered.sums(mask)
                chosen.append(ScoredConversation(conversation.recording, sums, answered))
        drawn = _drawn([[each] for each in chosen], labels)
        drawn.pop("area_under_risk_coverage", None)  # of the whole conversation
        counts = _counts(_total(chosen), chosen, labels)
        found[name] = {figure: _figure(values, counts(figure)) for figure, values in drawn.items()}
    return found


def _speakers(
    conversations: Sequence[ScoredConversation], labels: Sequence[str]
) -> dict[str, dict[str, Figure]]:
    found = _grouped(conversations, labels, lambda c: c.answered.speaker)
    counted: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for conversation in conversations:
        for speaker, (segments, missed) in conversation.missed_by.items():
            counted[speaker][0] += segments
            counted[speaker][1] += missed
    for speaker, (segments, missed) in counted.items():
        figure = Figure(_rounded(missed / segments), None, None, float(segments))
        found[speaker] = {**found.get(speaker, {}), "missed": figure}
    return dict(sorted(found.items()))


def _reliability(sums: Mapping[str, Sums]) -> tuple[ReliabilityBin, ...]:
    if "reliability" not in sums:
        return ()
    return tuple(
        ReliabilityBin(_rounded(confidence / count), _rounded(right / count), int(count))
        for count, right, confidence in sums["reliability"].T
        if count > 0
    )


def _curve(conversations: Sequence[ScoredConversation]) -> tuple[tuple[float, float], ...]:
    confidence, right, _ = _answers([conversations])
    coverage, risk = risk_coverage(confidence, right)
    if not len(coverage):
        return ()
    places = np.unique(np.linspace(0, len(coverage) - 1, CURVE).astype(int))
    return tuple((_rounded(coverage[place]), _rounded(risk[place])) for place in places)
