"""CSV with our columns or those of ROSAnnotator.

Ours: `start`, `end` (s) and any of `speaker`, `text`, `emotion`, `valence`, `arousal`, `recording`,
in upper or lower case; other columns are ignored. Where fields are divided by semicolons or tabs,
numbers may have decimal commas. The columns of estimates.csv, which `erc replay` writes, are read
as well: the robot as an annotator.

ROSAnnotator's: `axisName`, `axisBooklistName`, `start`, `end` (s), `text`: an axis is what a tier
is in ELAN, a booklist its vocabulary.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

from erc_ros.annotations.marks import (
    TEXT_ALONE,
    UNIX_TIME,
    AnnotationError,
    Mark,
    meaning,
    place,
    read_text,
    time_of,
)
from erc_ros.annotations.records import Source
from erc_ros.media.files import ORIGIN
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import speaker_name

KINDS = ("text", "emotion", "valence", "arousal")
NUMBERS = {"start", "end", "valence", "arousal"}
_AXES = {"axisname": "axisName", "axisbooklistname": "axisBooklistName"}


def _column(name: str) -> str:
    plain = name.strip().casefold()
    return _AXES.get(plain, plain)


def read(path: Path) -> list[Mark]:
    """Read every row; fields are separated by comma, semicolon or tab.

    Raises:
        AnnotationError: no columns `start` and `end`, no known column, or an invalid time.
    """
    text = read_text(path)
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restval="")
    columns = {_column(name): name for name in reader.fieldnames or ()}
    is_replay = {"utterance_id", "speaker_id", "label"} <= set(columns)
    if is_replay:  # times in ns since 1970; `label` is empty where the robot is not sure
        columns |= {"emotion": columns["label"]}
    known = {"speaker", "axisName", *KINDS} & set(columns)
    if not {"start", "end"} <= set(columns) or not known:
        raise AnnotationError(
            f"{path.name}, line 1: the columns are {', '.join(columns) or 'missing'}; need start, "
            f"end and some of speaker, {', '.join(KINDS)}"
        )
    marks: list[Mark] = []
    try:
        for row in reader:
            fields = {name: (row[key] or "").strip() for name, key in columns.items()}
            source = Source(path.name, "", reader.line_num)
            if is_replay:
                if fields.get("is_final") == "False":
                    continue
                fields |= _of_estimate(fields, source)
            if delimiter != ",":
                fields |= {name: fields[name].replace(",", ".") for name in NUMBERS & set(fields)}
            times = time_of(fields["start"], source), time_of(fields["end"], source)
            if "axisName" in columns:
                marks.append(_of_axis(fields, times, source))
            else:
                marks.extend(_of_row(fields, times, source))
    except csv.Error as error:
        raise AnnotationError(f"{path.name}, line {reader.line_num}: {error}") from error
    return marks


def _of_estimate(fields: Mapping[str, str], source: Source) -> dict[str, str]:
    """Convert a row of `erc replay` to our columns."""
    numbers = {}
    for name in ("start", "end"):
        if not fields[name].isdecimal():
            raise AnnotationError(f"{place(source)}: {name} is {fields[name]!r}; must be ns")
        time = int(fields[name])
        # a media file has no date: its clock begins at ORIGIN
        numbers[name] = time if time >= UNIX_TIME else time - ORIGIN
    if numbers["start"] == numbers["end"]:  # a text without audio
        numbers["start"] = max(0, numbers["end"] - TEXT_ALONE)
    times = {name: str(number / NS) for name, number in numbers.items()}
    speaker = speaker_name(fields["speaker_id"], fields.get("person_id", ""))
    return {**times, "speaker": speaker}


def _of_axis(fields: Mapping[str, str], times: tuple[int, int], source: Source) -> Mark:
    axis = fields["axisName"]
    kind, speaker, is_guess = meaning(axis, hints=(fields.get("axisBooklistName", ""),))
    source = Source(source.file, axis, source.line)
    return Mark(kind, *times, speaker, fields.get("text", ""), source, is_guess=is_guess)


def _of_row(fields: Mapping[str, str], times: tuple[int, int], source: Source) -> Iterator[Mark]:
    speaker, recording = fields.get("speaker", ""), fields.get("recording", "")
    yield Mark("speech", *times, speaker, "", source, recording)
    for kind in KINDS:
        if fields.get(kind):
            yield Mark(kind, *times, speaker, fields[kind], source, recording)
