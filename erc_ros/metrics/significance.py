"""Is one model better than another, or was it the choice of test conversations?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from erc_ros.metrics.classification import SCORES, confusion, draws
from erc_ros.values.errors import ErcValueError


@dataclass(frozen=True, slots=True)
class Difference:
    """A score of a minus that of b: as measured, its 95 % interval, and the p-value."""

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
    """Draw conversations with replacement, the same ones for both models.

    Whole conversations, as their utterances are not independent. truth, conversations (N,); a and b
    (S, N): predictions of S training seeds, whose score (`SCORES`) is averaged. p: two-sided, twice
    the share of the draws in which the sign is the other one (half of the ties), at most 1.

    Raises:
        ValueError: other shapes, or labels outside 0..classes-1.
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
    """p values corrected for as many tests (Holm 1979), in the same order."""
    corrected = [0.0] * len(p)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda place: p[place])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        corrected[place] = largest
    return corrected
