"""MAGTKD from a corpus to the fusion, with tiny random pretrained models."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra [train]")
pytest.importorskip("av", reason="needs the extra [train]")
pytest.importorskip("espeakng_loader", reason="the extra [demo] is not installed")

import tiny_models
from safetensors.numpy import load_file
from tiny_systems import magtkd, train

from erc_ros.cli import main
from erc_ros.training.datasets.utterances import LABELS
from erc_ros.training.encoders.trainable import CONFIGS, make_encoder
from erc_ros.training.engine.evaluation import read_run
from erc_ros.training.engine.runs import read_json, read_metrics
from erc_ros.training.features.store import FeatureStore
from erc_ros.training.systems.material import read_material
from erc_ros.training.systems.stages import read_record


@pytest.fixture(scope="module")
def trained(
    tiny: dict[str, str],
    generated_meld: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    out = tmp_path_factory.mktemp("magtkd") / "out"
    assert train(magtkd(tiny), generated_meld, out) == 0
    return out


def test_every_stage_leaves_what_the_next_one_reads(trained: Path, generated_meld: Path) -> None:
    splits = read_material("meld-clips", generated_meld).splits
    stages = trained / "stages"
    assert {folder.name for folder in stages.iterdir()} == {"text", "audio_kd", "visual", "fusion"}
    for name in ("text", "audio_kd", "visual"):
        seed = stages / name / "seed-0"
        head = load_file(seed / "head.safetensors")
        for split, utterances in splits.items():
            store, answers = (FeatureStore(seed / n / split) for n in ("features", "answers"))
            assert (store.keys(), store.dimension) == (utterances.keys, 32)
            features = store.take(store.keys())[0]
            expected = features @ head["weight"].T + head["bias"]
            np.testing.assert_allclose(answers.take(store.keys())[0], expected, atol=1e-5)
        reading = read_json(seed / "reading.json")
        assert reading["labels"] == list(LABELS)
        config = CONFIGS[reading["modality"]](str(seed / "encoder"), **reading["options"])
        assert make_encoder(config).name == FeatureStore(seed / "features" / "dev").encoder
    assert read_record(stages / "fusion").inputs.keys() == {"text", "audio_kd", "visual"}
    chosen = read_metrics(stages / "fusion" / "best")
    reads = {"text": "text", "audio": "audio_kd", "visual": "visual"}
    assert (chosen["row"], chosen["mode"], chosen["reads"]) == ("MAGT", "causal", reads)
    assert (stages / "fusion" / "best" / "fusion.onnx").is_file()


def test_every_run_keeps_its_logits(trained: Path) -> None:
    rows = ("magt-causal", "magt-offline", "concat-no-context")
    for name in ("text", "audio_kd", "visual", *(f"fusion/{row}" for row in rows)):
        run = trained / "stages" / name
        report = read_run(run)
        assert report.names == LABELS
        assert report.splits["test"].probabilities.shape == (1, 8, 7)
        metrics = read_metrics(run / "seed-0")
        assert metrics["test_report"]["weighted_f1"] == metrics["test"]["weighted_f1"]
    assert main(["evaluate", str(trained / "stages" / "fusion"), "--resamples", "10"]) == 0


def test_the_encoders_learn(trained: Path, generated_meld: Path) -> None:
    """The losses fall; the pictures, which are the plainest, are told apart in unseen clips."""
    for name, share in (("text", 0.5), ("audio_kd", 1.0), ("visual", 0.5)):
        history = read_json(trained / "stages" / name / "seed-0" / "training.json")["history"]
        assert history[-1]["loss"] < share * history[0]["loss"], name
    split = read_material("meld-clips", generated_meld).splits["test"]
    answers = FeatureStore(trained / "stages" / "visual" / "seed-0" / "answers" / "test")
    right = answers.take(split.keys)[0].argmax(axis=1) == split.labels
    assert right.mean() > np.bincount(split.labels).max() / len(split.labels)


def test_a_second_run_finds_everything_there(
    trained: Path,
    tiny: dict[str, str],
    generated_meld: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train(magtkd(tiny), generated_meld, trained) == 0
    said = capsys.readouterr().out
    assert [
        f"{name}: is finished" in said for name in ("text", "audio_kd", "visual", "fusion")
    ] == [True] * 4


def test_a_fine_tuning_that_was_killed_ends_with_the_same_weights(
    trained: Path,
    tiny: dict[str, str],
    generated_meld: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    program = (
        "import os, signal, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from pathlib import Path\n"
        "from erc_ros.training.engine import checkpoint\n"
        "from tiny_systems import magtkd, train\n"
        "save, count = checkpoint.save, [0]\n"
        "def save_and_die(*arguments):\n"
        "    save(*arguments)\n"
        "    count[0] += 1\n"
        "    if count[0] == 4:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "checkpoint.save = save_and_die\n"
        f"train(magtkd({tiny!r}), Path({str(generated_meld)!r}), Path({str(out)!r}))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], check=False, timeout=300, env=os.environ.copy()
    )
    assert ended.returncode == -signal.SIGKILL
    work = out / "stages" / "text.unfinished" / "seed-0"
    assert (work / "unfinished.pt").is_file() and not (out / "stages" / "text").exists()

    assert train(magtkd(tiny), generated_meld, out, "--until", "text") == 0
    first, second = (load_file(o / "stages/text/seed-0/best.safetensors") for o in (trained, out))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_the_text_stage_teaches_what_it_knows_itself(
    trained: Path,
    tiny: dict[str, str],
    generated_meld: Path,
    tmp_path: Path,
) -> None:
    """The same student without the teacher's losses ends with other weights (A against A_KD)."""
    recipe = magtkd(tiny)
    loss = {"response": 0.0, "feature": 0.0}
    stages = recipe["stages"]
    recipe["stages"] = {
        "text": stages["text"],
        "audio": stages["audio_kd"],
        "audio_kd": {**stages["audio_kd"], "loss": loss},
        "fusion": {**stages["fusion"], "rows": [
            {"head": "concat", "name": "T+A", "reads": {"audio": "audio"}},
            {"head": "concat", "name": "T+A_KD"},
            {"head": "concat", "name": "T", "reads": {"audio": ""}},
        ]},
    }  # fmt: skip
    assert train(recipe, generated_meld, tmp_path / "out") == 0
    folder = tmp_path / "out" / "stages"

    def weights(file: Path) -> dict[str, np.ndarray]:
        return load_file(file / "seed-0" / "encoder" / "model.safetensors")

    plain, unweighted = weights(folder / "audio"), weights(folder / "audio_kd")
    taught = weights(trained / "stages" / "audio_kd")
    same = [np.array_equal(plain[name], unweighted[name]) for name in plain]
    assert all(same) and not all(np.array_equal(plain[name], taught[name]) for name in plain)
    reads = [
        read_metrics(folder / "fusion" / row / "seed-0")["reads"].get("audio")
        for row in ("t-a-no-context", "t-a-kd-no-context", "t-no-context")
    ]
    assert reads == ["audio", "audio_kd", None]


