"""A tiny bundle and dialogues that it is measured on: made up, but through the real path."""

from __future__ import annotations

from pathlib import Path

import pytest
from bundles import write_tiny_bundle
from tiny_dialogues import tiny_material

from erc_ros.inference.bundle import load_bundle
from erc_ros.training.quantization.task import SPLITS, Material, Task


@pytest.fixture()
def bundle_folder(tmp_path: Path) -> Path:
    folder = write_tiny_bundle(tmp_path / "tiny")
    (folder / "README.md").write_text("the card\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def material() -> dict[str, Material]:
    return {split: tiny_material(seed) for seed, split in enumerate(SPLITS)}


@pytest.fixture()
def task(bundle_folder: Path, material: dict[str, Material]) -> Task:
    return Task(load_bundle(bundle_folder), material)
