"""A corpus outside the package is encoded, trained, evaluated and exported by its name alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")
pytest.importorskip("soundfile", reason="needs the extra [train]")

import tiny_systems
import toy_corpus

from erc_ros.cli import main
from erc_ros.inference.bundle import load_bundle
from erc_ros.training.datasets import corpora
from erc_ros.training.datasets.corpus import CorpusSpec
from erc_ros.training.features.store import FeatureStore

NAME = "toy_corpus:TOY"
tiny = tiny_systems.tiny


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return toy_corpus.write(tmp_path / "data")


def test_it_is_encoded_into_a_store_of_its_name(
    data: Path,
    tiny: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--encoder", "text", "--model", tiny["bert"], "--data", str(data)]
    assert main(["encode", NAME, "dev", *options]) == 0
    store = FeatureStore(tmp_path / "runs" / "features" / "toy-dev-text")
    assert len(store) == 16 and "dev/3/3" in set(store.keys())


def test_it_is_trained_evaluated_and_exported(
    data: Path,
    tiny: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, folder = tmp_path / "run", tmp_path / "bundle"
    assert tiny_systems.train(tiny_systems.lpgnet(tiny, NAME), data, run) == 0
    fusion = run / "stages" / "fusion" / "lpgnet-causal"
    assert main(["evaluate", str(fusion), "--resamples", "10"]) == 0
    assert "happy" in capsys.readouterr().out
    assert main(["export", str(run), "--bundle", str(folder), "--data", str(data)]) == 0
    bundle = load_bundle(folder)
    assert bundle.name == "lpgnet-toy" and bundle.labels == toy_corpus.LABELS
    assert "Toy corpus: CC0 1.0" in (folder / "LICENSE").read_text()
    assert "two people at a bus stop" in (folder / "README.md").read_text()
    assert bundle.training["data"] == ["Toy corpus"]
    learned = json.loads((run / "history.json").read_text())["corpora"]
    assert not learned or learned == [NAME]


def test_clips_of_held_out_speakers_are_not_in_a_training(data: Path) -> None:
    speakers = {clip.speaker for clip in corpora.clips([NAME], data).clips}
    assert speakers == {"toy-0"}


@pytest.mark.parametrize(
    "name", ["toy_corpus:MEASURED", "toy_corpus:LABELS", "toy_corpus:NONE", "no_module:TOY", "toy"]
)
def test_what_no_training_may_read_is_refused(name: str, data: Path) -> None:
    with pytest.raises(ValueError, match=name):
        corpora.read(name, data, "train")


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../x"},
        {"read": None},
        {"labels": ("one",)},
        {"use": "demo"},
        {"splits": ()},
        {"meanings": {"sad": ("sadness",)}},
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(change: dict[str, Any]) -> None:
    fields = {"name": "x", "title": "X", "about": "", "license": "", "read": toy_corpus.read}
    with pytest.raises(ValueError, match=next(iter(change)).removesuffix("s")):
        CorpusSpec(**{**fields, **change})
