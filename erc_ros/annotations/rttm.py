"""RTTM (NIST): one `SPEAKER` line for each segment; the file's name defines the last field.

NAME.rttm                   speakers
NAME.emotion.rttm           emotions
NAME.speaker-emotion.rttm   both, as `speaker/emotion`
"""

from __future__ import annotations

from pathlib import Path

from erc_ros.annotations.marks import AnnotationError, Mark, place, read_text, time_of
from erc_ros.annotations.records import Source


def read(path: Path) -> list[Mark]:
    """Read every SPEAKER line; lines of other types and comments (`;`) are ignored.

    Raises:
        AnnotationError: too few fields, invalid times, or no `speaker/emotion` where needed.
    """
    name = path.name.casefold()
    marks: list[Mark] = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        fields = line.split()
        if not fields or fields[0].startswith(";") or fields[0].upper() != "SPEAKER":
            continue
        source = Source(path.name, "", number)
        if len(fields) < 8:
            raise AnnotationError(
                f"{place(source)}: {len(fields)} fields; need SPEAKER recording channel start "
                "duration <NA> <NA> name"
            )
        start = time_of(fields[3], source)
        end = start + time_of(fields[4], source)
        speaker, emotion = fields[7], ""
        if name.endswith(".speaker-emotion.rttm"):
            speaker, slash, emotion = fields[7].rpartition("/")
            if not slash:
                raise AnnotationError(f"{place(source)}: {fields[7]!r} is not speaker/emotion")
        elif name.endswith(".emotion.rttm"):
            speaker, emotion = "", fields[7]
        if speaker:
            marks.append(Mark("speech", start, end, speaker, "", source, fields[1]))
        if emotion:
            marks.append(Mark("emotion", start, end, speaker, emotion, source, fields[1]))
    return marks
