"""Calibration of classifiers: temperature scaling (Guo et al. 2017), fitted on a dev split.

`fit_temperature` maximizes the likelihood of all probabilities. `fit_confidence` minimizes the
calibration error of the most probable label; the two differ if the prior differs from that of the
dev split. `fit_confidence_factors` fits one factor per predicted label, to be applied after the
temperature, for a confidence that is too high for some labels and too low for others.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from erc_ros.metrics.classification import calibration_error, softmax
from erc_ros.values.errors import ErcValueError

COLDEST, HOTTEST = 0.05, 20.0
PEOPLE_BEFORE = 2.0
"""Weight, in people, of the prior that the confidence is right; chosen on held-out speakers."""


def log_likelihood_loss(
    logits: NDArray[np.floating], labels: NDArray[np.int64], temperature: float
) -> float:
    """Return the mean negative log-likelihood (nats) of labels (N,) with logits (N, C) / T."""
    scaled = np.asarray(logits, np.float64) / temperature
    scaled = scaled - scaled.max(axis=1, keepdims=True)
    chosen = scaled[np.arange(len(labels)), labels]
    return float((np.log(np.exp(scaled).sum(axis=1)) - chosen).mean())


def fit_confidence(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """Return the temperature, of 80 between 0.2 and 2, with the smallest calibration error.

    The error is averaged over adjacent temperatures, because a single low value may be noise.

    Raises:
        ValueError: there are no rows, or the logits are not finite.
    """
    _check(logits, labels)
    temperatures = np.geomspace(0.2, 2.0, 80)
    errors = [calibration_error(labels, softmax(logits / t)) for t in temperatures]
    padded = np.pad(errors, 1, mode="edge")
    smooth = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    return float(temperatures[smooth.argmin()])


def fit_confidence_factors(
    probabilities: NDArray[np.floating], labels: NDArray[np.int64], people: int
) -> NDArray[np.float64]:
    """Return the ratio of accuracy to mean confidence of each predicted label, (C,).

    The ratio is shrunk towards 1, more so for few people, because errors for one person correlate.

    Args:
        probabilities: (N, C).
        labels: (N,), reference labels.
        people: number of different people in the data.

    Raises:
        ValueError: there are no rows or people, or the probabilities are not finite.
    """
    _check(probabilities, labels)
    if people < 1:
        raise ErcValueError(f"people is {people}, must be at least 1")
    answers, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    classes = probabilities.shape[1]
    right = np.bincount(answers, answers == labels, classes)
    confidence_sums = np.bincount(answers, confidence, classes)
    before = PEOPLE_BEFORE / people * confidence_sums.sum()
    factors: NDArray[np.float64] = (right + before) / (confidence_sums + before)
    return factors


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """Return the temperature with the smallest loss, by golden-section search of its logarithm.

    The loss is convex in 1/T, so that there is one minimum.

    Raises:
        ValueError: there are no rows, or the logits are not finite.
    """
    _check(logits, labels)
    low, high = math.log(COLDEST), math.log(HOTTEST)
    ratio = (math.sqrt(5) - 1) / 2
    while high - low > 1e-4:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if log_likelihood_loss(logits, labels, math.exp(left)) < log_likelihood_loss(
            logits, labels, math.exp(right)
        ):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)


def _check(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> None:
    if len(labels) == 0 or not np.isfinite(logits).all():
        raise ErcValueError("calibration needs finite logits of at least one utterance")
