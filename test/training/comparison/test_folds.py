"""Cross-validated comparisons: on made-up features, and on published ones of the real layout."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_folder import need

pytest.importorskip("torch", reason="needs the extra [train]")

from erc_ros.metrics.classification import weighted_f1
from erc_ros.training.comparison.folds import FoldedCorpus, compare_folds, folds
from erc_ros.training.comparison.real import joint_errors, meld_dialogues, ravdess_clips
from erc_ros.training.datasets import corpora
from erc_ros.training.datasets.published import read_action_units, read_meld_dev_sound
from erc_ros.training.encoders.sample import Sample
from erc_ros.training.engine.recipe import Recipe, RecipeError
from erc_ros.training.fusion.dialogues import Dialogues

LENGTHS = (8, 12, 9, 7, 11, 13)


def corpus(seed: int = 0) -> FoldedCorpus:
    """Sound tells the label, words do not; an utterance without a label, one without sound."""
    rng = np.random.default_rng(seed)
    total = sum(LENGTHS)
    labels = rng.integers(0, 2, total)
    text, audio, visual = (rng.standard_normal((total, 4)).astype(np.float32) for _ in range(3))
    audio += 9 * labels[:, None].astype(np.float32)
    first = np.repeat(np.cumsum([0, *LENGTHS[:-1]]), LENGTHS)
    present = np.ones((total, 3), bool)
    present[:, 2], present[2, 1] = False, False
    labels[0] = -100
    data = Dialogues(text, audio, visual, labels, np.ones(total, np.int64), first, present)
    return FoldedCorpus("Made up", "Note.", ("no", "yes"), data, first, "dialogues")


def test_folds_hold_whole_groups_and_test_everything_once() -> None:
    made = corpus()
    tested = []
    for test, fold in folds(made, 3):
        tested += test.tolist()
        parts = fold.splits
        assert sum(len(part.labels) for part in parts.values()) == sum(LENGTHS)
        assert set(made.groups[test]).isdisjoint(np.delete(made.groups, test))
        for part in parts.values():  # conversations begin where they begin
            assert part.first[0] == 0 and (np.diff(part.first) >= 0).all()
            assert (part.first <= np.arange(len(part.first))).all()
        train = parts["train"]
        known = train.audio[train.present[:, 1]]
        assert np.allclose(known.mean(axis=0), 0, atol=1e-5)
    assert sorted(tested) == list(range(sum(LENGTHS)))


@pytest.mark.parametrize("count", [2, 7])
def test_more_folds_than_groups_and_too_few_are_refused(count: int) -> None:
    with pytest.raises(RecipeError, match=f"{count} folds of 6 dialogues"):
        next(folds(corpus(), count))


def recipe(out: Path, rows: Sequence[dict[str, object]], seeds: Sequence[int] = (0,)) -> Recipe:
    """With few epochs."""
    sections = {
        "comparison": {"seeds": list(seeds), "modes": ["no context", "causal"], "resamples": 50},
        "rows": list(rows),
        "network": {"width": 8, "dropout": 0.0, "input_dropout": 0.0},
        "trainer": {"epochs": 3, "batch_size": 2, "learning_rate": 0.02},
    }
    return Recipe("meld-dev-sound", sections, out)


def test_it_says_that_sound_helps_and_is_not_repeated(tmp_path: Path) -> None:
    rows = [
        {"head": "ridge", "name": "ridge, words", "seen": ["text"]},
        {"head": "ridge", "name": "ridge, both", "seen": ["text", "audio"]},
        {"head": "lpgnet", "seen": ["audio"], "options": {"modalities": ["text", "audio"]}},
    ]
    made = corpus()
    found = compare_folds(recipe(tmp_path, rows), made, 3)
    known = made.data.labels >= 0
    right = {
        f"{row.title}, {mode}": (said[:, known] == made.data.labels[known]).mean()
        for (row, mode), said in found.items()
    }
    assert right["ridge, both, no context"] > 0.9 > right["ridge, words, no context"]
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "| ridge, both, no context | against ridge, words, no context | +" in text
    assert "| lpgnet, causal | against lpgnet, no context |" in text
    assert f"{sum(LENGTHS) - 1} utterances of 6 dialogues, 3 folds" in text
    runs = {file: file.stat().st_mtime_ns for file in tmp_path.glob("fold-*/*/seed-0/result.json")}
    assert len(runs) == 3 * 4
    again = compare_folds(recipe(tmp_path, rows), made, 3)
    assert all(np.array_equal(again[key], found[key]) for key in found)
    assert all(file.stat().st_mtime_ns == time for file, time in runs.items())


def test_the_table_has_the_spread_over_seeds(tmp_path: Path) -> None:
    made = corpus()
    rows = [{"head": "concat", "seen": ["text"], "options": {"dropout": 0.5}}]
    found = compare_folds(recipe(tmp_path, rows, (0, 1, 2)), made, 3)
    known = made.data.labels >= 0
    each = [weighted_f1(made.data.labels[known], a[known], 2) for a in next(iter(found.values()))]
    assert len(set(each)) > 1
    spread = f"{100 * np.mean(each):.2f} ± {100 * np.std(each, ddof=1):.2f} |"
    assert spread in (tmp_path / "table.md").read_text(encoding="utf-8")


def test_few_groups_have_no_interval(tmp_path: Path) -> None:
    made = corpus()
    few = replace(made, groups=np.searchsorted(np.unique(made.groups), made.groups) // 2)
    rows = [
        {"head": "ridge", "name": "words", "seen": ["text"]},
        {"head": "ridge", "name": "both", "seen": ["text", "audio"]},
    ]
    compare_folds(recipe(tmp_path, rows), few, 3)
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "against words" in text and " to " not in text.split("| both", 1)[1]


def test_errors_of_voice_and_face_are_compared_head_by_head(tmp_path: Path) -> None:
    rows = [
        {"head": "ridge", "name": "words", "seen": ["text"]},
        {"head": "ridge", "name": "voice", "seen": ["audio"]},
    ]
    found = compare_folds(recipe(tmp_path, rows), corpus(), 3)
    assert joint_errors(found, corpus()) == ""  # there is no face
    rows[0]["seen"] = ["visual"]
    found = compare_folds(recipe(tmp_path / "b", rows), corpus(), 3)
    text = joint_errors(found, corpus())
    assert "ridge, no context |" in text and "| only voice right |" in text


class Lengths:
    """An encoder of text: how long it is."""

    modality, name, dimension = "text", "lengths", 2

    def refuses(self, sample: Sample) -> str:
        """What is empty."""
        return "" if sample.turns[-1].text.strip() else "empty text"

    def encode(self, samples: Sequence[Sample]) -> np.ndarray:
        """(N, 2); one utterance at a time is read."""
        assert all(len(sample.turns) == 1 for sample in samples)
        return np.array([[len(s.turns[-1].text), 1] for s in samples], np.float32)


@pytest.mark.data
def test_published_sound_is_joined_by_the_numbers_of_dialogue_and_utterance(tmp_path: Path) -> None:
    split = corpora.read("meld", need("meld_annotations"), "dev")
    said = [(c, u) for c in split.conversations for u in c.utterances]
    folder = tmp_path / "meld_dev_real_audio"
    folder.mkdir()
    numbers = [(int(c.name.split("/")[1]), u.index) for c, u in said][:-1]  # one is not there
    audio = np.array(numbers, np.float32)
    dialogue, utterance = np.array(numbers, np.int32).T
    order = np.random.default_rng(0).permutation(len(numbers))
    np.savez(
        folder / "meld_dev.npz",
        dialogue=dialogue[order], utterance=utterance[order], audio=audio[order],
    )  # fmt: skip
    data = meld_dialogues(split, Lengths(), tmp_path)
    assert np.array_equal(data.audio[:-1], audio)
    assert data.present is not None
    assert data.present[:, 1].tolist() == [True] * len(numbers) + [False]
    assert data.text[0, 0] == len(said[0][1].text)
    assert data.first[0] == 0 and len(np.unique(data.first)) == len(split.conversations)


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"audio": np.zeros((2, 3))}, "lacks"),
        ({"dialogue": [0], "utterance": [0], "audio": np.zeros((2, 3))}, "for 1 utterances"),
        ({"dialogue": [0], "utterance": [0], "audio": np.full((1, 3), np.nan)}, "not finite"),
    ],
)
def test_sound_of_another_form_is_refused(
    tmp_path: Path, arrays: dict[str, object], message: str
) -> None:
    with pytest.raises(FileNotFoundError, match="ERC_DATA"):
        read_meld_dev_sound(tmp_path)
    (tmp_path / "meld_dev_real_audio").mkdir()
    np.savez(tmp_path / "meld_dev_real_audio" / "meld_dev.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        read_meld_dev_sound(tmp_path)


def write_units(data: Path, rows: Sequence[Sequence[str]], head: Sequence[str]) -> None:
    """A file of action units."""
    (data / "ravdess_action_units").mkdir(exist_ok=True)
    with (data / "ravdess_action_units" / "action_units.csv").open("w", newline="") as file:
        csv.writer(file, delimiter=";").writerows([head, *rows])


def test_action_units_are_found_by_the_clip(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="ravdess_action_units"):
        read_action_units(tmp_path)
    write_units(tmp_path, [("0.5", "1", "01-01-05-02-01-02-16")], ("AU01_r", "AU02_c", "name"))
    assert read_action_units(tmp_path)["01-05-02-01-02-16"].tolist() == [0.5, 1]


@pytest.mark.parametrize(
    "row, head, message",
    [
        (("x", "01-01-05-02-01-02-16"), ("AU01_r", "name"), "line 2"),
        (("nan", "01-01-05-02-01-02-16"), ("AU01_r", "name"), "not finite"),
        (("1", "a"), ("smile", "name"), "no columns AU"),
        (("1",), ("AU01_r",), "no columns AU"),
    ],
)
def test_broken_action_units_are_refused(
    tmp_path: Path, row: tuple[str, ...], head: tuple[str, ...], message: str
) -> None:
    write_units(tmp_path, [row], head)
    with pytest.raises(ValueError, match=message):
        read_action_units(tmp_path)


def test_action_units_of_other_clips_are_refused(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile", reason="needs the extra [train]")
    folder = tmp_path / "ravdess_speech_16k" / "Actor_16"
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0).standard_normal(16000) / 10
    soundfile.write(folder / "03-01-05-02-01-02-16.wav", noise, 16000)
    write_units(tmp_path, [("1", "01-01-09-02-01-02-16")], ("AU01_r", "name"))
    with pytest.raises(ValueError, match="match no clip"):
        ravdess_clips(tmp_path, "speaker-campplus", tmp_path / "voice.safetensors")
