"""ELAN's "Export as tab-delimited text", with or without column headers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from erc_ros.annotations.marks import AnnotationError, Mark, meaning, place, read_text, time_of
from erc_ros.annotations.records import Source

_CLOCK = re.compile(r"(\d{1,3}):(\d{2}):(\d{2}(?:[.,]\d+)?)$")
_SECONDS = re.compile(r"\d+[.,]\d+$")


def read(path: Path) -> list[Mark]:
    """Read every line: tier, participant (optional), times, value.

    Times are read as `hh:mm:ss.ms` or `ss.msec`; the first one is the begin, the second one of the
    same form the end. A first line without times is the header.

    Raises:
        AnnotationError: a line without a tier, without begin and end, or without a value.
    """
    marks: list[Mark] = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        fields = [field.strip() for field in line.split("\t")]
        if not any(fields):
            continue
        source = Source(path.name, "", number)
        # The last field is the value, which may look like a time.
        seconds = [n for n, field in enumerate(fields[:-1]) if _SECONDS.match(field)]
        clocks = [n for n, field in enumerate(fields[:-1]) if _CLOCK.match(field)]
        times = seconds if len(seconds) >= 2 else clocks
        if len(times) < 2:
            if not marks and not times:
                continue  # the header
            raise AnnotationError(
                f"{place(source)}: needs begin and end as hh:mm:ss.ms or ss.msec; choose one of "
                "these forms in ELAN's export"
            )
        first = min(seconds + clocks)
        if not fields[0] or first == 0:
            raise AnnotationError(
                f"{place(source)}: needs a tier, times and a value, divided by tabs"
            )
        marks.append(_mark(fields, times, first, source))
    return marks


def _mark(fields: Sequence[str], times: Sequence[int], first: int, source: Source) -> Mark:
    participant = fields[1] if first > 1 else ""
    kind, speaker, is_guess = meaning(fields[0], participant)
    begin, end = (_time(fields[place], source) for place in times[:2])
    source = Source(source.file, fields[0], source.line)
    return Mark(kind, begin, end, speaker, fields[-1], source, is_guess=is_guess)


def _time(text: str, source: Source) -> int:
    clock = _CLOCK.match(text)
    if clock is None:
        return time_of(text.replace(",", "."), source)
    hours, minutes, seconds = clock.groups()
    whole = int(hours) * 3600 + int(minutes) * 60
    return time_of(f"{whole}", source) + time_of(seconds.replace(",", "."), source)
