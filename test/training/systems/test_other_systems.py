"""LPGNet, SUMMER and DDVLM from a corpus to their fusion, with tiny random pretrained models."""

from __future__ import annotations

import copy
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")
pytest.importorskip("av", reason="needs the extra [train]")
pytest.importorskip("espeakng_loader", reason="the extra [demo] is not installed")

from safetensors.torch import load_file  # noqa: E402
from tiny_systems import QUICK, SMALL_HEAD, ddvlm, lpgnet, summer, train  # noqa: E402

from erc_ros.cli import main  # noqa: E402
from erc_ros.networks.network import Network  # noqa: E402
from erc_ros.training.datasets.utterances import LABELS  # noqa: E402
from erc_ros.training.engine import trainer  # noqa: E402
from erc_ros.training.engine.distributed import launch  # noqa: E402
from erc_ros.training.engine.evaluation import read_run  # noqa: E402
from erc_ros.training.engine.runs import read_json, read_metrics  # noqa: E402
from erc_ros.training.features.store import FeatureStore  # noqa: E402
from erc_ros.training.systems.material import read_material  # noqa: E402

SEEN = {
    "neutral": "The person is looking ahead with closed lips.",
    "surprise": "The person is raising both eyebrows, the jaw drops wide open.",
    "fear": "The person is leaning back and is drawing the eyebrows together.",
    "sadness": "The person is looking down, the corners of the lips point down.",
    "joy": "The person is showing the teeth, the corners of the lips point up.",
    "disgust": "The person is wrinkling the nose and turns the head away.",
    "anger": "The person is pressing the lips together and points at somebody.",
}


