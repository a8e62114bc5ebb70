"""The comparison of fusion heads on a small generated corpus."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from erc_ros.training.comparison.train import (
    CONDITIONS,
    ComparisonData,
    TableRow,
    compare,
    disturbed,
    rows,
    variants,
)
from erc_ros.training.engine.recipe import Recipe, RecipeError
from erc_ros.training.fusion.dialogues import (
    AT_ONCE,
    Dialogues,
    conversations,
    degraded,
    head_inputs,
    padded,
    predict_conversations,
    shuffled,
)
from erc_ros.training.heads.registry import HEADS, make_head

LENGTHS = (3, 5, 1, 4)
EVERYTHING = (True, True, True)


def dialogues(seed: int) -> Dialogues:
    """Every embedding tells the label."""
    rng = np.random.default_rng(seed)
    count = sum(LENGTHS)
    labels = rng.permutation(np.arange(count) % 2)
    text, audio, visual = (
        (rng.normal(size=(count, size)) + 4 * labels[:, None]).astype(np.float32)
        for size in (6, 4, 5)
    )
    first = np.repeat(np.cumsum((0, *LENGTHS[:-1])), LENGTHS)
    return Dialogues(text, audio, visual, labels, np.ones(count, np.int64), first)


CORPUS = ComparisonData(
    "Generated",
    "A note.",
    ("bad", "good"),
    {split: dialogues(seed) for seed, split in enumerate(("train", "dev", "test"))},
)


def recipe(tmp_path: Path, table: list[dict[str, Any]], **comparison: Any) -> Recipe:
    sections = {
        "comparison": {"seeds": [0, 1], "resamples": 20, **comparison},
        "rows": table,
        "network": {"width": 8, "dropout": 0.0, "input_dropout": 0.0},
        "trainer": {"epochs": 3, "batch_size": 2, "learning_rate": 0.02},
    }
    return Recipe("comparison", sections, tmp_path / "out", tmp_path)


TABLE = [
    {"head": "ridge"},
    {"head": "concat", "name": "text alone", "seen": ["text"]},
    {"head": "ddvlm"},
    {"head": "magtkd"},
    {"head": "summer"},
    {"head": "lpgnet"},
]


def test_every_paper_is_trained_tested_in_every_condition_and_put_into_the_table(
    tmp_path: Path,
) -> None:
    compare(recipe(tmp_path, TABLE, seeds=[4]), CORPUS)
    out = tmp_path / "out"
    result = json.loads((out / "magtkd-causal" / "seed-4" / "result.json").read_text())
    assert set(result["test"]) == set(CONDITIONS) and len(result["predicted"]) == 13
    ridge = json.loads((out / "ridge-no-context" / "seed-4" / "result.json").read_text())
    assert ridge["test"]["complete"]["accuracy"] == 1
    table = (out / "table.md").read_text(encoding="utf-8")
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    assert len(lines) == 1 + 3 + 3 + 3 and table.count("| reference |") == 1
    assert (out / "summer-teacher-offline" / "seed-4" / "result.json").is_file()
    cells = next(line for line in lines if line.startswith("| text alone")).split(" | ")
    assert cells[-6:-4] == ["-", "-"] and cells[-3] != "-"  # it was noise for text, not for audio


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("causal", [True, False])
def test_predictions_in_batches_equal_those_of_the_whole_split(head: str, causal: bool) -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 9, 2 * AT_ONCE + 3)
    count = int(lengths.sum())
    text, audio, visual = (rng.normal(size=(count, d)).astype(np.float32) for d in (6, 4, 5))
    first = np.repeat(np.cumsum(lengths) - lengths, lengths)
    speakers, present = rng.integers(1, 3, count), rng.random((count, 3)) < 0.8
    data = Dialogues(text, audio, visual, np.zeros(count, np.int64), speakers, first, present)
    values = {"width": 8, "embeddings": data.sizes, "labels": 3, "causal": causal}
    model = make_head(head, values).eval()
    rows = padded(conversations(data))
    with torch.inference_mode():
        whole = model(**head_inputs(data, rows, (rows >= 0)[..., None] & np.array(EVERYTHING)))[0]
    np.testing.assert_allclose(
        predict_conversations(model, data), whole.numpy()[rows >= 0], rtol=1e-4, atol=1e-5
    )


def test_a_difference_over_few_conversations_has_no_interval(tmp_path: Path) -> None:
    compare(recipe(tmp_path, [{"head": "ridge"}, {"head": "concat"}], seeds=[0]), CORPUS)
    table = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert "4 conversations" in table and not re.search(r"p (<|0)|\.\.", table)


def test_what_is_finished_is_not_trained_again_but_with_other_settings_or_data(
    tmp_path: Path,
) -> None:
    some = [{"head": "concat"}, {"head": "ridge"}]
    compare(recipe(tmp_path, some), CORPUS)
    file = tmp_path / "out" / "concat-no-context" / "seed-0" / "result.json"
    written = file.stat().st_mtime_ns
    table = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    compare(recipe(tmp_path, some), CORPUS)
    assert file.stat().st_mtime_ns == written
    assert (tmp_path / "out" / "table.md").read_text(encoding="utf-8") == table
    other = {**CORPUS.splits, "train": dialogues(7)}
    compare(recipe(tmp_path, some), replace(CORPUS, splits=other))
    assert file.stat().st_mtime_ns != written
    written = file.stat().st_mtime_ns
    compare(recipe(tmp_path, some, epoch="last"), replace(CORPUS, splits=other))
    assert file.stat().st_mtime_ns != written


def test_degraded_dev_chooses_the_epoch_with_the_lowest_cross_entropy(tmp_path: Path) -> None:
    some = recipe(tmp_path, [{"head": "concat"}], epoch="degraded", seeds=[0])
    with pytest.raises(RecipeError, match="replaced"):
        compare(some, CORPUS)
    changed = {
        "dropout": {"replaced": [0.9, 0.9, 0.9]},
        "trainer": {"epochs": 8, "batch_size": 2, "learning_rate": 0.4},
    }
    compare(replace(some, sections={**some.sections, **changed}), CORPUS)
    folder = tmp_path / "out" / "concat-no-context" / "seed-0"
    record = json.loads((folder / "training.json").read_text())
    values = [epoch["log_likelihood"] for epoch in record["history"]]
    assert record["best_epoch"] == 1 + values.index(max(values)) < 8
    assert json.loads((folder / "result.json").read_text())["dev"] < 1
    assert "degraded dev" in (tmp_path / "out" / "table.md").read_text(encoding="utf-8")


def test_degraded_embeddings_are_nearer_to_another_utterance_as_often_as_the_rate() -> None:
    rows = np.arange(500)
    own = np.random.default_rng(0).normal(size=(500, 50)).astype(np.float32)
    data = Dialogues(own, own, own, rows % 2, rows * 0 + 1, rows // 100 * 100)
    mixed = degraded(data, (0.44, 0.88, 0.0), draws=4)
    for x, rate in ((mixed.text, 0.44), (mixed.audio, 0.88)):
        nearest = (x @ own.T - (own**2).sum(axis=1) / 2).argmax(axis=1)
        assert (nearest != np.tile(rows, 4)).mean() == pytest.approx(rate, abs=0.03)
    assert (mixed.visual == np.tile(own, (4, 1))).all()
    assert [len(each) for each in conversations(mixed)] == [100] * 20


def test_a_group_is_an_ablation_table_against_its_first_row(tmp_path: Path) -> None:
    table = [
        {"group": "Paper", "head": "magtkd", "name": "whole"},
        {"group": "Paper", "head": "magtkd", "name": "no gates", "options": {"without": ["gates"]}},
        {"group": "Paper", "head": "magtkd", "name": "no distillation", "weights": {"alpha": 0.0}},
        {"group": "Paper", "head": "magtkd", "name": "tested on audio", "tested": ["audio"]},
    ]
    compare(recipe(tmp_path, table, modes=["causal"]), CORPUS)
    text = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert "## Paper" in text and "no gates, causal" in text and "WF1, no text" not in text
    assert text.index("whole, causal") < text.index("| reference |") < text.index("no gates")


def test_each_row_may_be_trained_as_in_its_paper(tmp_path: Path) -> None:
    own = {"trainer": {"epochs": 1, "learning_rate": 3e-4}, "options": {"width": 4}}
    table = [{"head": "concat"}, {"head": "concat", "name": "its own", **own}]
    compare(recipe(tmp_path, table, seeds=[0]), CORPUS)
    settings = {
        name: json.loads((tmp_path / "out" / name / "seed-0" / "training.json").read_text())
        for name in ("concat-no-context", "its-own-no-context")
    }
    assert [f["config"]["epochs"] for f in settings.values()] == [3, 1]
    assert [f["config"]["learning_rate"] for f in settings.values()] == [0.02, 3e-4]
    wider, narrow = (
        json.loads((tmp_path / "out" / name / "seed-0" / "result.json").read_text())["parameters"]
        for name in settings
    )
    assert narrow < wider


@pytest.mark.parametrize(
    "table, message",
    [
        ("concat", "must be a list"),
        ([{"head": "transformer"}], "no fusion model 'transformer'"),
        ([{"head": "magtkd", "seen": ["smell"]}], "seen and tested must be some of"),
        ([{"head": "magtkd", "objective": "hope"}], "no objective 'hope'"),
        ([{"head": "magtkd", "weights": {"gamma": 1}}], r"weights of magtkd has no \['gamma'\]"),
        ([{"head": "lpgnet", "options": {"layers": 2}}], r"options of lpgnet has no \['layers'\]"),
        ([{"head": "magtkd"}, {"head": "magtkd"}], "more than once"),
        ([{"head": "concat", "trainer": {"epoch": 1}}], r"trainer of concat has no \['epoch'\]"),
        ([{"head": "concat", "trainer": {"epochs": 0}}], "trainer of concat: epochs is 0"),
        ([{"head": "concat", "trainer": {"seed": 1}}], "give seeds in `comparison`"),
    ],
)
def test_rows_that_make_no_sense_are_refused(tmp_path: Path, table: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        rows(recipe(tmp_path, table))


@pytest.mark.parametrize(
    "wrong", [{"seeds": []}, {"modes": ["backwards"]}, {"epoch": "lucky"}, {"resamples": 0}]
)
def test_comparisons_that_make_no_sense_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="comparison"):
        compare(recipe(tmp_path, [{"head": "concat"}], **wrong), CORPUS)


def test_a_head_without_context_is_trained_once() -> None:
    pairs = list(variants([TableRow("concat"), TableRow("magtkd")], ["offline", "causal"]))
    assert [(row.head, mode) for row, mode in pairs] == [
        ("concat", "no context"),
        ("magtkd", "causal"),
        ("magtkd", "offline"),
    ]
    grouped = [TableRow("magtkd", group="a"), TableRow("concat", group="a")]
    assert [row.head for row, _ in variants(grouped, ["causal"])] == ["magtkd", "concat"]


def test_a_missing_or_noisy_modality_is_that_one_only() -> None:
    train, test = CORPUS.splits["train"], CORPUS.splits["test"]
    data, seen = disturbed(test, train, "no audio", EVERYTHING, 0)
    assert seen == (True, False, True) and data.text is test.text
    data, seen = disturbed(test, train, "noise for visual", EVERYTHING, 0)
    assert all(seen) and data.audio is test.audio
    assert not np.array_equal(data.visual, test.visual)
    assert not any(disturbed(test, train, "no audio", (True, False, False), 0)[1])


def test_noise_has_the_scale_of_what_it_replaces() -> None:
    rng = np.random.default_rng(0)
    count = 4000
    x = (5 + 3 * rng.normal(size=(count, 2))).astype(np.float32)
    many = Dialogues(x, x, x, *(np.zeros(count, np.int64),) * 3)
    noise = disturbed(many, many, "noise for text", EVERYTHING, 1)[0].text
    np.testing.assert_allclose(noise.mean(axis=0), 5, atol=0.2)
    np.testing.assert_allclose(noise.std(axis=0), 3, atol=0.2)


def test_an_epoch_has_every_utterance_once_in_whole_conversations() -> None:
    data = dialogues(0)
    assert [len(rows) for rows in conversations(data)] == list(LENGTHS)
    batches = shuffled(data, 2, random.Random(0))
    utterances = np.concatenate([batch[batch >= 0] for batch in batches])
    assert sorted(utterances.tolist()) == list(range(13))
    assert sum(batch.shape[1] for batch in batches) == 3 + 5  # those of like length together
    assert padded([np.arange(3), np.arange(1)]).tolist() == [[0, 1, 2], [0, -1, -1]]
