"""What the nodes tell about themselves on /diagnostics: rates, queues, drops, gaps, latency."""

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

Problem = tuple[bytes, str]  # level (rclpy's `byte`), what is wrong and the way out


def warning(text: str) -> Problem:
    """Something to look after; the rest works."""
    return WARN, text


def error(text: str) -> Problem:
    """Something that does not work at all."""
    return ERROR, text


class Meter:
    """How often something happens. Times in ns on the monotonic clock."""

    def __init__(self) -> None:
        self.count = 0
        self._last: int | None = None
        self._read_count = 0
        self._read_at: int | None = None

    def tick(self, now: int) -> None:
        """It happened."""
        self.count += 1
        self._last = now

    def hertz(self, now: int) -> float:
        """Mean rate since the last call of this method."""
        count, since = self._read_count, self._read_at
        self._read_count, self._read_at = self.count, now
        if since is None or now <= since:
            return 0.0
        return (self.count - count) * NS / (now - since)

    def silence(self, now: int) -> float | None:
        """s since it last happened; None: never yet."""
        return None if self._last is None else (now - self._last) / NS


class Losses:
    """What DDS itself lost on the way, by the gaps in its publishers' sequence numbers.

    An estimate: what was lost before the first message and after the last one is not seen, nor is
    anything where the numbers are not told (before Jazzy; some implementations). Jazzy does not
    tell whose number it is: there only a topic's sole publisher is counted.
    """

    _MOST_PUBLISHERS = 64

    def __init__(self) -> None:
        self.count = 0
        self._last: OrderedDict[bytes, int] = OrderedDict()  # publisher -> its latest number

    def note(self, info: Mapping[str, Any], sole: bytes = b"") -> None:
        """A message came, with what rclpy tells about it.

        sole: the only publisher that there is; b"" there are others, or it is not known.
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
        if len(self._last) > self._MOST_PUBLISHERS:
            self._last.popitem(last=False)


class Growth:
    """How much a counter grew within the last 10 s: reported for a while, and then recovered."""

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
    """Is more lost of an input than can be ignored: `_SHARE` of it within the last 10 s?"""

    _SHARE = 0.01

    def __init__(self) -> None:
        self._received, self._dropped, self._lost = Growth(), Growth(), Growth()

    def problems(self, received: int, dropped: int, lost: int, now: int) -> list[Problem]:
        """What to report, with the current counters."""
        came = self._received.recent(received, now)
        problems = []
        for growth, count, text in (
            (self._dropped, dropped, "dropped from the queue: this machine is too slow for them"),
            (self._lost, lost, "lost by DDS: lower their rate or size, or raise its buffers"),
        ):
            new = growth.recent(count, now)
            if new > self._SHARE * (came + new):
                problems.append(warning(f"{new} messages of the last 10 s {text}"))
        return problems


class Latencies:
    """The last durations (ns) and their quantiles."""

    def __init__(self, kept: int = 256) -> None:
        self._kept: deque[int] = deque(maxlen=kept)

    def add(self, duration: int) -> None:
        self._kept.append(duration)

    def milliseconds(self, quantile: float) -> float | None:
        """The quantile (nearest rank) in ms; None before the first."""
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
    """One status: the gravest problem is its level, all of them its message.

    Args:
        problems: none: OK and the message `fine`.
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
    """Progress and results of building TensorRT engines."""
    values = {
        "state": build.state,
        "part": build.part,
        **{f"result_{part}": text for part, text in build.results.items()},
    }
    problems = [warning(f"{build.problem}; tried again at the next start")] if build.problem else []
    fine = "ok" if build.state == DONE else f"{build.state}, ONNX Runtime runs the networks"
    return status("engines", values, problems, fine)


def array(stamp: object, statuses: Iterable[DiagnosticStatus]) -> DiagnosticArray:
    """The message; stamp: builtin_interfaces/Time of the node's clock."""
    message = DiagnosticArray(status=list(statuses))
    message.header.stamp = stamp
    return message


def _text(value: object) -> str:
    if value is None:
        return "unknown"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
