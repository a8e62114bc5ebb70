"""A voice as a vector: a speaker network on ONNX Runtime, and the spectrum in front of it.

The network takes Kaldi's log-mel spectrum, as CAM++ (Wang et al. 2023, arXiv 2303.00332) and nearly
all networks of the projects 3D-Speaker and WeSpeaker do. Their published ONNX files, (B, T, bands)
-> (B, size), work as they are: put one beside a speaker.yaml with its size and sha256.
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
FLOOR = float(np.log(np.finfo(np.float32).eps))  # Kaldi's logarithm of no energy at all
LOWEST = 20.0  # Hz, where Kaldi's mel bands begin; they end at half the rate
PREEMPHASIS = 0.97
SHORTEST = 5  # frames; below, the spread over time that networks pool has nothing to stand on


@dataclass(frozen=True, slots=True)
class SpeakerManifest:
    """What speaker.yaml says about the network next to it."""

    file: str
    sha256: str
    rate: int  # Hz
    mel_bands: int
    window: int  # samples
    hop: int  # samples
    size: int  # numbers in an embedding
    same_voice: float  # cosine of two windows of one voice, as long as it is not known
    new_voice: float  # how much less alike than themselves two voices are at least


def load_manifest(folder: Path) -> SpeakerManifest:
    """Read and check folder/speaker.yaml.

    Raises:
        SpeakerModelError: it cannot be used, or is not the one of the network next to it.
    """
    return read_manifest(folder / MANIFEST, FORMAT, SpeakerManifest, ABOUT | {"features"})


def mel_filters(bands: int, size: int, rate: int) -> NDArray[np.float64]:
    """Triangles on the mel scale 1127 ln(1 + f / 700), straight in mel as Kaldi's: (bands, size).

    size: how many frequencies from 0 Hz to half the rate the spectrum has.
    """

    def mel(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
        scaled: NDArray[np.float64] = 1127.0 * np.log1p(hertz / 700.0)
        return scaled

    low, high = mel(np.array([LOWEST, rate / 2]))
    corners = np.linspace(low, high, bands + 2)
    bins = mel(np.linspace(0.0, rate / 2, size))
    step = corners[1] - corners[0]
    # how far each frequency is from each band's peak, 1: at the peak of the next band
    distance = np.abs(bins[None, :] - corners[1:-1, None]) / step
    triangles: NDArray[np.float64] = np.maximum(0.0, 1.0 - distance)
    return triangles


class SpeakerEmbedding:
    """Embeds segments of speech. Not thread-safe."""

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        """Load the model in `folder`; raises SpeakerModelError if its content cannot be used."""
        self.manifest = load_manifest(folder)
        path = folder / self.manifest.file
        bands, size = self.manifest.mel_bands, self.manifest.size
        self._network = open_network(path, device, (None, None, bands), (None, size))
        window = self.manifest.window
        self._points = 1 << (window - 1).bit_length()  # of the Fourier transform
        filters = mel_filters(self.manifest.mel_bands, self._points // 2 + 1, self.manifest.rate)
        self._filters = np.ascontiguousarray(filters.T)
        # Povey's window: Hann's, but not 0 at the ends
        self._taper = np.hanning(window) ** 0.85

    @property
    def same_voice(self) -> float:
        return self.manifest.same_voice

    @property
    def new_voice(self) -> float:
        return self.manifest.new_voice

    def features(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Kaldi's log-mel spectrum: (n,) at 16 kHz, -1 to 1 -> (T, mel_bands).

        Frame k is samples k * hop to k * hop + window, and depends on nothing else: features of a
        stretch are a part of those of a longer one. Not-a-number counts as silence.
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
        """One segment of speech, (T, mel_bands) of any length -> (size,), of length 1.

        Zeros where there is no voice to embed: silence, or too few frames for the network. Frames
        that are not finite count as silence.
        """
        vector: NDArray[np.float32] = self.embed_all([features])[0]
        return vector

    def embed_all(self, stretches: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Embed segments as `embed` does -> (B, size); equal lengths share a batch."""
        out = np.zeros((len(stretches), self.manifest.size), np.float32)
        groups: dict[int, list[int]] = defaultdict(list)
        for place, features in enumerate(stretches):
            groups[len(features)].append(place)
        for places in groups.values():
            out[places] = self._run(np.stack([stretches[place] for place in places]))
        return out

    def _run(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B, T, mel_bands) -> (B, size)."""
        clean = np.nan_to_num(features, nan=FLOOR, posinf=FLOOR, neginf=FLOOR)
        vectors = np.zeros((len(clean), self.manifest.size), np.float32)
        heard = np.flatnonzero((clean > FLOOR + 1e-3).any(axis=(1, 2)))
        if len(heard) and clean.shape[1] >= SHORTEST:
            voices = clean[heard] - clean[heard].mean(axis=1, keepdims=True)
            vectors[heard] = self._network(voices)
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: NDArray[np.float32] = vectors / np.maximum(length, np.finfo(np.float32).tiny)
        return unit
