"""The comparison on features that `erc encode` would have made of a corpus."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from erc_ros.training.comparison import stored
from erc_ros.training.datasets import corpora
from erc_ros.training.datasets.corpus import CorpusSpec
from erc_ros.training.datasets.utterances import Conversation, LabelledUtterance, Split
from erc_ros.training.engine.recipe import Recipe, RecipeError
from erc_ros.training.features.store import create, write_shard

SIZES = {"text": 6, "audio": 4, "visual": 5}


def conversation(name: str, length: int, first: int) -> Conversation:
    """Labels 0, 1, 2, ...; the second utterance has none."""
    labels = [None if n == 1 else (first + n) % 3 for n in range(length)]
    spoken = (LabelledUtterance("words", 1 + n % 2, label, n) for n, label in enumerate(labels))
    return Conversation(name, tuple(spoken))


def split(name: str) -> Split:
    lengths = (4, 1, 3)
    conversations = (conversation(f"{name}/{n}", length, n) for n, length in enumerate(lengths))
    return Split(name, tuple(conversations), ("a", "b", "c"))


def fill(folder: Path, part: Split, size: int, left_out: str = "") -> None:
    """A store in which every feature tells the label."""
    rows = {c.key(u): u.label or 0 for c in part.conversations for u in c.utterances}
    left = {key: "broken clip" for key in rows if key == left_out}
    keys = [key for key in rows if key not in left]
    noise = np.random.default_rng(0).normal(size=(len(keys), size))
    features = np.eye(size)[[rows[key] for key in keys]] * 4 + noise
    create(folder, "made up", size, 1)
    write_shard(folder, 0, "source", keys, features.astype(np.float32), left)


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    spec = CorpusSpec(
        name="made-up",
        title="made-up",
        about="",
        license="",
        labels=split("train").labels,
        read=lambda data, name: split(name),
    )
    monkeypatch.setattr(corpora, "BUILT_IN", {**corpora.BUILT_IN, "made-up": spec})
    for name in ("train", "dev", "test"):
        for modality, size in SIZES.items():
            left_out = f"{name}/0/2" if modality == "visual" else ""
            fill(tmp_path / f"{name}-{modality}", split(name), size, left_out)
    places = {modality: str(tmp_path / ("{split}-" + modality)) for modality in SIZES}
    sections = {
        "features": {"corpus": "made-up", **places},
        "comparison": {"seeds": [0], "modes": ["causal"], "resamples": 20},
        "rows": [{"head": "ridge"}, {"head": "concat"}, {"head": "magtkd"}],
        "network": {"width": 8},
        "trainer": {"epochs": 2, "batch_size": 2, "learning_rate": 0.01},
    }
    return Recipe("stored", sections, tmp_path / "out", tmp_path)


def test_what_was_left_out_is_a_missing_modality_and_no_label_is_history(recipe: Recipe) -> None:
    config = recipe.section("features", stored.FeaturesConfig)
    data = stored.dialogues(split("test"), config)
    assert data.first.tolist() == [0, 0, 0, 0, 4, 5, 5, 5]
    assert data.labels.tolist() == [0, -100, 2, 0, 1, 2, -100, 1]
    assert data.speakers.tolist() == [1, 2, 1, 2, 1, 1, 2, 1]
    assert data.present.sum(axis=0).tolist() == [8, 8, 7] and not data.present[2, 2]
    assert (data.visual[2] == 0).all() and data.text.shape == (8, 6)


def test_heads_are_compared_on_it(recipe: Recipe) -> None:
    stored.train(recipe)
    table = (recipe.out / "table.md").read_text(encoding="utf-8")
    assert "# made-up" in table and "| magtkd, causal |" in table
    assert "on 6 utterances of 3 conversations" in table


def test_missing_features_and_unknown_corpora_are_named(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "dev-audio" / "store.json").unlink()
    with pytest.raises(FileNotFoundError, match="erc encode"):
        stored.train(recipe)
    with pytest.raises(ValueError, match="'friends'"):
        stored.FeaturesConfig("friends", "{split}", "{split}", "{split}")
    with pytest.raises(ValueError, match="must contain"):
        stored.FeaturesConfig("made-up", "{split}", "{split}", "visual")


def test_features_of_another_corpus_are_refused(recipe: Recipe, tmp_path: Path) -> None:
    other = split("other")
    folder = tmp_path / "elsewhere"
    fill(folder, other, 4)
    recipe.sections["features"]["audio"] = str(folder) + "{split}"
    for name in ("train", "dev", "test"):
        fill(Path(f"{folder}{name}"), other, 4)
    with pytest.raises(RecipeError, match=r"features.*8"):
        stored.train(recipe)


def test_a_corpus_without_pictures_is_compared_on_what_it_has(recipe: Recipe) -> None:
    """As IEMOCAP is: text and sound."""
    recipe.sections["features"].pop("visual")
    stored.train(recipe)
    table = (recipe.out / "table.md").read_text(encoding="utf-8")
    assert "| magtkd, causal |" in table
    head = next(line for line in table.splitlines() if line.startswith("| model"))
    assert "no audio" in head and "noise for text" in head and "visual" not in table
    config = recipe.section("features", stored.FeaturesConfig)
    data = stored.dialogues(split("dev"), config)
    assert data.visual.shape == (8, 1) and data.present is not None
    assert not data.present[:, 2].any() and data.present[:, :2].all()


def test_without_text_no_modality_is_left_of_text_only(recipe: Recipe) -> None:
    for name in ("audio", "visual"):
        recipe.sections["features"].pop(name)
    stored.train(recipe)
    table = (recipe.out / "table.md").read_text(encoding="utf-8")
    head = next(line for line in table.splitlines() if line.startswith("| model"))
    assert "noise for text" in head and "no text" not in head
    assert "audio" not in table and "visual" not in table


def test_each_head_of_the_recipe_has_its_papers_settings() -> None:
    from erc_ros.training.comparison.train import rows, trainer_of
    from erc_ros.training.engine.recipe import read_recipe
    from erc_ros.training.engine.trainer import TrainerConfig

    file = Path(__file__).parents[3] / "erc_ros" / "config" / "training" / "meld.yaml"
    recipe = read_recipe(file, file.parent)
    shared = recipe.section("trainer", TrainerConfig)
    trainers = {row.title: trainer_of(row, shared) for row in rows(recipe)}
    assert (trainers["LPGNet"].epochs, trainers["LPGNet"].learning_rate) == (150, 3e-4)
    assert (trainers["SUMMER"].batch_size, trainers["SUMMER"].weight_decay) == (32, 1e-5)
    assert trainers["MAGTKD"].epochs == 30
    system = yaml.safe_load((file.parents[1] / "systems" / "summer.yaml").read_text())
    teacher = system["stages"]["teacher"]
    chosen = next(row for row in rows(recipe) if row.title == "SUMMER")
    assert chosen.options["experts"] == teacher["options"]["experts"]
    for name in ("optimizer", "schedule", "learning_rate", "weight_decay"):
        assert getattr(trainers["SUMMER"], name) == teacher["trainer"][name]
