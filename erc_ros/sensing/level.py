"""Detection of muted, clipped or invalid microphone signals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from erc_ros.values.nanoseconds import NS, seconds

FULL_SCALE = 0.999
CLIPPED_RUN = (
    3  # samples at full scale in a row: speech touches the limit, a clipped wave stays there
)
CLIPPING_REST = seconds(1.0)
SILENCE = seconds(5.0)  # minimum duration of exact zeros


@dataclass(frozen=True, slots=True)
class Repaired:
    """`samples` invalid values were replaced.

    kind: "not_finite" (set to 0) or "range" (clipped to [-1, 1]).
    """

    start: int
    kind: str
    samples: int


@dataclass(frozen=True, slots=True)
class Silent:
    """The signal was exactly zero for 5 s from `start` on; reported once per silence."""

    start: int


@dataclass(frozen=True, slots=True)
class Clipping:
    """The signal is clipped from `start` on; reported again after a second without clipping."""

    start: int


LevelEvent = Silent | Clipping | Repaired


@dataclass(frozen=True, slots=True)
class Level:
    """State: lengths of the current runs, in samples."""

    zeros: int = 0  # exact zeros
    full: int = 0  # samples at full scale, at most CLIPPED_RUN - 1
    calm: int | None = None  # samples since the last clipped one; None = not clipped yet


def listen(
    level: Level, samples: NDArray[np.float32], start: int, rate: int
) -> tuple[Level, list[LevelEvent]]:
    """Check samples (n, c), n > 0, that begin at `start` (ns) with a rate of `rate` Hz."""
    zeros, silences = _find_silences(level.zeros, samples, _samples_in(SILENCE, rate))
    full, clipped = _find_clipped(level.full, samples)
    begins, calm = _begins_of_clipping(level.calm, clipped, len(samples), rate)
    events: list[LevelEvent] = [Silent(start + at * NS // rate) for at in silences]
    events += [Clipping(start + at * NS // rate) for at in begins]
    return Level(zeros, full, calm), events


def _samples_in(duration: int, rate: int) -> int:
    return duration * rate // NS


def _find_silences(zeros: int, samples: NDArray[np.float32], min_run: int) -> tuple[int, list[int]]:
    """Return the run of zeros at the end, and the starts of runs that reached `min_run` here."""
    sounding = np.flatnonzero(samples.any(axis=1))
    if zeros + len(samples) < min_run:  # the common case: no run can be long enough
        last = int(sounding[-1]) if len(sounding) else -1 - zeros
        return len(samples) - 1 - last, []
    before = np.concatenate([[-1 - zeros], sounding])  # the nonzero sample before each run
    lengths = np.diff(np.concatenate([before, [len(samples)]])) - 1
    is_new = lengths >= min_run
    is_new[0] &= zeros < min_run
    return int(lengths[-1]), [int(at) + 1 for at in before[is_new]]


def _find_clipped(full: int, samples: NDArray[np.float32]) -> tuple[int, NDArray[np.intp]]:
    """Return the run at full scale at the end, and the positions of clipped samples."""
    if samples.size and np.abs(samples).max() < FULL_SCALE:  # the common case
        return 0, np.zeros(0, np.intp)
    is_full = np.concatenate([np.ones(full, bool), (np.abs(samples) >= FULL_SCALE).any(axis=1)])
    clipped = is_full.copy()
    for back in range(1, CLIPPED_RUN):
        clipped[back:] &= is_full[:-back]
        clipped[:back] = False
    tail = is_full[::-1][: CLIPPED_RUN - 1]
    run = len(tail) if tail.all() else int(np.argmin(tail))
    return run, np.flatnonzero(clipped) - full


def _begins_of_clipping(
    calm: int | None, clipped: NDArray[np.intp], length: int, rate: int
) -> tuple[list[int], int | None]:
    """Return the samples at which clipping begins, and the samples since the last clipped one."""
    begins = []
    for at in clipped.tolist():
        if calm is None or at + calm > _samples_in(CLIPPING_REST, rate):
            begins.append(at)
        calm = -at
    return begins, None if calm is None else calm + length


def within_full_scale(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Replace NaN and infinity by 0 and clip to [-1, 1]; valid samples are returned as is."""
    if samples.size and np.abs(samples).max() <= 1.0:  # the common case; false for NaN
        return samples
    result: NDArray[np.float32] = np.clip(
        np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0), -1.0, 1.0
    )
    return result


def repair(
    samples: NDArray[np.float32], start: int
) -> tuple[NDArray[np.float32], list[LevelEvent]]:
    """Replace NaN and infinity by 0 and clip to [-1, 1], in a copy, and report the changes."""
    if not samples.size or np.abs(samples).max() <= 1.0:  # false for NaN as well
        return samples, []
    events: list[LevelEvent] = []
    broken = ~np.isfinite(samples)
    if broken.any():
        samples = np.where(broken, np.float32(0), samples)
        events.append(Repaired(start, "not_finite", int(broken.sum())))
    beyond = int((np.abs(samples) > 1.0).sum())
    if beyond:
        events.append(Repaired(start, "range", beyond))
    return np.clip(samples, -1.0, 1.0), events
