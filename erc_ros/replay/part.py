"""A part of a recording, as selected by `--from` and `--to`."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from erc_ros.input_reader import CONSENT, tells_consent
from erc_ros.replay.bag import BagError, BagRecord, Recording
from erc_ros.replay.offline import adapter_of
from erc_ros.values.nanoseconds import NS, seconds

STATES = (CONSENT, "robot_speaking", "audio_info")
"""Inputs whose last message applies until the next one."""


@dataclass(frozen=True, slots=True)
class TimeRange:
    """A part of a recording, ns since its first message. end: None: to its end."""

    start: int = 0
    end: int | None = None

    @classmethod
    def of_seconds(cls, start: float, end: float | None) -> TimeRange:
        """Return the part from `start` to `end` (s), as on the command line.

        Raises:
            ValueError: a time is not a finite number.
        """
        return cls(time_of(start), None if end is None else time_of(end))


def time_of(value: float) -> int:
    """Convert seconds of the command line to ns.

    Raises:
        ValueError: not a finite number.
    """
    if not math.isfinite(value):
        raise ValueError(f"{value} is not a finite number of seconds")
    return seconds(value)


def check_part(bag: Recording, part: TimeRange, span: tuple[int, int] | None = None) -> None:
    """Check that a part of a recording is in it.

    Args:
        span: ns, of the first and the last message; None: as the recording's index says.

    Raises:
        BagError: it is not.
    """
    first, last = span or bag.span
    if part.end is not None and part.end <= part.start:
        raise BagError(
            f"--to {part.end / NS:g} s is not after --from {part.start / NS:g} s: nothing is left"
        )
    if last and part.start and first + part.start >= last:
        raise BagError(
            f"--from {part.start / NS:g} s is after the end of {bag.path}, which lasts "
            f"{(last - first) / NS:.1f} s"
        )


class PartOfRecording:
    """A recording whose messages are those of a part of it.

    The last messages of `STATES` before the part are repeated at its start.

    origin: ns, time of the recording's first message (of the topics that are used); last: of the
    part's last one. is_empty: whether no message is in the part.
    """

    def __init__(self, recording: Recording, part: TimeRange) -> None:
        self.path, self.topics = recording.path, recording.topics
        self.warnings = recording.warnings
        self.origin: int | None = None
        self.last = 0
        self.span = recording.span
        self.is_empty = True
        self._recording, self._part = recording, part
        self._robot: list[tuple[int, bool]] = []  # ns since the origin; whether speech starts

    def robot(self) -> tuple[tuple[int, int], ...]:
        """(start, end) of the robot's speech, ns since the origin."""
        end = self.last - (self.origin or 0)
        changes = [
            (time, speaks)
            for (_, before), (time, speaks) in pairwise([(0, False), *self._robot, (end, False)])
            if speaks is not before
        ]
        times = [time for time, _ in changes]
        return tuple(zip(times[::2], times[1::2], strict=True))

    def messages(self, topics: Collection[str]) -> Iterator[BagRecord]:
        """Yield the messages of the part."""
        earlier: dict[str, BagRecord] = {}
        for record in self._recording.messages(topics):
            if self.origin is None:
                self.origin = record.time
            since = record.time - self.origin
            if self._part.end is not None and since > self._part.end:
                break
            self.last = max(self.last, record.time)
            if since < self._part.start:
                if _input(record) in STATES:
                    earlier[record.topic] = record
                continue
            self.is_empty = False
            for each in (*(replace(e, time=record.time) for e in earlier.values()), record):
                if _input(each) == "robot_speaking":
                    self._robot.append((since, bool(each.message.data)))
                yield each
            earlier.clear()


def _input(record: BagRecord) -> str:
    return CONSENT if tells_consent(record.topic, record.type) else adapter_of(record).input
