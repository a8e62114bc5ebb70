"""Difference of two clocks, from the times of texts or annotations and of speech."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from erc_ros.values.nanoseconds import NS

STEP = NS // 10  # resolution of the comparison of clocks
MAX_SHIFT = 30 * NS
MIN_SHIFT = NS // 2
MIN_SPANS = 5  # fewer match at some shift by chance
LIKE, BETTER = 0.5, 0.25  # minimum correlation at the best shift, and gain over shift 0


class TimeSpan(Protocol):
    """Anything with a start and an end, ns."""

    @property
    def start(self) -> int: ...

    @property
    def end(self) -> int: ...


def clock_difference(texts: Sequence[TimeSpan], speech: Sequence[TimeSpan]) -> int:
    """Return how much later (ns) texts or annotations are than the speech.

    Correlates times with and without both at every shift up to `MAX_SHIFT`; 0 if the difference is
    below `MIN_SHIFT` or the correlation has no clear maximum.
    """
    if min(len(texts), len(speech)) < MIN_SPANS:
        return 0
    count = max(each.end for each in (*texts, *speech)) // STEP + 1
    active = np.zeros((2, count))
    for row, spans in zip(active, (texts, speech), strict=True):
        for span in spans:
            row[span.start // STEP : span.end // STEP + 1] = 1
    active -= active.mean(axis=1, keepdims=True)
    scale = float(np.linalg.norm(active[0]) * np.linalg.norm(active[1])) or 1.0
    reach = min(count, MAX_SHIFT // STEP)
    padded = np.pad(active[0], reach)
    fits = np.correlate(padded, active[1], "valid") / scale
    best = int(np.argmax(fits))
    shift = (best - reach) * STEP
    is_clear = fits[best] >= LIKE and fits[best] - fits[reach] >= BETTER
    return shift if is_clear and abs(shift) >= MIN_SHIFT else 0
