"""Where the data sets of the tests lie: $ERC_DATA, else shared/data beside the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("ERC_DATA") or ROOT.parent / "shared" / "data")


def need(*folders: str) -> Path:
    """The data folder; the test is skipped where it lacks one of `folders`."""
    for folder in folders:
        if not (DATA / folder).exists():
            pytest.skip(f"no {folder} in {DATA} (set ERC_DATA)")
    return DATA
