"""Separated audio of single voices: right times, without pauses, and bounded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from erc_ros.dialogue.voice_audio import MAX_VOICES, VoiceAudio
from erc_ros.sensing.audio import AudioFormat
from erc_ros.sensing.microphone import AudioChunk
from erc_ros.values.nanoseconds import NS

RATE = 16_000
T0 = 1_000 * NS
FORMAT = AudioFormat(RATE, 1, "S16LE")
NOTHING = np.zeros(0, np.int16)


def chunk(samples: np.ndarray, arrival: int, stamp: int | None = None) -> AudioChunk:
    return AudioChunk(samples.astype("<i2").tobytes(), stamp, arrival)


def said(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-9000, 9000, count).astype(np.int16)


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=20), st.booleans())
def test_what_was_said_comes_back_however_it_was_cut(sizes: list[int], stamped: bool) -> None:
    voices, sound, at = VoiceAudio(FORMAT, 20.0), said(sum(sizes)), 0
    for size in sizes:
        start = T0 + at * NS // RATE
        arrival = start + size * NS // RATE
        part = chunk(sound[at : at + size], arrival, start if stamped else None)
        voices.feed("v1", part)
        at += size
    heard = voices.instead_of(NOTHING, "v1", T0 - NS, T0 + 10 * NS)
    assert np.abs(heard.astype(int) - sound).max() <= 1


def test_a_voice_that_pauses_keeps_its_times() -> None:
    voices, first, second = VoiceAudio(FORMAT, 20.0), said(RATE), said(RATE, 1)
    for number in range(10):
        part = slice(number * 1600, (number + 1) * 1600)
        voices.feed("v1", chunk(first[part], T0 + (number + 1) * NS // 10))
    for number in range(10):  # five seconds later, without stamps
        part = slice(number * 1600, (number + 1) * 1600)
        voices.feed("v1", chunk(second[part], T0 + 6 * NS + (number + 1) * NS // 10))
    heard = voices.instead_of(NOTHING, "v1", T0 + 5 * NS, T0 + 8 * NS)
    assert np.abs(heard.astype(int) - second).max() <= 1


def test_the_microphone_is_used_without_audio_of_the_voice() -> None:
    voices, microphone = VoiceAudio(FORMAT, 20.0), said(RATE, 7)
    assert voices.instead_of(microphone, "v1", T0, T0 + NS) is microphone
    voices.feed("v1", chunk(said(RATE // 4), T0 + NS // 4, T0))  # a quarter of it only
    assert voices.instead_of(microphone, "v1", T0, T0 + NS) is microphone
    voices.feed("v1", chunk(said(RATE // 2), T0 + 3 * NS // 4, T0 + NS // 4))
    assert len(voices.instead_of(microphone, "v1", T0, T0 + NS)) == 3 * RATE // 4
    assert voices.instead_of(microphone, "v2", T0, T0 + NS) is microphone
    voices.clear()
    assert voices.instead_of(microphone, "v1", T0, T0 + NS) is microphone


def test_voices_and_their_audio_are_bounded() -> None:
    voices = VoiceAudio(FORMAT, 2.0)
    for number in range(1000):
        voices.feed(f"v{number}", chunk(said(16), T0 + number, T0 + number))
    for number in range(100):
        start = T0 + number * NS // 10
        voices.feed("v999", chunk(said(1600), start + NS // 10, start))
    assert len(voices._voices) == MAX_VOICES
    kept = voices.instead_of(NOTHING, "v999", 0, T0 + 20 * NS)
    assert 2 * RATE <= len(kept) <= 2.5 * RATE


def test_a_clock_that_was_set_back_restarts_the_voice() -> None:
    voices = VoiceAudio(FORMAT, 20.0)
    for start in (T0, T0 - 500 * NS):
        for number in range(5):
            at = start + number * NS // 10
            voices.feed("v1", chunk(said(1600), at + NS // 10, at))
    voices.feed("v1", chunk(said(1600), T0 - 499 * NS, T0 - 499 * NS))
    times = [start for start, _ in voices._voices["v1"].sounds]
    assert times == sorted(times) and times[0] < T0 - 498 * NS


@pytest.mark.parametrize("data", [b"x", b"xyz"])
def test_bytes_that_are_no_samples_are_refused(data: bytes) -> None:
    voices = VoiceAudio(FORMAT, 2.0)
    with pytest.raises(ValueError, match="multiple"):
        voices.feed("v1", AudioChunk(data, None, T0))
    voices.feed("v1", chunk(said(1600), T0 + NS // 10, T0))
