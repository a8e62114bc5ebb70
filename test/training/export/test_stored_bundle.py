"""From a comparison on stored features to a bundle that runs, whatever the labels are."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

pytest.importorskip("torch", reason="needs the extra [train]")
pytest.importorskip("av", reason="needs the extra [train]")

from erc_ros import EstimateEvent, Pipeline, PipelineConfig, Transcript
from erc_ros.cli import main
from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.label_map import LabelMapError
from erc_ros.training.datasets import corpora
from erc_ros.training.datasets.corpus import CorpusSpec
from erc_ros.training.datasets.utterances import Conversation, LabelledUtterance, Split
from erc_ros.values.nanoseconds import NS

TEXTS = (
    "That is wonderful, I am so happy!",
    "I do not care about this at all.",
    "Why would you do that to me?",
    "Please tell me more about it.",
)
ENGAGED = ("engaged", "not engaged")
VALENCE = ("negative", "neutral", "positive")
BROKEN = Path(__file__).parents[2] / "broken_plugins.py"

MakeRun = Callable[..., Path]


def toy(labels: tuple[str, ...]) -> Callable[[Path, str], Split]:
    """A reader of conversations whose labels follow their texts."""

    def read(data: Path, split: str) -> Split:
        conversations = [
            Conversation(
                f"{split}-{number}",
                tuple(
                    LabelledUtterance(
                        TEXTS[(number + n) % 4], 1 + n % 2, (number + n) % len(labels), n
                    )
                    for n in range(4)
                ),
            )
            for number in range(6)
        ]
        return Split(split, tuple(conversations), labels)

    return read


def add_corpus(monkeypatch: pytest.MonkeyPatch, name: str, labels: tuple[str, ...]) -> None:
    spec = CorpusSpec(
        name=name, title=name, about="", license="CC0 1.0", labels=labels, read=toy(labels)
    )
    monkeypatch.setattr(corpora, "BUILT_IN", {**corpora.BUILT_IN, name: spec})


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of the corpora so far: those of a toy corpus do not depend on its labels."""
    return tmp_path_factory.mktemp("encoded")


@pytest.fixture
def make_run(tmp_path: Path, encoded: Path, monkeypatch: pytest.MonkeyPatch) -> MakeRun:
    """Encode a corpus, and compare fusion models on it."""
    monkeypatch.chdir(tmp_path)

    def make(corpus: str, data: Path = tmp_path, heads: tuple[str, ...] = ("magtkd",)) -> Path:
        features = tmp_path / "runs" / "features"
        if not (encoded / corpus).is_dir():
            for split in ("train", "dev", "test"):
                assert main(["encode", corpus, split, "--data", str(data)]) == 0
            shutil.copytree(features, encoded / corpus)
        shutil.copytree(encoded / corpus, features, dirs_exist_ok=True)
        recipe = tmp_path / "table.yaml"
        recipe.write_text(
            yaml.safe_dump(
                {
                    "kind": "stored",
                    "features": {
                        "corpus": corpus,
                        "text": f"runs/features/{corpus}-{{split}}-bundle-text",
                    },
                    "comparison": {"seeds": [0], "modes": ["causal", "offline"], "resamples": 10},
                    "rows": [{"head": head} for head in heads],
                    "network": {"width": 16},
                    "trainer": {"epochs": 1, "batch_size": 4, "learning_rate": 0.01},
                }
            )
        )
        assert main(["train", str(recipe), "--data", str(data), "--out", "runs/table"]) == 0
        return tmp_path / "runs" / "table"

    return make


def labels_of(folder: Path, **config: str) -> tuple[tuple[str, ...], list[tuple[str, int]]]:
    """The labels of a bundle, and (label, number of probabilities) of each estimate."""
    settings = {"face_detector": "none", "speaker_model": "none", "min_confidence": 0.0, **config}
    with Pipeline(PipelineConfig.from_parameters({"bundle": str(folder), **settings})) as pipeline:
        events = []
        for number, text in enumerate(TEXTS):
            events += pipeline.feed(Transcript(text, arrival=(1 + 4 * number) * NS))
        events += pipeline.flush()
        labels = pipeline.bundle.labels
    estimates = [event.estimate for event in events if isinstance(event, EstimateEvent)]
    for estimate in estimates:
        assert estimate.probabilities.sum() == pytest.approx(1, abs=1e-5)
        assert estimate.confidence == pytest.approx(float(estimate.probabilities.max()))
    return labels, [(estimate.label, len(estimate.probabilities)) for estimate in estimates]


