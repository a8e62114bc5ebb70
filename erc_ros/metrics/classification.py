"""Classification metrics in NumPy. Labels are indices 0..C-1.

All metrics except calibration are computed from confusion counts (..., C, C), so that thousands of
bootstrap resamples are evaluated in one call. The tests compare them with scikit-learn.

Every function of labels raises ValueError for empty input, different lengths, or labels outside
0..C-1. A mean over classes excludes classes that are neither in the reference nor predicted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from erc_ros.values.errors import ErcValueError

Floats = NDArray[np.float64]
Counts = NDArray[Any]
"""(..., C, C): rows are reference classes, columns are predicted classes."""


def confusion(truth: ArrayLike, predicted: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Return the confusion matrix (C, C): rows are reference classes, columns predicted ones."""
    rows, columns = _labels(truth, classes), _labels(predicted, classes)
    if rows.shape != columns.shape:
        raise ErcValueError(f"need as many predictions as labels: {rows.shape}, {columns.shape}")
    return np.bincount(rows * classes + columns, minlength=classes**2).reshape(classes, classes)


def _labels(values: ArrayLike, classes: int) -> NDArray[np.int64]:
    labels = np.asarray(values)
    if labels.ndim != 1 or labels.size == 0:
        raise ErcValueError(f"need a non-empty row of labels, not shape {labels.shape}")
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= classes:
        raise ErcValueError(f"labels must be integers in 0..{classes - 1}")
    return labels.astype(np.int64)


def _right(counts: Counts) -> Floats:
    return np.diagonal(counts, axis1=-2, axis2=-1).astype(np.float64)


def _occurs(counts: Counts) -> NDArray[Any]:
    """Return the reference count plus the predicted count of each class, (..., C)."""
    result: NDArray[Any] = counts.sum(axis=-1) + counts.sum(axis=-2)
    return result


def _f1(counts: Counts) -> Floats:
    result: Floats = 2 * _right(counts) / np.maximum(_occurs(counts), 1)
    return result


def _recall(counts: Counts) -> Floats:
    """Return the recall of each class; 0 for a class that does not occur."""
    result: Floats = _right(counts) / np.maximum(counts.sum(axis=-1), 1)
    return result


def _accuracy(counts: Counts) -> Floats:
    result: Floats = _right(counts).sum(axis=-1) / counts.sum(axis=(-2, -1))
    return result


def _weighted_f1(counts: Counts) -> Floats:
    support = counts.sum(axis=-1)  # (..., C)
    result: Floats = (_f1(counts) * support).sum(axis=-1) / support.sum(axis=-1)
    return result


def _mean_of(values: Floats, classes: NDArray[np.bool_]) -> Floats:
    """Return the mean of values (..., C) over the selected classes (..., C)."""
    result: Floats = (values * classes).sum(axis=-1) / classes.sum(axis=-1)
    return result


def _macro_f1(counts: Counts) -> Floats:
    return _mean_of(_f1(counts), _occurs(counts) > 0)


def _unweighted_recall(counts: Counts) -> Floats:
    support = counts.sum(axis=-1)
    return _mean_of(_recall(counts), support > 0)


def cohen_kappa(counts: Counts) -> Floats:
    """Return Cohen's kappa of counts (..., C, C) as (...); NaN if the chance agreement is 1."""
    total = counts.sum(axis=(-2, -1))
    expected = (counts.sum(axis=-1) * counts.sum(axis=-2)).sum(axis=-1) / total**2
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Floats = np.where(
            expected < 1, (_accuracy(counts) - expected) / (1 - expected), np.nan
        )
    return result


def _accuracy_of_each(counts: Counts) -> Floats:
    """Return the one-vs-rest accuracy of each class, (..., C)."""
    total = counts.sum(axis=(-2, -1))[..., None]
    wrong = _occurs(counts) - 2 * _right(counts)  # (..., C): false positives and negatives
    result: Floats = 1 - wrong / total
    return result


def _one_vs_all_accuracy(counts: Counts) -> Floats:
    """Return LPGNet's "ACC" (4.2): one-vs-rest accuracy, averaged over the classes that occur.

    It is much higher than `accuracy` and not comparable, because most samples are negatives of
    each class: a multi-class accuracy of 0.76 over four classes is 0.88 here.
    """
    return _mean_of(_accuracy_of_each(counts), _occurs(counts) > 0)


def _f1_of_each(counts: Counts) -> Floats:
    """Return the one-vs-rest F1 of each class, weighted by support, (..., C)."""
    total, right = counts.sum(axis=(-2, -1))[..., None], _right(counts)
    occurs, support = _occurs(counts), counts.sum(axis=-1)
    rest = 2 * (total - occurs + right) / np.maximum(2 * total - occurs, 1)  # F1 of the negatives
    both: Floats = (support * _f1(counts) + (total - support) * rest) / total
    return both


