"""The contract of `erc_ros.dialogue.voice_activity.VoiceActivity`."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from erc_ros.dialogue.voice_activity import LONGEST, SHORTEST, VoiceActivity
from erc_ros.plugins import VOICE_ACTIVITY, find
from erc_ros.values.utterance import SAMPLE_RATE

Audio = NDArray[np.float32]


def new(name: str) -> VoiceActivity:
    """Create a detector as in the pipeline."""
    made: VoiceActivity = find(VOICE_ACTIVITY, name)()
    return made


def run(detector: VoiceActivity, audio: Audio) -> list[float]:
    """Return the probability of each complete frame."""
    length = detector.frame
    return [detector.feed(audio[n : n + length]) for n in range(0, len(audio) - length + 1, length)]


def quiet(seconds: float, seed: int = 0) -> Audio:
    """Return the audio of a quiet room: noise at -70 dB."""
    rng = np.random.default_rng(seed)
    return (3e-4 * rng.standard_normal(round(seconds * SAMPLE_RATE))).astype(np.float32)


def voice(seconds: float) -> Audio:
    """Return synthetic speech: harmonics of 120 Hz with formants, four syllables per second."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    pitch = 2 * np.pi * np.cumsum(120 + 15 * np.sin(2 * np.pi * 1.5 * time)) / SAMPLE_RATE
    audio = np.zeros_like(time)
    for harmonic in range(1, 30):
        frequency = 120 * harmonic
        gain = sum(math.exp(-(((frequency - f) / 250) ** 2)) for f in (500, 1500, 2500))
        audio += (gain + 0.02) * np.sin(harmonic * pitch)
    audio *= 0.55 + 0.45 * np.sin(2 * np.pi * 4 * time)
    return np.asarray(0.3 * audio / np.abs(audio).max(), np.float32)


def test_the_frame_is_a_constant_length_in_bounds(voice_activity: str) -> None:
    """The length is 5 to 100 ms, and the same before and after use."""
    detector = new(voice_activity)
    length = detector.frame
    assert isinstance(length, int) and SHORTEST <= length <= LONGEST
    run(detector, quiet(1))
    assert detector.frame == length


@pytest.mark.parametrize("level", [0.0, 1e-6, 1.0, 100.0, float("nan"), float("inf")], ids=str)
def test_probabilities_are_numbers_from_0_to_1(voice_activity: str, level: float) -> None:
    """The input is silence, full scale, more than full scale and NaN."""
    detector = new(voice_activity)
    audio = quiet(0.5)
    audio[: len(audio) // 2] = level
    for probability in run(detector, audio):
        assert isinstance(probability, float) and 0.0 <= probability <= 1.0


def test_speech_is_likelier_than_silence(voice_activity: str) -> None:
    """The mean probability of synthetic speech is higher than that of a quiet room."""
    detector = new(voice_activity)
    room = run(detector, quiet(3))
    speech = run(detector, voice(3) + quiet(3, 1))
    assert np.mean(speech) > np.mean(room[len(room) // 3 :]) + 0.1


def test_after_reset_it_is_as_new(voice_activity: str) -> None:
    """The same audio gives the same probabilities, in the same object and in another one."""
    detector, audio = new(voice_activity), np.concatenate([quiet(0.5), voice(0.5)])
    first = run(detector, audio)
    run(detector, voice(0.5))
    detector.reset()
    assert run(detector, audio) == first
    assert run(new(voice_activity), audio) == first


def test_two_detectors_do_not_share_state(voice_activity: str) -> None:
    """Frames of one object do not change the results of another one."""
    audio = np.concatenate([quiet(0.5), voice(0.5)])
    expected = run(new(voice_activity), audio)
    one, other = new(voice_activity), new(voice_activity)
    length = one.frame
    probabilities = []
    for n in range(0, len(audio) - length + 1, length):
        probabilities.append(one.feed(audio[n : n + length]))
        other.feed(audio[::-1][n : n + length].copy())
    assert probabilities == expected


def test_the_samples_are_not_changed(voice_activity: str) -> None:
    """`feed` receives a view of the stream, which must not change."""
    detector = new(voice_activity)
    frame = voice(0.2)[: detector.frame].copy()
    frame[0] = np.nan
    before = frame.copy()
    detector.feed(frame)
    np.testing.assert_array_equal(frame, before)


def test_another_number_of_samples_is_refused(voice_activity: str) -> None:
    """It raises ValueError, so that an error of the caller is not treated as silence."""
    detector = new(voice_activity)
    with pytest.raises(ValueError):
        detector.feed(np.zeros(detector.frame + 1, np.float32))
