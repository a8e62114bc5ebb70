"""Camera frames as they came, in a buffer bounded in time and bytes. Nothing is decoded."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace
from typing import TypeAlias

from erc_ros.values.nanoseconds import seconds

Pixels: TypeAlias = "bytes | bytearray | memoryview | array[int]"


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One camera image, as in sensor_msgs/Image; nothing is checked or decoded before it is used.

    stamp: ns; 0 or less = unknown. encoding: ROS names ("rgb8", "nv12", ...), or "jpeg" / "png"
    (any CompressedImage.format that names one of them): then width, height and step may be 0.
    step: bytes in a row of the first plane, padding included; 0 = no padding.
    data: not copied, so it must not change while the frame is in use.
    """

    stamp: int
    encoding: str
    width: int
    height: int
    step: int
    data: Pixels
    frame_id: str = ""
    is_bigendian: bool = False


@dataclass(frozen=True, slots=True)
class FrameCounts:
    """What became of the frames that were added."""

    added: int = 0
    too_old: int = 0  # left because the time bound was reached
    too_many_bytes: int = 0  # left, or was refused, because the byte bound was reached
    out_of_order: int = 0  # kept, sorted in
    duplicates: int = 0  # refused: a frame with this stamp is here
    unstamped: int = 0  # refused: stamp 0 or less
    jumps: int = 0  # the clock jumped back: everything before was cleared


class FrameBuffer:
    """The last `duration` ns of frames, sorted by stamp, at most `max_bytes` of them."""

    def __init__(self, duration: int = seconds(2.0), max_bytes: int = 64 * 2**20) -> None:
        if duration <= 0 or max_bytes <= 0:
            raise ValueError(
                f"a frame buffer of {duration} ns and {max_bytes} bytes holds nothing: "
                "both must be positive"
            )
        self._duration, self._max_bytes = duration, max_bytes
        self.counts = FrameCounts()
        self.reset()

    def reset(self) -> None:
        """Forget the frames; the counts stay."""
        self._stamps: list[int] = []
        self._frames: list[Frame] = []
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def newest(self) -> Frame | None:
        return self._frames[-1] if self._frames else None

    def add(self, frame: Frame) -> bool:
        """Take a frame in; False if it was refused.

        A stamp further back than the buffer reaches is a clock that jumped back (a bag that
        started over): the old frames go.
        """
        size = memoryview(frame.data).nbytes
        if frame.stamp <= 0:
            return self._refuse(unstamped=1)
        if size > self._max_bytes:
            return self._refuse(too_many_bytes=1)
        if self._stamps and frame.stamp < self._stamps[-1] - self._duration:
            self.reset()
            self._count(jumps=1)
        place = bisect_left(self._stamps, frame.stamp)
        if place < len(self._stamps):
            if self._stamps[place] == frame.stamp:
                return self._refuse(duplicates=1)
            self._count(out_of_order=1)
        self._stamps.insert(place, frame.stamp)
        self._frames.insert(place, frame)
        self.bytes += size
        self._count(added=1)
        self._trim()
        return True

    def between(self, start: int, end: int) -> list[Frame]:
        """Frames with start <= stamp <= end, in the order of their stamps."""
        return self._frames[bisect_left(self._stamps, start) : bisect_right(self._stamps, end)]

    def nearest(self, stamp: int, tolerance: int) -> Frame | None:
        """The frame closest to `stamp`, at most `tolerance` ns away (the earlier one of two)."""
        near = self.between(stamp - tolerance, stamp + tolerance)
        return min(near, key=lambda frame: abs(frame.stamp - stamp), default=None)

    def _trim(self) -> None:
        while self._stamps[0] < self._stamps[-1] - self._duration:
            self._drop_oldest()
            self._count(too_old=1)
        while self.bytes > self._max_bytes:
            self._drop_oldest()
            self._count(too_many_bytes=1)

    def _drop_oldest(self) -> None:
        self.bytes -= memoryview(self._frames[0].data).nbytes
        del self._stamps[0], self._frames[0]

    def _refuse(self, **reason: int) -> bool:
        self._count(**reason)
        return False

    def _count(self, **more: int) -> None:
        self.counts = replace(
            self.counts, **{name: getattr(self.counts, name) + n for name, n in more.items()}
        )
