"""What is missing is named before anything is trained, and a dry run trains nothing."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("torch", reason="needs the extra [train]")

import torch
from published_files import mmgcn_meld
from safetensors.torch import save

from erc_ros.cli import main
from erc_ros.training.encoders.text.pretrained import TextEncoderConfig
from erc_ros.training.engine.trainer import TrainerConfig
from erc_ros.training.systems import preflight
from erc_ros.training.systems.encoders import TextStage

RECIPES = Path(__file__).parents[3] / "erc_ros" / "config" / "systems"


@pytest.mark.parametrize("file", sorted(RECIPES.glob("*.yaml")), ids=lambda file: file.stem)
def test_a_dry_run_of_every_recipe_names_each_stage_within_a_minute(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the corpora, models and GPU that most of them need."""
    begin = time.monotonic()
    given = ["train", str(file), "--data", str(tmp_path), "--out", str(tmp_path / "run")]
    assert main([*given, "--dry-run"]) == 2
    assert time.monotonic() - begin < 60
    printed = capsys.readouterr()
    content = yaml.safe_load(file.read_text())
    for name in content["stages"]:
        assert any(line.startswith(f"{name}: ") for line in printed.out.splitlines())
    missing = printed.err
    assert "13708 utterances" in printed.out  # assumed, as the corpus is missing
    assert "1 GPUs" not in missing
    assert f"corpus {content['system']['corpus']}" in missing
    for name, stage in content["stages"].items():
        model = str(stage.get("encoder", {}).get("model", ""))
        if model.count("/") == 1:
            assert f"stage {name}: " in missing and model in missing
            is_converted = model == "models/emotion2vec"  # it is not on Hugging Face
            assert (
                f"erc convert-emotion2vec emotion2vec_base.pt {model}" in missing
            ) == is_converted
            assert (f"hf download {model}" in missing) != is_converted
    assert not (tmp_path / "run").exists()


def recipe(tmp_path: Path, **stages: Any) -> list[str]:
    content = yaml.safe_load((RECIPES / "magtkd_features.yaml").read_text())
    content["stages"] = {"features": {}, **stages, "fusion": content["stages"]["fusion"]}
    content["system"]["seeds"] = [0, 1]
    content["stages"]["fusion"]["network"]["width"] = 8
    content["stages"]["fusion"]["trainer"]["epochs"] = 1
    file = tmp_path / "a.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    mmgcn_meld(tmp_path / "meld_features")
    return ["train", str(file), "--data", str(tmp_path), "--out", str(tmp_path / "run")]


def test_a_later_stage_without_its_model_or_device_stops_the_first_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = {"epochs": 1, "batch_size": 4, "learning_rate": 1e-3, "device": "cuda"}
    audio = {"encoder": {"model": "nobody/none"}, "trainer": {**trainer, "processes": 99}}
    assert main(recipe(tmp_path, audio=audio)) == 2
    error = capsys.readouterr().err
    assert "stage audio: " in error and "nobody/none" in error and "99 GPUs" in error
    assert not (tmp_path / "run" / "stages").exists()


def test_too_small_a_disk_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = recipe(tmp_path)
    monkeypatch.setattr(preflight, "GB", 1e-6)  # bytes are as large as terabytes
    usage = preflight.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: usage._replace(free=0))
    assert main(given) == 2
    assert "GB free" in capsys.readouterr().err


def test_a_dry_run_of_what_is_there_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = recipe(tmp_path)
    assert main([*given, "--dry-run"]) == 0
    assert "fusion: 6 runs" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()
    assert main(given) == 0
    capsys.readouterr()
    assert main([*given, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "features: done" in printed and "fusion: done" in printed


def test_other_kinds_have_no_dry_run(capsys: pytest.CaptureFixture[str]) -> None:
    file = RECIPES.parent / "training" / "mosi.yaml"
    assert main(["train", str(file), "--dry-run"]) == 2
    assert "--dry-run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("hours", "said"), [(0.001, "1 min"), (0.5, "30 min"), (5.2, "5 h"), (240.0, "10 days")]
)
def test_durations_are_for_people(hours: float, said: str) -> None:
    assert preflight.duration(hours) == said


def test_a_text_stage_is_estimated_from_weights_that_multiply_and_the_speed_of_this_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """all-MiniLM-L6-v2 has 22.7 million weights, of which 11.9 million are embeddings."""
    asked = []

    def speed(kind: torch.dtype) -> float:
        asked.append(kind)
        return {torch.bfloat16: 8e11, torch.float32: 1e11}[kind]

    monkeypatch.setattr(preflight, "matrix_speed", speed)
    utterances = {"train": 10_000, "dev": 0, "test": 0}
    trainer = {"epochs": 2, "batch_size": 32, "learning_rate": 1e-4}
    encoder = TextEncoderConfig(model="all-MiniLM-L6-v2", max_tokens=100)
    hours = {}
    for precision in ("bf16", "fp32"):
        chosen = TrainerConfig(**trainer, precision=precision)
        section = TextStage(encoder=encoder, trainer=chosen)
        hours[precision] = preflight.plan("text", section, 1, utterances, 7).hours
    passes = 10_000 * (2 + 2 * 6)
    assert hours["bf16"] == pytest.approx(passes * 100 * 10.8e6 / 4e11 / 3600, rel=0.02)
    assert hours["fp32"] == pytest.approx(8 * hours["bf16"])
    assert asked == [torch.bfloat16, torch.float32]


def test_on_a_gpu_small_batches_take_the_time_of_their_steps(tmp_path: Path) -> None:
    def hours(batch_size: int, layers: int, device: str = "cuda") -> float:
        (tmp_path / "config.json").write_text(json.dumps({"num_hidden_layers": layers}))
        (tmp_path / "model.safetensors").write_bytes(save({"layer": torch.zeros(1000, 1000)}))
        trainer = TrainerConfig(2, batch_size, 1e-5, precision="bf16", device=device)
        section = TextStage(TextEncoderConfig(model=str(tmp_path), max_tokens=100), trainer)
        return preflight.plan("text", section, 1, {"train": 9, "dev": 0, "test": 0}, 7).hours

    assert hours(4, 24) == pytest.approx(2 * 3 * 24 * preflight.GPU_STEP_SECONDS / 3600)
    assert hours(9, 24) == pytest.approx(hours(4, 24) / 3)
    assert hours(4, 12) == pytest.approx(hours(4, 24) / 2)
    assert hours(4, 24, "cpu") == pytest.approx(hours(4, 12, "cpu"), rel=0.01)


def test_the_layers_of_a_missing_model_are_those_of_bert() -> None:
    assert preflight._layers("missing/a-large") == 2 * preflight._layers("missing/a-base") == 24
    assert preflight._layers("all-MiniLM-L6-v2") == 6


def test_the_speed_of_this_cpu_is_measured_once() -> None:
    speed = preflight.matrix_speed(torch.float32)
    assert 1e8 < speed < 1e14
    assert preflight.matrix_speed(torch.float32) == speed
