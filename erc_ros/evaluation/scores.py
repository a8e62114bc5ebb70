"""Figures of conversations, their intervals, and the comparison of two systems.

docs/reference/scores.md defines each figure. Intervals: percentile bootstrap (Efron and Tibshirani
1993). Whole conversations are drawn with replacement, since utterances of a conversation are not
independent; where there are fewer than `MIN_CONVERSATIONS`, blocks of time are drawn instead.
Comparisons draw the same units for both systems.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erc_ros.evaluation.metric import Metric, value_of
from erc_ros.evaluation.records import Comparison, ReliabilityBin, Scores, SystemScores
from erc_ros.evaluation.tally import BLOCK, ScoredConversation, Sums
from erc_ros.metrics.classification import MIN_CONVERSATIONS, SCORES, cohen_kappa, draws
from erc_ros.metrics.concordance import concordance
from erc_ros.metrics.figure import Figure
from erc_ros.metrics.selective import area_under_risk_coverage, risk_coverage
from erc_ros.metrics.significance import holm, two_sided_p
from erc_ros.plugins import PluginError
from erc_ros.values.nanoseconds import NS

RESAMPLES = 1000
SEED = 0
MIN_BLOCKS = 10  # below, there is no interval
MIN_N = 10  # utterances, speakers, words or seconds; below, there is no interval
OVER_CONVERSATIONS = "conversations"
OVER_BLOCKS = f"blocks of {BLOCK // NS} s"
DIGITS = 6  # of every figure
CURVE = 200  # points of the risk-coverage curve at most

Drawn = NDArray[np.float64]
"""(R + 1,): a figure, then its value for each bootstrap sample; NaN where it is undefined."""
Unit = Sequence[ScoredConversation]
"""The conversations that are resampled together."""
Grouping = Callable[[ScoredConversation], Sequence[str]]
"""Returns the group of each scored utterance."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure that follows from sums.

    Attributes:
        sums: name of the sums. of: sums (R + 1, ...) -> figure (R + 1,).
        n: sums (...) -> sample size: the number of utterances, speakers, words or s.
    """

    name: str
    sums: str
    of: Callable[[Sums], Drawn]
    n: Callable[[Sums], float] = lambda sums: sums.sum()


def _ratio(part: Any, whole: Any) -> Drawn:
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Drawn = np.where(whole > 0, part / whole, np.nan)
    return result


def _share(name: str, sums: str, part: int | slice, whole: int) -> Measure:
    """Return a measure that is the ratio of two entries of a row of sums."""

    def of(values: Sums) -> Drawn:
        chosen = values[:, part]
        return _ratio(chosen if chosen.ndim == 1 else chosen.sum(-1), values[:, whole])

    return Measure(name, sums, of, lambda values: round(float(values[whole]), 3))


def _f1(label: int) -> Callable[[Sums], Drawn]:
    def of(counts: Sums) -> Drawn:
        occurs = counts[:, label].sum(-1) + counts[:, :, label].sum(-1)
        return _ratio(2 * counts[:, label, label], occurs)

    return of


def _occurrences(label: int) -> Callable[[Sums], float]:
    return lambda counts: counts[label].sum()


def _majority(counts: Sums) -> Drawn:
    return _ratio(counts.sum(-1).max(-1), counts.sum((-2, -1)))


def _calibration_error(bins: Sums) -> Drawn:
    count, correct, confidence = np.moveaxis(bins, -2, 0)
    return _ratio(np.abs(correct - confidence).sum(-1), count.sum(-1))


def _defined(of: Callable[[Sums], Drawn]) -> Callable[[Sums], Drawn]:
    """Wrap `of`: NaN for samples without any utterance."""

    def checked(counts: Sums) -> Drawn:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(counts.sum((-2, -1)) > 0, of(counts), np.nan)

    return checked


def measures(labels: Sequence[str]) -> list[Measure]:
    """Return all figures that follow from sums, in the order of the report."""
    scores = {name: SCORES[name] for name in ("accuracy", "weighted_f1", "macro_f1")}
    scores |= {"unweighted_recall": SCORES["unweighted_recall"], "kappa": cohen_kappa}
    scores |= {"majority_accuracy": _majority}
    scores |= {"chance_accuracy": lambda counts: np.full(len(counts), 1 / len(labels))}
    of_emotions = [Measure(name, "confusion", _defined(of)) for name, of in scores.items()]
    of_emotions += [
        Measure(f"f1 {label}", "confusion", _f1(n), _occurrences(n))
        for n, label in enumerate(labels)
    ]
    of_emotions += [
        _share("coverage", "coverage", 1, 0),
        _share("accuracy_covered", "coverage", 2, 1),
        Measure("calibration_error", "reliability", _calibration_error, lambda bins: bins[0].sum()),
    ]
    of_time = [
        _share(f"{name} {part}".strip(), name, place, 0)
        for name in ("teer", "steer", "der", "eder")
        for part, place in (
            ("", slice(1, 4)),
            ("missed", 1),
            ("false_alarm", 2),
            ("confusion", 3),
        )
    ]
    of_whole = [_share(name, name, 0, 1) for name in ("jer", "cpwer", "tcpwer")]
    of_segments = [
        _share(name, "matching", part, whole)
        for name, part, whole in (
            ("missed", 3, 0),
            ("merged", 4, 0),
            ("split", 5, 1),
            ("invented", 6, 1),
        )
    ]
    of_affect = [
        Measure(f"{name} concordance", name, concordance, lambda sums: sums[0])
        for name in ("valence", "arousal")
    ]
    return [*of_emotions, *of_time, *of_whole, *of_segments, *of_affect]


def evaluate(
    systems: Mapping[str, tuple[Sequence[str], Sequence[ScoredConversation]]],
    settings: Mapping[str, str] | None = None,
    metrics: Sequence[Metric] = (),
    kinds: Mapping[str, Grouping] | None = None,
) -> Scores:
    """Return the scores of each system, and the differences of the first two.

    Args:
        systems: name -> (labels, conversations of all recordings, in the order of recordings).
        metrics: of other packages, in addition to the figures of this one.
        kinds: groups in addition to those by recording, speaker, modalities and noise.

    Raises:
        PluginError: a metric has the name of another figure.
        ValueError: the systems have different labels and cannot be compared.
    """
    names = list(systems)
    labels = [tuple(own) for own, _ in systems.values()]
    if len(set(labels)) > 1:
        raise ValueError(
            "systems with different labels cannot be compared: "
            + "; ".join(f"{n}: {', '.join(each)}" for n, each in zip(names, labels, strict=True))
        )
    scores = [system_scores(name, *systems[name], metrics, kinds) for name in names]
    comparisons: tuple[Comparison, ...] = ()
    if len(names) > 1:
        comparisons = compare(names[0], names[1], systems[names[0]], systems[names[1]], metrics)
    return Scores(tuple(scores), comparisons, dict(settings or {}))


def system_scores(
    name: str,
    labels: Sequence[str],
    conversations: Sequence[ScoredConversation],
    metrics: Sequence[Metric] = (),
    kinds: Mapping[str, Grouping] | None = None,
) -> SystemScores:
    """Return all scores of one system."""
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
    for kind, names_of in (kinds or {}).items():
        groups[kind] = _grouped(conversations, labels, names_of)
        groups[kind].pop("", None)  # people who are not participants
    return SystemScores(
        name,
        labels,
        _figures(conversations, labels, metrics),
        {kind: members for kind, members in groups.items() if members},
        tuple(tuple(int(n) for n in row) for row in sums["confusion"]) if sums else (),
        _reliability(sums),
        _curve(conversations),
        tuple(sorted(int(each) for c in conversations for each in c.latencies)),
    )


def values(
    conversations: Sequence[ScoredConversation], labels: Sequence[str]
) -> dict[str, float | None]:
    """Return the figures without intervals."""
    drawn = _values([conversations], np.ones((1, 1)), labels, ())
    return {
        name: None if np.isnan(value[0]) else float(value[0]) for name, (value, _) in drawn.items()
    }


def compare(
    a: str,
    b: str,
    of_a: tuple[Sequence[str], Sequence[ScoredConversation]],
    of_b: tuple[Sequence[str], Sequence[ScoredConversation]],
    metrics: Sequence[Metric] = (),
) -> tuple[Comparison, ...]:
    """Return a minus b of every figure that both have.

    The unit is a conversation if both systems have the same number of conversations in each
    recording, else a recording; blocks if there are few units.
    """
    recordings = [_recordings(conversations) for _, conversations in (of_a, of_b)]
    names = [name for name in recordings[0] if name in recordings[1]]
    if all(len(recordings[0][name]) == len(recordings[1][name]) for name in names):
        units = [[[c] for name in names for c in each[name]] for each in recordings]
    else:
        units = [[each[name] for name in names] for each in recordings]
    has_blocks = len(units[0]) < MIN_CONVERSATIONS
    drawn = []
    blocks = [_blocks(each) for each in units] if has_blocks else [{}, {}]
    shared = [place for place in blocks[0] if place in blocks[1]]
    for own, of_time in zip(units, blocks, strict=True):
        drawn.append(_drawn(own, [of_time[p] for p in shared], of_a[0], metrics))
    differences = []
    for figure in (name for name in drawn[0] if name in drawn[1]):
        (first, n), (second, _) = drawn[0][figure], drawn[1][figure]
        values = first - second
        if np.isnan(values[0]):
            continue
        samples = values[1:][~np.isnan(values[1:])]
        if not len(samples) or n < MIN_N:
            differences.append(Comparison(figure, a, b, _rounded(values[0]), None, None, None))
            continue
        low, high = np.quantile(samples, (0.025, 0.975))
        p = two_sided_p(samples)
        numbers = (_rounded(each) for each in (values[0], low, high, p))
        differences.append(Comparison(figure, a, b, *numbers))
    corrected = iter(holm([each.p for each in differences if each.p is not None]))
    return tuple(
        each if each.p is None else replace(each, p_corrected=_rounded(next(corrected)))
        for each in differences
    )


def _recordings(conversations: Sequence[ScoredConversation]) -> dict[str, list[ScoredConversation]]:
    recordings: dict[str, list[ScoredConversation]] = defaultdict(list)
    for conversation in conversations:
        recordings[conversation.recording].append(conversation)
    return recordings


# --- figures and bootstrap samples ---


def _figures(
    conversations: Sequence[ScoredConversation],
    labels: Sequence[str],
    metrics: Sequence[Metric] = (),
) -> dict[str, Figure]:
    units = [[each] for each in conversations]
    has_blocks = len(units) < MIN_CONVERSATIONS
    blocks = list(_blocks(units).values()) if has_blocks else []
    over = OVER_BLOCKS if has_blocks else OVER_CONVERSATIONS
    drawn = _drawn(units, blocks, labels, metrics)
    return {name: _figure(values, n, over) for name, (values, n) in drawn.items()}


def _blocks(units: Sequence[Unit]) -> dict[tuple[str, int], list[ScoredConversation]]:
    """Return (recording, number of the block) -> its parts."""
    blocks: dict[tuple[str, int], list[ScoredConversation]] = defaultdict(list)
    for conversation in (each for unit in units for each in unit):
        for number, block in conversation.blocks.items():
            blocks[conversation.recording, number].append(block)
    return blocks


def _figure(values: Drawn, n: float, over: str) -> Figure:
    if np.isnan(values[0]):
        return Figure(None, None, None, n)
    samples = values[1:][~np.isnan(values[1:])]
    if not len(samples) or n < MIN_N:
        return Figure(_rounded(values[0]), None, None, n)
    low, high = np.quantile(samples, (0.025, 0.975))
    return Figure(_rounded(values[0]), _rounded(low), _rounded(high), n, over)


def _rounded(value: float) -> float:
    return round(float(value), DIGITS) + 0.0  # no -0.0


def _drawn(
    units: Sequence[Unit],
    blocks: Sequence[Unit],
    labels: Sequence[str],
    metrics: Sequence[Metric] = (),
) -> dict[str, tuple[Drawn, float]]:
    """Return each figure of the units with its bootstrap samples and its sample size.

    Args:
        blocks: resampled instead if there are too few units.
    """
    values = _values(units, np.ones((1, len(units))), labels, metrics)
    is_enough = len(units) >= MIN_CONVERSATIONS
    resampled = units if is_enough else blocks
    if not is_enough and len(blocks) < MIN_BLOCKS:
        return values
    weights = draws(len(resampled), RESAMPLES, SEED).astype(np.float64)
    samples = _values(resampled, weights, labels, metrics)
    return {
        name: (np.concatenate([value, samples[name][0]]) if name in samples else value, n)
        for name, (value, n) in values.items()
    }


def _values(
    units: Sequence[Unit], weights: Drawn, labels: Sequence[str], metrics: Sequence[Metric]
) -> dict[str, tuple[Drawn, float]]:
    """Return figure -> (values for each row of `weights` (R, units), sample size)."""
    if not units:
        return {}
    totals = [_total(each) for each in units]
    names = dict.fromkeys(name for each in totals for name in each)
    sums = {name: _weighted(weights, [each.get(name) for each in totals]) for name in names}
    whole = {name: np.sum([e[name] for e in totals if name in e], axis=0) for name in names}
    has_emotions = whole["confusion"].any()
    values = {
        each.name: (each.of(sums[each.sums]), float(each.n(whole[each.sums])))
        for each in measures(labels)
        if each.sums in sums
        and (has_emotions or each.sums not in ("confusion", "coverage", "reliability"))
    }
    values |= _of_answers(units, weights)
    for metric in metrics:
        if metric.name in values:
            raise PluginError(f"metric {metric.name!r} has the name of another figure")
        values[metric.name] = (
            _of_metric(metric, units, weights, labels),
            float(whole["confusion"].sum()),
        )
    return values


def _of_metric(
    metric: Metric, units: Sequence[Unit], weights: Drawn, labels: Sequence[str]
) -> Drawn:
    answered = [conversation.answered for unit in units for conversation in unit]
    of = np.repeat(range(len(units)), [sum(len(c.answered.truth) for c in unit) for unit in units])
    truth = np.concatenate([each.truth for each in answered])
    probabilities = np.concatenate([each.probabilities for each in answered])
    rows = [np.repeat(np.arange(len(truth)), row[of].astype(np.int64)) for row in weights]
    return np.array([value_of(metric, truth[row], probabilities[row], labels) for row in rows])


def _total(conversations: Iterable[ScoredConversation]) -> dict[str, Sums]:
    total: dict[str, Sums] = {}
    for conversation in conversations:
        for name, sums in conversation.sums.items():
            total[name] = total[name] + sums if name in total else sums
    return total


def _weighted(weights: Drawn, sums: Sequence[Sums | None]) -> Sums:
    """Return the weighted sums (R, ...) of the units for weights (R, units)."""
    shape = next(each.shape for each in sums if each is not None)
    stacked = np.stack([np.zeros(shape) if each is None else each for each in sums])
    return np.tensordot(weights, stacked, axes=1)


def _of_answers(units: Sequence[Unit], weights: Drawn) -> dict[str, tuple[Drawn, float]]:
    """Compute figures that need every prediction: area under risk and coverage, latency."""
    values: dict[str, tuple[Drawn, float]] = {}
    confidence, correct, of = _answers(units)
    if len(correct):
        areas = [area_under_risk_coverage(confidence, correct, row[of]) for row in weights]
        values["area_under_risk_coverage"] = np.array(areas), float(len(correct))
    latency = [each for unit in units for c in unit for each in c.latencies]
    if latency:
        unit_of = np.repeat(range(len(units)), [sum(len(c.latencies) for c in u) for u in units])
        order = np.argsort(latency)
        ordered, unit_of = np.array(latency)[order] / 1e6, unit_of[order]
        for percent in (50, 95):
            quantiles = [_quantile(ordered, row[unit_of], percent / 100) for row in weights]
            values[f"latency_p{percent}_ms"] = np.array(quantiles), float(len(latency))
    return values


def _answers(units: Sequence[Unit]) -> tuple[Drawn, NDArray[np.bool_], NDArray[np.int64]]:
    """Return (confidence, correct, unit) of every prediction for a segment with an emotion."""
    parts = [(number, c.answered) for number, unit in enumerate(units) for c in unit]
    parts = [(number, answered) for number, answered in parts if len(answered.truth)]
    if not parts:
        return np.zeros(0), np.zeros(0, bool), np.zeros(0, np.int64)
    return (
        np.concatenate([a.probabilities.max(axis=1) for _, a in parts]),
        np.concatenate([a.probabilities.argmax(axis=1) == a.truth for _, a in parts]),
        np.concatenate([np.full(len(a.truth), number) for number, a in parts]),
    )


def _quantile(ordered: Drawn, weights: Drawn, share: float) -> float:
    """Return the weighted quantile: at least `share` of the weight does not exceed it."""
    heap = np.cumsum(weights)
    if heap[-1] == 0:
        return float("nan")
    return float(ordered[int(np.searchsorted(heap, share * heap[-1]))])


# --- groups and curves ---


def _grouped(
    conversations: Sequence[ScoredConversation],
    labels: Sequence[str],
    names_of: Grouping,
) -> dict[str, dict[str, Figure]]:
    """Return group -> figures of its predictions."""
    groups = {}
    for name in sorted({name for c in conversations for name in names_of(c)}):
        chosen = [part for c in conversations if (part := _only(c, name, names_of)) is not None]
        groups[name] = _figures(chosen, labels)
        groups[name].pop("area_under_risk_coverage", None)  # defined for whole conversations only
    return groups


def _only(
    conversation: ScoredConversation, name: str, names_of: Grouping
) -> ScoredConversation | None:
    """Return the part of a conversation that belongs to a group."""
    mask = np.array([each == name for each in names_of(conversation)], bool)
    if not mask.any():
        return None
    blocks = {number: _only(each, name, names_of) for number, each in conversation.blocks.items()}
    return ScoredConversation(
        conversation.recording,
        conversation.answered.sums(mask),
        conversation.answered,
        blocks={number: each for number, each in blocks.items() if each is not None},
    )


def _speakers(
    conversations: Sequence[ScoredConversation], labels: Sequence[str]
) -> dict[str, dict[str, Figure]]:
    groups = _grouped(conversations, labels, lambda c: c.answered.speaker)
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for conversation in conversations:
        for speaker, (segments, missed) in conversation.missed_by.items():
            counts[speaker][0] += segments
            counts[speaker][1] += missed
    for speaker, (segments, missed) in counts.items():
        figure = Figure(_rounded(missed / segments), None, None, float(segments))
        groups[speaker] = {**groups.get(speaker, {}), "missed": figure}
    return dict(sorted(groups.items()))


def _reliability(sums: Mapping[str, Sums]) -> tuple[ReliabilityBin, ...]:
    if "reliability" not in sums:
        return ()
    return tuple(
        ReliabilityBin(_rounded(confidence / count), _rounded(correct / count), int(count))
        for count, correct, confidence in sums["reliability"].T
        if count > 0
    )


def _curve(conversations: Sequence[ScoredConversation]) -> tuple[tuple[float, float], ...]:
    confidence, correct, _ = _answers([conversations])
    coverage, risk = risk_coverage(confidence, correct)
    if not len(coverage):
        return ()
    places = np.unique(np.linspace(0, len(coverage) - 1, CURVE).astype(int))
    return tuple((_rounded(coverage[place]), _rounded(risk[place])) for place in places)
