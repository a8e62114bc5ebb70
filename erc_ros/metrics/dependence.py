"""Dependence of the errors of two classifiers: same utterances, same wrong labels.

A simulation that draws the clip of each modality by its label makes the errors independent given
the label. These statistics measure how far real pairs of modalities are from that.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from erc_ros.metrics.classification import Interval, draws
from erc_ros.values.errors import ErcValueError

Floats = NDArray[np.float64]


def joint_errors(
    truth: NDArray[np.int64],
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    classes: int,
    weights: Floats | None = None,
) -> dict[str, float]:
    """Return statistics of the joint errors of two classifiers.

    Args:
        truth, a, b: (N,), reference labels and the predictions of both classifiers.
        classes: number of classes.
        weights: (N,), of the utterances; None: all 1.

    Returns:
        "both right", "only a right", "only b right", "both wrong": shares. "phi": correlation of
        being right; "phi within labels": likewise after subtraction of the accuracy of each label.
        "both wrong if independent": expected share if errors are independent given the label.
        "same wrong answer": share of the cases in which both are wrong; "same wrong answer if
        independent": its expected value.

    Raises:
        ValueError: the shapes differ, or there is no data.
    """
    if not truth.shape == a.shape == b.shape or truth.ndim != 1 or not len(truth):
        raise ErcValueError(f"shapes {truth.shape}, {a.shape} and {b.shape} must be one, (N,)")
    w = np.ones(len(truth)) if weights is None else np.asarray(weights, np.float64)
    total = w.sum()
    if w.shape != truth.shape or not total > 0 or (w < 0).any():
        raise ErcValueError("weights must have shape (N,), must not be negative, and not all 0")
    right_a, right_b = (a == truth).astype(float), (b == truth).astype(float)
    of_label = np.zeros((classes, classes, classes))  # (label, prediction of a, prediction of b)
    np.add.at(of_label, (truth, a, b), w)
    occurs = of_label.sum(axis=(1, 2))  # (C,)
    with np.errstate(invalid="ignore"):
        said_a = np.nan_to_num(of_label.sum(axis=2) / occurs[:, None])  # (C, C)
        said_b = np.nan_to_num(of_label.sum(axis=1) / occurs[:, None])
    wrong = ~np.eye(classes, dtype=bool)
    wrong_a, wrong_b = ((said * wrong).sum(axis=1) for said in (said_a, said_b))
    expected_wrong = float((occurs * wrong_a * wrong_b).sum() / total)
    expected_same = float((occurs[:, None] * said_a * said_b * wrong).sum() / total)
    both_wrong = float((w * (1 - right_a) * (1 - right_b)).sum() / total)
    same = float((w * (a == b) * (1 - right_a)).sum() / total)
    return {
        "both right": float((w * right_a * right_b).sum() / total),
        "only a right": float((w * right_a * (1 - right_b)).sum() / total),
        "only b right": float((w * right_b * (1 - right_a)).sum() / total),
        "both wrong": both_wrong,
        "both wrong if independent": expected_wrong,
        "phi": _correlation(right_a, right_b, w),
        "phi within labels": _correlation(
            right_a - (1 - wrong_a)[truth], right_b - (1 - wrong_b)[truth], w
        ),
        "same wrong answer": same / both_wrong if both_wrong else float("nan"),
        "same wrong answer if independent": (
            expected_same / expected_wrong if expected_wrong else float("nan")
        ),
    }


def joint_error_intervals(
    truth: NDArray[np.int64],
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    classes: int,
    groups: NDArray[np.int64],
    resamples: int = 1000,
    seed: int = 0,
) -> Mapping[str, Interval]:
    """Return `joint_errors` with 95 % intervals of a bootstrap over groups.

    a, b: (S, N), predictions of S training seeds.
    """
    names, group = np.unique(groups, return_inverse=True)
    times = np.vstack([np.ones((1, len(names)), np.int64), draws(len(names), resamples, seed)])
    samples: dict[str, list[float]] = {}
    for row in times:
        of_seeds = [
            joint_errors(truth, *pair, classes, row[group].astype(float))
            for pair in zip(a, b, strict=True)
        ]
        for name in of_seeds[0]:
            samples.setdefault(name, []).append(float(np.mean([each[name] for each in of_seeds])))
    result = {}
    for name, values in samples.items():
        low, high = np.nanquantile(values[1:], (0.025, 0.975))
        result[name] = Interval(values[0], float(low), float(high))
    return result


def _correlation(x: Floats, y: Floats, w: Floats) -> float:
    x, y = (v - np.average(v, weights=w) for v in (x, y))
    spread = np.sqrt(np.average(x * x, weights=w) * np.average(y * y, weights=w))
    return float(np.average(x * y, weights=w) / spread) if spread > 0 else float("nan")
