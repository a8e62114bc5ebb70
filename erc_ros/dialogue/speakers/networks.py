"""The two networks that tell speakers apart, as the diarizer needs them."""

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
    """Tells voices apart within seconds: `Segmentation`, or what stands for it."""

    @property
    def hop(self) -> int:
        """Samples from frame to frame; frame k is centred on sample k * hop + field / 2."""

    @property
    def field(self) -> int:
        """Samples that a frame sees."""

    @property
    def longest(self) -> int:
        """Samples that one run may have."""

    def run(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n,) at 16 kHz -> (F, voices) probability of each; F = 1 + (n - field) // hop."""


class EmbeddingNetwork(Protocol):
    """Knows a voice again: `SpeakerEmbedding`, or what stands for it."""

    @property
    def same_voice(self) -> float:
        """Similarity of two windows of one voice, usually."""

    @property
    def new_voice(self) -> float:
        """How much less similar than that two voices are at least, on average."""

    def features(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n,) at 16 kHz -> (T, bands)."""

    def embed_all(self, stretches: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Features of each -> (B, size) of length 1; silence: zeros."""


@dataclass(frozen=True, slots=True)
class DiarizationNetworks:
    """Both; one thread at a time uses them."""

    segmentation: SegmentationNetwork
    embedding: EmbeddingNetwork


def load_networks(
    segmentation: Path, embedding: Path, *, device: str = "cpu"
) -> DiarizationNetworks:
    """From the folders with segmentation.yaml and with speaker.yaml.

    Args:
        device: "cpu", "cuda", or "auto": CUDA where it works.

    Raises:
        SpeakerModelError: a folder's content is missing, changed or does not fit, or the device is
            not there.
    """
    networks = DiarizationNetworks(
        Segmentation(segmentation, device), SpeakerEmbedding(embedding, device)
    )
    if device != "cpu":  # it is compared with the CPU at its first call: now, before anybody speaks
        noise = np.random.default_rng(0).normal(0, 0.1, 2 * SAMPLE_RATE).astype(np.float32)
        networks.segmentation.run(noise)
        networks.embedding.embed_all([networks.embedding.features(noise)])
    return networks
