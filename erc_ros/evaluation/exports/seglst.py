"""SegLST: a JSON list of segments, as meeteval and the CHiME challenges use it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from erc_ros.evaluation.exports.lines import Line
from erc_ros.values.files import write_whole
from erc_ros.values.nanoseconds import NS


def write(lines: Iterable[Line], file: Path, name: str) -> Path:
    """Write the segments of the recording `name`; times in s.

    `emotion` is an addition of ours. Without text there are no `words`.

    Raises:
        OSError: the folder cannot be written to.
    """
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
