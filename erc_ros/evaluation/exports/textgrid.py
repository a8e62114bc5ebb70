"""Praat's TextGrid: a tier of words, of emotion and of confidence for every speaker."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from erc_ros.evaluation.exports.lines import Line, by_speaker, without_overlap
from erc_ros.values.files import whole_file
from erc_ros.values.nanoseconds import NS

_TIERS = ("speech", "text", "emotion", "confidence", "valence", "arousal")


def write(lines: Iterable[Line], file: Path, duration: int) -> Path:
    """Write a TextGrid in the long form, from 0 to `duration` (ns).

    Overlapping lines of one speaker are in a second set of tiers.

    Raises:
        OSError: the folder cannot be written to.
    """
    from praatio import textgrid

    ordered = list(lines)
    last = max([duration, *(line.end for line in ordered)]) / NS
    grid = textgrid.Textgrid(0, last)
    for speaker, own in by_speaker(ordered).items():
        for number, spoken in enumerate(without_overlap(own), start=1):
            name = speaker if number == 1 else f"{speaker} ({number})"
            for kind in _TIERS:
                entries = [
                    (line.start / NS, line.end / NS, value)
                    for line in spoken
                    if (value := _value(line, kind))
                ]
                if entries:
                    tier = textgrid.IntervalTier(f"{kind}@{name}", entries, 0, last)
                    grid.addTier(tier)
    if not grid.tiers:
        grid.addTier(textgrid.IntervalTier("speech", [], 0, last))  # required by Praat
    with whole_file(file) as part:
        grid.save(str(part), "long_textgrid", includeBlankSpaces=True, reportingMode="error")
    return file


def _value(line: Line, kind: str) -> str:
    """Return the mark of an interval; speech without words is marked, as "" is a pause."""
    if kind == "speech":
        return "" if line.text else "speech"
    value = getattr(line, kind)
    return "" if value is None else str(value)
