"""Files that appear whole or not at all: written beside, then renamed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(file: Path) -> Iterator[Path]:
    """A path to write to; what stands there at the end replaces `file`, unless an error came.

    Raises:
        OSError: the folder cannot be written to, the disk is full; an earlier `file` stays.
    """
    part = file.with_name(f".part-{file.name}")
    try:
        yield part
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
