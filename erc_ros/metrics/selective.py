"""Selective prediction: risk-coverage curve.

El-Yaniv and Wiener 2010; the area under the curve ("AURC"): Geifman, Uziel and El-Yaniv 2019.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def risk_coverage(
    confidence: ArrayLike, right: ArrayLike, weights: ArrayLike | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the coverage and risk at each distinct confidence, in decreasing order.

    Coverage is the share of predictions with at least this confidence; risk is the share of wrong
    predictions among them.

    Args:
        confidence, right: (N,).
        weights: (N,), weight of each prediction; None: all 1.
    """
    p = np.asarray(confidence, np.float64)
    count = np.ones(len(p)) if weights is None else np.asarray(weights, np.float64)
    order = np.argsort(-p, kind="stable")
    p, count = p[order], count[order]
    wrong = count * ~np.asarray(right, bool)[order]
    last = np.flatnonzero(np.append(p[:-1] != p[1:], True)) if len(p) else np.zeros(0, np.int64)
    covered, errors = np.cumsum(count)[last], np.cumsum(wrong)[last]
    some = covered > 0
    total = covered[-1] if len(covered) else 1.0
    return covered[some] / total, errors[some] / covered[some]


def area_under_risk_coverage(
    confidence: ArrayLike, right: ArrayLike, weights: ArrayLike | None = None
) -> float:
    """Return the mean risk over all coverages (AURC); lower is better; NaN without predictions."""
    coverage, risk = risk_coverage(confidence, right, weights)
    if not len(coverage):
        return float("nan")
    return float(np.diff(coverage, prepend=0.0) @ risk)
