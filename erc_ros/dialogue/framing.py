"""Conversion of audio chunks of any length to frames for voice activity detection."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from erc_ros.dialogue.voice_activity import FRAME, FRAME_TIME
from erc_ros.sensing.audio import AudioSamples
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.settings import check, setting
from erc_ros.values.utterance import SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class FramingConfig:
    """Settings of the times of frames.

    Raises:
        ValueError: a value is outside its range.
    """

    drift: float = setting(
        0.005,
        "step by which the time of frames is adapted to the stamps of the audio",
        "s",
        (0.0, 0.1),
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, eq=False)
class AudioFrame:
    """FRAME samples that start at `start` (ns). reference: audio played by the robot, or empty."""

    start: int
    samples: NDArray[np.float32]
    reference: NDArray[np.float32]


def _no_samples() -> NDArray[np.float32]:
    return np.zeros(0, np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Framing:
    """State: samples of the incomplete frame, and its start (ns); None before the first chunk."""

    samples: NDArray[np.float32] = field(default_factory=_no_samples)
    reference: NDArray[np.float32] = field(default_factory=_no_samples)
    start: int | None = None


def step(
    framing: Framing, config: FramingConfig, sound: AudioSamples
) -> tuple[Framing, list[AudioFrame]]:
    """Process a chunk: return the new state and the completed frames.

    Frame times continue those of the previous frame and follow clock drift.
    """
    waiting = len(framing.samples) * NS // SAMPLE_RATE
    start = framing.start
    if start is None:
        start = sound.start
    elif abs(sound.start - waiting - start) > seconds(config.drift):
        start = sound.start - waiting
    played = np.zeros_like(sound.samples) if sound.reference is None else sound.reference
    samples = np.concatenate([framing.samples, sound.samples])
    reference = np.concatenate([framing.reference, played])
    count = len(samples) // FRAME
    frames = [
        AudioFrame(
            start + number * FRAME_TIME,
            samples[number * FRAME : (number + 1) * FRAME],
            reference[number * FRAME : (number + 1) * FRAME],
        )
        for number in range(count)
    ]
    rest = slice(count * FRAME, None)
    pending = Framing(samples[rest].copy(), reference[rest].copy(), start + count * FRAME_TIME)
    return pending, frames


class Framer:
    """Splits audio into frames."""

    def __init__(self, config: FramingConfig) -> None:
        self._config = config
        self.reset()

    def reset(self) -> None:
        """Start a new stream and drop the samples of the incomplete frame."""
        self._state = Framing()

    def feed(self, sound: AudioSamples) -> list[AudioFrame]:
        """Process a chunk and return the completed frames."""
        self._state, frames = step(self._state, self._config, sound)
        return frames
