"""A measured value with its interval."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with its 95 % bootstrap interval.

    low, high: None where there is too little to resample. n: sample size (utterances, words or
        seconds: see docs/reference/scores.md). interval: the resampled units ("conversations", or
        "blocks of 30 s" of few conversations), "" without an interval.
    value: None where it is undefined (no such annotation).
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: float = 0.0
    interval: str = ""
