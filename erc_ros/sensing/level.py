"""Is the microphone muted, overdriven, or does it send what is no audio?"""

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
SILENCE = seconds(5.0)  # of exact zeros


@dataclass(frozen=True, slots=True)
class Repaired:
    """`samples` values were changed. kind: "not_finite" (now 0), "range" (beyond +-1, clipped)."""

    start: int
    kind: str
    samples: int


@dataclass(frozen=True, slots=True)
class Silent:
    """Exact zeros only, for 5 s from `start` on: a muted or dead microphone. Once per silence."""

    start: int


@dataclass(frozen=True, slots=True)
class Clipping:
    """The microphone is overdriven from `start` on. Said again only after a second without it."""

    start: int


LevelEvent = Silent | Clipping | Repaired


@dataclass(frozen=True, slots=True)
class Level:
    """State: lengths of runs that reach up to now, in samples."""

    zeros: int = 0  # exact zeros
    full: int = 0  # at full scale; not counted beyond CLIPPED_RUN - 1
    calm: int | None = None  # since the last clipped sample; None = not clipped yet


def listen(
    level: Level, samples: NDArray[np.float32], start: int, rate: int
) -> tuple[Level, list[LevelEvent]]:
    """Watch samples (n, c), heard from `start` (ns) on at `rate` Hz; n > 0."""
    zeros, silences = _find_silences(level.zeros, samples, _samples_in(SILENCE, rate))
    full, clipped = _find_clipped(level.full, samples)
    begins, calm = _begins_of_clipping(level.calm, clipped, len(samples), rate)
    events: list[LevelEvent] = [Silent(start + at * NS // rate) for at in silences]
    events += [Clipping(start + at * NS // rate) for at in begins]
    return Level(zeros, full, calm), events


def _samples_in(duration: int, rate: int) -> int:
    return duration * rate // NS


def _find_silences(zeros: int, samples: NDArray[np.float32], least: int) -> tuple[int, list[int]]:
    """New run of zeros at the end, and where runs begin that reached `least` in this chunk."""
    sounding = np.flatnonzero(samples.any(axis=1))
    if zeros + len(samples) < least:  # nearly always: no run can be long enough
        last = int(sounding[-1]) if len(sounding) else -1 - zeros
        return len(samples) - 1 - last, []
    before = np.concatenate([[-1 - zeros], sounding])  # the sounding sample before each run
    lengths = np.diff(np.concatenate([before, [len(samples)]])) - 1
    is_new = lengths >= least
    is_new[0] &= zeros < least
    return int(lengths[-1]), [int(at) + 1 for at in before[is_new]]


def _find_clipped(full: int, samples: NDArray[np.float32]) -> tuple[int, NDArray[np.intp]]:
    """New run at full scale at the end, and where a run is CLIPPED_RUN long or longer."""
    if samples.size and np.abs(samples).max() < FULL_SCALE:  # nearly always
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
    """The clipped samples before which it was calm long enough, and how calm it is at the end."""
    begins = []
    for at in clipped.tolist():
        if calm is None or at + calm > _samples_in(CLIPPING_REST, rate):
            begins.append(at)
        calm = -at
    return begins, None if calm is None else calm + length


def within_full_scale(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """NaN and infinity become 0, values beyond +-1 are clipped; returned as it is otherwise."""
    if samples.size and np.abs(samples).max() <= 1.0:  # false for NaN as well; nearly always
        return samples
    result: NDArray[np.float32] = np.clip(
        np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0), -1.0, 1.0
    )
    return result


def repair(
    samples: NDArray[np.float32], start: int
) -> tuple[NDArray[np.float32], list[LevelEvent]]:
    """NaN and infinity become 0, values beyond +-1 are clipped, in a copy, if there are any."""
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