def test_iemocap_has_its_own_labels_and_may_lack_pictures(
    tiny: dict[str, str],
    generated_iemocap: Path,
    tmp_path: Path,
) -> None:
    for classes in (6, 4):
        recipe = magtkd(tiny, f"iemocap-{classes}")
        del recipe["stages"]["visual"]
        recipe["stages"]["fusion"]["rows"] = [
            {"head": "magtkd", "weights": {"alpha": 0.7, "beta": 0.8}}
        ]
        out = tmp_path / str(classes)
        assert train(recipe, generated_iemocap, out) == 0
        report = read_run(out / "stages" / "fusion" / "magtkd-causal")
        assert report.splits["test"].probabilities.shape[2] == classes
        assert set(report.names) >= {"happy", "sad", "neutral", "angry"}


def test_what_cannot_be_trained_is_refused(
    tiny: dict[str, str],
    generated_meld: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    without_mask = copy.deepcopy(magtkd(tiny))
    folder = tiny_models.bert(tmp_path / "bert")
    file = folder / "tokenizer_config.json"
    file.write_text(file.read_text().replace('"mask_token"', '"no_mask_token"'))
    without_mask["stages"]["text"]["encoder"]["model"] = str(folder)
    absent, wrong_kind = (copy.deepcopy(magtkd(tiny)) for _ in range(2))
    absent["stages"]["text"]["encoder"]["model"] = str(tmp_path / "nowhere")
    wrong_kind["stages"] = {
        name: wrong_kind["stages"][name] for name in ("audio_kd", "visual", "fusion")
    }
    texts_only = {**magtkd(tiny), "system": {"corpus": "meld", "seeds": [0]}}
    texts_only["stages"] = {"audio": {**texts_only["stages"]["audio_kd"]}}
    no_pictures = {**texts_only, "stages": {"visual": magtkd(tiny)["stages"]["visual"]}}
    for number, (recipe, message) in enumerate(
        [
            (no_pictures, "no utterance of meld train has visual: {'no clip': "),
            (without_mask, "needs a mask token"),
            (absent, "is neither a folder nor in the local Hugging Face cache"),
            (wrong_kind, "stages.audio_kd needs stages.text"),
            (texts_only, "no utterance of meld train has audio: {'no clip': "),
        ]
    ):
        assert train(recipe, generated_meld, tmp_path / f"out-{number}") == 2
        assert message in capsys.readouterr().err
