"""Words with speakers and times: NIST's STM, and JSON (SegLST, Label Studio)."""

from __future__ import annotations

import json
from pathlib import Path

from erc_ros.annotations import label_studio
from erc_ros.annotations.marks import AnnotationError, Mark, place, read_text, time_of
from erc_ros.annotations.records import Source

_NOT_SCORED = "IGNORE_TIME_SEGMENT_IN_SCORING"


def read_stm(path: Path) -> list[Mark]:
    """`recording channel speaker start end [<labels>] words...`; `;;` begins a comment.

    Raises:
        AnnotationError: too few fields, or invalid times.
    """
    marks = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        fields = line.split(maxsplit=5)
        if not fields or fields[0].startswith(";;"):
            continue
        source = Source(path.name, "", number)
        if len(fields) < 5:
            raise AnnotationError(
                f"{place(source)}: {len(fields)} fields; need recording channel speaker start end "
                "words"
            )
        recording, _, speaker, start, end = fields[:5]
        words = fields[5] if len(fields) > 5 else ""
        if words.startswith("<") and ">" in words:
            words = words.partition(">")[2]  # labels such as <o,f0,male>
        if words.strip().upper() == _NOT_SCORED:
            continue
        times = time_of(start, source), time_of(end, source)
        marks.append(Mark("text", *times, speaker, words.strip(), source, recording))
    return marks


def read_json(path: Path) -> list[Mark]:
    """SegLST, a list of {session_id, speaker, start_time, end_time, words}, or Label Studio's.

    In SegLST, which meeteval reads, `emotion` is read as well.

    Raises:
        AnnotationError: not JSON, or an entry without speaker or times.
    """
    try:
        entries = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise AnnotationError(f"{path.name}: not JSON ({error})") from error
    if label_studio.is_export(entries):
        return label_studio.marks_of(entries, path.name)
    if not isinstance(entries, list):
        raise AnnotationError(f"{path.name}: not SegLST, which is a list of segments")
    marks = []
    for number, entry in enumerate(entries, start=1):
        source = Source(path.name, "segments", number)
        if not isinstance(entry, dict) or not {"speaker", "start_time", "end_time"} <= set(entry):
            raise AnnotationError(f"{place(source)}: needs speaker, start_time and end_time")
        times = time_of(str(entry["start_time"]), source), time_of(str(entry["end_time"]), source)
        who, recording = str(entry["speaker"]), str(entry.get("session_id", ""))
        for key, kind in (("words", "text"), ("emotion", "emotion")):
            if key in entry:
                value = str(entry[key]).strip()
                marks.append(Mark(kind, *times, who, value, source, recording))
        if "words" not in entry:
            marks.append(Mark("speech", *times, who, "", source, recording))
    return marks
