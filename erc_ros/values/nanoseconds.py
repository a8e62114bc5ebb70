"""Times are integer nanoseconds of the message stamps everywhere below the nodes."""

from __future__ import annotations

from numbers import Integral

from erc_ros.values.errors import ErcTypeError, ErcValueError

NS = 1_000_000_000  # nanoseconds in a second
LARGEST = 2**63 - 1  # ns; what a stamp of ROS can hold


def seconds(duration: float) -> int:
    """A duration in s as integer ns."""
    return round(duration * NS)


def check_time(name: str, time: object) -> None:
    """Check that a time is in integer nanoseconds.

    Raises:
        TypeError: it is not an integer; 1.0 is one second for its writer, not 1 ns.
        ValueError: it does not fit into 64 bits.
    """
    if isinstance(time, bool) or not isinstance(time, Integral):
        raise ErcTypeError(
            f"{name} is {time!r}, a {type(time).__name__}; times are integer nanoseconds: "
            "1 s is 1_000_000_000"
        )
    if abs(int(time)) > LARGEST:
        raise ErcValueError(f"{name} is {time} ns, which is more than 64 bits can hold")
