"""Linking of the voices in successive windows of the segmentation network (local speakers).

The order of the voices in a window is arbitrary. Windows overlap by most of their length, so a
voice is linked with the one that was active in the same frames of earlier windows. `clustering`
assigns local speakers to speakers of the conversation. The state is a value, and linking is pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from erc_ros.values.settings import check, setting

ACTIVE = 0.5  # minimum probability of an active voice


@dataclass(frozen=True, slots=True)
class LocalSpeakersConfig:
    """Settings of the linking.

    Raises:
        ValueError: a value is outside its range.
    """

    min_frames: int = setting(
        3,
        "minimum number of active frames of a voice in a window",
        "frames",
        (1, 50),
        source="benchmarks.diarization recorded",
    )
    min_link: float = setting(
        0.3,
        "minimum share of a voice's earlier frames that a local speaker shares, to be linked",
        range=(0.05, 1.0),
        source="benchmarks.diarization recorded",
    )

    def __post_init__(self) -> None:
        check(self)


def _no_frames() -> NDArray[np.float32]:
    return np.zeros(0, np.float32)


def _nobody() -> NDArray[np.float32]:
    return np.zeros((0, 0), np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class LocalSpeakers:
    """State: activity of the local speakers in the last frames.

    first: index of the frame in column 0. sums: (L, n) activity probabilities, summed over the
    windows. counts: (n,) number of windows with the frame. ids: (L) ids of the rows. separated:
    pairs of ids (lower first) that co-occurred in a window. born: number of ids used so far.
    """

    first: int = 0
    sums: NDArray[np.float32] = field(default_factory=_nobody)
    counts: NDArray[np.float32] = field(default_factory=_no_frames)
    ids: tuple[int, ...] = ()
    separated: frozenset[tuple[int, int]] = frozenset()
    born: int = 0

    @property
    def last(self) -> int:
        """Index after the last frame."""
        return self.first + len(self.counts)

    def activity(self) -> NDArray[np.float32]:
        """Return the activity probability (L, n) of each voice; 0 for frames without window."""
        mean: NDArray[np.float32] = self.sums / np.maximum(self.counts, np.float32(1.0))
        return mean


def link_window(
    local: LocalSpeakers,
    config: LocalSpeakersConfig,
    first: int,
    window: NDArray[np.float32],
    kept: int,
) -> LocalSpeakers:
    """Add a window of activity probabilities (F, voices) whose first frame is `first`.

    Only the last `kept` frames and the voices active in them are kept. `first` may be any of these
    frames, or later.
    """
    if first - local.last > kept:  # a gap: do not allocate its frames
        local = LocalSpeakers(born=local.born)
    wide = _widened(local, first, first + len(window))
    begin = first - wide.first
    if begin < 0:
        window, begin = window[-begin:], 0
    part = slice(begin, begin + len(window))
    has_windows = wide.counts[part] > 0
    known = wide.activity()[:, part]
    rows = _rows(known[:, has_windows], window[has_windows], window, wide, config)
    sums, ids, born = wide.sums.copy(), list(wide.ids), wide.born
    for voice, row in rows.items():
        if row == len(ids):
            ids.append(born)
            born += 1
            sums = np.concatenate([sums, np.zeros((1, sums.shape[1]), np.float32)])
        sums[row, part] += window[:, voice]
    counts = wide.counts.copy()
    counts[part] += 1
    together = [ids[row] for row in rows.values()]
    separated = wide.separated | {(a, b) for a in together for b in together if a < b}
    return _recent(LocalSpeakers(wide.first, sums, counts, tuple(ids), separated, born), kept)


def _rows(
    known: NDArray[np.float32],
    again: NDArray[np.float32],
    window: NDArray[np.float32],
    local: LocalSpeakers,
    config: LocalSpeakersConfig,
) -> dict[int, int]:
    """Return voice of the window -> row of its local speaker; rows beyond the last are new.

    known: (L, s), again: (s, voices), activity in the common frames.
    """
    count = window.shape[1]
    voices = [v for v in range(count) if (window[:, v] > ACTIVE).sum() >= config.min_frames]
    common = np.minimum(known[:, :, None], again[None]).sum(axis=1)  # (L, voices)
    rows: dict[int, int] = {}
    for place in np.argsort(-common, axis=None, kind="stable"):
        row, voice = divmod(int(place), count)
        least = max(config.min_frames / 2, config.min_link * float(again[:, voice].sum()))
        if float(common[row, voice]) < least:
            continue
        if voice in voices and voice not in rows and row not in rows.values():
            rows[voice] = row
    for voice in voices:
        if voice not in rows:
            rows[voice] = max([len(local.ids) - 1, *rows.values()]) + 1
    return rows


def _widened(local: LocalSpeakers, first: int, last: int) -> LocalSpeakers:
    """Return the state extended to frame `last`, with zeros."""
    if not len(local.counts):
        empty = local.sums[:, :0]
        local = LocalSpeakers(first, empty, local.counts, (), local.separated, local.born)
    new = max(0, last - local.last)
    return LocalSpeakers(
        local.first,
        np.pad(local.sums, ((0, 0), (0, new))).astype(np.float32, copy=False),
        np.pad(local.counts, (0, new)),
        local.ids,
        local.separated,
        local.born,
    )


def _recent(local: LocalSpeakers, kept: int) -> LocalSpeakers:
    """Return the state of the last `kept` frames and the voices active in them."""
    drop = max(0, len(local.counts) - kept)
    sums, counts = local.sums[:, drop:], local.counts[drop:]
    rows = [row for row in range(len(sums)) if sums[row].max(initial=0.0) >= ACTIVE]
    ids = tuple(local.ids[row] for row in rows)
    separated = frozenset(pair for pair in local.separated if pair[0] in ids and pair[1] in ids)
    return LocalSpeakers(local.first + drop, sums[rows], counts, ids, separated, local.born)


def active_runs(is_active: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return (first, last + 1) of every run of True in (n,), in order."""
    padded = np.zeros(len(is_active) + 2, bool)  # np.diff with `prepend` takes five times as long
    padded[1:-1] = is_active
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
