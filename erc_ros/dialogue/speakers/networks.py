"""Interfaces of the two networks for speaker diarization."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from erc_ros.dialogue.speakers.embedding import SpeakerEmbedding
from erc_ros.dialogue.speakers.segmentation import Segmentation
from erc_ros.values.utterance import SAMPLE_RATE


class SegmentationNetwork(Protocol):
    """Local speaker segmentation of a few seconds of audio; implemented by `Segmentation`."""

    @property
    def hop(self) -> int:
        """Samples between frames; the center of frame k is sample k * hop + field / 2."""

    @property
    def field(self) -> int:
        """Receptive field of a frame in samples."""

    @property
    def longest(self) -> int:
        """Maximum number of input samples."""

    def run(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the activity probabilities of (n,) samples at 16 kHz: (F, voices).

        F = 1 + (n - field) // hop.
        """


class EmbeddingNetwork(Protocol):
    """Speaker embedding; implemented by `SpeakerEmbedding`."""

    @property
    def same_voice(self) -> float:
        """Usual cosine similarity of two windows of one voice."""

    @property
    def new_voice(self) -> float:
        """Minimum difference of `same_voice` to the mean similarity of two voices."""

    def features(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the input features of (n,) samples at 16 kHz: (T, bands)."""

    def embed_all(self, stretches: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Embed the features of B segments: (B, size) of length 1, zeros for silence."""


@dataclass(frozen=True, slots=True)
class DiarizationNetworks:
    """Both networks; for use by one thread at a time."""

    segmentation: SegmentationNetwork
    embedding: EmbeddingNetwork


def load_networks(
    segmentation: Path, embedding: Path, *, device: str = "cpu"
) -> DiarizationNetworks:
    """Load the networks from the folders with segmentation.yaml and with speaker.yaml.

    Args:
        device: "cpu", "cuda", or "auto": CUDA if it works.

    Raises:
        SpeakerModelError: the content of a folder is missing or invalid, or the device is not
            available.
    """
    networks = DiarizationNetworks(
        Segmentation(segmentation, device), SpeakerEmbedding(embedding, device)
    )
    if device != "cpu":  # the first call is slow, because it also runs on the CPU to compare
        noise = np.random.default_rng(0).normal(0, 0.1, 2 * SAMPLE_RATE).astype(np.float32)
        networks.segmentation.run(noise)
        networks.embedding.embed_all([networks.embedding.features(noise)])
    return networks
