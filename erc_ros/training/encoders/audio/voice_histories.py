"""Utterance histories of speakers: drawn at random for training, in sequence for evaluation.

Acted corpora have no conversations, so a history consists of other clips of the same speaker. Only
a history with several emotions provides a reference level of the speaker; one with anger only does
not. Training draws both kinds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from erc_ros.values.settings import check, setting

NONE = -1  # index for no clip
SINGLE, MIXED, OTHER = 0, 1, 2  # kinds of histories

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class HistorySampling:
    """Shares of kinds of histories; the section `histories` of a voice recipe. Others are mixed."""

    first: float = setting(0.15, "share without history, as a first utterance", "", (0, 1))
    single: float = setting(0.2, "share whose history has only the example's emotion", "", (0, 1))
    dominated: float = setting(0.2, "share with one frequent emotion in the history", "", (0, 1))
    dominance: float = setting(0.7, "how frequent it is", "", (0, 1))

    def __post_init__(self) -> None:
        check(self)
        if self.single + self.dominated > 1:
            raise ValueError(
                f"single {self.single} and dominated {self.dominated} must be at most 1 in sum"
            )


class Histories:
    """Draws histories of at most `most` clips of the same speaker in the same version.

    Args:
        speakers (N,): numbers. labels (N,). there (N, V): which versions a clip has.
        usable (M,): rows of the training clips.
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
        """Draw histories (B, most) and their kinds (B,) for clips rows (B,) in versions (B,)."""
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
        drawn = np.where(generator.random((batch, self._most)) < share[:, None], alike, whichever)
        counts = generator.integers(1, self._most + 1, batch)
        counts[generator.random(batch) < how.first] = 0
        drawn[np.arange(self._most) >= counts[:, None]] = NONE
        kinds = np.where(is_single, SINGLE, np.where(is_dominated, OTHER, MIXED))
        return drawn, np.where(counts == 0, OTHER, kinds)

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
    """Order all clips of each speaker at random; returns histories (N, most) and lengths (N,).

    A history has the last `most` clips before a clip, oldest first, then NONE. With labels (N,),
    each emotion of a speaker is a sequence of its own.
    """
    generator = np.random.default_rng(seed)
    histories = np.full((len(speakers), most), NONE, np.int64)
    counts = np.zeros(len(speakers), np.int64)
    group = np.array(speakers) if labels is None else np.char.add(speakers, labels.astype(str))
    for name in np.unique(group):
        order = generator.permutation(np.flatnonzero(group == name))
        for place, row in enumerate(order):
            before = order[max(0, place - most) : place]
            histories[row, : len(before)] = before
            counts[row] = place
    return histories, counts
