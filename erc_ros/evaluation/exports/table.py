"""CSV: one line per utterance, in the columns that `--truth` reads, and the probabilities."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from erc_ros.evaluation.exports.lines import Line
from erc_ros.values.files import whole_file
from erc_ros.values.nanoseconds import NS

_COLUMNS = ("speaker", "text", "emotion", "confidence", "valence", "arousal")


def write(lines: Iterable[Line], file: Path, name: str) -> Path:
    """Write the lines of the recording `name`; times in s, `p_joy` the probability of joy.

    Raises:
        OSError: the folder cannot be written to.
    """
    found = list(lines)
    labels = list(dict.fromkeys(label for line in found for label, _ in line.probabilities))
    with whole_file(file) as part, part.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["recording", "start", "end", *_COLUMNS, *(f"p_{each}" for each in labels)])
        for line in found:
            known = dict(line.probabilities)
            values = [getattr(line, column) for column in _COLUMNS]
            values += [known.get(label) for label in labels]
            shown = ["" if value is None else value for value in values]
            writer.writerow([name, line.start / NS, line.end / NS, *shown])
    return file