def _one_vs_all_f1(counts: Counts) -> Floats:
    """Return LPGNet's "F1" (4.2): one-vs-rest F1, averaged over the classes that occur.

    The F1 of each two-class task is weighted by support, as in the protocol that the paper follows
    (its F1 of 87.96 with an accuracy of 87.99 implies it).
    """
    return _mean_of(_f1_of_each(counts), _occurs(counts) > 0)


SCORES: Mapping[str, Callable[[Counts], Floats]] = MappingProxyType(
    {
        "accuracy": _accuracy,
        "weighted_f1": _weighted_f1,
        "macro_f1": _macro_f1,
        "unweighted_recall": _unweighted_recall,
        "one_vs_all_accuracy": _one_vs_all_accuracy,
        "one_vs_all_f1": _one_vs_all_f1,
    }
)
"""Name -> function that computes a score (...) from counts (..., C, C)."""


def accuracy(truth: ArrayLike, predicted: ArrayLike, classes: int) -> float:
    """Return the share of correct predictions."""
    return float(_accuracy(confusion(truth, predicted, classes)))


def weighted_f1(truth: ArrayLike, predicted: ArrayLike, classes: int) -> float:
    """Return the mean F1 of the classes, weighted by support: the "WF1" of MELD papers."""
    return float(_weighted_f1(confusion(truth, predicted, classes)))


def macro_f1(truth: ArrayLike, predicted: ArrayLike, classes: int) -> float:
    """Return the unweighted mean F1 of the classes in the reference or the predictions."""
    return float(_macro_f1(confusion(truth, predicted, classes)))


def unweighted_recall(truth: ArrayLike, predicted: ArrayLike, classes: int) -> float:
    """Return the unweighted mean recall of the reference classes (UAR, balanced accuracy)."""
    return float(_unweighted_recall(confusion(truth, predicted, classes)))


@dataclass(frozen=True, eq=False)
class Reliability:
    """Counts and sums of the most probable labels in equal-width bins of confidence, (bins,)."""

    count: NDArray[np.int64]
    right: Floats
    confidence: Floats

    @property
    def error(self) -> float:
        """Return the expected calibration error."""
        return float(np.abs(self.right - self.confidence).sum() / self.count.sum())


def reliability(truth: ArrayLike, probabilities: ArrayLike, bins: int = 15) -> Reliability:
    """Return the accuracy by confidence. probabilities: (N, C), rows with sum 1."""
    p, which = _binned(truth, probabilities, bins)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == np.asarray(truth)
    return Reliability(
        np.bincount(which, minlength=bins),
        np.bincount(which, right, minlength=bins).astype(np.float64),
        np.bincount(which, confidence, minlength=bins).astype(np.float64),
    )


def _binned(
    truth: ArrayLike, probabilities: ArrayLike, bins: int
) -> tuple[Floats, NDArray[np.int64]]:
    """Check the probabilities, and return them and the confidence bin of each row, (N,)."""
    p, labels = np.asarray(probabilities, np.float64), np.asarray(truth)
    if p.ndim != 2 or not np.allclose(p.sum(axis=1), 1, atol=1e-3) or p.min(initial=0) < 0:
        raise ErcValueError("probabilities must be (N, C) with rows that sum to 1")
    confusion(labels, p.argmax(axis=1), p.shape[1])  # checks the labels
    return p, np.minimum((p.max(axis=1) * bins).astype(np.int64), bins - 1)


def calibration_error(truth: ArrayLike, probabilities: ArrayLike, bins: int = 15) -> float:
    """Return the expected calibration error (Guo et al. 2017) of the most probable label.

    probabilities: (N, C), rows with sum 1. bins: number of bins of equal width. The error is 0 if
    the mean confidence equals the accuracy in every bin.
    """
    return reliability(truth, probabilities, bins).error


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Return the softmax of each row of logits (N, C)."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    share: NDArray[np.float64] = shifted / shifted.sum(axis=1, keepdims=True)
    return share


def report(truth: ArrayLike, probabilities: ArrayLike, labels: Sequence[str]) -> dict[str, Any]:
    """Return all metrics of one test run, for JSON. probabilities: (N, C)."""
    p = np.asarray(probabilities, np.float64)
    counts = confusion(truth, p.argmax(axis=1), len(labels))
    return {
        "n": int(counts.sum()),
        **{name: float(score(counts)) for name, score in SCORES.items()},
        "calibration_error": calibration_error(truth, p),
        "f1": dict(zip(labels, _f1(counts).tolist(), strict=True)),
        "recall": dict(zip(labels, _recall(counts).tolist(), strict=True)),
        "one_vs_all": {
            label: {"accuracy": float(accuracy), "f1": float(f1)}
            for label, accuracy, f1 in zip(
                labels, _accuracy_of_each(counts), _f1_of_each(counts), strict=True
            )
        },
        "confusion": counts.tolist(),
    }


