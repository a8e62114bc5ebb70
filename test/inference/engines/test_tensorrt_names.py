from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import tensorrt_names

VERSIONS = json.loads(tensorrt_names.FOUND.read_text(encoding="utf-8"))


@pytest.mark.parametrize("version", VERSIONS)
def test_every_name_of_tensorrt_that_we_use_is_in(version: str) -> None:
    names = VERSIONS[version]
    unknown = sorted(tensorrt_names.used() - names.keys())
    assert not unknown, f"run tensorrt_names.py over the wheels again: {unknown} are new"
    assert [name for name in tensorrt_names.used() if not names[name]] == []


def test_the_oldest_and_the_newest_version_were_looked_at() -> None:
    versions = " ".join(VERSIONS)
    assert "-10.3." in versions and "-10.16." in versions and "-11.4." in versions
    assert {"Builder", "execute_async_v3", "set_input_shape"} <= tensorrt_names.used()


def test_a_name_that_is_not_there_is_not_found() -> None:
    library = b"\0set_input_shape\0phase_start\0"
    assert tensorrt_names.has(library, "set_input_shape") and tensorrt_names.has(library, "shape")
    assert not tensorrt_names.has(library, "set_output_shape")
    assert not tensorrt_names.has(library, "phase")
