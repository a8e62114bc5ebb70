"""The four systems stage by stage on a corpus that is published as features."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("torch", reason="needs the extra [train]")

sys.path.insert(0, str(Path(__file__).parents[1] / "comparison"))
from test_mosi import write

from erc_ros.cli import main
from erc_ros.training.datasets import mosi
from erc_ros.training.datasets.corpora import read
from erc_ros.training.encoders.sample import Sample
from erc_ros.training.encoders.text.pretrained import TextEncoderConfig
from erc_ros.training.encoders.trainable import make_encoder
from erc_ros.training.engine.runs import read_metrics

RECIPES = Path(__file__).parents[3] / "erc_ros" / "config" / "systems"


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four videos for train, of which one is dev, and two for test."""
    monkeypatch.setattr(mosi, "DEV_VIDEOS", 1)
    monkeypatch.setattr(mosi.read_mosi, "__defaults__", (1, 0))
    return write(tmp_path)


def recipe(tmp_path: Path, kind: str) -> Path:
    """The one of the project, one seed and one epoch."""
    content: dict[str, Any] = yaml.safe_load((RECIPES / f"{kind}_mosi.yaml").read_text())
    content["system"]["seeds"] = [0]
    for stage in content["stages"].values():
        if "trainer" in stage:
            stage["trainer"] = {**stage["trainer"], "epochs": 1}
        if "network" in stage and "rows" in stage:
            stage["network"]["width"] = 8
            stage["resamples"] = 20
    if "teacher" in content["stages"]:
        content["stages"]["teacher"]["network"]["width"] = 8
    file = tmp_path / f"{kind}_mosi.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return file


@pytest.mark.parametrize("kind", ["magtkd", "summer", "lpgnet", "ddvlm"])
def test_a_system_is_trained_to_its_table(
    kind: str, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    file = recipe(tmp_path, kind)
    assert main(["train", str(file), "--data", str(corpus)]) == 0
    stages = tmp_path / "runs" / f"{kind}_mosi" / "stages"
    table = (stages / "fusion" / "table.md").read_text()
    assert "mosi-features" in table
    own = {run: read_metrics(run) for run in (stages / "fusion").glob("*/seed-0")}
    read = {run.parent.name: record["reads"] for run, record in own.items() if "reads" in record}
    assert read and all(record["text"] in ("text", "text_plain") for record in read.values())
    teachers = {run.parent.name for run in own} - set(read)  # SUMMER's, of another shape
    assert len(teachers) == (3 if kind == "summer" else 0)
    (tmp_path / "figures").symlink_to(RECIPES / "figures")
    capsys.readouterr()
    assert main(["table", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "(meld)" in printed or "(iemocap-4)" in printed  # the paper's figure, of another corpus
    assert "(1 seed)" in printed


def test_a_student_needs_features_to_learn_from(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    file = recipe(tmp_path, "ddvlm")
    content = yaml.safe_load(file.read_text())
    del content["stages"]["features"]
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    assert main(["train", str(file), "--data", str(corpus), "--seed", "0"]) == 2
    assert "stage visual: there are no features to learn from" in capsys.readouterr().err


def test_a_robot_cannot_run_published_features(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    file = recipe(tmp_path, "ddvlm")
    assert main(["train", str(file), "--data", str(corpus)]) == 0
    run = str(tmp_path / "runs" / "ddvlm_mosi")
    capsys.readouterr()
    wanted = ["export", run, "--bundle", str(tmp_path / "bundle"), "--data", str(corpus)]
    assert main(wanted) != 0
    assert "published features" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()


def test_the_features_are_those_of_the_corpus(corpus: Path) -> None:
    split = read("mosi-features", corpus, "test")
    said = [u for c in split.conversations for u in c.utterances]
    videos = mosi.read_mosi(corpus)["test"]
    for m, features in enumerate(videos.features):
        assert np.array_equal(np.stack([u.features[m] for u in said]), features)
    assert [u.label for u in said] == videos.labels.tolist()


@pytest.mark.parametrize(
    "features, reason",
    [
        (None, "not published"),
        (np.zeros(4, np.float32), "for a network of 5"),
        (np.full(5, np.nan, np.float32), "not finite"),
        (np.zeros(5, np.float32), ""),
    ],
)
def test_an_utterance_needs_its_features(features: np.ndarray | None, reason: str) -> None:
    encoder = make_encoder(TextEncoderConfig("features-5"))
    refused = encoder.refuses(Sample("a", features=features))
    assert reason in refused and bool(reason) == bool(refused)


def test_a_saved_network_is_read_again_and_of_no_other_modality(tmp_path: Path) -> None:
    from erc_ros.training.encoders.audio.pretrained import SpeechEncoderConfig

    encoder = make_encoder(TextEncoderConfig("features-5"))
    encoder.save(tmp_path)
    again = make_encoder(TextEncoderConfig(str(tmp_path)))
    sample = Sample("a", features=np.arange(5, dtype=np.float32))
    assert np.array_equal(again.encode([sample]), encoder.encode([sample]))
    with pytest.raises(ValueError, match=r"text.*audio"):
        make_encoder(SpeechEncoderConfig(str(tmp_path)))
