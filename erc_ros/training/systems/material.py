"""A corpus as flat lists of utterances, the input of a system's stages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erc_ros.encoders.text import Turn
from erc_ros.training.datasets import corpora
from erc_ros.training.datasets.utterances import LabelledUtterance, Split, count
from erc_ros.training.encoders.sample import Sample
from erc_ros.training.engine.recipe import RecipeError
from erc_ros.training.engine.runs import SPLITS
from erc_ros.training.features.encode import sample_of


@dataclass(frozen=True, eq=False)
class Utterances:
    """One split, N utterances in their order.

    keys: within the corpus. labels (N,): -100 without a label. conversations (N,): 0, 1, ...
    turns: the turns up to each utterance, which is the last one.
    """

    corpus: str
    split: Split
    keys: tuple[str, ...]
    labels: NDArray[np.int64]
    conversations: NDArray[np.int64]
    turns: tuple[tuple[Turn, ...], ...]
    said: tuple[LabelledUtterance, ...]

    def sample(self, row: int, modality: str) -> Sample:
        """Return the input of an encoder of this modality for an utterance.

        Raises:
            UnusableMediaError: its clip is missing or broken.
        """
        return sample_of(self.corpus, self.keys[row], self.turns[row], self.said[row], modality)

    def rows_of(self, keys: Sequence[str]) -> NDArray[np.int64]:
        """Return the rows of these keys."""
        return np.array([self._row[key] for key in keys], np.int64)

    @cached_property
    def _row(self) -> Mapping[str, int]:
        return {key: row for row, key in enumerate(self.keys)}


@dataclass(frozen=True, eq=False)
class Material:
    """The three splits of a corpus and its label names."""

    corpus: str
    limit: int
    labels: tuple[str, ...]
    splits: Mapping[str, Utterances]

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Return what determines a training: name, hash of words, speakers, labels and clips."""
        digest = hashlib.sha256(json.dumps(self.labels).encode())
        for split in self.splits.values():
            for key, said in zip(split.keys, split.said, strict=True):
                files = [(f.name, f.stat().st_size) for f in (said.clip, said.pictures) if f]
                record = [key, said.speaker, said.label, said.text, files]
                digest.update(json.dumps(record).encode())
                for features in said.features:
                    digest.update(features.tobytes())
        return {"name": self.corpus, "limit": self.limit, "digest": digest.hexdigest()[:16]}

    def lines(self) -> Iterator[str]:
        """Yield sizes and faults of the splits, for the log."""
        for name, split in self.splits.items():
            talks = len(split.split.conversations)
            yield f"{self.corpus} {name}: {talks} conversations, {len(split.keys)} utterances"
            yield from (f"{self.corpus} {name}: {line}" for line in split.split.findings.lines())


def read_material(corpus: str, data: Path, limit: int = 0, train_limit: int = 0) -> Material:
    """Read a corpus by its name; see `corpora.read`.

    Args:
        limit: maximum number of conversations of each split; 0: all.
        train_limit: the same for the train split only; 0: all.

    Raises:
        RecipeError: no such corpus, or one without usable utterances.
        FileNotFoundError: it is not in `data`.
    """
    try:
        splits = {name: corpora.read(corpus, data, name) for name in SPLITS}
    except ValueError as error:
        raise RecipeError(f"{corpus} in {data}: {error}") from error
    for most, names in ((limit, SPLITS), (train_limit, SPLITS[:1])):
        if most:
            for name in names:
                some = splits[name].conversations[:most]
                splits[name] = replace(splits[name], conversations=some)
    parts = {name: _utterances(corpus, split) for name, split in splits.items()}
    return Material(corpus, limit, splits["train"].labels, parts)


def _utterances(corpus: str, split: Split) -> Utterances:
    keys, turns, said = [], [], []
    for conversation in split.conversations:
        everything = tuple(Turn(u.speaker, u.text) for u in conversation.utterances)
        for number, utterance in enumerate(conversation.utterances, 1):
            keys.append(conversation.key(utterance))
            turns.append(everything[:number])
            said.append(utterance)
    lengths = [len(conversation.utterances) for conversation in split.conversations]
    assert sum(lengths) == count(split.conversations)
    return Utterances(
        corpus,
        split,
        tuple(keys),
        np.array([-100 if u.label is None else u.label for u in said], np.int64),
        np.repeat(np.arange(len(lengths)), lengths),
        tuple(turns),
        tuple(said),
    )
