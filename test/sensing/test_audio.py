"""Microphone stream: samples, times, and reports of errors."""

from __future__ import annotations

import struct
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from erc_ros.sensing.audio import (
    AudioEvent,
    AudioFormat,
    AudioSamples,
    AudioStream,
    checked_samples,
    decode,
    format_of,
)
from erc_ros.sensing.clock import (
    Chunk,
    Clock,
    Drift,
    Gap,
    Jump,
    Overlap,
    RateChange,
    SecondMicrophone,
    WrongStamps,
    step,
)
from erc_ros.sensing.level import Clipping, Repaired, Silent
from erc_ros.values.nanoseconds import NS, seconds

T0 = 1_700_000_000 * NS
RATE = 16_000
MS = NS // 1000


def noise(seconds_long: float, rate: int = RATE, channels: int = 1) -> NDArray[np.float32]:
    rng = np.random.default_rng(7)
    shape = (round(seconds_long * rate), channels)
    return (0.2 * rng.standard_normal(shape)).clip(-0.9, 0.9).astype(np.float32)


def chunks(sound: NDArray[np.float32], length: int) -> list[NDArray[np.float32]]:
    return [sound[at : at + length] for at in range(0, len(sound), length)]


def play(
    stream: AudioStream, sound: NDArray[np.float32], start: int, rate: int = RATE, length: int = 320
) -> list[AudioEvent]:
    """Return correctly stamped chunks of `length` samples."""
    events: list[AudioEvent] = []
    for number, chunk in enumerate(chunks(sound, length)):
        events += stream.feed(chunk, start + number * length * NS // rate, rate)
    return events


def sound_of(events: list[AudioEvent]) -> NDArray[np.float32]:
    parts = [event.samples for event in events if isinstance(event, AudioSamples)]
    return np.concatenate([np.zeros(0, np.float32), *parts])


def others(events: list[AudioEvent]) -> list[AudioEvent]:
    return [event for event in events if not isinstance(event, AudioSamples)]


def times(events: list[AudioEvent]) -> NDArray[np.int64]:
    """Return the time of every sample."""
    parts = [
        event.start + np.arange(len(event.samples), dtype=np.int64) * NS // RATE
        for event in events
        if isinstance(event, AudioSamples)
    ]
    return np.concatenate([np.zeros(0, np.int64), *parts])


# --- bytes ---


def test_integers_are_scaled_to_one() -> None:
    data = struct.pack("<4h", -32768, 16384, 0, 32767)
    samples = decode(data, AudioFormat(RATE, 2, "S16LE"))
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples, np.float32([[-1, 0.5], [0, 32767 / 32768]]))
    data = struct.pack("<2i", -(2**31), 2**30)
    np.testing.assert_array_equal(
        decode(data, AudioFormat(RATE, 1, "S32LE")), np.float32([[-1], [0.5]])
    )


def test_floats_pass_unchanged() -> None:
    data = struct.pack("<3f", -1.0, 0.25, 2.0)
    np.testing.assert_array_equal(
        decode(data, AudioFormat(RATE, 3, "F32LE")), np.float32([[-1, 0.25, 2]])
    )


def test_an_empty_chunk_gives_no_samples() -> None:
    assert decode(b"", AudioFormat(RATE, 2)).shape == (0, 2)
    assert AudioStream().feed(decode(b"", AudioFormat(RATE, 2)), T0, RATE) == []


@pytest.mark.parametrize(("size", "channels"), [(3, 1), (6, 2), (1, 1)])
def test_an_odd_byte_count_is_refused_with_the_way_out(size: int, channels: int) -> None:
    with pytest.raises(
        ValueError, match=rf"{size} bytes .*\({channels} channels of S16LE\): check"
    ):
        decode(bytes(size), AudioFormat(RATE, channels))


