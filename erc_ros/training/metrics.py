"""Metrics of classification, numpy only. Labels are indices 0..C-1.

Every function raises ValueError for empty input, different lengths, or labels outside 0..C-1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def confusion(truth: ArrayLike, predicted: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Counts, (C, C): row the true class, column the predicted one."""
    rows, columns = np.asarray(truth), np.asarray(predicted)
    if rows.shape != columns.shape or rows.ndim != 1 or rows.size == 0:
        raise ValueError(f"need two equal, non-empty rows of labels: {rows.shape}, {columns.shape}")
    for labels in (rows, columns):
        if (
            not np.issubdtype(labels.dtype, np.integer)
            or labels.min() < 0
            or labels.max() >= classes
        ):
            raise ValueError(f"labels must be integers in 0..{classes - 1}")
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (rows, columns), 1)
    return counts


def accuracy(truth: ArrayLike, predicted: ArrayLike, classes: int) -> float:
    """Share of right predictions."""
    counts = confusion(truth, predicted, classes)
    return float(np.trace(counts) / counts.sum())


def f1_per_class(truth: ArrayLike, predicted: ArrayLike, classes: int) -> NDArray[np.float64]:
    """F1 of each class, (C,); 0 for a class that is neither true nor predicted anywhere."""
    counts = confusion(truth, predicted, classes)
    both = counts.sum(axis=0) + counts.sum(axis=1)
    return 2 * np.diag(counts) / np.maximum(both, 1)


def weighted_f1(truth: ArrayLike, predicted: ArrayLike, classes: int) -> float:
    """Mean of the classes' F1, weighted by how often each is true: the "WF1" of MELD papers."""
    counts = confusion(truth, predicted, classes)
    return float(np.average(f1_per_class(truth, predicted, classes), weights=counts.sum(axis=1)))


def macro_f1(truth: ArrayLike, predicted: ArrayLike, classes: int) -> float:
    """Plain mean of the F1 of the classes that occur (as truth or prediction)."""
    counts = confusion(truth, predicted, classes)
    occurs = (counts.sum(axis=0) + counts.sum(axis=1)) > 0
    return float(f1_per_class(truth, predicted, classes)[occurs].mean())


def unweighted_recall(truth: ArrayLike, predicted: ArrayLike, classes: int) -> float:
    """Plain mean of the recalls of the classes that occur as truth ("UAR", balanced accuracy)."""
    counts = confusion(truth, predicted, classes)
    support = counts.sum(axis=1)
    return float((np.diag(counts)[support > 0] / support[support > 0]).mean())


def calibration_error(truth: ArrayLike, probabilities: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error (Guo et al. 2017) of the top label, equal-width bins.

    probabilities (N, C), each row summing to 1. 0: confidence equals accuracy in every bin.
    """
    p, labels = np.asarray(probabilities, np.float64), np.asarray(truth)
    if p.ndim != 2 or not np.allclose(p.sum(axis=1), 1, atol=1e-3) or p.min(initial=0) < 0:
        raise ValueError("probabilities must be (N, C) with rows that sum to 1")
    confusion(labels, p.argmax(axis=1), p.shape[1])  # refuses wrong labels
    confidence, right = p.max(axis=1), p.argmax(axis=1) == labels
    which = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = np.zeros(bins)
    np.add.at(gaps, which, right - confidence)
    return float(np.abs(gaps).sum() / len(labels))


def report(truth: ArrayLike, probabilities: ArrayLike, labels: Sequence[str]) -> dict[str, Any]:
    """Everything above for one test run, ready for JSON. probabilities (N, C)."""
    p = np.asarray(probabilities, np.float64)
    predicted, classes = p.argmax(axis=1), len(labels)
    counts = confusion(truth, predicted, classes)
    return {
        "n": int(counts.sum()),
        "accuracy": accuracy(truth, predicted, classes),
        "weighted_f1": weighted_f1(truth, predicted, classes),
        "macro_f1": macro_f1(truth, predicted, classes),
        "unweighted_recall": unweighted_recall(truth, predicted, classes),
        "calibration_error": calibration_error(truth, p),
        "f1": dict(zip(labels, f1_per_class(truth, predicted, classes).tolist(), strict=True)),
        "confusion": counts.tolist(),
    }
