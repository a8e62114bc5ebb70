"""`erc export` on runs as the trainings leave them, with networks of a few weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import yaml  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402

from erc_ros.cli import main  # noqa: E402
from erc_ros.networks.network import Network  # noqa: E402
from erc_ros.training.encoders.visual.model import FaceNetwork, FaceNetworkConfig  # noqa: E402
from erc_ros.training.engine.runs import RunError  # noqa: E402
from erc_ros.training.engine.trainer import save_weights  # noqa: E402
from erc_ros.training.export.run import export  # noqa: E402
from erc_ros.training.export.system_bundle import read_system  # noqa: E402
from erc_ros.training.heads.base import Details, Inputs  # noqa: E402
from erc_ros.training.heads.concat import Concat, ConcatConfig  # noqa: E402
from erc_ros.training.heads.late_fusion import LateFusion, LateFusionConfig  # noqa: E402
from erc_ros.training.onnx import export_fusion  # noqa: E402

FACE = {"stem": 4, "widths": [4, 8], "blocks": [1, 1]}


def write_run(run: Path, recipe: dict[str, Any], chosen: dict[str, Any]) -> Path:
    (run / "best").mkdir(parents=True)
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (run / "best" / "metrics.json").write_text(json.dumps(chosen))
    return run


@pytest.fixture
def face(tmp_path: Path) -> Path:
    run = write_run(tmp_path / "face", {"kind": "face", "network": FACE}, {"seed": 1})
    for seed in (0, 1):
        (run / f"seed-{seed}").mkdir()
        torch.manual_seed(seed)
        model = FaceNetwork(FaceNetworkConfig(stem=4, widths=(4, 8), blocks=(1, 1)))
        save_weights(model, run / f"seed-{seed}" / "best.safetensors")
    return run


def test_the_chosen_seed_is_exported(face: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(face)]) == 0
    assert "best/face.onnx: differs from torch by" in capsys.readouterr().out
    torch.manual_seed(1)
    model = FaceNetwork(FaceNetworkConfig(stem=4, widths=(4, 8), blocks=(1, 1))).eval()
    faces = np.random.default_rng(0).random((2, 1, 48, 48), np.float32)
    embedding = Network(face / "best" / "face.onnx")({"faces": faces})["embedding"]
    with torch.inference_mode():
        assert embedding == pytest.approx(model(torch.from_numpy(faces)).numpy(), abs=1e-4)


def test_a_folder_of_no_training_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(RunError):
            export(folder)
        with pytest.raises(RunError):
            read_system(folder)
        for more in ([], ["--bundle", str(tmp_path / "bundle")]):
            assert main(["export", str(folder), *more]) == 1


def test_a_fusion_run_exports_the_late_fusion_of_its_encoders(tmp_path: Path) -> None:
    encoders = {}
    for name, size in (("text", 12), ("audio", 6), ("visual", 4)):
        folder = tmp_path / name
        folder.mkdir()
        array = "test.embedding" if name == "text" else "test.embeddings"
        save_file({array: np.zeros((5, size), np.float32)}, folder / "embeddings.safetensors")
        encoders[name] = str(folder)
    recipe = {"kind": "fusion", "fusion": encoders}
    run = write_run(tmp_path / "fusion", recipe, {"seed": 0})
    (run / "seed-0").mkdir()
    model = LateFusion(LateFusionConfig(embeddings=(12, 6, 4)))
    save_weights(model, run / "seed-0" / "best.safetensors")
    assert main(["export", str(run)]) == 0
    assert (run / "best" / "fusion.onnx").is_file()


def test_a_text_run_exports_the_chosen_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from erc_ros.training.encoders.text import model as text_model

    size = text_model.TextModelConfig(
        vocabulary=40, width=8, layers=2, heads=2, hidden=8, positions=32
    )
    small = text_model.TextClassifier(size, 7)
    monkeypatch.setattr(text_model, "make_model", lambda *_: text_model.TextClassifier(size, 7))
    run = write_run(tmp_path / "text", {"kind": "text"}, {"seed": 2})
    (run / "seed-2").mkdir()
    save_weights(small, run / "seed-2" / "best.safetensors")
    assert main(["export", str(run)]) == 0
    assert (run / "best" / "text.onnx").is_file()


def test_weights_of_another_recipe_are_named(
    face: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (face / "recipe.yaml").write_text(yaml.safe_dump({"kind": "face", "network": {"stem": 8}}))
    assert main(["export", str(face)]) == 1
    error = capsys.readouterr().err
    assert "of another recipe" in error and "stem" in error


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("recipe.yaml", None, "recipe.yaml"),
        ("recipe.yaml", "kind: stored", "--row"),
        ("recipe.yaml", "kind: simulated", "simulated"),
        ("best/metrics.json", None, "finish the training"),
        ("best/metrics.json", "{}", "which seed was chosen: KeyError('seed')"),
        ("best/metrics.json", "{", "which seed was chosen"),
        ("seed-1/best.safetensors", None, "best.safetensors"),
        ("seed-1/best.safetensors", "", "best.safetensors"),
    ],
)
def test_what_is_missing_or_damaged_is_named(
    face: Path,
    file: str,
    content: str | None,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (face / file).unlink()
    if content is not None:
        (face / file).write_text(content)
    assert main(["export", str(face)]) == 1
    assert message in capsys.readouterr().err


class Forgetful(Concat):
    """Does what tracing loses: another answer for long conversations."""

    def fuse(self, inputs: Inputs) -> Details:
        details = super().fuse(inputs)
        longer = int(inputs.valid.shape[1]) > 5
        return details._replace(logits=details.logits + 0.1) if longer else details


def test_a_file_that_differs_from_torch_is_refused(tmp_path: Path) -> None:
    config = ConcatConfig(width=8, embeddings=(4, 3, 2))
    assert export_fusion(Concat(config), tmp_path / "good.onnx") < 1e-4
    with pytest.raises(ArithmeticError, match=r"bad\.onnx.*0\.1"):
        export_fusion(Forgetful(config), tmp_path / "bad.onnx")
