"""The frame buffer: what it keeps, what it drops, and that it counts both."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from erc_ros.sensing.frames import Frame, FrameBuffer, FrameCounts
from erc_ros.values.nanoseconds import NS

T0 = 1_700_000_000 * NS
MS = NS // 1000


def frame(stamp: int, size: int = 100) -> Frame:
    return Frame(stamp, "mono8", 10, 10, 10, bytes(size), "camera")


def test_frames_of_a_span_come_in_the_order_of_their_stamps() -> None:
    buffer = FrameBuffer()
    for at in (0, 66, 33, 100):
        assert buffer.add(frame(T0 + at * MS))
    assert [f.stamp - T0 for f in buffer.between(T0 + 33 * MS, T0 + 100 * MS)] == [
        33 * MS,
        66 * MS,
        100 * MS,
    ]
    assert buffer.counts == FrameCounts(added=4, out_of_order=1)
    newest = buffer.newest
    assert newest is not None and newest.stamp == T0 + 100 * MS


def test_the_nearest_frame_within_the_tolerance() -> None:
    buffer = FrameBuffer()
    assert buffer.nearest(T0, NS) is None and buffer.newest is None
    for at in (0, 40):
        buffer.add(frame(T0 + at * MS))
    nearest = buffer.nearest(T0 + 25 * MS, 20 * MS)
    assert nearest is not None and nearest.stamp == T0 + 40 * MS
    assert buffer.nearest(T0 + 100 * MS, 20 * MS) is None
    earlier = buffer.nearest(T0 + 20 * MS, 20 * MS)
    assert earlier is not None and earlier.stamp == T0


def test_an_equal_stamp_is_refused() -> None:
    buffer = FrameBuffer()
    assert buffer.add(frame(T0)) and not buffer.add(frame(T0, size=5))
    assert buffer.counts == FrameCounts(added=1, duplicates=1) and buffer.bytes == 100


@pytest.mark.parametrize("stamp", [0, -5])
def test_a_frame_without_a_stamp_is_refused(stamp: int) -> None:
    buffer = FrameBuffer()
    assert not buffer.add(frame(stamp))
    assert buffer.counts == FrameCounts(unstamped=1)


def test_a_clock_that_jumps_back_clears() -> None:
    buffer = FrameBuffer(duration=2 * NS)
    for at in range(10):
        buffer.add(frame(T0 + at * 100 * MS))
    buffer.add(frame(T0 - 60 * NS))
    assert len(buffer) == 1 and buffer.bytes == 100
    assert buffer.counts == FrameCounts(added=11, jumps=1)


def test_old_frames_leave() -> None:
    buffer = FrameBuffer(duration=NS)
    for at in range(40):
        buffer.add(frame(T0 + at * 100 * MS))
    assert len(buffer) == 11
    assert buffer.counts == FrameCounts(added=40, too_old=29)


def test_a_frame_larger_than_the_buffer_is_refused_and_the_others_stay() -> None:
    buffer = FrameBuffer(max_bytes=1_000)
    buffer.add(frame(T0))
    assert not buffer.add(frame(T0 + 1, size=1_001))
    assert len(buffer) == 1 and buffer.counts == FrameCounts(added=1, too_many_bytes=1)


def test_reset_keeps_the_counts() -> None:
    buffer = FrameBuffer()
    buffer.add(frame(T0))
    buffer.reset()
    assert len(buffer) == 0 and buffer.bytes == 0 and buffer.counts.added == 1


@pytest.mark.parametrize(("duration", "size"), [(0, 1), (1, 0), (-1, 1)])
def test_bounds_that_hold_nothing_are_refused(duration: int, size: int) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        FrameBuffer(duration, size)


@given(st.lists(st.tuples(st.integers(-5, 6_000), st.integers(0, 400)), max_size=200))
def test_bounds_hold_and_every_frame_is_counted(frames: list[tuple[int, int]]) -> None:
    buffer, refused = FrameBuffer(duration=NS, max_bytes=1_000), 0
    for at, size in frames:
        refused += not buffer.add(frame(at * MS, size))
        stamps = [f.stamp for f in buffer.between(0, 2**62)]
        assert stamps == sorted(set(stamps)) and len(stamps) == len(buffer)
        assert not stamps or stamps[-1] - stamps[0] <= NS
        assert buffer.bytes == sum(len(f.data) for f in buffer.between(0, 2**62)) <= 1_000
    counts = buffer.counts
    assert counts.added + refused == len(frames)
    if not counts.jumps:
        assert counts.added == len(buffer) + counts.too_old + counts.too_many_bytes