@pytest.mark.parametrize(
    ("labels", "anchors"),
    [(ENGAGED, ("engaged=0.4,0.4", "not engaged=-0.2,-0.5")), (VALENCE, ())],
    ids=["engagement", "valence"],
)
def test_a_corpus_of_other_labels_is_trained_exported_and_run(
    make_run: MakeRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    labels: tuple[str, ...],
    anchors: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    add_corpus(monkeypatch, "toy", labels)
    run, folder = make_run("toy"), tmp_path / "bundle"
    export = ["export", str(run), "--bundle", str(folder), "--data", str(tmp_path)]
    if anchors:
        assert main(export) == 1
        assert "--anchor engaged=" in capsys.readouterr().err and not folder.exists()
    assert main([*export, *(part for anchor in anchors for part in ("--anchor", anchor))]) == 0
    bundle = load_bundle(folder)
    assert bundle.labels == labels and "EmotionLines" in (folder / "LICENSE").read_text("utf-8")
    published, estimates = labels_of(folder)
    assert published == labels
    assert len(estimates) == len(TEXTS) and all(count == len(labels) for _, count in estimates)
    assert {label for label, _ in estimates} <= set(labels)


def test_the_six_of_iemocap_are_published_under_other_names(
    make_run: MakeRun, generated_iemocap: Path, tmp_path: Path
) -> None:
    run, folder = make_run("iemocap-6", generated_iemocap), tmp_path / "bundle"
    data = ["--data", str(generated_iemocap)]
    assert main(["export", str(run), "--bundle", str(folder), *data]) == 0
    labels, _ = labels_of(folder)
    assert len(labels) == 6
    rename = ", ".join(f"{label}=calm" for label in labels if label == "neutral")
    rename += ", " + ", ".join(f"{label}=emotional" for label in labels if label != "neutral")
    mapped, estimates = labels_of(folder, label_map=rename)
    assert set(mapped) == {"calm", "emotional"}
    assert all(label in mapped and count == 2 for label, count in estimates)
    with pytest.raises(LabelMapError, match="neutral"):
        labels_of(folder, label_map="neutrl=calm")


@pytest.mark.parametrize("text", ["neutral", "neutral=", "=calm", "neutral=a, neutral=b"])
def test_a_label_map_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(LabelMapError):
        labels_of(Path("edge-small"), label_map=text)


def test_a_row_is_named_where_there_are_several(
    make_run: MakeRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    add_corpus(monkeypatch, "toy", VALENCE)
    run = make_run("toy", heads=("magtkd", "concat", "ridge"))
    export = ["export", str(run), "--bundle", str(tmp_path / "bundle"), "--data", str(tmp_path)]
    for wrong in ([], ["--row", "ridge"], ["--row", "Magtkd"]):
        assert main([*export, *wrong]) == 1
        assert "magtkd" in (said := capsys.readouterr().err) and "concat" in said
    assert main([*export, "--row", "magtkd"]) == 0
    assert load_bundle(tmp_path / "bundle").name == "stored-toy-magtkd"
    shutil.rmtree(tmp_path / "bundle")
    assert main([*export, "--row", "concat"]) == 0
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.name == "stored-toy-concat"
    assert bundle.fusion.context == 1
    assert "Concat" in (bundle.folder / "README.md").read_text("utf-8")
    assert main(["export", str(run)]) == 1 and "--bundle" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("Recurrent", "padding"),
        ("LooksAhead", "later utterance"),
        ("Branches", "ONNX"),
        ("Missing", "has no Missing"),
    ],
)
def test_a_fusion_model_that_breaks_its_contract_is_refused_before_it_is_trained(
    make_run: MakeRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    model: str,
    words: str,
) -> None:
    add_corpus(monkeypatch, "toy", VALENCE)
    with pytest.raises(AssertionError):
        make_run("toy", heads=("concat", f"{BROKEN}:{model}"))
    assert words in capsys.readouterr().err
    assert not list((tmp_path / "runs" / "table").glob("*/seed-*"))
