"""Labeled face images in three splits, as a corpus of faces is read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from erc_ros.training.datasets.findings import NOTHING, Findings


@dataclass(frozen=True, eq=False)
class Faces:
    """One split.

    images (N, 48, 48) uint8; targets (N, 8) float32, rows sum to 1; labels (N,) int64: the class
    of the majority, -1 without a majority (in training only).
    """

    pictures: NDArray[np.uint8]
    targets: NDArray[np.float32]
    labels: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FerPlus:
    """The three splits and the images that were excluded, by their number in labels.npz."""

    train: Faces
    valid: Faces
    test: Faces
    findings: Findings = NOTHING

    @property
    def skipped(self) -> Counter[str]:
        """Return "split: reason" -> number of excluded images."""
        return self.findings.counts()
