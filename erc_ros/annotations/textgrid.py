"""Praat's TextGrid, long and short form, read with praatio. Point tiers are ignored."""

from __future__ import annotations

import tempfile
from pathlib import Path

from erc_ros.annotations.marks import AnnotationError, Mark, meaning, read_bytes, time_of
from erc_ros.annotations.records import Source


def read(path: Path) -> list[Mark]:
    """Read every interval that is not empty (Praat fills the pauses with empty ones).

    Raises:
        AnnotationError: not a TextGrid.
    """
    from praatio import textgrid
    from praatio.data_classes.interval_tier import IntervalTier

    with tempfile.TemporaryDirectory() as folder:
        checked = Path(folder) / "checked.TextGrid"  # not larger than read_bytes allows
        checked.write_bytes(read_bytes(path))
        try:
            grid = textgrid.openTextgrid(
                str(checked), includeEmptyIntervals=False, duplicateNamesMode="rename"
            )
        except Exception as error:
            raise AnnotationError(
                f"{path.name}: not readable as a TextGrid ({type(error).__name__}: {error})"
            ) from error
    marks = []
    for tier in grid.tiers:
        kind, speaker, is_guess = meaning(tier.name)
        if not isinstance(tier, IntervalTier):
            kind = ""
        for number, entry in enumerate(tier.entries, start=1):
            source = Source(path.name, tier.name, number)
            start = time_of(str(entry[0]), source)
            end = time_of(str(entry[1]), source) if kind else start
            value = str(entry[-1]).strip()
            marks.append(Mark(kind, start, end, speaker, value, source, is_guess=is_guess))
    return marks
