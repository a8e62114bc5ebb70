"""CMU-MOSI: the reader on generated files of the same layout, the training on tiny sizes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from erc_ros.training.command import data_folder
from erc_ros.training.datasets.mosi import SIZES, read_mosi
from erc_ros.training.mosi import CONDITIONS, Variant, conversations, disturbed, padded, train
from erc_ros.training.recipe import Recipe, RecipeError

LENGTHS = {"train": (3, 5, 2, 4), "test": (4, 1)}


def write(data: Path, **changed: np.ndarray) -> Path:
    """A small corpus in which every feature tells the label."""
    rng = np.random.default_rng(0)
    folder = data / "mosi_bclstm_features"
    folder.mkdir(exist_ok=True)
    arrays, meta = {}, {}
    for split, lengths in LENGTHS.items():
        meta[split] = [
            {"id": f"{split}{v}_{u}", "video": f"{split}{v}", "utt": u, "text": "words"}
            for v, length in enumerate(lengths)
            for u in range(length)
        ]
        labels = np.arange(sum(lengths)) % 2
        arrays[f"{split}_label"] = labels.astype(np.int8)
        for name, size in zip(("text", "audio", "video"), SIZES, strict=True):
            noise = rng.standard_normal((len(labels), size))
            arrays[f"{split}_{name}"] = (noise + 9 * labels[:, None]).astype(np.float32)
    np.savez(folder / "mosi.npz", **{**arrays, **changed})
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    return data


def test_dev_is_whole_videos_of_train(tmp_path: Path) -> None:
    splits = read_mosi(write(tmp_path), dev_videos=1)
    assert sum(len(splits[s].labels) for s in ("train", "dev")) == 14
    assert len(splits["dev"].names) == 1 and len(splits["train"].names) == 3
    assert not set(splits["dev"].names) & set(splits["train"].names)
    assert splits["test"].first.tolist() == [0, 0, 0, 0, 4]
    for x in splits["train"].features:
        assert x.dtype == np.float32 and np.allclose(x.mean(axis=0), 0, atol=1e-5)
        assert np.allclose(x.std(axis=0), 1, atol=1e-4)


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"train_audio": np.full((14, 73), np.nan, np.float32)}, "train_audio: 14 rows"),
        ({"test_text": np.zeros((4, 100), np.float32)}, "one conversion"),
        ({"test_label": np.full(5, 2, np.int8)}, "labels 0 or 1"),
    ],
)
def test_files_that_do_not_fit_are_refused(
    tmp_path: Path, changed: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read_mosi(write(tmp_path, **changed), dev_videos=1)


def test_a_missing_folder_and_too_many_dev_videos_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="ERC_DATA"):
        read_mosi(tmp_path)
    with pytest.raises(ValueError, match="train has 4 videos"):
        read_mosi(write(tmp_path), dev_videos=4)


def test_the_real_corpus_has_the_known_sizes() -> None:
    if not (data_folder() / "mosi_bclstm_features").is_dir():
        pytest.skip("CMU-MOSI is not in the data folder")
    splits = read_mosi(data_folder())
    assert [len(splits[s].names) for s in ("train", "dev", "test")] == [50, 12, 31]
    assert len(splits["train"].labels) + len(splits["dev"].labels) == 1447
    assert len(splits["test"].labels) == 752


def test_a_missing_or_noisy_modality_is_that_one_only(tmp_path: Path) -> None:
    test = read_mosi(write(tmp_path), dev_videos=1)["test"]
    data, seen = disturbed(test, "no audio", (True, True, True), 0)
    assert seen == (True, False, True) and data.features[0] is test.features[0]
    data, seen = disturbed(test, "noise for visual", (True, True, True), 0)
    assert all(seen) and data.features[1] is test.features[1]
    assert not np.array_equal(data.features[2], test.features[2])
    assert not any(disturbed(test, "no audio", (True, False, False), 0)[1])
    assert padded(conversations(test)).tolist() == [[0, 1, 2, 3], [4, -1, -1, -1]]


def recipe(tmp_path: Path, **mosi: object) -> Recipe:
    sections = {
        "mosi": {"models": ["concat", "residual", "lpgnet"], "text_only": ["magt"], "seeds": [0, 1]}
        | {"dev_videos": 1, "resamples": 20}
        | mosi,
        "network": {"width": 8, "dropout": 0.0, "input_dropout": 0.0},
        "trainer": {"epochs": 4, "batch_size": 2, "learning_rate": 0.02},
    }
    return Recipe("mosi", sections, tmp_path / "out", write(tmp_path))


def test_a_training_learns_writes_its_table_and_goes_on_where_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(recipe(tmp_path))
    table = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert table.count("\n| concat, ") == 2 and "text only (magt), causal" in table
    file = tmp_path / "out" / Variant("concat", True).folder / "seed-1" / "result.json"
    result = json.loads(file.read_text(encoding="utf-8"))
    assert set(result["test"]) == set(CONDITIONS) and result["test"]["complete"]["accuracy"] == 1
    written = file.stat().st_mtime_ns
    train(recipe(tmp_path))  # all is there
    assert file.stat().st_mtime_ns == written
    assert (tmp_path / "out" / "table.md").read_text(encoding="utf-8") == table


def test_a_head_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no fusion head is called"):
        train(recipe(tmp_path, models=["transformer"]))
