"""Log-mel features of speech.

25 ms windows every 10 ms, 64 bands from 60 to 7400 Hz. Frame k covers the samples 160 k to
160 k + 399 and depends on nothing else.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from erc_ros.values.errors import ErcValueError
from erc_ros.values.utterance import SAMPLE_RATE

WINDOW = 400  # samples, 25 ms
HOP = 160  # samples, 10 ms
FFT = 512
MEL_BANDS = 64
LOWEST, HIGHEST = 60.0, 7400.0  # Hz; above, clips that were once resampled have no audio
FLOOR = 1e-8  # power of a band; about the rounding noise of 16-bit samples
MAX_SECONDS = 6.0
BLOCK = 32  # frames computed at once
DYNAMIC_RANGE = 6.0 * np.log(10.0)  # 60 dB below the loudest band, in nepers of power

Features = NDArray[np.float32]


def frame_count(samples: int) -> int:
    """How many whole windows there are in so many samples."""
    return max(0, (samples - WINDOW) // HOP + 1)


def log_mel(samples: NDArray[np.float32]) -> Features:
    """A whole recording at once: (n,) float32 in [-1, 1] -> (T, 64) log power.

    Raises:
        ValueError: samples of another shape.
    """
    if samples.ndim != 1:
        raise ErcValueError(f"audio must be mono, (n,), not {samples.shape}")
    return _features(samples.astype(np.float32, copy=False), frame_count(len(samples)))


def normalise(features: Features) -> Features:
    """Mean 0 and variance 1 over the whole utterance, (T, 64) -> (T, 64).

    One mean and one deviation for all bands: loudness and the distance of the microphone go, the
    timbre of the voice stays. What is 60 dB below the loudest band is cut off first: digital
    silence and a quiet room then look the same.
    """
    if features.size == 0:
        return features
    bounded = np.maximum(features, features.max() - np.float32(DYNAMIC_RANGE))
    centred = bounded - bounded.mean(dtype=np.float64).astype(np.float32)
    deviation = np.sqrt(np.mean(np.square(centred), dtype=np.float64)).astype(np.float32)
    result: Features = (centred / (deviation + np.float32(1e-3))).astype(np.float32)
    return result


def audio_input(samples: NDArray[np.int16], max_seconds: float = MAX_SECONDS) -> Features:
    """Audio of an utterance, (n,) int16, -> the audio network's input (T, 64) float32.

    Only the last `max_seconds` count. T is 0 below 25 ms: the utterance then has no audio.

    Raises:
        ValueError: samples that are not (n,) int16.
    """
    _check_sound(samples)
    kept = frame_count(round(max_seconds * SAMPLE_RATE))
    # Whole hops are excluded, so that frames lie where a stream has them.
    start = max(0, frame_count(len(samples)) - kept) * HOP
    return normalise(log_mel(samples[start:].astype(np.float32) / np.float32(32768)))


def waveform_input(
    samples: NDArray[np.int16], max_seconds: float, normalise: bool
) -> NDArray[np.float32]:
    """Audio of an utterance, (n,) int16, -> what a waveform encoder hears, (n,) float32.

    Args:
        max_seconds: only the last so many count.
        normalize: to mean 0 and variance 1 over what counts (wav2vec 2.0 and data2vec expect it
            unless their feature extractor says `do_normalize: false`); else in [-1, 1].

    Raises:
        ValueError: samples that are not (n,) int16.
    """
    _check_sound(samples)
    kept = samples[-round(max_seconds * SAMPLE_RATE) :]
    sound: NDArray[np.float32] = kept.astype(np.float32) / np.float32(32768)
    if normalise and len(sound):
        deviation = np.sqrt(sound.var(dtype=np.float64) + 1e-7)
        sound = ((sound - sound.mean(dtype=np.float64)) / deviation).astype(np.float32)
    return sound


def _check_sound(samples: NDArray[np.int16]) -> None:
    if samples.ndim != 1 or samples.dtype != np.int16:
        raise ErcValueError(f"audio must be (n,) int16, not {samples.shape} {samples.dtype}")


def _features(heard: NDArray[np.float32], frames: int) -> Features:
    if frames == 0:
        return np.zeros((0, MEL_BANDS), np.float32)
    bank = _tables()[1]
    # Neither a NaN nor an overdriven sample may spoil the utterance.
    sound = np.clip(np.nan_to_num(heard, nan=0.0), -1.0, 1.0)
    windows = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[: frames * HOP : HOP]
    # Block by block: the arrays of a long utterance would come fresh from the system every time.
    bands = np.concatenate(
        [_power(windows[at : at + BLOCK]) @ bank for at in range(0, frames, BLOCK)]
    )
    result: Features = np.log(np.maximum(bands, np.float32(FLOOR)))  # (T, 64)
    return result


def _power(windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Power spectrum of (T, 400) -> (T, 257)."""
    # float64: numpy's transform is three times as fast as in float32.
    spectrum = np.fft.rfft(windows * _tables()[0], FFT)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    return power.astype(np.float32)


@lru_cache(maxsize=1)
def _tables() -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Hann window (400,), scaled to mean square 1, and mel filters (257, 64), each of sum 1."""
    turn = 2 * np.pi * np.arange(WINDOW) / WINDOW
    window = 0.5 - 0.5 * np.cos(turn)
    window /= np.sqrt(np.sum(np.square(window)))
    hertz = np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE)
    edges = _to_hertz(np.linspace(_to_mel(LOWEST), _to_mel(HIGHEST), MEL_BANDS + 2))
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (hertz[:, None] - low) / (centre - low)
    falling = (high - hertz[:, None]) / (high - centre)
    bank = np.clip(np.minimum(rising, falling), 0, None)
    return window, (bank / bank.sum(axis=0)).astype(np.float32)


def _to_mel(hertz: float) -> float:
    return float(2595.0 * np.log10(1.0 + hertz / 700.0))


def _to_hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    hertz: NDArray[np.float64] = 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    return hertz
