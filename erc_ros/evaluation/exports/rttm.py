"""RTTM (NIST): who spoke when, which emotion was there when, and both together."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from erc_ros.evaluation.exports.lines import Line
from erc_ros.values.files import write_whole
from erc_ros.values.nanoseconds import NS


def write(lines: Iterable[Line], folder: Path, name: str) -> list[Path]:
    """Write NAME.rttm, NAME.emotion.rttm and NAME.speaker-emotion.rttm.

    Fields stand apart by blanks, so blanks in names become "_"; an empty name is <NA>.

    Raises:
        OSError: the folder cannot be written to.
    """
    found = list(lines)
    felt = [line for line in found if line.emotion is not None]
    kinds = {
        "": [(line, _field(line.speaker)) for line in found],
        ".emotion": [(line, _field(line.emotion or "")) for line in felt],
        ".speaker-emotion": [
            (line, f"{_field(line.speaker)}/{_field(line.emotion or '')}") for line in felt
        ],
    }
    files = []
    for kind, entries in kinds.items():
        file = folder / f"{name}{kind}.rttm"
        write_whole(file, "".join(_entry(name, line, what) for line, what in entries))
        files.append(file)
    return files


def _entry(name: str, line: Line, what: str) -> str:
    start, length = line.start / NS, (line.end - line.start) / NS
    return f"SPEAKER {_field(name)} 1 {start:.3f} {length:.3f} <NA> <NA> {what} <NA> <NA>\n"


def _field(text: str) -> str:
    return "_".join(text.split()) or "<NA>"
