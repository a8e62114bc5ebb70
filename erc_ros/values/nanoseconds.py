"""Times are integer nanoseconds of the message stamps everywhere below the nodes."""

from __future__ import annotations

NS = 1_000_000_000  # nanoseconds in a second


def seconds(duration: float) -> int:
    """A duration in s as integer ns."""
    return round(duration * NS)
