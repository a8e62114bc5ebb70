"""Waveform input of encoders like wav2vec 2.0."""

from __future__ import annotations

import numpy as np
import pytest

from erc_ros.encoders.audio import waveform_input
from erc_ros.values.utterance import SAMPLE_RATE


def noise(seconds: float) -> np.ndarray:
    count = round(seconds * SAMPLE_RATE)
    return np.random.default_rng(0).integers(-9000, 11000, count).astype(np.int16)


def test_it_is_scaled_to_one_and_keeps_the_end() -> None:
    samples = noise(3)
    waveform = waveform_input(samples, max_seconds=2.0, normalise=False)
    assert waveform.dtype == np.float32 and waveform.shape == (2 * SAMPLE_RATE,)
    np.testing.assert_array_equal(waveform, samples[SAMPLE_RATE:] / np.float32(32768))


def test_normalized_it_has_mean_0_and_variance_1_over_what_counts() -> None:
    samples = np.concatenate([np.full(SAMPLE_RATE, 30000, np.int16), noise(1)])
    waveform = waveform_input(samples, max_seconds=1.0, normalise=True)
    assert waveform.mean() == pytest.approx(0, abs=1e-4)
    assert waveform.std() == pytest.approx(1, abs=1e-3)


def test_silence_and_nothing_stay_finite() -> None:
    silent = waveform_input(np.zeros(SAMPLE_RATE, np.int16), max_seconds=1.0, normalise=True)
    assert not silent.any()
    assert waveform_input(np.zeros(0, np.int16), max_seconds=1.0, normalise=True).shape == (0,)


@pytest.mark.parametrize("samples", [np.zeros((2, 8), np.int16), np.zeros(8, np.float32)])
def test_other_samples_are_refused(samples: np.ndarray) -> None:
    with pytest.raises(ValueError, match="int16"):
        waveform_input(samples, max_seconds=1.0, normalise=False)
