"""SECURITY.md contains every limit of untrusted input with its value."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from erc_ros.values import bounds

SECURITY = Path(__file__).parents[2] / "SECURITY.md"


def table() -> str:
    """Return the expected rows, from the lines and comments of the module."""
    rows = []
    for line in Path(bounds.__file__).read_text(encoding="utf-8").splitlines():
        if match := re.fullmatch(r"([A-Z_]+) = [^#]+(?:# (.*))?", line):
            value = getattr(bounds, match[1])
            shown = f"{value:,}" if isinstance(value, int) else f"{value:g}"
            rows.append(f"| `{match[1]}` | {shown} | {match[2] or ''} |")
    return "\n".join(rows)


def test_every_bound_is_in_the_table() -> None:
    if not SECURITY.is_file():
        pytest.skip("not a source tree")
    assert table() in SECURITY.read_text(encoding="utf-8"), f"put this there:\n{table()}"
