"""Which clips of a speaker were heard before a clip: drawn for training, in streams for measuring.

Acted corpora have no conversations, so a history is some of the same speaker's other clips. What it
holds decides what can be known: somebody who showed everything has a level to be compared with,
somebody who was angry all along has not. Training sees all of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NONE = -1  # no clip
SINGLE, MIXED, OTHER = 0, 1, 2  # kinds of histories

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class HistorySampling:
    """How histories are drawn; the section `histories` of a voice recipe. The rest is mixed."""

    first: float = 0.15
    """Share of the examples without any: a speaker's first utterance."""
    single: float = 0.2
    """Share whose history has only the example's own emotion, as in a talk show."""
    dominated: float = 0.2
    """Share in whose history one emotion is frequent, whichever."""
    dominance: float = 0.7
    """How frequent."""

    def __post_init__(self) -> None:
        for name in ("first", "single", "dominated", "dominance"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must be a share in [0, 1]")
        if self.single + self.dominated > 1:
            raise ValueError(
                f"single {self.single} and dominated {self.dominated} are more than all together"
            )


class Histories:
    """Draws histories of at most `most` clips, of the same speaker in the same version.

    Args:
        speakers (N,): numbers. labels (N,). there (N, V): which versions a clip has.
        usable (N,): clips that may be drawn; those of training.
    """

    def __init__(
        self, speakers: Rows, labels: Rows, there: NDArray[np.bool_], usable: Rows, most: int
    ) -> None:
        self._speakers, self._labels, self._most = speakers, labels, most
        everybody, versions, classes = speakers.max() + 1, there.shape[1], labels.max() + 1
        groups: dict[tuple[int, int, int], list[int]] = {}
        for row in usable.tolist():
            for version in np.flatnonzero(there[row]).tolist():
                for label in (int(labels[row]), classes):  # the last: any label
                    groups.setdefault((version, int(speakers[row]), label), []).append(row)
        longest = max(map(len, groups.values()))
        self._clips = np.full((versions, everybody, classes + 1, longest), NONE, np.int64)
        self._counts = np.zeros((versions, everybody, classes + 1), np.int64)
        for place, rows in groups.items():
            self._clips[place][: len(rows)] = rows
            self._counts[place] = len(rows)
        self._any = classes

    def draw(
        self, rows: Rows, versions: Rows, how: HistorySampling, generator: np.random.Generator
    ) -> tuple[Rows, Rows]:
        """For the clips rows (B,) in their versions: what was heard (B, most), kinds (B,)."""
        batch = len(rows)
        speakers = self._speakers[rows]
        chance = generator.random(batch)
        is_single = chance < how.single
        is_dominated = ~is_single & (chance < how.single + how.dominated)
        frequent = self._labels[self._among(versions, speakers, self._any, 1, generator)[:, 0]]
        frequent = np.where(is_single, self._labels[rows], frequent)
        share = np.where(is_single, 1.0, np.where(is_dominated, how.dominance, 0.0))
        whichever = self._among(versions, speakers, self._any, self._most, generator)
        alike = self._among(versions, speakers, frequent, self._most, generator)
        found = np.where(generator.random((batch, self._most)) < share[:, None], alike, whichever)
        counts = generator.integers(1, self._most + 1, batch)
        counts[generator.random(batch) < how.first] = 0
        found[np.arange(self._most) >= counts[:, None]] = NONE
        kinds = np.where(is_single, SINGLE, np.where(is_dominated, OTHER, MIXED))
        return found, np.where(counts == 0, OTHER, kinds)

    def _among(
        self,
        versions: Rows,
        speakers: Rows,
        labels: Rows | int,
        width: int,
        generator: np.random.Generator,
    ) -> Rows:
        counts = self._counts[versions, speakers, labels]
        places = (generator.random((len(speakers), width)) * counts[:, None]).astype(np.int64)
        chosen: Rows = self._clips[versions, speakers, labels][
            np.arange(len(speakers))[:, None], places
        ]
        return chosen


def streams(
    speakers: NDArray[np.str_], most: int, seed: int, labels: Rows | None = None
) -> tuple[Rows, Rows]:
    """Every speaker says all clips once, in random order: (N, most) what was heard, (N,) how many.

    The last `most` before a clip, oldest first, then NONE. With labels (N,): each emotion of a
    speaker is a stream of its own, as if nobody ever felt anything else.
    """
    generator = np.random.default_rng(seed)
    heard = np.full((len(speakers), most), NONE, np.int64)
    counts = np.zeros(len(speakers), np.int64)
    group = np.array(speakers) if labels is None else np.char.add(speakers, labels.astype(str))
    for name in np.unique(group):
        order = generator.permutation(np.flatnonzero(group == name))
        for place, row in enumerate(order):
            before = order[max(0, place - most) : place]
            heard[row, : len(before)] = before
            counts[row] = place
    return heard, counts
