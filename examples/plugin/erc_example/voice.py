"""A voice activity detector with frames of 10 ms: is the audio louder than the background?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MARGIN = 12.0  # dB above the background at which speech is as likely as not
RISE = 0.02  # dB per frame by which the background level follows a louder sound
FLOOR = -70.0  # dB; digital silence is not quieter than this


class EnergyVoiceActivity:
    """`erc_ros.dialogue.voice_activity.VoiceActivity` for quiet rooms; no network."""

    frame = 160
    _background: float

    def __init__(self) -> None:
        self.reset()

    def feed(self, frame: NDArray[np.float32]) -> float:
        """(160,) float32 -> probability of speech."""
        if frame.shape != (self.frame,):
            raise ValueError(f"a frame has {self.frame} samples, not the shape {frame.shape}")
        samples = np.nan_to_num(frame, nan=0.0, posinf=1.0, neginf=-1.0).astype(np.float64)
        level = max(FLOOR, 10 * float(np.log10(np.mean(samples**2) + 1e-12)))
        self._background = min(level, self._background + RISE)
        return 1 / (1 + float(np.exp(-(level - self._background - MARGIN) / 2)))

    def reset(self) -> None:
        self._background = FLOOR / 2
