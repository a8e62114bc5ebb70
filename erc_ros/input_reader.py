"""Conversion of messages to pipeline inputs, shared by the nodes, replay and `erc live`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from erc_ros.adapters import Adapter, stamp_of
from erc_ros.pipeline import FormatRefused, Input
from erc_ros.sensing.frame_throttle import FrameThrottle
from erc_ros.sensing.frames import Frame
from erc_ros.values.errors import safe_message
from erc_ros.values.nanoseconds import NS, seconds

TICK = seconds(0.1)  # between two calls of `Pipeline.advance`
LONGEST_PAUSE = seconds(3600.0)  # no ticks in longer pauses (suspend, or a clock jump)
CONSENT = "recording_allowed"  # topic that permits storing texts, audio and images


class Reading(NamedTuple):
    """Input from a message, and the reason why the message cannot be used, or ""."""

    value: Input
    problem: str = ""


class InputReader:
    """Selects and converts messages, and generates the clock ticks.

    `wants` is called before a message is queued; `read` may be called by another thread.

    Args:
        face_rate: frames per second and topic for face detection; others are not decoded.
    """

    def __init__(self, face_rate: float) -> None:
        self._face_rate = face_rate
        self._throttles: dict[str, FrameThrottle] = {}  # by topic
        self._image_topic = ""
        self._next_tick: int | None = None

    def wants(self, adapter: Adapter, topic: str, message: Any, arrival: int) -> bool:
        """Return whether to read a message; images and landmarks are read at `face_rate`.

        Args:
            adapter: adapter of the message type.
            arrival: ns, used if the stamp is not set.
        """
        if not adapter.is_throttled:
            return True
        if adapter.input == "image":
            self._image_topic = topic
        stamp = message.stamp if isinstance(message, Frame) else stamp_of(message.header) or arrival
        return self.is_due(topic, stamp)

    def is_due(self, topic: str, stamp: int) -> bool:
        """Return whether face detection uses the frame of `stamp` (ns)."""
        throttle = self._throttles.setdefault(topic, FrameThrottle(self._face_rate))
        return throttle.takes(stamp)

    def read(self, adapter: Adapter, message: Any, arrival: int) -> Reading:
        """Convert a message that arrived at `arrival` (ns).

        After an invalid `audio_info`, audio is ignored until another one arrives.
        """
        try:
            return Reading(adapter.read(message, arrival))
        except (ValueError, TypeError, AttributeError) as error:
            problem = safe_message(error)
            is_format = adapter.input == "audio_info"
            return Reading(FormatRefused(problem) if is_format else None, problem)

    def refused(self, source: str) -> None:
        """Use the next image of a topic instead of one that could not be used."""
        if source == "image" and self._image_topic in self._throttles:
            self._throttles[self._image_topic].again()

    @property
    def skipped(self) -> int:
        """Number of messages that were not due."""
        return sum(throttle.skipped for throttle in self._throttles.values())

    def ticks(self, now: int) -> Iterator[int]:
        """Yield the times (ns) for `Pipeline.advance` until `now`, the time of the next input."""
        tick = self._next_tick
        if tick is None or now < tick - NS:
            tick = now + TICK  # the first call, or the clock was set back
        if now - tick > LONGEST_PAUSE:
            tick = now - TICK
        while tick <= now:
            yield tick
            tick += TICK
        self._next_tick = tick


def tells_consent(topic: str, type_name: str) -> bool:
    """Return whether a topic is the one that permits storing texts, audio and images."""
    return type_name == "std_msgs/msg/Bool" and topic.rpartition("/")[2] == CONSENT
