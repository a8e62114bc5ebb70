"""Framing of audio: no sample is lost, with right times, with any chunks."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from erc_ros.dialogue.framing import Framer, Framing, FramingConfig, step
from erc_ros.dialogue.voice_activity import FRAME, FRAME_TIME
from erc_ros.sensing.audio import AudioSamples
from erc_ros.values.nanoseconds import NS, seconds

CONFIG = FramingConfig()
RATE = 16_000


def ramp(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.float32)


@given(st.lists(st.integers(0, 2_000), max_size=12))
def test_any_chunking_gives_the_same_frames(sizes: list[int]) -> None:
    framer, first, frames = Framer(CONFIG), 0, []
    for size in sizes:
        samples = ramp(sum(sizes))[first : first + size]
        frames += framer.feed(AudioSamples(first * NS // RATE, samples))
        first += size
    assert [frame.start for frame in frames] == [n * FRAME_TIME for n in range(len(frames))]
    assert len(frames) == sum(sizes) // FRAME
    whole = np.concatenate([ramp(0), *(frame.samples for frame in frames)])
    np.testing.assert_array_equal(whole, ramp(len(frames) * FRAME))


def test_a_step_changes_no_state() -> None:
    before, _ = step(Framing(), CONFIG, AudioSamples(0, ramp(100)))
    step(before, CONFIG, AudioSamples(100 * NS // RATE, ramp(1_000)))
    np.testing.assert_array_equal(before.samples, ramp(100))


def test_a_drift_is_followed_and_jitter_is_not() -> None:
    framer = Framer(CONFIG)
    framer.feed(AudioSamples(0, ramp(FRAME)))
    (frame,) = framer.feed(AudioSamples(FRAME_TIME + seconds(0.004), ramp(FRAME)))
    assert frame.start == FRAME_TIME
    (frame,) = framer.feed(AudioSamples(2 * FRAME_TIME + seconds(0.006), ramp(FRAME)))
    assert frame.start == 2 * FRAME_TIME + seconds(0.006)


def test_the_reference_channel_stays_aligned_with_the_microphone() -> None:
    framer = Framer(CONFIG)
    framer.feed(AudioSamples(0, ramp(500)))
    (frame,) = framer.feed(AudioSamples(500 * NS // RATE, ramp(12), reference=ramp(12) + 1))
    np.testing.assert_array_equal(frame.reference[:500], 0)
    np.testing.assert_array_equal(frame.reference[500:], ramp(12) + 1)


def test_after_a_break_what_was_pending_is_gone() -> None:
    framer = Framer(CONFIG)
    framer.feed(AudioSamples(0, ramp(FRAME - 1)))
    framer.reset()
    assert framer.feed(AudioSamples(seconds(9), ramp(1))) == []
    (frame,) = framer.feed(AudioSamples(seconds(9) + NS // RATE, ramp(FRAME)))
    assert frame.start == seconds(9)
