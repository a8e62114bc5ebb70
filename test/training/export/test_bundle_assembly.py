"""From trained parts to a bundle that runs; the networks are tiny, the path is real."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import write_tiny_bundle
from safetensors.numpy import save_file

from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.metrics import classification as metrics
from erc_ros.training.datasets import corpora, licences
from erc_ros.training.encoders.evaluation import EncoderTest
from erc_ros.training.engine.embeddings import Embedded, save_embeddings
from erc_ros.training.engine.history import record
from erc_ros.training.engine.recipe import Recipe
from erc_ros.training.engine.runs import write_metrics
from erc_ros.training.export import bundle_assembly
from erc_ros.training.manifest import fix_output
from erc_ros.values.utterance import Utterance

COUNTS = {"train": 120, "dev": 40, "test": 40}


def metrics_of(part: str) -> dict[str, Any]:
    """What the trainings leave in best/metrics.json, as far as the card reads it."""
    if part == "text":
        seeds, deviation = {str(n): {} for n in range(3)}, {"weighted_f1": 0.01}
        return {"all_seeds": {"seeds": seeds, "mean": {"weighted_f1": 0.6}, "deviation": deviation}}
    subsets = ["text+audio+visual", "text+audio", "text+visual", "text", "audio+visual"]
    subsets += ["audio", "visual", "uar_together", "accuracy_8"]
    numbers = {name: 0.5 for name in subsets}
    every = {"seeds": {"0": {}, "1": {}}, "mean": numbers, "deviation": numbers}
    simulated = {"mismatch": 0.5, "dev_weighted_f1": 0.45}
    simulation = {"audio": simulated, "visual": simulated}
    return {
        "seed": 0,
        "all_seeds": every,
        "parameters": 10_000,
        "head": "concat",
        "simulation": simulation,
    }


@pytest.fixture()
def runs(tmp_path: Path) -> Path:
    """Folders as the trainings leave them, with the tiny bundle's networks."""
    tiny = write_tiny_bundle(tmp_path / "tiny")
    rng = np.random.default_rng(0)
    for part, file in (
        ("text", "text.onnx"),
        ("audio", "audio.onnx"),
        ("face", "face.onnx"),
        ("fusion", "fusion.onnx"),
    ):
        folder = tmp_path / "runs" / part
        folder.mkdir(parents=True)
        shutil.copy(tiny / file, folder)
        (folder / "metrics.json").write_text(json.dumps(metrics_of(part)))
    shutil.copy(tiny / "tokenizer.json", tmp_path / "runs" / "text")
    (tmp_path / "runs" / "text" / "prompt.json").write_text('{"max_tokens": 96, "question": false}')
    text: dict[str, np.ndarray] = {}
    for split, count in COUNTS.items():
        text[f"{split}.embedding"] = rng.normal(size=(count, 384)).astype(np.float32)
        text[f"{split}.label"] = np.arange(count) % 7
        text[f"{split}.index"] = np.arange(count) % 10
        text[f"{split}.speaker"] = rng.integers(0, 4, count)
    save_file(text, tmp_path / "runs" / "text" / "embeddings.safetensors")
    for part in ("audio", "face"):
        clips = {
            split: Embedded(rng.normal(size=(70, 128)).astype(np.float32), np.arange(70) % 7)
            for split in ("train", "valid", "test")
        }
        save_embeddings(clips, tmp_path / "runs" / part / "embeddings.safetensors")
    drawn = {
        f"{name}.{split}": rng.integers(0, 70, count)
        for name in ("audio", "visual")
        for split, count in COUNTS.items()
    }
    save_file(drawn, tmp_path / "runs" / "fusion" / "clips.safetensors")
    return tmp_path / "runs"


def record_history(runs: Path) -> None:
    """What the trainings record, here of corpora of which edge-small knows nothing."""
    (runs / "text" / "recipe.yaml").write_text("kind: text")
    (runs / "audio" / "recipe.yaml").write_text("kind: audio")
    teacher = runs.parent / "teacher"
    record(teacher, corpora=["goemotions"], commands=["erc train teacher.yaml"])
    record(runs / "text", teachers=[str(teacher)], corpora=["our-dialogues"])
    record(runs / "text", commands=["erc train ours.yaml --seed 3"])
    record(runs / "audio", corpora=["our-voices"])
    record(runs / "face", corpora=["our-faces"])
    parts = [str(runs / part) for part in ("text", "audio", "face")]
    record(runs / "fusion", teachers=parts, commands=["erc train fusion.yaml"])


def part_test(kind: str) -> EncoderTest:
    rng = np.random.default_rng(0)
    size = 384 if kind == "text" else 128
    counts = COUNTS if kind == "text" else {"dev": 70, "test": 70}

    def embed(file: Path, split: str) -> np.ndarray:
        assert file.name == {"text": "text.onnx", "audio": "audio.onnx", "face": "face.onnx"}[kind]
        return np.random.default_rng(1).normal(size=(counts[split], size)).astype(np.float32)

    return EncoderTest(
        embed=embed,
        labels={split: np.arange(count) % 7 for split, count in counts.items()},
        head=(rng.normal(size=(7, size)).astype(np.float32), np.zeros(7, np.float32)),
        score=metrics.weighted_f1,
        metric="weighted F1",
    )


