"""`erc calibrate --reliability`, from corpora to the section of the bundle, on toy data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")
pytest.importorskip("soundfile", reason="needs the extra [train]")

from acted_corpora import HELD_OUT, write_data
from bundles import ANCHORS, write_tiny_bundle_3
from late_fusion import with_section, write_late_bundle

from erc_ros.cli import main
from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.manifest import MANIFEST
from erc_ros.training.fusion import fit_reliability

TRAINING = {"held_out": {"audio": HELD_OUT}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_data(folder, tuple(ANCHORS), rows=28)
    return folder


def test_constants_are_fitted_and_everything_is_measured_with_them(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_reliability, "SEEDS", (0,))
    folder = write_late_bundle(tmp_path / "late", section=None, training=TRAINING)
    (folder / "README.md").write_text("# tiny\n\n## Limits\n\nMany.\n", encoding="utf-8")
    assert load_bundle(folder).reliability is None
    assert main(["calibrate", str(folder), "--reliability", "2", "--data", str(data)]) == 0
    bundle = load_bundle(folder)
    config = bundle.reliability
    assert config is not None and bundle.calibration.temperatures
    assert config.neutral == tuple(ANCHORS).index("neutral")
    assert sum(config.prior) == pytest.approx(1, abs=1e-3)
    measured = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))
    assert set(measured["calibration_error"]["test"]) == set(bundle.calibration.temperatures)
    assert "start:" in capsys.readouterr().out


def test_a_joint_fusion_cannot_be_fitted_and_stays_as_it_was(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = with_section(write_tiny_bundle_3(tmp_path / "joint"), None, TRAINING)
    before = (folder / MANIFEST).read_bytes()
    assert main(["calibrate", str(folder), "--reliability", "1", "--data", str(data)]) == 1
    assert "late fusion" in capsys.readouterr().err
    assert (folder / MANIFEST).read_bytes() == before
