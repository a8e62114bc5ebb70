"""Diagnostics of the nodes on /diagnostics: rates, queues, drops, gaps, latency."""

from __future__ import annotations

import socket
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from erc_ros.inference.engines.background import DONE, BuildState
from erc_ros.values.nanoseconds import NS

HARDWARE = socket.gethostname()  # the machine that the nodes run on
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR

Problem = tuple[bytes, str]  # level (rclpy's `byte`), description and remedy


def warning(text: str) -> Problem:
    """Return a problem that leaves the rest of the node working."""
    return WARN, text


def error(text: str) -> Problem:
    """Return a problem that stops a function of the node."""
    return ERROR, text


class Meter:
    """Counter of events with their rate. Times are in ns on the monotonic clock."""

    def __init__(self) -> None:
        self.count = 0
        self._last: int | None = None
        self._read_count = 0
        self._read_at: int | None = None

    def tick(self, now: int) -> None:
        """Count an event."""
        self.count += 1
        self._last = now

    def hertz(self, now: int) -> float:
        """Return the mean rate since the last call of this method."""
        count, since = self._read_count, self._read_at
        self._read_count, self._read_at = self.count, now
        if since is None or now <= since:
            return 0.0
        return (self.count - count) * NS / (now - since)

    def silence(self, now: int) -> float | None:
        """Return the time since the last event (s); None before the first."""
        return None if self._last is None else (now - self._last) / NS


class Losses:
    """Messages that DDS lost, estimated from the gaps in the publishers' sequence numbers.

    Losses before the first and after the last message are not detected, nor are any where rclpy
    gives no sequence numbers (before Jazzy; some RMW implementations). Jazzy does not name the
    publisher of a number: there, losses are counted only if a topic has a single publisher.
    """

    _MAX_PUBLISHERS = 64

    def __init__(self) -> None:
        self.count = 0
        self._last: OrderedDict[bytes, int] = OrderedDict()  # publisher -> its latest number

    def note(self, info: Mapping[str, Any], sole: bytes = b"") -> None:
        """Record a message.

        Args:
            info: message info of rclpy.
            sole: the only publisher of the topic; b"" if there are several or it is unknown.
        """
        number, publisher = info.get("publication_sequence_number"), info.get("publisher_gid")
        gid = sole if publisher is None else bytes(publisher["data"])
        if number is None or not gid:
            return
        last = self._last.get(gid, number - 1)
        if number > last:
            self.count += number - last - 1
            self._last[gid] = number
        elif number < last:
            self.count = max(0, self.count - 1)  # late, not lost
        self._last.move_to_end(gid)
        if len(self._last) > self._MAX_PUBLISHERS:
            self._last.popitem(last=False)


class Growth:
    """Growth of a counter within the last 10 s, so that a reported problem expires."""

    _WINDOW = 10 * NS

    def __init__(self) -> None:
        self._counts: deque[tuple[int, int]] = deque()  # (ns, count), the first before the window

    def recent(self, count: int, now: int) -> int:
        """Take the current count at `now` (ns, monotonic); return its growth."""
        if self._counts and count < self._counts[-1][1]:
            self._counts.clear()  # it was reset
        self._counts.append((now, count))
        while len(self._counts) > 1 and now - self._counts[1][0] >= self._WINDOW:
            self._counts.popleft()
        return count - self._counts[0][1]


class Lossiness:
    """Reports an input of which more than `_SHARE` was lost within the last 10 s."""

    _SHARE = 0.01

    def __init__(self) -> None:
        self._received, self._dropped, self._lost = Growth(), Growth(), Growth()

    def problems(self, received: int, dropped: int, lost: int, now: int) -> list[Problem]:
        """Return the problems for the current values of the counters."""
        arrived = self._received.recent(received, now)
        problems = []
        for growth, count, text in (
            (self._dropped, dropped, "were dropped from the queue: the machine is too slow"),
            (self._lost, lost, "were lost by DDS: lower their rate or size, or raise its buffers"),
        ):
            new = growth.recent(count, now)
            if new > self._SHARE * (arrived + new):
                problems.append(warning(f"{new} messages of the last 10 s {text}"))
        return problems


class Latencies:
    """The last durations (ns) and their quantiles."""

    def __init__(self, kept: int = 256) -> None:
        self._kept: deque[int] = deque(maxlen=kept)

    def add(self, duration: int) -> None:
        self._kept.append(duration)

    def milliseconds(self, quantile: float) -> float | None:
        """Return the quantile (nearest rank) in ms; None without durations."""
        ordered = sorted(self._kept)
        if not ordered:
            return None
        return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))] / 1e6


def status(
    name: str,
    values: Mapping[str, object],
    problems: Iterable[Problem] = (),
    fine: str = "ok",
) -> DiagnosticStatus:
    """Return a status with the level of the most severe problem and the texts of all.

    Args:
        problems: if empty, the level is OK and the message is `fine`.
    """
    listed = list(problems)
    level = max((level for level, _ in listed), default=OK)
    return DiagnosticStatus(
        level=level,
        name=name,
        message="; ".join(text for _, text in listed) or fine,
        hardware_id=HARDWARE,
        values=[KeyValue(key=key, value=_text(value)) for key, value in values.items()],
    )


def engines(build: BuildState) -> DiagnosticStatus:
    """Return a status with the progress and results of building TensorRT engines."""
    values = {
        "state": build.state,
        "part": build.part,
        **{f"result_{part}": text for part, text in build.results.items()},
    }
    problems = [warning(f"{build.problem}; tried again at the next start")] if build.problem else []
    fine = "ok" if build.state == DONE else f"{build.state}, ONNX Runtime runs the networks"
    return status("engines", values, problems, fine)


def array(stamp: object, statuses: Iterable[DiagnosticStatus]) -> DiagnosticArray:
    """Return the message; stamp: builtin_interfaces/Time of the node's clock."""
    message = DiagnosticArray(status=list(statuses))
    message.header.stamp = stamp
    return message


def _text(value: object) -> str:
    if value is None:
        return "unknown"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
