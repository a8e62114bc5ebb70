"""Significance tests for the difference of two models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from erc_ros.metrics.classification import SCORES, confusion, draws
from erc_ros.values.errors import ErcValueError


@dataclass(frozen=True, slots=True)
class Difference:
    """Difference of a score of two models (a minus b), its 95 % interval and p-value."""

    value: float
    low: float
    high: float
    p: float


def paired_bootstrap(
    truth: NDArray[np.int64],
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    conversations: NDArray[np.int64],
    classes: int,
    resamples: int = 2000,
    seed: int = 0,
    score: str = "weighted_f1",
) -> Difference:
    """Compare two models by a paired bootstrap over conversations.

    Conversations are resampled as a whole, because their utterances are not independent. The
    two-sided p-value is twice the share of resamples with the opposite sign (half of the ties), at
    most 1.

    Args:
        truth: (N,), reference labels.
        a, b: (S, N), predictions of S training seeds, over which the score is averaged.
        conversations: (N,), index of the conversation of each utterance.
        score: name in `SCORES`.

    Raises:
        ValueError: the shapes do not match, or a label is outside 0..classes-1.
    """
    if a.ndim != 2 or b.ndim != 2 or not a.shape[1] == b.shape[1] == len(conversations):
        raise ErcValueError(f"predictions must be (seeds, {len(truth)}): {a.shape}, {b.shape}")
    ids = np.unique(conversations)
    as_they_are = np.ones((1, len(ids)), np.int64)
    times = np.vstack([as_they_are, draws(len(ids), resamples, seed)])  # (R + 1, V)
    scores = []
    for predicted in (a, b):
        counts = np.stack(
            [
                [
                    confusion(truth[conversations == i], row[conversations == i], classes)
                    for i in ids
                ]
                for row in predicted
            ]
        )  # (S, V, C, C)
        drawn = np.einsum("rv,svij->rsij", times, counts)
        scores.append(SCORES[score](drawn).mean(axis=1))
    difference = scores[0] - scores[1]  # (R + 1,)
    value, drawn = float(difference[0]), difference[1:]
    low, high = np.quantile(drawn, (0.025, 0.975))
    below = float((drawn < 0).mean() + (drawn == 0).mean() / 2)
    return Difference(value, float(low), float(high), min(1.0, 2 * min(below, 1 - below)))


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values corrected for multiple tests (Holm 1979), in the same order."""
    corrected = [0.0] * len(p)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda place: p[place])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        corrected[place] = largest
    return corrected
