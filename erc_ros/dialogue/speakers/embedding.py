"""Speaker embeddings: log-mel features and a speaker network on ONNX Runtime.

The network takes Kaldi's log-mel spectrum, as CAM++ (Wang et al. 2023, arXiv 2303.00332) and most
networks of 3D-Speaker and WeSpeaker do. Their published ONNX files, (B, T, bands) -> (B, size),
work without changes, together with a speaker.yaml that contains size and sha256.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from erc_ros.dialogue.speakers.model import (
    ABOUT,
    SpeakerModelError,
    open_network,
    read_manifest,
)

__all__ = ["SpeakerEmbedding", "SpeakerManifest", "SpeakerModelError", "load_manifest"]

MANIFEST = "speaker.yaml"
FORMAT = 2
FLOOR = float(np.log(np.finfo(np.float32).eps))  # Kaldi's logarithm of zero energy
LOWEST = 20.0  # Hz, start of Kaldi's mel bands; they end at half the sample rate
PREEMPHASIS = 0.97
SHORTEST = 5  # frames; fewer are not enough for the statistics pooling of the networks


@dataclass(frozen=True, slots=True)
class SpeakerManifest:
    """Content of speaker.yaml, which describes an embedding network."""

    file: str
    sha256: str
    rate: int  # Hz
    mel_bands: int
    window: int  # samples
    hop: int  # samples
    size: int  # dimension of an embedding
    same_voice: float  # usual cosine similarity of two windows of one voice
    new_voice: float  # minimum difference of that to the similarity of two voices


def load_manifest(folder: Path) -> SpeakerManifest:
    """Read and check folder/speaker.yaml.

    Raises:
        SpeakerModelError: the file is invalid, or the network differs from its sha256.
    """
    return read_manifest(folder / MANIFEST, FORMAT, SpeakerManifest, ABOUT | {"features"})


def mel_filters(bands: int, size: int, rate: int) -> NDArray[np.float64]:
    """Return triangular filters (bands, size), linear on the mel scale 1127 ln(1 + f / 700).

    size: number of frequencies of the spectrum from 0 Hz to half the sample rate.
    """

    def mel(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
        scaled: NDArray[np.float64] = 1127.0 * np.log1p(hertz / 700.0)
        return scaled

    low, high = mel(np.array([LOWEST, rate / 2]))
    corners = np.linspace(low, high, bands + 2)
    bins = mel(np.linspace(0.0, rate / 2, size))
    step = corners[1] - corners[0]
    # distance of each frequency from the peak of each band, in steps between peaks
    distance = np.abs(bins[None, :] - corners[1:-1, None]) / step
    triangles: NDArray[np.float64] = np.maximum(0.0, 1.0 - distance)
    return triangles


class SpeakerEmbedding:
    """Computes embeddings of speech segments. Not thread-safe."""

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        """Load the model in `folder`; raises SpeakerModelError if it is invalid."""
        self.manifest = load_manifest(folder)
        path = folder / self.manifest.file
        bands, size = self.manifest.mel_bands, self.manifest.size
        self._network = open_network(path, device, (None, None, bands), (None, size))
        window = self.manifest.window
        self._points = 1 << (window - 1).bit_length()  # of the Fourier transform
        filters = mel_filters(self.manifest.mel_bands, self._points // 2 + 1, self.manifest.rate)
        self._filters = np.ascontiguousarray(filters.T)
        # Povey window: a Hann window to the power of 0.85
        self._taper = np.hanning(window) ** 0.85

    @property
    def same_voice(self) -> float:
        return self.manifest.same_voice

    @property
    def new_voice(self) -> float:
        return self.manifest.new_voice

    def features(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return Kaldi's log-mel spectrum: (n,) at 16 kHz in [-1, 1] -> (T, mel_bands).

        Frame k depends only on the samples k * hop to k * hop + window, so that the features of a
        part are a part of the features. NaN counts as silence.
        """
        window, hop = self.manifest.window, self.manifest.hop
        if len(samples) < window:
            return np.zeros((0, self.manifest.mel_bands), np.float32)
        clean = np.nan_to_num(samples.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        frames = np.lib.stride_tricks.sliding_window_view(clean, window)[::hop]  # (T, window)
        centred = frames - frames.mean(axis=1, keepdims=True)
        sharpened = centred.copy()
        sharpened[:, 1:] -= PREEMPHASIS * centred[:, :-1]
        sharpened[:, 0] *= 1 - PREEMPHASIS
        spectrum = np.fft.rfft(sharpened * self._taper, self._points, axis=1)
        power = spectrum.real**2 + spectrum.imag**2  # (T, points // 2 + 1)
        energy = np.maximum(power @ self._filters, np.finfo(np.float32).eps)  # (T, mel_bands)
        mel: NDArray[np.float32] = np.log(energy).astype(np.float32)
        return mel

    def embed(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed one speech segment: (T, mel_bands) of any length -> (size,), of length 1.

        Returns zeros for silence and for too few frames. Frames that are not finite count as
        silence.
        """
        vector: NDArray[np.float32] = self.embed_all([features])[0]
        return vector

    def embed_all(self, stretches: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Embed segments as `embed` does: B of (T, mel_bands) -> (B, size).

        Segments of equal length are computed in one batch.
        """
        out = np.zeros((len(stretches), self.manifest.size), np.float32)
        groups: dict[int, list[int]] = defaultdict(list)
        for place, features in enumerate(stretches):
            groups[len(features)].append(place)
        for places in groups.values():
            out[places] = self._run(np.stack([stretches[place] for place in places]))
        return out

    def _run(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network: (B, T, mel_bands) -> (B, size)."""
        clean = np.nan_to_num(features, nan=FLOOR, posinf=FLOOR, neginf=FLOOR)
        vectors = np.zeros((len(clean), self.manifest.size), np.float32)
        voiced = np.flatnonzero((clean > FLOOR + 1e-3).any(axis=(1, 2)))
        if len(voiced) and clean.shape[1] >= SHORTEST:
            voices = clean[voiced] - clean[voiced].mean(axis=1, keepdims=True)
            vectors[voiced] = self._network(voices)
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: NDArray[np.float32] = vectors / np.maximum(length, np.finfo(np.float32).tiny)
        return unit
