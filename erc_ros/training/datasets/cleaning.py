"""Read text files that were saved as UTF-8, Windows-1252, or a mixture of both."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class CorpusRecord:
    """One record of a table.

    number: as in a spreadsheet, the first record is 2. fields: by column, repaired; None where the
    row is too short, and surplus fields under the key None. repaired: whether it had Windows-1252
    characters.
    """

    number: int
    fields: dict[str, str | None]
    repaired: bool


def read_records(
    path: Path, columns: tuple[str, ...], delimiter: str = ",", quoting: int = csv.QUOTE_MINIMAL
) -> Iterator[CorpusRecord]:
    """Yield the records of a CSV or TSV file whose first line names its columns.

    Raises:
        ValueError: a column is missing, or the file is not a table; names the file.
    """
    lines, windows = decode_lines(path.read_bytes())
    rows = csv.DictReader(lines, delimiter=delimiter, quoting=quoting)  # type: ignore[call-overload]
    if missing := set(columns) - set(rows.fieldnames or ()):
        raise ValueError(f"{path} is not the right file: it lacks the columns {sorted(missing)}")
    last = rows.line_num
    try:
        for number, fields in enumerate(rows, start=2):
            clean = {k: repair(v) if isinstance(v, str) else v for k, v in fields.items()}
            changed = clean != fields or not windows.isdisjoint(range(last + 1, rows.line_num + 1))
            last = rows.line_num
            yield CorpusRecord(number, clean, changed)
    except csv.Error as error:
        raise ValueError(f"{path} is not a table after line {rows.line_num}: {error}") from error


def decode_lines(content: bytes) -> tuple[list[str], set[int]]:
    """Decode each line as UTF-8, else as Windows-1252: MELD's files contain both.

    Returns the lines with their ends, and the numbers (from 1) of those that were Windows-1252.
    """
    lines = []
    windows = set()
    # csv raises an error for NUL, and the lost end of a truncated file may consist of them
    content = content.removeprefix(b"\xef\xbb\xbf").replace(b"\0", b"")
    for number, line in enumerate(content.splitlines(keepends=True), start=1):
        try:
            lines.append(line.decode("utf-8"))
        except UnicodeDecodeError:
            lines.append(line.decode("cp1252", "replace").replace("\ufffd", ""))
            windows.add(number)
    return lines, windows


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: it is truncated or not JSON; names the file.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is truncated or not JSON ({error}); download it again") from error


def repair(text: str) -> str:
    """Correct Windows-1252 characters that were decoded as Latin-1 (U+0080..U+009F)."""
    if not any("\x80" <= c <= "\x9f" for c in text):
        return text
    return "".join(
        c.encode("latin-1").decode("cp1252", "replace") if "\x80" <= c <= "\x9f" else c
        for c in text
    ).replace("\ufffd", "")
