from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # test/bundles.py

from bundles import write_tiny_bundle


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with random weights; do not change it."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")