@pytest.fixture(scope="module")
def meld_with_faces(generated_meld: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated corpus with its faces cut."""
    data = tmp_path_factory.mktemp("faces")
    (data / "MELD.Raw").symlink_to(generated_meld / "MELD.Raw")
    assert main(["cut-faces", "meld", "--data", str(data), "--crops", "4", "--size", "48"]) == 0
    return data


@pytest.fixture
def descriptions(generated_meld: Path, tmp_path: Path) -> Path:
    """What somebody wrote down about the clips; one of them was not described."""
    file = tmp_path / "descriptions.jsonl"
    lines = []
    for split in read_material("meld-clips", generated_meld).splits.values():
        for key, label in zip(split.keys, split.labels.tolist(), strict=True):
            text = SEEN[LABELS[label]]
            line = {"key": key, "text": text, "tries": 1, "named": [], "model": "by-hand"}
            lines.append(json.dumps(line))
    file.write_text("\n".join(lines[1:]) + "\n")
    return file


def test_lpgnet_has_two_modalities_and_four_attentions(
    tiny: dict[str, str], generated_iemocap: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert train(lpgnet(tiny), generated_iemocap, out) == 0

    stages = out / "stages"
    assert (stages / "audio" / "features" / "train" / "store.json").is_file(), "for every seed"
    best = load_file(stages / "fusion" / "best" / "best.safetensors")
    assert len({name.split(".attention")[0] for name in best if ".attention." in name}) == 4
    assert best["embed.missing"].shape[0] == 2 and "unimodal.2.weight" not in best
    found = read_run(stages / "fusion" / "lpgnet-offline")
    assert set(found.names) == {"happy", "sad", "neutral", "angry"}
    report = read_metrics(stages / "fusion" / "lpgnet-causal" / "seed-0")["test_report"]
    assert {"one_vs_all_accuracy", "one_vs_all_f1"} <= report.keys()
    b, u = 1, 3
    answer = Network(stages / "fusion" / "best" / "fusion.onnx")(
        {
            "text": np.zeros((b, u, 32), np.float32),
            "audio": np.ones((b, u, 32), np.float32),
            "modalities": np.ones((b, u, 3), bool),
            "speakers": np.ones((b, u), np.int64),
            "valid": np.ones((b, u), bool),
        }
    )
    assert answer["logits"].shape == (b, u, 4) and not answer["weights"][..., 2].any()


def test_lpgnet_can_read_tokens_and_frames(
    tiny: dict[str, str],
    generated_iemocap: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = lpgnet(tiny)
    del recipe["stages"]["fusion"]
    trainer = {"epochs": 12, "batch_size": 8, "learning_rate": 5.0e-3}
    recipe["stages"]["frames"] = {"network": SMALL_HEAD, "trainer": trainer, "max_length": 40}
    out = tmp_path / "out"
    assert train(recipe, generated_iemocap, out) == 0
    seed = out / "stages" / "frames" / "seed-0"
    report = read_metrics(seed)["test_report"]
    assert report["accuracy"] > 0.5  # the text tells the label
    assert set(read_run(out / "stages" / "frames").names) == {"happy", "sad", "neutral", "angry"}
    answers = FeatureStore(seed / "answers" / "test")
    assert answers.dimension == 4 and len(answers) == read_run(seed).splits["test"].labels.size

    recipe["stages"]["audio_tuned"] = {"encoder": {"model": "log-mel"}, "trainer": QUICK}
    del recipe["stages"]["audio"]
    recipe["stages"]["frames"] = recipe["stages"].pop("frames")  # behind it
    assert train(recipe, generated_iemocap, tmp_path / "log-mel") == 2
    assert "stage audio_tuned has one embedding per utterance and no" in capsys.readouterr().err


def test_lpgnet_on_several_gpus_leaves_the_first_process_without_one(
    tiny: dict[str, str], generated_iemocap: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The processes of a training are on the CPU here; every other move to a GPU is recorded."""
    moves = tmp_path / "moves"
    move = torch.nn.Module.to

    def record(module: Any, *args: Any, **kwargs: Any) -> Any:
        if "cuda" not in map(str, args):
            return move(module, *args, **kwargs)
        with moves.open("a") as lines:
            lines.write(f"{os.getpid()}\n")
        return module

    monkeypatch.setattr(torch.nn.Module, "to", record)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(trainer, "launch", lambda train, n, device: launch(train, n, "cpu"))
    on_gpus = {**QUICK, "epochs": 1, "device": "cuda", "processes": 2}
    recipe = lpgnet(tiny)
    stages = recipe["stages"]
    stages["text"]["trainer"], stages["audio"]["device"] = on_gpus, "cuda"
    stages["fusion"]["trainer"] = on_gpus
    stages["frames"] = {"network": SMALL_HEAD, "trainer": on_gpus, "max_length": 20}
    assert train(recipe, generated_iemocap, tmp_path / "out") == 0
    assert (tmp_path / "out" / "stages" / "frames" / "stage.json").is_file()
    assert moves.read_text() and str(os.getpid()) not in moves.read_text().split()


def test_summer_reads_its_frozen_teacher(
    tiny: dict[str, str], meld_with_faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert train(summer(tiny), meld_with_faces, out) == 0

    stages = out / "stages"
    teacher = read_metrics(stages / "teacher" / "text-teacher-causal" / "seed-0")
    assert teacher["settings"]["row"]["seen"] == ["text"]
    assert not list((stages / "fusion").glob("*teacher*")), "it is not trained a second time"
    for name, width in (("audio", 128), ("faces", 128), ("text", 32)):
        store = FeatureStore(stages / name / "seed-0" / "features" / "dev")
        assert store.dimension == width and len(store)
    faces = read_json(stages / "faces" / "seed-0" / "training.json")["history"]
    assert faces[-1]["loss"] < faces[0]["loss"]

    other = copy.deepcopy(summer(tiny))
    other["stages"]["teacher"]["network"] = {"width": 8}
    shutil.rmtree(stages / "teacher")
    shutil.rmtree(stages / "fusion")
    assert train(other, meld_with_faces, out) == 2
    assert "give both the same network and options" in capsys.readouterr().err


def test_ddvlm_fuses_the_distilled_student(
    tiny: dict[str, str], generated_meld: Path, descriptions: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert train(ddvlm(tiny, str(descriptions)), generated_meld, out) == 0

    stages = out / "stages"
    student = stages / "visual_kd" / "seed-0"
    sentences = FeatureStore(stages / "sentences" / "features" / "train")
    assert (sentences.dimension, len(sentences.left_out)) == (32, 1)
    assert FeatureStore(student / "features" / "train").keys() == sentences.keys()
    split = read_material("meld-clips", generated_meld).splits["test"]
    right = FeatureStore(student / "answers" / "test").take(split.keys)[0].argmax(1) == split.labels
    assert right.mean() > np.bincount(split.labels).max() / len(split.labels)
    rows = {row: read_metrics(stages / "fusion" / f"{row}-no-context" / "seed-0") for row in
            ("ddvlm", "robot")}  # fmt: skip
    assert rows["ddvlm"]["reads"] == {"text": "text", "visual": "visual_kd"}
    assert rows["robot"]["reads"] == {"text": "text", "visual": "camera"}


def test_a_description_file_of_something_else_is_refused(
    tiny: dict[str, str], generated_meld: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "others.jsonl"
    line = {"key": "x/1", "text": SEEN["joy"], "tries": 1, "named": [], "model": "by-hand"}
    file.write_text(json.dumps(line) + "\n")
    recipe = ddvlm(tiny, str(file))
    recipe["stages"] = {"descriptions": recipe["stages"]["descriptions"]}
    assert train(recipe, generated_meld, tmp_path / "out") == 2
    assert "describes 1 utterances, but not of meld-clips" in capsys.readouterr().err

    recipe["stages"]["descriptions"] = {}
    assert train(recipe, generated_meld, tmp_path / "other") == 2
    assert "give either the file of the descriptions, or a describer" in capsys.readouterr().err
