"""WebVTT: subtitles with speaker and emotion, for any player of films."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from erc_ros.evaluation.exports.lines import Line
from erc_ros.values.files import write_whole


def write(lines: Iterable[Line], file: Path) -> Path:
    """Write one cue per line: `<v speaker>words (emotion)`.

    Raises:
        OSError: the folder cannot be written to.
    """
    cues = ["WEBVTT\n"]
    for line in lines:
        emotion = f"({_escaped(line.emotion)})" if line.emotion is not None else ""
        words = " ".join(part for part in (_escaped(line.text or ""), emotion) if part) or "…"
        voice = _escaped(line.speaker) or "somebody"
        cues.append(f"{_time(line.start)} --> {_time(line.end)}\n<v {voice}>{words}</v>\n")
    write_whole(file, "\n".join(cues))
    return file


def _escaped(text: str) -> str:
    """Text of a cue: what would begin a tag is written out, as is an arrow."""
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").split())


def _time(time: int) -> str:
    milliseconds = time // 1_000_000
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}.{milliseconds:03}"
