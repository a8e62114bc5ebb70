"""Who speaks when within some seconds: a segmentation network on ONNX Runtime.

The network distinguishes up to three voices and hears two of them at once. Its classes are sets of
voices that speak together (powerset, Plaquet and Bredin 2023, arXiv 2310.13025); what comes out is
the probability of each voice. Which number a voice has is arbitrary in every run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from erc_ros.dialogue.speakers.model import (
    SpeakerModelError,
    open_network,
    read_manifest,
)
from erc_ros.values.errors import ErcValueError

MANIFEST = "segmentation.yaml"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class SegmentationManifest:
    """What segmentation.yaml says about the network next to it."""

    file: str
    sha256: str
    rate: int  # Hz
    duration: float  # s, of the windows that the network was trained on
    hop: int  # samples from frame to frame
    field: int  # samples that a frame sees (before the recurrent layers, which see all)
    classes: list[list[int]]  # the voices that speak in each class


def load_manifest(folder: Path) -> SegmentationManifest:
    """Read and check folder/segmentation.yaml.

    Raises:
        SpeakerModelError: it cannot be used, or is not the one of the network next to it.
    """
    path = folder / MANIFEST
    manifest = read_manifest(path, FORMAT, SegmentationManifest)
    named = [voice for voices in manifest.classes for voice in voices]
    if not named or any(voice not in range(len(named)) for voice in named):
        raise SpeakerModelError(
            f"{path}: classes is {manifest.classes}, must be lists of the voices 0, 1, ..."
        )
    return manifest


class Segmentation:
    """Finds voices in windows of audio. Not thread-safe."""

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        """Load the model in `folder`; raises SpeakerModelError if its content cannot be used."""
        self.manifest = load_manifest(folder)
        classes = self.manifest.classes
        path = folder / self.manifest.file
        self._network = open_network(path, device, (None, 1, None), (None, None, len(classes)))
        self.voices = 1 + max(voice for voices in classes for voice in voices)
        self._members = np.array(  # (classes, voices)
            [[voice in voices for voice in range(self.voices)] for voices in classes], np.float32
        )

    @property
    def hop(self) -> int:
        """Samples from frame to frame; frame k is centred on sample k * hop + field / 2."""
        return self.manifest.hop

    @property
    def field(self) -> int:
        """Samples that a frame sees at once."""
        return self.manifest.field

    @property
    def longest(self) -> int:
        """Samples that one run may have."""
        return round(self.manifest.duration * self.manifest.rate)

    def run(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probability that each voice speaks: (n,) at 16 kHz -> (F, voices).

        F = 1 + (n - field) // hop; sound shorter than one field has no frame. Not-a-number counts
        as silence.

        Raises:
            ValueError: longer than what the network was trained on.
        """
        if len(samples) > self.longest:
            raise ErcValueError(
                f"{len(samples)} samples, the network was trained on {self.longest} at most"
            )
        if len(samples) < self.field:
            return np.zeros((0, self.voices), np.float32)
        clean = np.nan_to_num(
            samples.astype(np.float32, copy=False), nan=0.0, posinf=0.0, neginf=0.0
        )
        scores = self._network(clean[None, None])[0]  # (F, classes)
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        activity: NDArray[np.float32] = odds / odds.sum(axis=1, keepdims=True) @ self._members
        return activity
