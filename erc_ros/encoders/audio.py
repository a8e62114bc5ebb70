"""Log-mel features of speech.

25 ms windows every 10 ms, 64 bands from 60 to 7400 Hz. Frame k depends only on the samples 160 k to
160 k + 399.
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
LOWEST, HIGHEST = 60.0, 7400.0  # Hz; resampled clips have no energy above
FLOOR = 1e-8  # minimum power of a band, about the rounding noise of 16-bit samples
MAX_SECONDS = 6.0
BLOCK = 32  # frames computed at once
DYNAMIC_RANGE = 6.0 * np.log(10.0)  # 60 dB below the loudest band, in nepers of power

Features = NDArray[np.float32]


def frame_count(samples: int) -> int:
    """Return the number of complete windows in `samples` samples."""
    return max(0, (samples - WINDOW) // HOP + 1)


def log_mel(samples: NDArray[np.float32]) -> Features:
    """Compute log-mel features: (n,) float32 in [-1, 1] -> (T, 64) logarithm of power.

    Raises:
        ValueError: the samples have another shape.
    """
    if samples.ndim != 1:
        raise ErcValueError(f"audio must be mono, (n,), not {samples.shape}")
    return _features(samples.astype(np.float32, copy=False), frame_count(len(samples)))


def normalise(features: Features) -> Features:
    """Normalize to mean 0 and variance 1 over the whole utterance, (T, 64) -> (T, 64).

    One mean and one standard deviation for all bands remove the loudness and keep the timbre.
    Values more than 60 dB below the loudest band are clipped first, so that digital silence and a
    quiet room give the same features.
    """
    if features.size == 0:
        return features
    bounded = np.maximum(features, features.max() - np.float32(DYNAMIC_RANGE))
    centred = bounded - bounded.mean(dtype=np.float64).astype(np.float32)
    deviation = np.sqrt(np.mean(np.square(centred), dtype=np.float64)).astype(np.float32)
    result: Features = (centred / (deviation + np.float32(1e-3))).astype(np.float32)
    return result


def audio_input(samples: NDArray[np.int16], max_seconds: float = MAX_SECONDS) -> Features:
    """Convert the audio of an utterance, (n,) int16, to the input (T, 64) of the audio network.

    Only the last `max_seconds` are used. T is 0 for less than 25 ms: there is no audio then.

    Raises:
        ValueError: the samples are not (n,) int16.
    """
    _check_sound(samples)
    kept = frame_count(round(max_seconds * SAMPLE_RATE))
    # Cut at a multiple of the hop, so that the frames are the same as in a stream.
    start = max(0, frame_count(len(samples)) - kept) * HOP
    return normalise(log_mel(samples[start:].astype(np.float32) / np.float32(32768)))


def waveform_input(
    samples: NDArray[np.int16], max_seconds: float, normalise: bool
) -> NDArray[np.float32]:
    """Convert the audio of an utterance, (n,) int16, to the input of a waveform encoder, float32.

    Args:
        max_seconds: only the last `max_seconds` are used.
        normalize: whether to normalize to mean 0 and variance 1, as wav2vec 2.0 and data2vec expect
            unless their feature extractor has `do_normalize: false`; otherwise in [-1, 1].

    Raises:
        ValueError: the samples are not (n,) int16.
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
    # NaN and clipped samples must not affect the whole utterance.
    sound = np.clip(np.nan_to_num(heard, nan=0.0), -1.0, 1.0)
    windows = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[: frames * HOP : HOP]
    # In blocks, because the system would allocate large arrays again in every call.
    bands = np.concatenate(
        [_power(windows[at : at + BLOCK]) @ bank for at in range(0, frames, BLOCK)]
    )
    result: Features = np.log(np.maximum(bands, np.float32(FLOOR)))  # (T, 64)
    return result


def _power(windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute the power spectrum of windows: (T, 400) -> (T, 257)."""
    # In float64, NumPy's transform is three times as fast as in float32.
    spectrum = np.fft.rfft(windows * _tables()[0], FFT)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    return power.astype(np.float32)


@lru_cache(maxsize=1)
def _tables() -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return the Hann window (400,), with mean square 1, and mel filters (257, 64), of sum 1."""
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