@pytest.fixture()
def recipe(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    for kind in ("text", "audio", "face"):
        made = part_test(kind)
        monkeypatch.setattr(bundle_assembly, f"{kind}_test", lambda *a, made=made: made)
    sections = {
        "bundle": {
            "name": "small",
            "version": "1.2.3",
            "folder": str(tmp_path / "models" / "small"),
            "text": str(runs / "text"),
            "audio": str(runs / "audio"),
            "visual": str(runs / "face"),
            "fusion": str(runs / "fusion"),
        }
    }
    return Recipe("bundle", sections, tmp_path / "out", tmp_path)


def test_trained_parts_become_a_bundle_that_runs(recipe: Recipe, tmp_path: Path) -> None:
    bundle_assembly.train(recipe)
    folder = tmp_path / "models" / "small"
    bundle = load_bundle(folder)
    assert (bundle.name, bundle.version) == (
        "small",
        "1.2.3",
    ) and len(bundle.calibration.temperatures) == 7
    assert {file.name for file in folder.iterdir()} == {
        "bundle.yaml",
        "README.md",
        "LICENSE",
        "tokenizer.json",
        "text.onnx",
        "audio.onnx",
        "face.onnx",
        "fusion.onnx",
    }
    with EmotionRecognizer(bundle) as recognizer:
        estimate = recognizer.feed(Utterance("c", "u", 0, 1, text="hello"))
    assert estimate.probabilities.sum() == pytest.approx(1)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "What is simulated" in card and "{name}" not in card
    assert "**not recorded" in card
    assert "No permission is granted" in (folder / "LICENSE").read_text(encoding="utf-8")
    assert bundle.text.precision == "float32" and bundle.text.attention == (1, 12, 32)
    assert bundle.text.max_tokens == 96 and not bundle.text.question
    assert set(bundle.metrics["parts"]) == {"text", "audio", "visual"}


def test_the_card_tells_of_the_bundles_own_history_and_no_other(
    recipe: Recipe, runs: Path, tmp_path: Path
) -> None:
    record_history(runs)
    recipe.sections["bundle"]["note"] = "Made for a test."
    bundle_assembly.train(recipe)
    folder = tmp_path / "models" / "small"
    card = (folder / "README.md").read_text(encoding="utf-8")
    of_edge_small = "edge-small MELD Friends RAVDESS EmoDB FER EmotionLines television German"
    words = [word for word in [*of_edge_small.split(), "text_teacher"] if word in card]
    assert not words, words
    for word in (
        "# small 1.2.3",
        "our-dialogues",
        "our-voices: not known",
        "GoEmotions: CC BY 4.0",
        "    erc train teacher.yaml\n    erc train ours.yaml --seed 3\n    erc train fusion.yaml",
        "Made for a test.",
        "all-MiniLM-L6-v2",
        "Concat (MAGTKD, figure 3), causal, 0.0 M",
        "our-faces: license not known",
        "| text: weighted_f1 | 3 | 0.6000 ± 0.0100 |",
        "| text+audio | 2 | 0.5000 ± 0.5000 |",
    ):
        assert word in card, word
    bundle = load_bundle(folder)
    assert bundle.training["data"] == ["GoEmotions", "our-dialogues", "our-voices", "our-faces"]
    assert "our-voices: license not known" in bundle.training["licence"]


def test_data_without_limits_put_none_on_the_bundle() -> None:
    assert "GoEmotions" not in licences.together(["goemotions"])
    assert "RAVDESS" in licences.together(["goemotions", "ravdess"])
    assert all(corpora.find(name).license for name in corpora.BUILT_IN if name != "ased")


def test_a_second_assembly_replaces_the_first(recipe: Recipe, tmp_path: Path) -> None:
    bundle_assembly.train(recipe)
    recipe.sections["bundle"]["version"] = "1.2.4"
    bundle_assembly.train(recipe)
    assert load_bundle(tmp_path / "models" / "small").version == "1.2.4"


def test_an_output_of_unknown_size_gets_its_size(runs: Path) -> None:
    file = runs / "face" / "face.onnx"
    fix_output(file, "embedding", 128)
    with pytest.raises(ValueError, match=r"size 128.*64"):
        fix_output(file, "embedding", 64)
    with pytest.raises(ValueError, match="'logits'"):
        fix_output(file, "logits", 7)


def test_the_sound_is_described_as_its_training_wrote_it(tmp_path: Path) -> None:
    write_metrics({"seed": 0}, tmp_path)
    assert bundle_assembly.audio_part(tmp_path)["kind"] == "log-mel"
    part = {"kind": "voice", "embedding": 7, "heard": 24, "speaker_network": "speaker-campplus"}
    write_metrics({"seed": 0, "part": part}, tmp_path)
    found = bundle_assembly.audio_part(tmp_path)
    assert found == {**part, "file": "audio.onnx", "precision": "float32"}
