"""Annotations: readers of files, one for each format, selected by the file's suffix."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from erc_ros.annotations import elan, elan_text, rttm, table, textgrid, words
from erc_ros.annotations.marks import MAX_MARKS, AnnotationError, Mark

__all__ = ["READERS", "AnnotationError", "read"]

READERS: Mapping[str, Callable[[Path], list[Mark]]] = MappingProxyType(
    {
        ".eaf": elan.read,
        ".textgrid": textgrid.read,
        ".rttm": rttm.read,
        ".csv": table.read,
        ".stm": words.read_stm,
        ".json": words.read_json,
        ".txt": elan_text.read,
    }
)
"""Suffix in lower case -> reader."""


def read(path: Path) -> list[Mark]:
    """Read every annotation of a file.

    Raises:
        AnnotationError: an unknown suffix, or an error of the format's reader.
    """
    reader = READERS.get(path.suffix.casefold())
    if reader is None:
        raise AnnotationError(
            f"{path}: unknown file type; supported are {', '.join(sorted(READERS))}"
        )
    marks = reader(path)
    if len(marks) > MAX_MARKS:
        raise AnnotationError(
            f"{path.name}: {len(marks)} annotations, at most {MAX_MARKS} are read"
        )
    return marks
