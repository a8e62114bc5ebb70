"""Times as integer nanoseconds of the message stamps, the unit of all packages below the nodes."""

from __future__ import annotations

from numbers import Integral

from erc_ros.values.errors import ErcTypeError, ErcValueError

NS = 1_000_000_000  # nanoseconds in a second
LARGEST = 2**63 - 1  # ns; the largest 64-bit time


def seconds(duration: float) -> int:
    """Convert a duration from s to integer ns."""
    return round(duration * NS)


def check_time(name: str, time: object) -> None:
    """Check that a time is in integer nanoseconds.

    Raises:
        TypeError: the time is not an integer; a caller who writes 1.0 probably means 1 s.
        ValueError: the time does not fit into 64 bits.
    """
    if isinstance(time, bool) or not isinstance(time, Integral):
        raise ErcTypeError(
            f"{name} is {time!r}, a {type(time).__name__}; times are integer nanoseconds: "
            "1 s is 1_000_000_000"
        )
    if abs(int(time)) > LARGEST:
        raise ErcValueError(f"{name} is {time} ns, which is more than 64 bits can hold")
