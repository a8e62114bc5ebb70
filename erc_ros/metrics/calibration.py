"""Calibration: one temperature for all logits (Guo et al. 2017), fitted on dev. Numpy only.

By the likelihood (`fit_temperature`), which counts every probability; or so that the confidence
means what it says (`fit_confidence`), where the two differ: answers under another prior than dev's.
Where it says too much for some labels and too little for others, a factor for each label that is
answered comes after the temperature (`fit_confidence_factors`).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from erc_ros.metrics.classification import calibration_error, softmax
from erc_ros.values.errors import ErcValueError

COLDEST, HOTTEST = 0.05, 20.0
PEOPLE_BEFORE = 2.0
"""How many people's worth of answers are taken to be right as often as they say, before the first
is looked at. Of what was tried 2 to 4 fit four speakers best after four others."""


def log_likelihood_loss(
    logits: NDArray[np.floating], labels: NDArray[np.int64], temperature: float
) -> float:
    """Mean negative log likelihood (nats) of labels (N,) under softmax(logits (N, C) / T)."""
    scaled = np.asarray(logits, np.float64) / temperature
    scaled = scaled - scaled.max(axis=1, keepdims=True)
    chosen = scaled[np.arange(len(labels)), labels]
    return float((np.log(np.exp(scaled).sum(axis=1)) - chosen).mean())


def fit_confidence(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """The temperature with the smallest calibration error, of 80 between 0.2 and 2.

    The error is smoothed over neighbouring temperatures, as a single low one is luck.

    Raises:
        ValueError: no rows, or logits that are not finite.
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
    """How many times as often each answer is right as its probability says, (C,).

    Shrunk towards 1, by the fewer people the more: answers about one person go wrong together.

    Args:
        probabilities: (N, C). labels: (N,), what is right.
        people: how many different ones the answers are about.

    Raises:
        ValueError: no rows, probabilities that are not finite, or no people.
    """
    _check(probabilities, labels)
    if people < 1:
        raise ErcValueError(f"people is {people}, must be at least 1")
    answers, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    classes = probabilities.shape[1]
    right = np.bincount(answers, answers == labels, classes)
    said = np.bincount(answers, confidence, classes)
    before = PEOPLE_BEFORE / people * said.sum()
    factors: NDArray[np.float64] = (right + before) / (said + before)
    return factors


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """The temperature with the smallest loss, by golden section over its logarithm.

    The loss has one minimum in 1/T, so that the search cannot end in another one.

    Raises:
        ValueError: no rows, or logits that are not finite.
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
