"""Log-mel features: dependence of a frame on samples, and robustness to any audio."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erc_ros.encoders.audio import (
    HOP,
    MEL_BANDS,
    WINDOW,
    audio_input,
    frame_count,
    log_mel,
    normalise,
)
from erc_ros.values.utterance import SAMPLE_RATE


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)


def tone(hertz: float, seconds: float = 1.0) -> np.ndarray:
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (0.5 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


@settings(deadline=None)
@given(st.integers(0, 20), st.integers(0, 2**32 - 1))
def test_a_frame_depends_on_its_own_samples_only(first: int, seed: int) -> None:
    whole = noise(8000, seed)
    part = log_mel(whole[first * HOP : first * HOP + 4000])
    np.testing.assert_allclose(part, log_mel(whole)[first : first + len(part)], atol=1e-4)


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (399, 0), (400, 1), (559, 1), (560, 2)])
def test_only_whole_windows_are_frames(samples: int, frames: int) -> None:
    assert log_mel(noise(samples)).shape == (frames, MEL_BANDS)


def test_a_higher_tone_is_in_a_higher_band() -> None:
    peaks = [int(log_mel(tone(f)).mean(axis=0).argmax()) for f in (150, 500, 1500, 4000, 7000)]
    assert peaks == sorted(set(peaks))


def test_a_tone_ten_times_as_loud_is_twenty_decibels_higher() -> None:
    quiet, loud = log_mel(tone(1000) / 10), log_mel(tone(1000))
    band = int(loud.mean(axis=0).argmax())
    difference = (loud - quiet)[:, band].mean()
    assert difference == pytest.approx(2 * np.log(10), abs=0.01)


def test_silence_is_finite_and_normalised_to_zero() -> None:
    features = audio_input(np.zeros(SAMPLE_RATE, np.int16))
    assert features.shape == (98, MEL_BANDS)
    assert not features.any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_a_bad_sample_spoils_only_its_own_frames(bad: float) -> None:
    sound = noise(SAMPLE_RATE)
    good = log_mel(sound)
    sound[8000] = bad
    features = log_mel(sound)
    assert np.isfinite(features).all()
    touched = (np.arange(len(good)) * HOP <= 8000) & (np.arange(len(good)) * HOP + WINDOW > 8000)
    np.testing.assert_allclose(features[~touched], good[~touched], atol=1e-4)


def test_clipped_audio_has_ordinary_features() -> None:
    features = audio_input(np.where(noise(SAMPLE_RATE) > 0, 32767, -32768).astype(np.int16))
    assert np.isfinite(features).all() and np.abs(features).max() < 20


def test_loudness_has_no_influence_on_the_input() -> None:
    sound = (noise(SAMPLE_RATE) * tone(3)).astype(np.float32)
    quiet, loud = ((sound * level).astype(np.int16) for level in (3000, 30000))
    assert np.abs(audio_input(quiet) - audio_input(loud)).max() < 0.1


def test_the_input_has_mean_zero_and_variance_one() -> None:
    features = audio_input((noise(30_000) * 20_000).astype(np.int16))
    assert features.dtype == np.float32
    assert float(features.mean()) == pytest.approx(0, abs=1e-4)
    assert float(features.std()) == pytest.approx(1, abs=0.01)


@given(st.integers(0, 3 * SAMPLE_RATE))
@settings(max_examples=20, deadline=None)
def test_only_the_last_seconds_count_and_frames_are_those_of_the_stream(more: int) -> None:
    sound = (noise(SAMPLE_RATE + more) * 30_000).astype(np.int16)
    frames = log_mel(sound.astype(np.float32) / 32768)
    limit = frame_count(SAMPLE_RATE)
    features = audio_input(sound, max_seconds=1.0)
    assert features.shape == (limit, MEL_BANDS)
    np.testing.assert_allclose(features, normalise(frames[-limit:]), atol=1e-3)


@pytest.mark.parametrize("samples", [0, 1, 399])
def test_too_short_audio_has_no_frames(samples: int) -> None:
    assert audio_input(np.zeros(samples, np.int16)).shape == (0, MEL_BANDS)


@pytest.mark.parametrize("sound", [np.zeros((10, 2), np.int16), np.zeros(10, np.float32)])
def test_audio_of_another_shape_or_type_is_refused(sound: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"\(n,\) int16"):
        audio_input(sound)


def test_stereo_is_refused() -> None:
    with pytest.raises(ValueError, match="mono"):
        log_mel(np.zeros((10, 2), np.float32))
