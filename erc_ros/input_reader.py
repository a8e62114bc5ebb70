"""How messages become inputs of the pipeline: the same for the nodes and for replay."""

from __future__ import annotations

from erc_ros.pipeline import FormatRefused
from erc_ros.sensing.frame_throttle import FrameThrottle
from erc_ros.values.nanoseconds import seconds

TICK = seconds(0.1)  # between two calls of `Perception.advance`


class InputReader:
    """Selects the frames that are searched for faces, and handles inputs that are refused.

    Args:
        face_rate: frames per second and topic that are searched; the others are not decoded.
    """

    def __init__(self, face_rate: float) -> None:
        self._face_rate = face_rate
        self._throttles: dict[str, FrameThrottle] = {}  # by topic

    def is_due(self, topic: str, stamp: int) -> bool:
        """Whether the frame of `stamp` (ns) is searched."""
        throttle = self._throttles.setdefault(topic, FrameThrottle(self._face_rate))
        return throttle.takes(stamp)

    def refused(self, topic: str) -> None:
        """Replace a frame that could not be used by the next one of its topic."""
        if topic in self._throttles:
            self._throttles[topic].again()

    @property
    def skipped(self) -> int:
        """Frames that were not due."""
        return sum(throttle.skipped for throttle in self._throttles.values())


def after_unreadable(source: str, error: Exception) -> FormatRefused | None:
    """Return what the pipeline is told of a message that cannot be read; None: nothing.

    An unreadable `audio_info` stops the use of audio until another one arrives.
    """
    return FormatRefused(str(error)) if source == "audio_info" else None
