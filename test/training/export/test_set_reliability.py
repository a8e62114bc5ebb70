"""`erc calibrate --reliability-from`: constants go from a file into the manifest, or none do."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

pytest.importorskip("torch")

from bundles import write_tiny_bundle_3

from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.manifest import MANIFEST
from erc_ros.resources import config_file
from erc_ros.training.export.calibration import main, set_reliability

SHIPPED = config_file("edge_reliability.yaml")


def test_the_shipped_constants_become_the_section_of_a_bundle(tmp_path: Path) -> None:
    folder = write_tiny_bundle_3(tmp_path / "tiny")
    assert load_bundle(folder).reliability is None
    set_reliability(folder, SHIPPED)
    config = load_bundle(folder).reliability
    assert config is not None and config.pair is not None
    assert asdict(config.pair) == yaml.safe_load(SHIPPED.read_text())["pair"]


@pytest.mark.parametrize("text", ["[1, 2]", "prior: [1.0]", "{", "prior: 1"])
def test_what_is_no_section_changes_nothing(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_tiny_bundle_3(tmp_path / "tiny")
    before = (folder / MANIFEST).read_bytes()
    (tmp_path / "constants.yaml").write_text(text)
    arguments = [str(folder), "--data", str(tmp_path)]
    assert main([*arguments, "--reliability-from", str(tmp_path / "constants.yaml")]) == 1
    assert (folder / MANIFEST).read_bytes() == before
    assert "erc calibrate" in capsys.readouterr().err