@pytest.mark.parametrize(
    ("rate", "channels", "sample_format", "message"),
    [
        (7_999, 1, "S16LE", "7999 Hz"),
        (96_000, 1, "S16LE", "96000 Hz"),
        (RATE, 0, "S16LE", "0 audio channels"),
        (RATE, 9, "S16LE", "9 audio channels"),
        (RATE, 1, "S24LE", "'S24LE' is unknown; known: S16LE, S32LE, F32LE, S8, U8"),
        (RATE, 1, "MP3", "MP3 audio cannot be read; .* format:=wave"),
    ],
)
def test_a_format_that_cannot_be_read_is_refused(
    rate: int, channels: int, sample_format: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        AudioFormat(rate, channels, sample_format)


@pytest.mark.parametrize("shape", [(5,), (5, 9), (5, 0), (5, 1, 1)])
def test_samples_of_a_wrong_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shape"):
        AudioStream().feed(np.zeros(shape, np.float32), T0, RATE)


@pytest.mark.parametrize(
    ("given", "read", "sample_format"),
    [
        (np.float32, np.float32, "F32LE"),
        (np.float64, np.float32, None),  # becomes float32
        (np.int16, np.int16, "S16LE"),
        (np.int32, np.int32, "S32LE"),
        (np.dtype(">i2"), np.int16, "S16LE"),
        (np.dtype(">i4"), np.int32, "S32LE"),
    ],
)
@pytest.mark.parametrize("shape", [(6,), (3, 2), (0, 2)])
def test_arrays_are_read_by_their_type(
    given: np.dtype, read: type, sample_format: str | None, shape: tuple[int, ...]
) -> None:
    samples = (np.arange(np.prod(shape)) % 2).reshape(shape).astype(given)
    for data in (samples, samples[::-1][::-1], np.asfortranarray(samples)):
        found = checked_samples(data)
        assert isinstance(found, np.ndarray) and found.flags.c_contiguous
        assert found.dtype == np.dtype(read).newbyteorder("<")
        np.testing.assert_array_equal(found, samples)
    told = format_of(checked_samples(samples), None, AudioFormat(RATE, 1, "S8"))
    assert told.sample_format == (sample_format or "F32LE")
    assert told.channels == (2 if len(shape) == 2 else 1) and told.rate == RATE


@pytest.mark.parametrize("data", [b"abcd", bytearray(b"abcd"), memoryview(b"abcd")])
def test_bytes_are_passed_on_with_the_given_format(data: object) -> None:
    assert checked_samples(data) is data
    default, told = AudioFormat(RATE, 1, "S16LE"), AudioFormat(48_000, 2, "F32LE")
    assert format_of(data, None, default) == default
    assert format_of(data, told, default) == told
    bytes_in_an_array = np.frombuffer(b"abcd", np.uint8)
    assert checked_samples(bytes_in_an_array) is bytes_in_an_array
    assert format_of(bytes_in_an_array, told, default) == told


def test_arrays_that_cannot_be_samples_are_refused() -> None:
    for data in ("text", 3, None, np.zeros(4, np.uint16), np.zeros(4, bool), np.zeros(4, "f2")):
        with pytest.raises(TypeError):
            checked_samples(data)
    for shape in ((1, 2, 3), (2, 9), ()):
        with pytest.raises(ValueError, match="shape"):
            checked_samples(np.zeros(shape, np.float32))
    assert np.shape(checked_samples(np.zeros((2, 8), np.float32))) == (2, 8)
    for peak, is_refused in ((2.0, False), (-2.0, False), (2.01, True), (-32768.0, True)):
        samples = np.array([0.0, peak, np.nan, np.inf], np.float32)
        if is_refused:
            with pytest.raises(ValueError, match="int16"):
                checked_samples(samples)
        else:
            np.testing.assert_array_equal(checked_samples(samples), samples)


def test_an_array_with_other_channels_than_its_format_is_refused() -> None:
    stereo, default = np.zeros((3, 2), np.int16), AudioFormat(RATE, 1, "S16LE")
    with pytest.raises(ValueError, match="2 channels"):
        format_of(stereo, AudioFormat(RATE, 1, "S16LE"), default)
    flat = np.zeros(6, np.int16)  # interleaved: the format has the number
    assert format_of(flat, AudioFormat(8_000, 3, "F32LE"), default) == AudioFormat(
        8_000, 3, "S16LE"
    )


# --- any chunking ---


@st.composite
def cuts(draw: st.DrawFn, length: int) -> list[int]:
    inner = draw(st.lists(st.integers(0, length), max_size=30))
    return [0, *sorted(inner), length]


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000]),
    st.integers(1, 3),
    st.data(),
)
def test_samples_and_times_do_not_depend_on_the_chunks(
    rate: int, channels: int, data: st.DataObject
) -> None:
    heard = noise(0.4, rate, channels)
    whole = AudioStream()
    expected = whole.feed(heard, T0, rate) + whole.flush()
    stream, events = AudioStream(), []
    at = data.draw(cuts(len(heard)))
    for begin, end in pairwise(at):
        events += stream.feed(heard[begin:end], T0 + begin * NS // rate, rate)
    events += stream.flush()
    np.testing.assert_array_equal(sound_of(events), sound_of(expected))
    assert others(events) == others(expected) == []
    assert abs(times(events) - times(expected)).max() <= 1  # ns: integer division
    assert len(sound_of(events)) == round(len(heard) * RATE / rate)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([16_000, 48_000]), st.data())
