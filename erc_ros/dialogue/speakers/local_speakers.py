"""Voices followed from one window of the segmentation network to the next.

In every window the network numbers the voices anew. Windows overlap by most of their length, so a
voice is the one that spoke at the same moments in the windows before; who that is among the
speakers of the conversation is for `voices` to say. The state is a value, and following is pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

LEAST = 3  # frames; a voice that speaks less in a window is noise
LINK = 0.3  # of what a voice said in the frames seen before must be the track's to be the same
ACTIVE = 0.5  # probability from which a voice speaks


def _no_frames() -> NDArray[np.float32]:
    return np.zeros(0, np.float32)


def _no_tracks() -> NDArray[np.float32]:
    return np.zeros((0, 0), np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """State: the voices of the last frames.

    first: number of the frame in column 0; sums: (T, n) probabilities that each voice speaks,
    summed over the windows; counts: (n,) windows that saw the frame; ids: (T) names of the rows;
    met: pairs of ids (lower first) that one window told apart; born: voices so far.
    """

    first: int = 0
    sums: NDArray[np.float32] = field(default_factory=_no_tracks)
    counts: NDArray[np.float32] = field(default_factory=_no_frames)
    ids: tuple[int, ...] = ()
    met: frozenset[tuple[int, int]] = frozenset()
    born: int = 0

    @property
    def last(self) -> int:
        """Number after that of the last frame."""
        return self.first + len(self.counts)

    def activity(self) -> NDArray[np.float32]:
        """(T, n) probability that each voice speaks; 0 where no window has looked."""
        mean: NDArray[np.float32] = self.sums / np.maximum(self.counts, np.float32(1.0))
        return mean


def follow_voices(tracks: Tracks, first: int, heard: NDArray[np.float32], kept: int) -> Tracks:
    """Take one window: frames from `first` on, (F, voices) probabilities.

    Only the last `kept` frames are remembered, and voices that speak in them. `first` may be any
    frame that is still remembered, or later.
    """
    if first - tracks.last > kept:  # a gap: whatever its length, it takes no memory
        tracks = Tracks(born=tracks.born)
    wide = _widened(tracks, first, first + len(heard))
    begin = first - wide.first
    if begin < 0:
        heard, begin = heard[-begin:], 0
    part = slice(begin, begin + len(heard))
    seen = wide.counts[part] > 0
    known = wide.activity()[:, part]
    names = _names(known[:, seen], heard[seen], heard, wide)
    sums, ids, born = wide.sums.copy(), list(wide.ids), wide.born
    for voice, row in names.items():
        if row == len(ids):
            ids.append(born)
            born += 1
            sums = np.concatenate([sums, np.zeros((1, sums.shape[1]), np.float32)])
        sums[row, part] += heard[:, voice]
    counts = wide.counts.copy()
    counts[part] += 1
    together = [ids[row] for row in names.values()]
    met = wide.met | {(a, b) for a in together for b in together if a < b}
    return _recent(Tracks(wide.first, sums, counts, tuple(ids), met, born), kept)


def _names(
    known: NDArray[np.float32],
    again: NDArray[np.float32],
    heard: NDArray[np.float32],
    tracks: Tracks,
) -> dict[int, int]:
    """Voice of the window -> row of the track, the number of rows and above: new ones.

    known: (T, s) and again: (s, voices) in the frames that were seen before.
    """
    voices = [v for v in range(heard.shape[1]) if (heard[:, v] > ACTIVE).sum() >= LEAST]
    common = np.minimum(known[:, :, None], again[None]).sum(axis=1)  # (T, voices)
    names: dict[int, int] = {}
    for place in np.argsort(-common, axis=None, kind="stable"):
        row, voice = divmod(int(place), heard.shape[1])
        shared = float(common[row, voice])
        if shared < max(LEAST / 2, LINK * float(again[:, voice].sum())):
            continue
        if voice in voices and voice not in names and row not in names.values():
            names[voice] = row
    for voice in voices:
        if voice not in names:
            names[voice] = max([len(tracks.ids) - 1, *names.values()]) + 1
    return names


def _widened(tracks: Tracks, first: int, last: int) -> Tracks:
    """With columns up to `last`; frames that no window has seen yet count 0."""
    if not len(tracks.counts):
        tracks = Tracks(first, tracks.sums[:, :0], tracks.counts, (), tracks.met, tracks.born)
    new = max(0, last - tracks.last)
    return Tracks(
        tracks.first,
        np.pad(tracks.sums, ((0, 0), (0, new))).astype(np.float32, copy=False),
        np.pad(tracks.counts, (0, new)),
        tracks.ids,
        tracks.met,
        tracks.born,
    )


def _recent(tracks: Tracks, kept: int) -> Tracks:
    """The last `kept` frames, and the voices in them."""
    drop = max(0, len(tracks.counts) - kept)
    sums, counts = tracks.sums[:, drop:], tracks.counts[drop:]
    rows = [row for row in range(len(sums)) if sums[row].max(initial=0.0) >= ACTIVE]
    ids = tuple(tracks.ids[row] for row in rows)
    met = frozenset(pair for pair in tracks.met if pair[0] in ids and pair[1] in ids)
    return Tracks(tracks.first + drop, sums[rows], counts, ids, met, tracks.born)


def runs(is_on: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(n,) -> (first, last + 1) of every stretch of True, in order."""
    edges = np.flatnonzero(np.diff(is_on.astype(np.int8), prepend=0, append=0))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
