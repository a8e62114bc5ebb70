from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from stand_in_tensorrt import engines, stand_in_driver, tensorrt

__all__ = ["engines", "stand_in_driver", "tensorrt"]


@pytest.fixture(autouse=True)
def own_engines(engines: Path) -> None:
    """Give each test a separate folder of engines."""


@pytest.fixture()
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A bundle for one test, which may change it."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "bundle"))
