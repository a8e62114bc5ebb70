"""The contract of `erc_ros.media.recognizers.SpeechRecognizer`."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from erc_ros.media.recognizers import RecognizerError, SpeechRecognizer, load_recognizer
from erc_ros.media.transcripts import Cue
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import SAMPLE_RATE


@pytest.fixture
def recognizer(speech_recognizer: str) -> SpeechRecognizer:
    """A new recognizer, loaded as in `--recognizer`; skipped if its model is not installed."""
    try:
        return load_recognizer(speech_recognizer, "en")
    except (RecognizerError, ModuleNotFoundError) as error:
        pytest.skip(str(error))


def noise(seconds: float, level: float = 0.1) -> NDArray[np.int16]:
    """Return noise of a level relative to full scale."""
    rng = np.random.default_rng(0)
    samples = level * 32767 * rng.standard_normal(round(seconds * SAMPLE_RATE))
    return np.clip(samples, -32768, 32767).astype(np.int16)


def check(cues: list[Cue], samples: NDArray[np.int16]) -> None:
    """Check that the cues are sorted and within the segment."""
    length = len(samples) * NS // SAMPLE_RATE
    starts = [cue.start for cue in cues]
    assert starts == sorted(starts), "cues must be sorted by time"
    for cue in cues:
        assert isinstance(cue.text, str)
        for start, end in [(cue.start, cue.end), *((word.start, word.end) for word in cue.words)]:
            assert isinstance(start, int) and isinstance(end, int), "times are ns"
            assert 0 <= start <= end <= length, f"{start}..{end} ns is outside the segment"
        assert cue.confidence is None or 0.0 <= cue.confidence <= 1.0


@pytest.mark.parametrize("seconds", [0.01, 0.5, 3.0])
def test_cues_lie_within_the_segment(recognizer: SpeechRecognizer, seconds: float) -> None:
    """The segment is noise of 10 ms to 3 s."""
    samples = noise(seconds)
    check(recognizer.transcribe(samples), samples)


def test_silence_raises_nothing(recognizer: SpeechRecognizer) -> None:
    """Digital silence gives a list."""
    samples = np.zeros(SAMPLE_RATE, np.int16)
    check(recognizer.transcribe(samples), samples)


def test_the_result_depends_on_the_samples_alone(recognizer: SpeechRecognizer) -> None:
    """Earlier calls have no effect, and the samples are not changed."""
    samples = noise(1.0)
    before = samples.copy()
    first = recognizer.transcribe(samples)
    recognizer.transcribe(noise(0.5, 0.3))
    assert recognizer.transcribe(samples) == first
    np.testing.assert_array_equal(samples, before)
