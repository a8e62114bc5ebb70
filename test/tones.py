"""Tones as synthetic voices, and networks that distinguish them.

They replace the two speaker networks, whose accuracy with real voices is measured on recordings
(`benchmarks.diarization`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from erc_ros.dialogue.speakers.networks import DiarizationNetworks

RATE = 16_000
BAND = 125  # Hz; tone n is in the center of band n
LEAST_LOUD = 0.02  # minimum amplitude of a detected tone
Samples = NDArray[np.float32]


def unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    return (vector / np.float32(max(1e-9, float(np.linalg.norm(vector))))).astype(np.float32)


def repaired(samples: Samples) -> Samples:
    """Replace NaN by silence."""
    return np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)


class LoudIsSpeech:
    """A voice activity detector that treats loud audio as speech."""

    def feed(self, frame: Samples) -> float:
        return 0.95 if float(np.abs(repaired(frame)).mean()) > 0.01 else 0.02

    def reset(self) -> None:
        pass


class ToneSegmentation:
    """Detects up to three tones per frame, like the real network; of more tones, some are merged.

    The order of the voices in the output changes between runs, as in the real network.
    """

    hop, field, longest = 270, 991, 160_000
    voices = 3

    def __init__(self) -> None:
        time = np.arange(self.hop)[:, None] / RATE
        waves = np.exp(2j * np.pi * (np.arange(64) + 0.5) * BAND * time)  # (hop, 64)
        window = np.hanning(self.hop)[:, None]
        self._waves = (waves * window / window.sum() * 2).astype(np.complex64)
        self._runs = 0

    def run(self, samples: Samples) -> NDArray[np.float32]:
        count = 1 + (len(samples) - self.field) // self.hop
        if count < 1:
            return np.zeros((0, self.voices), np.float32)
        first = (self.field - self.hop) // 2
        middles = repaired(samples)[first : first + count * self.hop].reshape(count, self.hop)
        loud = np.abs(middles @ self._waves) > LEAST_LOUD  # (F, 64)
        heard = np.argsort(-loud.sum(axis=0), kind="stable")[: loud.any(axis=0).sum()]
        self._runs += 1
        activity = np.zeros((count, self.voices), np.float32)
        for voice in range(self.voices):
            tones = heard[voice :: self.voices]
            activity[:, (voice + self._runs) % self.voices] = loud[:, tones].any(axis=1)
        return activity


class ToneEmbedding:
    """Detects the strongest of 64 frequencies, less clearly with noise."""

    same_voice, new_voice = 1.0, 0.5

    def features(self, samples: Samples) -> NDArray[np.float32]:
        return repaired(samples)

    def embed_all(self, stretches: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        if not stretches:
            return np.zeros((0, 64), np.float32)
        return np.stack([self._embed(samples) for samples in stretches])

    def _embed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        # of all of it: the transform cuts what is longer than its points
        sound = np.pad(samples, (0, -len(samples) % 1_024)).reshape(-1, 1_024)
        power = np.abs(np.fft.rfft(sound, axis=1))[:, :-1].sum(axis=0).reshape(64, 8).sum(axis=1)
        return unit((power / (power.max() + 1e-9)).astype(np.float32) ** 4)


def tone_networks() -> DiarizationNetworks:
    return DiarizationNetworks(ToneSegmentation(), ToneEmbedding())


def tone(number: int, duration: float, noise: float = 0.0, seed: int = 0) -> Samples:
    """Return (n,) samples of the voice `number`, 0 to 63, for `duration` s."""
    count = round(duration * RATE)
    sound = 0.1 * np.sin(2 * np.pi * (number + 0.5) * BAND * np.arange(count) / RATE)
    return (sound + np.random.default_rng(seed).normal(0, noise, count)).astype(np.float32)


def scene(*turns: tuple[float, float, int], end: float | None = None) -> Samples:
    """Return samples of turns (start s, end s, voice), which may overlap, and 2 s of silence."""
    sound = np.zeros(round((turns[-1][1] + 2.0 if end is None else end) * RATE), np.float32)
    for start, finish, number in turns:
        said = tone(number, finish - start)
        first = round(start * RATE)
        sound[first : first + len(said)] += said
    return sound
