"""Significance tests for the difference of two models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from erc_ros.metrics.classification import MIN_CONVERSATIONS, SCORES, confusion, draws
from erc_ros.values.errors import ErcValueError


@dataclass(frozen=True, slots=True)
class Difference:
    """Difference of a score of two models (a minus b), its 95 % interval and p-value.

    All but the value are NaN if there are fewer than MIN_CONVERSATIONS conversations.
    """

    value: float
    low: float
    high: float
    p: float

    def text(self, digits: int) -> str:
        """Format it in points: "+1.20 (+0.40 to +2.10), p 0.010"; the value if nothing else."""
        value, low, high = (f"{100 * x:+.{digits}f}" for x in (self.value, self.low, self.high))
        if np.isnan(self.p):
            return value
        p = f"p {self.p:.3f}" if self.p >= 0.001 else "p < 0.001"
        return f"{value} ({low} to {high}), {p}"


def two_sided_p(drawn: NDArray[np.float64]) -> float:
    """Return the two-sided p-value of differences (R,) in bootstrap samples.

    Twice the share of samples with the opposite sign (half of the ties), at most 1. The data count
    as one more sample (Davison and Hinkley 1997, 4.2.3), so that it is at least 2 / (R + 1).
    """
    below = (drawn < 0).sum() + (drawn == 0).sum() / 2
    return min(1.0, 2 * float(min(below, len(drawn) - below) + 1) / (len(drawn) + 1))


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

    Conversations are resampled as a whole, because their utterances are not independent. With fewer
    than MIN_CONVERSATIONS there is only the value.

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
    resamples = resamples if len(ids) >= MIN_CONVERSATIONS else 0
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
    if not len(drawn):
        return Difference(value, np.nan, np.nan, np.nan)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Difference(value, float(low), float(high), two_sided_p(drawn))


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values corrected for multiple tests (Holm 1979), in the same order."""
    corrected = [0.0] * len(p)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda place: p[place])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        corrected[place] = largest
    return corrected
