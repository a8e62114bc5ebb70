"""Embeddings of a trained encoder for all splits, in one safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

FILE = "embeddings.safetensors"
NEGATIVE_SPLIT = "nobody"
"""Split of negatives, such as images without a face or audio without speech; labels are -1."""


@dataclass(frozen=True, eq=False)
class Embedded:
    """embeddings (N, E) float32 and labels (N,) int64, indices into utterances.LABELS."""

    embeddings: NDArray[np.float32]
    labels: NDArray[np.int64]


def save_embeddings(splits: Mapping[str, Embedded], file: Path) -> None:
    """Write `<split>.embeddings` and `<split>.labels` (splits: train, valid, test, negatives)."""
    arrays: dict[str, NDArray[np.float32] | NDArray[np.int64]] = {}
    for name, split in splits.items():
        arrays[f"{name}.embeddings"] = np.ascontiguousarray(split.embeddings, np.float32)
        arrays[f"{name}.labels"] = np.ascontiguousarray(split.labels, np.int64)
    save_file(arrays, file)


def load_embeddings(file: Path) -> dict[str, Embedded]:
    """Read a file of `save_embeddings`.

    Raises:
        KeyError: the file lacks the labels of some embeddings.
    """
    arrays = load_file(file)
    names = sorted(name.rsplit(".", 1)[0] for name in arrays if name.endswith(".embeddings"))
    return {n: Embedded(arrays[f"{n}.embeddings"], arrays[f"{n}.labels"]) for n in names}
