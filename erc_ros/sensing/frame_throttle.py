"""Which camera frames are worth the worker's time."""

from __future__ import annotations

from erc_ros.values.nanoseconds import NS


class FrameThrottle:
    """Lets frames through on the grid on which the face tracker searches them.

    The tracker would skip the others anyway; here they are excluded before they are queued, so
    that a fast camera neither fills the queue nor keeps its frames in memory. rate: per second.
    """

    def __init__(self, rate: float) -> None:
        self._period = round(NS / rate)
        self._due: int | None = None
        self.skipped = 0

    def takes(self, stamp: int) -> bool:
        """Is this frame due? stamp: ns; one far back is a clock that was set back, and is due."""
        due = self._due
        if due is not None and due - NS - self._period < stamp < due:
            self.skipped += 1
            return False
        if due is None or not due <= stamp < due + self._period:
            due = stamp  # the grid restarts
        self._due = due + self._period
        return True

    def again(self) -> None:
        """The last frame was no good: the next one is due."""
        self._due = None
