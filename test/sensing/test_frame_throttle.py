"""The frames excluded before the queue are exactly those that the tracker would not use."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from erc_ros.sensing.faces import Box, FaceTracker
from erc_ros.sensing.frame_throttle import FrameThrottle
from erc_ros.sensing.frames import Frame
from erc_ros.values.nanoseconds import NS


class Remembers:
    """A detector that finds no face and records its calls."""

    def __init__(self) -> None:
        self.stamps: list[int] = []

    def detect(self, frame: Frame) -> list[Box]:
        self.stamps.append(frame.stamp)
        return []


@given(st.lists(st.integers(1, NS), min_size=1, max_size=60), st.sampled_from([0.5, 5.0, 30.0]))
def test_the_same_frames_are_searched_with_and_without_it(steps: list[int], rate: float) -> None:
    searched = []
    for is_throttled in (False, True):
        detector = Remembers()
        tracker, throttle = FaceTracker(detector, rate), FrameThrottle(rate)
        for stamp in map(int, np.cumsum(steps) + 100 * NS):
            if not is_throttled or throttle.takes(stamp):
                tracker.feed(Frame(stamp, "mono8", 1, 1, 1, b"0"))
        searched.append(detector.stamps)
    assert searched[0] == searched[1]


def test_a_clock_that_was_set_back_and_a_bad_frame_do_not_stop_it() -> None:
    throttle = FrameThrottle(5.0)
    assert throttle.takes(100 * NS) and not throttle.takes(100 * NS + 1) and throttle.takes(10 * NS)
    assert not throttle.takes(10 * NS + 1) and throttle.skipped == 2
    throttle.again()
    assert throttle.takes(10 * NS + 2)
