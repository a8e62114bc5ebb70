"""`python -m benchmarks.devices --all` with stand-ins for a GPU and TensorRT."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest

from benchmarks import devices
from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.engines.build import conversation
from erc_ros.resources import model_folder


class Provider(ort.InferenceSession):
    """Computes on the CPU and reports ONNX Runtime's TensorRT provider."""

    def __init__(self, file: Any, options: Any = None, providers: Any = ()) -> None:
        self._names = [p if isinstance(p, str) else p[0] for p in providers]
        super().__init__(file, options, providers=["CPUExecutionProvider"])

    def get_providers(self) -> list[str]:
        return self._names


@pytest.fixture()
def measured(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run `--all` for a tiny bundle and return the rows by device."""
    monkeypatch.setattr(devices, "SHIPPED", (str(folder),))

    def run(out: Path, *options: str) -> dict[str, dict[str, Any]]:
        assert devices.main(["--all", "--out", str(out), "--repeats", "1", *options]) == 0
        content = json.loads((out / "devices.json").read_text())
        assert "| tensorrt |" in (out / "devices.md").read_text()
        return {row["device"]: row for row in content["rows"]}

    return run


@pytest.mark.usefixtures("tensorrt")
def test_every_device_has_a_row_and_an_interrupted_measurement_continues(
    measured: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    available = ort.get_available_providers()
    monkeypatch.setattr(ort, "get_available_providers", lambda: [devices.PROVIDER, *available])
    monkeypatch.setattr(ort, "InferenceSession", Provider)
    rows = measured(tmp_path / "out")
    assert list(rows) == list(devices.DEVICES)
    assert rows["cuda"]["status"] == devices.NOT_MEASURED and rows["cuda"]["reason"]
    for device in ("cpu", "onnxruntime-tensorrt", "tensorrt"):
        row = rows[device]
        assert row["status"] == devices.MEASURED, row
        assert row["p50"] > 0 and row["equal_labels"] == 100
        assert row["largest_difference"] < 0.02
        assert set(row["devices"].values()) == {device}
    content = json.loads((tmp_path / "out" / "devices.json").read_text())
    (engines,) = content["engines"].values()
    assert engines["failed"] == [] and content["machine"] and content["gpu"]

    kept = [row for row in content["rows"] if row["device"] != "cpu"]
    (tmp_path / "out" / "devices.json").write_text(json.dumps({**content, "rows": kept}))
    again = measured(tmp_path / "out")
    assert again["tensorrt"] == rows["tensorrt"]  # not measured a second time
    assert again["cpu"]["status"] == devices.MEASURED


def test_a_machine_without_gpu_reports_why_and_no_row_starts_after_the_time(
    measured: Any, tmp_path: Path
) -> None:
    rows = measured(tmp_path / "out")
    assert rows["cpu"]["status"] == devices.MEASURED
    others = [row for device, row in rows.items() if device != "cpu"]
    assert all(row["status"] == devices.NOT_MEASURED and row["reason"] for row in others)
    late = measured(tmp_path / "late", "--minutes", "-1")
    assert {row["status"] for row in late.values()} == {devices.NOT_MEASURED}


def test_the_generated_conversation_has_many_sizes_also_for_a_fusion_without_context() -> None:
    """Otherwise the engines of such a bundle would be checked with a single size."""
    bundle = load_bundle(model_folder("edge-small"))
    assert bundle.fusion.context == 1
    assert len({len(utterance.audio) for utterance in conversation(bundle)}) == 16
