"""Text files for other programs: RTTM, SegLST, WebVTT and CSV. All raise OSError."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from erc_ros.evaluation.exports.lines import Line
from erc_ros.values.files import write_whole
from erc_ros.values.nanoseconds import NS

_COLUMNS = ("speaker", "text", "emotion", "confidence", "valence", "arousal")


def write_rttm(lines: Sequence[Line], folder: Path, name: str) -> list[Path]:
    """Write NAME.rttm (speakers), NAME.emotion.rttm and NAME.speaker-emotion.rttm.

    Fields are separated by blanks, so blanks in names become "_"; an empty name is <NA>.
    """
    labeled = [line for line in lines if line.emotion is not None]
    kinds = {
        "": [(line, _field(line.speaker)) for line in lines],
        ".emotion": [(line, _field(line.emotion or "")) for line in labeled],
        ".speaker-emotion": [
            (line, f"{_field(line.speaker)}/{_field(line.emotion or '')}") for line in labeled
        ],
    }
    files = []
    for kind, entries in kinds.items():
        files.append(folder / f"{name}{kind}.rttm")
        rows = (
            f"SPEAKER {_field(name)} 1 {line.start / NS:.3f} {(line.end - line.start) / NS:.3f} "
            f"<NA> <NA> {label} <NA> <NA>\n"
            for line, label in entries
        )
        write_whole(files[-1], "".join(rows))
    return files


def _field(text: str) -> str:
    return "_".join(text.split()) or "<NA>"


def write_seglst(lines: Sequence[Line], file: Path, name: str) -> Path:
    """Write SegLST, the JSON of meeteval, with an additional `emotion`; times in s."""
    entries = []
    for line in lines:
        entry: dict[str, str | float] = {
            "session_id": name,
            "speaker": line.speaker,
            "start_time": line.start / NS,
            "end_time": line.end / NS,
        }
        if line.text is not None:
            entry["words"] = line.text
        if line.emotion is not None:
            entry["emotion"] = line.emotion
        entries.append(entry)
    write_whole(file, json.dumps(entries, ensure_ascii=False, indent=1) + "\n")
    return file


def write_table(lines: Sequence[Line], file: Path, name: str) -> Path:
    """Write CSV in the columns that `--truth` reads, and `p_joy`, the probability of joy."""
    labels = list(dict.fromkeys(label for line in lines for label, _ in line.probabilities))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["recording", "start", "end", *_COLUMNS, *(f"p_{each}" for each in labels)])
    for line in lines:
        probabilities = dict(line.probabilities)
        values = [getattr(line, column) for column in _COLUMNS]
        values += [probabilities.get(label) for label in labels]
        shown = ["" if value is None else value for value in values]
        writer.writerow([name, line.start / NS, line.end / NS, *shown])
    write_whole(file, text.getvalue())
    return file


def write_webvtt(lines: Sequence[Line], file: Path) -> Path:
    """Write subtitles, a cue for each line: `<v speaker>words (emotion)`."""
    cues = ["WEBVTT\n"]
    for line in lines:
        emotion = f"({_escaped(line.emotion)})" if line.emotion is not None else ""
        words = " ".join(part for part in (_escaped(line.text or ""), emotion) if part) or "…"
        voice = _escaped(line.speaker) or "unknown speaker"
        cues.append(f"{_clock(line.start)} --> {_clock(line.end)}\n<v {voice}>{words}</v>\n")
    write_whole(file, "\n".join(cues))
    return file


def _escaped(text: str) -> str:
    """The text of a cue without markup and arrows."""
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").split())


def _clock(time: int) -> str:
    seconds, milliseconds = divmod(time // 1_000_000, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{milliseconds:03}"
