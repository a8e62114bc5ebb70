"""Conversion of messages to pipeline inputs, in nodes, replay and `erc live`."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erc_ros.adapters import ADAPTERS, adapter_for, humans_adapter
from erc_ros.input_reader import TICK, InputReader
from erc_ros.pipeline import FormatRefused
from erc_ros.values.nanoseconds import NS, seconds

IMAGE = "sensor_msgs/msg/Image"


def image(stamp: float) -> SimpleNamespace:
    ns = seconds(stamp)
    return SimpleNamespace(
        header=SimpleNamespace(stamp=SimpleNamespace(sec=ns // NS, nanosec=ns % NS), frame_id=""),
        encoding="rgb8", width=1, height=1, step=3, data=b"abc", is_bigendian=0,
    )  # fmt: skip


def ticks(*times: float) -> list[list[float]]:
    """Return the ticks (s) before each of these times (s)."""
    reader = InputReader(5.0)
    return [[tick / NS for tick in reader.ticks(seconds(time))] for time in times]


@settings(deadline=None)
@given(st.lists(st.floats(0.001, 50), min_size=1, max_size=10))
def test_the_clock_ticks_through_pauses(pauses: list[float]) -> None:
    times = [100.0]
    for pause in pauses:
        times.append(times[-1] + pause)
    every = [tick for before in ticks(*times) for tick in before]
    assert all(later - earlier <= TICK / NS + 1e-6 for earlier, later in pairwise(every))
    assert not every or times[-1] - every[-1] <= TICK / NS + 1e-6
    assert len(every) >= int((times[-1] - times[0]) / (TICK / NS)) - 1


def test_a_clock_that_is_set_back_ticks_from_there_on() -> None:
    _, after, later = ticks(1000.0, 500.0, 501.0)
    assert after == []
    assert later[0] <= 500.0 + TICK / NS + 1e-6 and len(later) >= 9


@pytest.mark.parametrize(
    "pause, minimum, maximum", [(365 * 86_400, 0, 3), (1800, 17_999, 18_001)], ids=["year", "0.5 h"]
)
def test_a_pause_of_hours_has_no_ticks(pause: int, minimum: int, maximum: int) -> None:
    assert minimum <= len(ticks(100.0, 100.0 + pause)[1]) <= maximum


@pytest.mark.parametrize(
    "topic, kind",
    [("/image", IMAGE), ("/humans/faces/ab/cropped", IMAGE)],
    ids=["camera", "ROS4HRI"],
)
def test_images_are_read_at_the_rate_of_the_face_search(topic: str, kind: str) -> None:
    reader = InputReader(5.0)
    adapter = humans_adapter(topic, kind) or adapter_for(kind)
    wanted = [n for n in range(30) if reader.wants(adapter, topic, image(100 + n / 30), 0)]
    assert len(wanted) == 5 and reader.skipped == 25


def test_an_image_that_was_refused_is_replaced_by_the_next_one() -> None:
    reader = InputReader(5.0)
    adapter = ADAPTERS[IMAGE]
    assert reader.wants(adapter, "/image", image(100.0), 0)
    assert not reader.wants(adapter, "/image", image(100.01), 0)
    reader.refused("image")
    assert reader.wants(adapter, "/image", image(100.02), 0)


def test_other_messages_are_all_read() -> None:
    reader = InputReader(5.0)
    text = SimpleNamespace(data="hello")
    assert all(reader.wants(ADAPTERS["std_msgs/msg/String"], "/speech", text, 0) for _ in range(9))


def test_an_unreadable_format_stops_the_use_of_audio_and_other_messages_do_not() -> None:
    reader = InputReader(5.0)
    mp3 = SimpleNamespace(coding_format="mp3")
    value, problem = reader.read(ADAPTERS["audio_common_msgs/msg/AudioInfo"], mp3, 0)
    assert isinstance(value, FormatRefused) and value.reason == problem
    value, problem = reader.read(ADAPTERS[IMAGE], SimpleNamespace(), 0)
    assert value is None and "AttributeError" in problem