def test_a_gap_does_not_depend_on_the_chunks(rate: int, data: st.DataObject) -> None:
    heard, lost = noise(0.6, rate), seconds(data.draw(st.sampled_from([0.3, 4.0])))
    half = len(heard) // 2
    results = []
    for _ in range(2):
        stream, events = AudioStream(), []
        at = sorted({*data.draw(cuts(len(heard))), half})
        for begin, end in pairwise(at):
            stamp = T0 + begin * NS // rate + (lost if begin >= half else 0)
            events += stream.feed(heard[begin:end], stamp, rate)
        results.append(events + stream.flush())
    np.testing.assert_array_equal(sound_of(results[0]), sound_of(results[1]))
    assert abs(times(results[0]) - times(results[1])).max() <= 1
    gap = Gap(T0 + half * NS // rate, lost, filled=lost < NS)
    assert others(results[0]) == others(results[1]) == [gap]


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_level_events_do_not_depend_on_the_chunks(data: st.DataObject) -> None:
    heard = noise(8.0)
    heard[16_000:100_000] = 0
    heard[120_000:120_004] = 1
    stream, events = AudioStream(), []
    at = data.draw(cuts(len(heard)))
    for begin, end in pairwise(at):
        events += stream.feed(heard[begin:end], T0 + begin * NS // RATE, RATE)
    clipped = T0 + (120_000 + 2) * NS // RATE  # the third sample of the run
    assert others(events) == [Silent(T0 + NS), Clipping(clipped)]


# --- resampling ---


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_a_resampled_click_keeps_its_time(rate: int) -> None:
    heard = np.zeros((rate, 1), np.float32)
    heard[rate // 2] = 0.9
    stream = AudioStream()
    events = play(stream, heard, T0, rate, length=rate // 50) + stream.flush()
    at = times(events)[np.argmax(np.abs(sound_of(events)))]
    assert abs(at - (T0 + NS // 2)) <= NS // RATE


def test_a_tone_keeps_its_pitch_and_level() -> None:
    t = np.arange(48_000) / 48_000
    heard = (0.5 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)[:, None]
    stream = AudioStream()
    sound = sound_of(play(stream, heard, T0, 48_000, length=960) + stream.flush())
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    assert np.abs(sound - expected)[200:-200].max() < 1e-3


def test_resampled_audio_stays_within_full_scale() -> None:
    square = np.sign(np.sin(np.arange(48_000) / 20)).astype(np.float32)[:, None]
    stream = AudioStream()
    sound = sound_of(stream.feed(square, T0, 48_000) + stream.flush())
    assert np.abs(sound).max() <= 1.0


def test_channels_are_averaged_or_one_is_chosen() -> None:
    heard = noise(0.1, channels=4)
    np.testing.assert_allclose(
        sound_of(AudioStream().feed(heard, T0, RATE)), heard.mean(axis=1), atol=1e-7
    )
    np.testing.assert_array_equal(
        sound_of(AudioStream(channel=2).feed(heard, T0, RATE)), heard[:, 2]
    )


def test_a_channel_that_is_not_there_is_refused_and_nothing_is_lost() -> None:
    stream = AudioStream(channel=1)
    with pytest.raises(ValueError, match=r"1 channels.*1"):
        stream.feed(noise(0.02), T0, RATE)
    assert len(sound_of(stream.feed(noise(0.02, channels=2), T0, RATE))) == 320
    with pytest.raises(ValueError, match=r"channel.*8"):
        AudioStream(channel=8)


# --- the clock ---


@given(st.lists(st.integers(-40, 40), min_size=2, max_size=80))
@settings(deadline=None)
def test_jitter_of_the_driver_moves_nothing(jitter: list[int]) -> None:
    stream, heard = AudioStream(), noise(0.02 * (len(jitter) + 1))
    first, *rest = chunks(heard, 320)
    events = stream.feed(first, T0, RATE)
    for number, (chunk, error) in enumerate(zip(rest, jitter, strict=True), start=1):
        events += stream.feed(chunk, T0 + number * 20 * MS + error * MS, RATE)
    events += stream.flush()
    assert not [e for e in others(events) if not isinstance(e, WrongStamps)]
    np.testing.assert_array_equal(sound_of(events), heard[:, 0])
    np.testing.assert_array_equal(times(events), T0 + np.arange(len(heard)) * NS // RATE)


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_a_short_gap_is_reported_and_filled(rate: int) -> None:
    stream, heard = AudioStream(), noise(0.4, rate)
    events = play(stream, heard, T0, rate) + play(stream, heard, T0 + 700 * MS, rate)
    events += stream.flush()
    assert others(events) == [Gap(T0 + 400 * MS, 300 * MS, filled=True)]
    np.testing.assert_array_equal(times(events), T0 + np.arange(17_600) * NS // RATE)
    sound = sound_of(events)
    assert np.abs(sound[6_600:11_000]).max() < 1e-5 < np.abs(sound[11_300:]).max()


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_a_long_gap_is_reported_and_a_new_line_begins(rate: int) -> None:
    stream, heard = AudioStream(), noise(0.4, rate)
    events = play(stream, heard, T0, rate) + play(stream, heard, T0 + 4 * NS, rate)
    events += stream.flush()
    assert others(events) == [Gap(T0 + 400 * MS, 4 * NS - 400 * MS, filled=False)]
    place = events.index(others(events)[0])
    assert len(sound_of(events[:place])) == len(sound_of(events[place:])) == 6_400
    assert events[0].start == T0 and events[place + 1].start == T0 + 4 * NS  # type: ignore[union-attr]
    # the resampler has no samples from before
    np.testing.assert_array_equal(sound_of(events[:place]), sound_of(events[place:]))


def test_a_stalled_driver_that_catches_up_loses_nothing() -> None:
    stream, heard = AudioStream(), noise(1.0)
    events: list[AudioEvent] = []
    for number, chunk in enumerate(chunks(heard, 320)):
        stamp = T0 + number * 20 * MS
        if 10 <= number < 20:  # all came at once, when the driver woke up
            stamp = T0 + 20 * 20 * MS - (20 - number) * MS
        events += stream.feed(chunk, stamp, RATE)
    assert others(events) == [WrongStamps(T0 + 200 * MS, 8)]
    np.testing.assert_array_equal(sound_of(events), heard[:, 0])
    np.testing.assert_array_equal(times(events), T0 + np.arange(RATE) * NS // RATE)


def test_a_single_wrong_stamp_changes_nothing() -> None:
    for wrong in (T0 + 500 * MS, T0 + 3600 * NS, T0 - 3600 * NS, 1):
        stream, heard = AudioStream(), noise(0.4)
        events: list[AudioEvent] = []
        for number, chunk in enumerate(chunks(heard, 320)):
            events += stream.feed(chunk, wrong if number == 7 else T0 + number * 20 * MS, RATE)
        assert others(events) == [WrongStamps(T0 + 140 * MS, 1)]
        np.testing.assert_array_equal(times(events), T0 + np.arange(6_400) * NS // RATE)


def test_a_repeated_chunk_is_dropped() -> None:
    stream, heard = AudioStream(), noise(0.4)
    events: list[AudioEvent] = []
    for number, chunk in enumerate(chunks(heard, 320)):
        events += stream.feed(chunk, T0 + number * 20 * MS, RATE)
        if number in (5, 6):
            events += stream.feed(chunk, T0 + number * 20 * MS, RATE)
    assert others(events) == [Overlap(T0 + 100 * MS, 20 * MS), Overlap(T0 + 120 * MS, 20 * MS)]
    np.testing.assert_array_equal(sound_of(events), heard[:, 0])


def test_what_overlaps_is_dropped_and_the_rest_is_kept() -> None:
    stream, heard = AudioStream(), noise(1.0)
    events = stream.feed(heard[:8_000], T0, RATE)
    events += stream.feed(heard[4_000:12_000], T0 + 250 * MS, RATE) + stream.flush()
    assert others(events) == [Overlap(T0 + 250 * MS, 250 * MS)]
    np.testing.assert_array_equal(sound_of(events), heard[:12_000, 0])


def test_chunks_cut_differently_when_they_are_repeated_are_dropped_up_to_the_tolerance() -> None:
    stream, heard = AudioStream(), noise(1.0)
    events = play(stream, heard[:8_000], T0)
    events += play(stream, heard[3_200:8_000], T0 + 200 * MS, length=160)
    events += play(stream, heard[8_000:], T0 + 500 * MS) + stream.flush()
    dropped = [event for event in others(events) if isinstance(event, Overlap)]
    assert others(events) == dropped
    assert 250 * MS <= sum(event.duration for event in dropped) <= 300 * MS
    np.testing.assert_array_equal(sound_of(events)[:8_000], heard[:8_000, 0])
    np.testing.assert_array_equal(sound_of(events)[-8_000:], heard[-8_000:, 0])


def test_a_chunk_that_comes_after_its_gap_was_filled_is_dropped() -> None:
    stream, heard = AudioStream(), noise(1.0)
    events = play(stream, heard[:6_400], T0)
    events += play(stream, heard[8_000:12_800], T0 + 500 * MS)
    events += stream.feed(heard[6_400:8_000], T0 + 400 * MS, RATE)
    events += play(stream, heard[12_800:], T0 + 800 * MS) + stream.flush()
    assert others(events) == [
        Gap(T0 + 400 * MS, 100 * MS, filled=True),
        Overlap(T0 + 400 * MS, 100 * MS),
    ]
    np.testing.assert_array_equal(times(events), T0 + np.arange(RATE) * NS // RATE)
    np.testing.assert_array_equal(sound_of(events)[8_000:], heard[8_000:, 0])


def test_a_clock_set_back_a_little_drops_duplicate_audio() -> None:
    stream, heard = AudioStream(), noise(1.0)
    events = play(stream, heard[:8_000], T0) + play(stream, heard[8_000:], T0 + 200 * MS)
    events += stream.flush()
    assert {type(event) for event in others(events)} == {Overlap}
    heard_once = RATE - 4_800
    assert heard_once <= len(sound_of(events)) <= heard_once + 800  # up to the tolerance
    assert (np.diff(times(events)) > 0).all()


@pytest.mark.parametrize("after", [T0 - 100 * NS, T0 + 100 * NS])
def test_a_clock_that_jumps_begins_a_new_line(after: int) -> None:
    stream, heard = AudioStream(), noise(0.4)
    events = play(stream, heard, T0) + play(stream, heard, after) + stream.flush()
    assert others(events) == [Jump(T0 + 400 * MS, after)]
    assert times(events)[6_400] == after
    np.testing.assert_array_equal(sound_of(events), np.concatenate([heard, heard])[:, 0])


@pytest.mark.parametrize("ppm", [200, -200])
def test_drift_is_reported_and_corrected(ppm: int) -> None:
    stream, length = AudioStream(), 1_600
    chunk, events = noise(0.1), []
    rng = np.random.default_rng(1)
    count = 3_000  # five minutes
    for number in range(count):
        true = T0 + number * 100 * MS + number * 100 * MS * ppm // 1_000_000
        events += stream.feed(chunk, true + int(rng.integers(0, 3 * MS)), RATE)
    drifts = [event for event in others(events) if isinstance(event, Drift)]
    assert drifts and others(events) == drifts
    assert drifts[-1].parts_per_million == pytest.approx(ppm, rel=0.1)
    assert len(sound_of(events)) == count * length  # nothing is inserted, nothing dropped
    sounds = [event for event in events if isinstance(event, AudioSamples)]
    truth = [T0 + n * 100 * MS + n * 100 * MS * ppm // 1_000_000 for n in range(count)]
    assert max(abs(s.start - t) for s, t in zip(sounds, truth, strict=True)) < 9 * MS
    steps = np.diff([s.start for s in sounds]) - 100 * MS
    assert abs(steps).max() <= 100 * MS // 1000 + 1


def test_without_stamps_time_is_counted_on() -> None:
    stream, heard = AudioStream(), noise(0.4)
    first, *rest = chunks(heard, 320)
    events = stream.feed(first, T0, RATE)
    for chunk in rest:
        events += stream.feed(chunk, 0, RATE, arrival=T0 + 999 * NS)  # another clock: ignored
    assert others(events) == []
    np.testing.assert_array_equal(times(events), T0 + np.arange(6_400) * NS // RATE)


def test_without_any_stamp_times_are_from_the_arrival() -> None:
    stream, heard = AudioStream(), noise(2.0)
    rng = np.random.default_rng(3)
    events: list[AudioEvent] = []
    for number, chunk in enumerate(chunks(heard, 320)):
        late = int(rng.integers(0, 150)) if number else 0
        events += stream.feed(chunk, None, RATE, arrival=T0 + (number + 1) * 20 * MS + late * MS)
    assert others(events) == []
    np.testing.assert_array_equal(times(events), T0 + np.arange(len(heard)) * NS // RATE)


def test_a_microphone_without_stamps_that_dies_and_comes_back_leaves_a_gap() -> None:
    stream, heard = AudioStream(), noise(0.4)
    events: list[AudioEvent] = []
    for start in (T0, T0 + 5 * NS):
        for number, chunk in enumerate(chunks(heard, 320)):
            events += stream.feed(chunk, None, RATE, arrival=start + (number + 1) * 20 * MS)
    assert others(events) == [Gap(T0 + 400 * MS, 5 * NS - 400 * MS, filled=False)]


def test_without_stamp_and_arrival_time_begins_at_zero() -> None:
    stream = AudioStream()
    events = stream.feed(noise(0.02), None, RATE) + stream.feed(noise(0.02), None, RATE)
    np.testing.assert_array_equal(times(events), np.arange(640) * NS // RATE)


def test_a_driver_whose_stamps_stand_still_is_counted() -> None:
    stream, heard = AudioStream(), noise(3.0)
    events: list[AudioEvent] = []
    for chunk in chunks(heard, 320):
        events += stream.feed(chunk, T0, RATE)
    assert {type(event) for event in others(events)} == {WrongStamps}
    np.testing.assert_array_equal(times(events), T0 + np.arange(len(heard)) * NS // RATE)


@given(st.lists(st.tuples(st.integers(1, 3_000), st.integers(-(10**10), 10**12)), max_size=60))
@settings(deadline=None)
def test_no_stamps_lose_samples_without_an_event(fed: list[tuple[int, int]]) -> None:
    """Every input sample is returned, or is in an Overlap; few samples are buffered."""
    stream, sent, events = AudioStream(), 0, []
    for number, (length, stamp) in enumerate(fed):
        chunk = np.full((length, 1), (number + 1) / 100, np.float32)
        events += stream.feed(chunk, stamp, RATE)
        sent += length
    events += stream.flush()
    filled = sum(e.duration for e in events if isinstance(e, Gap) and e.filled)
    dropped = sum(e.duration for e in events if isinstance(e, Overlap))
    out = len(sound_of(events)) + (dropped - filled) * RATE / NS
    assert out == pytest.approx(sent, abs=len(fed))


def test_what_is_held_back_is_bounded() -> None:
    clock = Clock()
    rng = np.random.default_rng(5)
    for number in range(500):
        stamp = int(rng.integers(0, 2**60))
        chunk = Chunk(np.full(320, number, np.float32), stamp, RATE)
        clock, _ = step(clock, chunk)
        assert clock.held_duration <= seconds(1.1) and len(clock.recent) <= 64


# --- the rate ---


def test_a_rate_change_goes_on_in_time() -> None:
    stream = AudioStream()
    events = play(stream, noise(0.4, 48_000), T0, 48_000)
    events += play(stream, noise(0.4), T0 + 400 * MS) + stream.flush()
    assert others(events) == [RateChange(T0 + 400 * MS, 48_000, 16_000)]
    place = events.index(others(events)[0])
    assert len(sound_of(events[:place])) == 6_400
    np.testing.assert_array_equal(times(events), T0 + np.arange(12_800) * NS // RATE)


# --- the level ---


def test_broken_floats_are_repaired_and_counted() -> None:
    heard = noise(0.1)
    heard[5], heard[6], heard[7] = np.nan, np.inf, -3.0
    before = heard.copy()
    events = AudioStream().feed(heard, T0, RATE)
    assert others(events) == [Repaired(T0, "not_finite", 2), Repaired(T0, "range", 1)]
    np.testing.assert_array_equal(sound_of(events)[5:8], [0, 0, -1])
    np.testing.assert_array_equal(heard, before)  # the message is not ours to change


def test_a_dead_microphone_is_said_once() -> None:
    stream = AudioStream()
    events = play(stream, np.zeros((RATE * 12, 1), np.float32), T0)
    assert others(events) == [Silent(T0)]
    events = play(stream, noise(0.1), T0 + 12 * NS)
    events += play(stream, np.zeros((RATE * 6, 1), np.float32), T0 + 12 * NS + 100 * MS)
    assert others(events) == [Silent(T0 + 12 * NS + 100 * MS)]


def test_clipping_is_said_once_until_it_rests() -> None:
    stream, heard = AudioStream(), noise(5.0)
    heard[1_000:20_000:50] = heard[1_001:20_001:50] = heard[1_002:20_002:50] = 1.0
    heard[60_000:60_010] = -1.0
    events = others(play(stream, heard, T0))
    assert events == [Clipping(T0 + 1_002 * NS // RATE), Clipping(T0 + 60_002 * NS // RATE)]


def test_a_single_peak_is_no_clipping() -> None:
    heard = noise(1.0)
    heard[::100] = 1.0
    assert others(AudioStream().feed(heard, T0, RATE)) == []


# --- ends ---


def test_flush_and_reset_start_a_new_stream() -> None:
    stream = AudioStream()
    assert stream.flush() == []
    play(stream, noise(0.4, 48_000), T0, 48_000)
    stream.reset()
    assert stream.flush() == []
    for start in (T0, T0 - 50 * NS):  # no Jump between two streams
        events = play(stream, noise(0.4, 48_000), start, 48_000) + stream.flush()
        assert others(events) == [] and times(events)[0] == start
        assert len(sound_of(events)) == 6_400


# --- channels ---


def test_a_channel_can_be_chosen_and_the_mean_leaves_out_the_reference() -> None:
    left, right, played = (noise(1.0) * np.float32(gain) for gain in (0.2, 0.6, 1.0))
    sound = np.concatenate([left, right, played], axis=1)
    assert np.array_equal(sound_of(play(AudioStream(channel=1), sound, T0)), right[:, 0])
    stream = AudioStream(reference=2)
    events = play(stream, sound, T0) + stream.flush()
    assert np.allclose(sound_of(events), 0.4 / 0.2 * left[:, 0], atol=1e-6)
    references = [e.reference for e in events if isinstance(e, AudioSamples)]
    assert np.array_equal(np.concatenate(references), played[:, 0])


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_the_reference_is_resampled_with_the_microphone(rate: int) -> None:
    both = np.repeat(noise(1.0, rate), 2, axis=1)
    stream = AudioStream(channel=0, reference=1)
    events = [
        e for e in play(stream, both, T0, rate, 441) + stream.flush() if isinstance(e, AudioSamples)
    ]
    assert all(e.reference is not None and len(e.reference) == len(e.samples) for e in events)
    assert all(np.array_equal(e.reference, e.samples) for e in events)
    assert abs(len(sound_of(events)) - RATE) <= 2


def test_a_gap_is_filled_in_both_channels() -> None:
    stream, both = AudioStream(channel=0, reference=1), np.repeat(noise(2.0), 2, axis=1)
    events = play(stream, both[:RATE], T0) + play(stream, both[RATE:], T0 + seconds(1.3))
    events += stream.flush()
    assert [type(e) for e in others(events)] == [Gap]
    assert len(sound_of(events)) == round(2.3 * RATE)


@pytest.mark.parametrize(
    ("channel", "reference", "channels"), [(1, None, 1), (None, 3, 2), (None, 0, 1)]
)
def test_channels_that_are_not_there_are_refused(
    channel: int | None, reference: int | None, channels: int
) -> None:
    with pytest.raises(ValueError, match="channel"):
        AudioStream(channel, reference).feed(np.zeros((160, channels), np.float32), T0, RATE)
    with pytest.raises(ValueError, match="both"):
        AudioStream(1, 1)


@pytest.mark.parametrize(
    ("sample_format", "data"), [("S8", b"\x80\x00\x40"), ("U8", b"\x00\x80\xc0")]
)
def test_samples_of_eight_bits_are_scaled(sample_format: str, data: bytes) -> None:
    samples = decode(data, AudioFormat(RATE, 1, sample_format))
    assert samples[:, 0].tolist() == [-1.0, 0.0, 0.5]


# --- two microphones on one topic ---


def seconds_of(events: list[AudioEvent]) -> int:
    return sum(isinstance(event, SecondMicrophone) for event in events)


def test_of_two_frames_on_one_topic_the_first_is_kept_until_it_dies() -> None:
    stream, first, second = AudioStream(), noise(6.0), noise(6.0) * np.float32(0.1)
    events: list[AudioEvent] = []
    for number in range(300):
        at, part = T0 + number * 20 * MS, slice(number * 320, (number + 1) * 320)
        if number < 150:
            events += stream.feed(first[part], at, RATE, source="head")
        events += stream.feed(second[part], at + 7 * MS, RATE, source="chest")
    events += stream.flush()
    dropped = [e for e in events if isinstance(e, SecondMicrophone)]
    assert len(dropped) == pytest.approx(150 + 50, abs=2)  # and a second until it is believed dead
    assert {event.source for event in dropped} == {"chest"}
    assert {(event.start - T0) % (20 * MS) for event in dropped} == {7 * MS}  # its stamps
    sound = sound_of(events)
    assert np.array_equal(sound[: 3 * RATE], first[: 3 * RATE, 0])
    assert len(sound) >= 4.9 * RATE and np.abs(sound[-RATE:]).max() < 0.1


@pytest.mark.parametrize("length", [320, 1600])
@pytest.mark.parametrize("offset", [0.1, 0.3, 0.5, 0.8])
@pytest.mark.parametrize("jitter", [0, 1])
def test_two_microphones_without_a_frame_are_detected_by_their_stamps(
    length: int, offset: float, jitter: int
) -> None:
    stream, first, second = AudioStream(), noise(10.0), noise(10.0) * np.float32(0.01)
    duration, random = length * NS // RATE, np.random.default_rng(3)
    events: list[AudioEvent] = []
    stamps = set()
    for number, part in enumerate(chunks(first, length)):
        shake = random.integers(-MS, MS, 2) * jitter
        at = T0 + number * duration
        events += stream.feed(part, at + int(shake[0]), RATE)
        if number >= 20:  # the second one comes later
            other = second[number * length : (number + 1) * length]
            late = round(offset * duration) + int(shake[1])
            events += stream.feed(other, at + late, RATE)
            stamps.add(at + late)
    events += stream.flush()
    count = len(first) // length - 20
    assert count - 32 <= seconds_of(events) + sum(
        isinstance(e, (Overlap, WrongStamps)) for e in events
    )
    assert seconds_of(events) >= 0.6 * count
    assert {e.start for e in events if isinstance(e, SecondMicrophone)} <= stamps
    tail = sound_of(events)[-2 * RATE :]
    assert np.abs(tail).std() > 0.05  # the first one is used, not the second


def test_chunks_that_come_twice_and_a_clock_that_stalls_are_no_second_microphone() -> None:
    stream, sound = AudioStream(), noise(4.0)
    events: list[AudioEvent] = []
    for number, part in enumerate(chunks(sound, 320)):
        for _ in range(2):
            events += stream.feed(part, T0 + number * 20 * MS, RATE)
    assert seconds_of(events) == 0 and np.array_equal(sound_of(events), sound[:, 0])
    stream = AudioStream()
    events = []
    for number, part in enumerate(chunks(sound, 320)):
        events += stream.feed(part, T0 + number // 10 * 200 * MS, RATE)
    assert seconds_of(events) == 0


def test_a_clock_that_jumps_an_hour_begins_a_new_line_and_loses_nothing() -> None:
    for hours in (1, -1):
        stream, sound = AudioStream(), noise(4.0)
        events = play(stream, sound[: 2 * RATE], T0)
        events += play(stream, sound[2 * RATE :], T0 + seconds(2 + 3600 * hours)) + stream.flush()
        (jump,) = others(events)
        assert isinstance(jump, Jump)
        assert jump.after - jump.before == pytest.approx(seconds(3600 * hours), abs=5 * MS)
        assert np.array_equal(sound_of(events), sound[:, 0])


@settings(max_examples=20, deadline=None)
@given(st.integers(1_200, 9_000), st.integers(10, 40))
def test_chunks_from_before_a_gap_are_not_used_twice(lost: int, back: int) -> None:
    stream, heard = AudioStream(), noise(2.0)
    events = play(stream, heard[:RATE], T0, length=320)
    late = T0 + NS + lost * MS
    events += play(stream, heard[RATE : RATE + 3200], late)
    first = RATE - 320 * back  # 0.2 s from before the gap arrive again, with their stamps
    events += play(stream, heard[first : first + 3200], T0 + first * NS // RATE)
    events += play(stream, heard[RATE + 3200 :], late + 200 * MS) + stream.flush()
    again = [Overlap(T0 + (first + 320 * n) * NS // RATE, 20 * MS) for n in range(10)]
    assert others(events) == [Gap(T0 + NS, lost * MS, filled=False), *again]
    np.testing.assert_array_equal(sound_of(events), heard[:, 0])