MIN_CONVERSATIONS = 5
"""With fewer of them to resample, there is no interval and no p-value."""


def draws(groups: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """Draw resamples with replacement: count of each group in each resample, (R, groups)."""
    drawn = np.random.default_rng(seed).integers(0, groups, (resamples, groups))
    flat = (drawn + groups * np.arange(resamples)[:, None]).ravel()
    return np.bincount(flat, minlength=resamples * groups).reshape(resamples, groups)


def too_few(groups: NDArray[np.int64], unit: str) -> str:
    """Return a sentence for a table without intervals; "": there are enough groups (N,)."""
    count = len(np.unique(groups))
    if count >= MIN_CONVERSATIONS:
        return ""
    return f" {count} {unit} are too few for an interval and p: at least {MIN_CONVERSATIONS}."


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def intervals(
    truth: NDArray[np.int64],
    probabilities: Floats,
    labels: Sequence[str],
    groups: NDArray[np.int64] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Compute percentile bootstrap intervals of all scores and of the F1 of each class.

    Args:
        truth: (N,), reference labels.
        probabilities: (S, N, C), of S training seeds; scores are averaged over the seeds.
        labels: C names.
        groups: (N,), index of the conversation of each utterance. Conversations are resampled as a
            whole, because their utterances are not independent. None: single utterances.

    Returns:
        Name of a score, "calibration_error" or "f1 LABEL" -> interval. The F1 of a class is taken
        over the resamples in which it occurs; NaN without any. Bounds are NaN if there are fewer
        than MIN_CONVERSATIONS groups.

    Raises:
        ValueError: the shapes do not match, or a label is invalid.
    """
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 3 or p.shape[1:] != (len(truth), len(labels)):
        raise ErcValueError(f"probabilities are {p.shape}, not (S, {len(truth)}, {len(labels)})")
    if groups is not None and len(groups) != len(truth):
        raise ErcValueError(f"{len(groups)} groups for {len(truth)} labels")
    _, group = np.unique(np.arange(len(truth)) if groups is None else groups, return_inverse=True)
    count = int(group.max(initial=0)) + 1
    resamples = resamples if count >= MIN_CONVERSATIONS else 0
    weights = np.vstack([np.ones((1, count), np.int64), draws(count, resamples, seed)])  # (R+1, G)
    counts = np.stack([_grouped(truth, each.argmax(axis=1), group, len(labels)) for each in p])
    drawn = np.einsum("rg,sgk->rsk", weights, counts.astype(np.float64), optimize=True)
    drawn = drawn.reshape(resamples + 1, len(p), len(labels), len(labels))  # row 0: the data
    figures = {name: score(drawn).mean(axis=1) for name, score in SCORES.items()}  # (R+1,)
    gaps = np.stack([_grouped_gaps(truth, each, group) for each in p])  # (S, G, bins)
    gap = np.abs(np.einsum("rg,sgb->rsb", weights, gaps, optimize=True)).sum(axis=-1)
    figures["calibration_error"] = (gap / drawn.sum(axis=(-2, -1))).mean(axis=1)
    f1 = np.ma.masked_array(_f1(drawn), _occurs(drawn) == 0).mean(axis=1).filled(np.nan)  # (R+1, C)
    figures |= {f"f1 {label}": f1[:, c] for c, label in enumerate(labels)}
    return {name: _interval(values) for name, values in figures.items()}


def _interval(values: Floats) -> Interval:
    drawn = values[1:][~np.isnan(values[1:])]
    low, high = np.quantile(drawn, (0.025, 0.975)) if len(drawn) else (np.nan, np.nan)
    return Interval(float(values[0]), float(low), float(high))


def _grouped(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], group: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Return the confusion counts of each group, (G, C * C)."""
    confusion(truth, predicted, classes)  # checks the labels
    cell = group * classes**2 + truth * classes + predicted
    size = (int(group.max()) + 1) * classes**2
    return np.bincount(cell, minlength=size).reshape(-1, classes**2)


def _grouped_gaps(
    truth: NDArray[np.int64], probabilities: Floats, group: NDArray[np.int64], bins: int = 15
) -> Floats:
    """Return the sum of correctness minus confidence in each group and bin, (G, bins)."""
    p, which = _binned(truth, probabilities, bins)
    gap = (p.argmax(axis=1) == truth) - p.max(axis=1)
    size = (int(group.max()) + 1) * bins
    return (
        np.bincount(group * bins + which, gap, minlength=size).reshape(-1, bins).astype(np.float64)
    )
