"""Folder of the data sets for tests: $ERC_DATA. Without it, tests marked `data` are skipped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("ERC_DATA") or ROOT / "ERC_DATA is not set")


def need(*folders: str) -> Path:
    """Return the data folder; skip the test, which must be marked `data`, if it lacks `folders`."""
    for folder in folders:
        if not (DATA / folder).exists():
            pytest.skip(
                f"set ERC_DATA to the folder that has {folder} (docs/reference/datasets.md)"
            )
    return DATA
