"""Rate-limited warnings in the log."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("rclpy")

from node_bench import SENSOR, image_message
from sensor_msgs.msg import CompressedImage

from erc_ros.nodes.complaints import LENGTH, PER_MINUTE, SUBJECTS, Complaints


class Log:
    """Lines, and a clock that is moved by hand."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.now = 0.0
        self.complaints = Complaints(self.lines.append, lambda: self.now)

    def tell(self, about: str, text: str, after: float = 0.0) -> None:
        self.now += after
        self.complaints.tell(about, text)


def test_varying_warnings_are_logged_rarely_and_counted() -> None:
    log = Log()
    for number in range(30 * 3600):  # an hour of a camera at 30 Hz
        log.tell("image", f"JPEG of {number} bytes is cut short", 1 / 30)
    assert log.lines[0] == "JPEG of 0 bytes is cut short"
    assert "(300 more about it in 10 s)" in log.lines[1]
    assert len(log.lines) < 15
    assert log.complaints.skipped == 30 * 3600 - len(log.lines)


def test_an_identical_warning_is_logged_again_only_after_minutes() -> None:
    log = Log()
    for _ in range(1300):
        log.tell("audio", "the microphone may be muted", 1.0)
    assert len(log.lines) == 3


def test_another_subject_is_logged_at_once_and_the_pause_of_a_quiet_one_is_reset() -> None:
    log = Log()
    log.tell("image", "one")
    log.tell("audio", "two")
    log.tell("image", "three", after=3600.0)
    log.tell("image", "four", after=10.0)
    assert log.lines == ["one", "two", "three", "four"]


@given(st.lists(st.tuples(st.text(max_size=5), st.text(max_size=2000), st.floats(0, 30))))
def test_whatever_comes_lines_are_few_short_and_single(
    events: list[tuple[str, str, float]],
) -> None:
    log = Log()
    for about, text, after in events:
        log.tell(about, text, after)
    assert len(log.lines) <= PER_MINUTE * (log.now / 60 + 1)
    assert all(len(line) <= LENGTH + 100 and line.isprintable() for line in log.lines)


def test_subjects_without_end_do_not_fill_the_memory() -> None:
    log = Log()
    for number in range(10_000):
        log.tell(f"subject {number}", "wrong", 5.0)
    assert len(log.complaints._subjects) <= SUBJECTS


def test_a_camera_with_only_broken_images_does_not_fill_the_log(
    make_bench: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    bench = make_bench(parameters={"face_rate": 30.0})
    camera = bench.talker(CompressedImage, "image/compressed", SENSOR)
    stamp = image_message(1).header.stamp
    begin = time.monotonic()
    for number in range(1, 31):
        stamp.sec = number  # each is due for the detector
        message = CompressedImage(format="jpeg", data=b"\xff\xd8" + bytes(number))
        message.header.stamp = stamp
        message.header.frame_id = "f" * number
        camera.publish(message)
        bench.wait(
            lambda n=number: bench.nodes[0]._inputs["image"].bad == n, f"{number} are counted"
        )
    lines = capfd.readouterr().err.splitlines()
    told = sum("cut short" in line for line in lines)
    assert told <= 1 + (time.monotonic() - begin) / 10
    left_out = str(30 - told)
    bench.wait(lambda: bench.value("utterance_node: state", "not_logged") == left_out, "counted")


def test_an_id_of_a_hundred_thousand_characters_leaves_a_short_line(
    make_bench: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    bench = make_bench()
    camera = bench.talker(CompressedImage, "image/compressed", SENSOR)
    message = CompressedImage(format="x" * 100_000, data=b"\xff")
    camera.publish(message)
    bench.wait(lambda: bench.nodes[0]._inputs["image"].bad == 1, "it is refused")
    assert max(map(len, capfd.readouterr().err.splitlines())) < 1000
