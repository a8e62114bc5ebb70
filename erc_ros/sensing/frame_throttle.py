"""Selection of the camera frames that the face tracker uses."""

from __future__ import annotations

from erc_ros.values.nanoseconds import NS


class FrameThrottle:
    """Select frames at the times at which the face tracker runs detection.

    The tracker skips the others. Excluding them before they are queued keeps a fast camera from
    filling the queue and memory. rate: frames per second.
    """

    def __init__(self, rate: float) -> None:
        self._period = round(NS / rate)
        self._due: int | None = None
        self.skipped = 0

    def takes(self, stamp: int) -> bool:
        """Return whether a frame is due. stamp: ns; a clock that was set back makes it due."""
        due = self._due
        if due is not None and due - NS - self._period < stamp < due:
            self.skipped += 1
            return False
        if due is None or not due <= stamp < due + self._period:
            due = stamp  # restart
        self._due = due + self._period
        return True

    def again(self) -> None:
        """Make the next frame due, because the last one could not be used."""
        self._due = None
