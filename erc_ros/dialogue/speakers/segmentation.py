"""Speaker segmentation of a few seconds of audio, with a network on ONNX Runtime.

The network distinguishes up to three voices, two of them at the same time. Its classes are sets of
active voices (powerset, Plaquet and Bredin 2023, arXiv 2310.13025), which are converted to the
activity probability of each voice. The order of the voices is arbitrary in every run.
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
    """Content of segmentation.yaml, which describes a segmentation network."""

    file: str
    sha256: str
    rate: int  # Hz
    duration: float  # s, length of the windows in the training
    hop: int  # samples between frames
    field: int  # samples, receptive field of a frame before the recurrent layers
    classes: list[list[int]]  # the active voices of each class


def load_manifest(folder: Path) -> SegmentationManifest:
    """Read and check folder/segmentation.yaml.

    Raises:
        SpeakerModelError: the file is invalid, or the network differs from its sha256.
    """
    path = folder / MANIFEST
    manifest = read_manifest(path, FORMAT, SegmentationManifest)
    named = [voice for voices in manifest.classes for voice in voices]
    if not named or any(voice not in range(len(named)) for voice in named):
        raise SpeakerModelError(
            f"{path}: classes is {manifest.classes}; must be lists of the voices 0, 1, ..."
        )
    return manifest


class Segmentation:
    """Computes voice activity in windows of audio. Not thread-safe."""

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        """Load the model in `folder`; raises SpeakerModelError if it is invalid."""
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
        """Samples between frames; the center of frame k is sample k * hop + field / 2."""
        return self.manifest.hop

    @property
    def field(self) -> int:
        """Receptive field of a frame in samples."""
        return self.manifest.field

    @property
    def longest(self) -> int:
        """Maximum number of input samples."""
        return round(self.manifest.duration * self.manifest.rate)

    def run(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the activity probabilities of (n,) samples at 16 kHz: (F, voices).

        F = 1 + (n - field) // hop; audio shorter than one field has no frame. NaN counts as
        silence.

        Raises:
            ValueError: there are more samples than in the training of the network.
        """
        if len(samples) > self.longest:
            raise ErcValueError(f"{len(samples)} samples; the network takes at most {self.longest}")
        if len(samples) < self.field:
            return np.zeros((0, self.voices), np.float32)
        clean = np.nan_to_num(
            samples.astype(np.float32, copy=False), nan=0.0, posinf=0.0, neginf=0.0
        )
        scores = self._network(clean[None, None])[0]  # (F, classes)
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        activity: NDArray[np.float32] = odds / odds.sum(axis=1, keepdims=True) @ self._members
        return activity
