"""CMU-MOSI: the reader on generated files of the same layout, the training on tiny sizes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from data_folder import need

from erc_ros.training.comparison.stored import train
from erc_ros.training.datasets import mosi
from erc_ros.training.datasets.mosi import SIZES, read_mosi
from erc_ros.training.engine.recipe import Recipe, RecipeError

RECIPES = Path(__file__).parents[3] / "erc_ros" / "config" / "training"
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


@pytest.fixture
def one_dev_video(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mosi.read_mosi, "__defaults__", (1, 0))
    monkeypatch.setattr(mosi, "DEV_VIDEOS", 1)


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
    with pytest.raises(ValueError, match=r"train.*4.*videos"):
        read_mosi(write(tmp_path), dev_videos=4)


@pytest.mark.data
def test_the_real_corpus_has_the_known_sizes() -> None:
    splits = read_mosi(need("mosi_bclstm_features"))
    assert [len(splits[s].names) for s in ("train", "dev", "test")] == [50, 12, 31]
    assert len(splits["train"].labels) + len(splits["dev"].labels) == 1447
    assert len(splits["test"].labels) == 752


@pytest.mark.usefixtures("one_dev_video")
def test_the_comparison_of_the_recipe_runs_on_it(tmp_path: Path) -> None:
    sections = {
        "features": {"corpus": "mosi-features"},
        "comparison": {"seeds": [0], "modes": ["causal"], "epoch": "last", "resamples": 20},
        "rows": [{"head": "concat"}, {"head": "ridge"}],
        "network": {"width": 8, "dropout": 0.0, "input_dropout": 0.0},
        "trainer": {"epochs": 4, "batch_size": 2, "learning_rate": 0.02},
    }
    train(Recipe("stored", sections, tmp_path / "out", write(tmp_path)))
    result = json.loads((tmp_path / "out/concat-no-context/seed-0/result.json").read_text())
    assert result["test"]["complete"]["accuracy"] == 1 and result["best_epoch"] == 4
    table = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert "| ridge, no context | 274 |" in table and "Dev (12 videos)" in table


@pytest.mark.usefixtures("one_dev_video")
def test_a_grid_of_weights_is_a_row_for_each_choice(tmp_path: Path) -> None:
    grid_row: dict[str, object] = {
        "head": "magtkd",
        "group": "MAGTKD",
        "weights": {"alpha": 0.5},
        "grid": {"alpha": [0.0, 0.1], "beta": [0.0, 0.2]},
    }
    sections = {
        "features": {"corpus": "mosi-features"},
        "comparison": {"seeds": [0], "modes": ["causal"], "epoch": "last", "resamples": 20},
        "rows": [grid_row],
        "network": {"width": 8, "dropout": 0.0, "input_dropout": 0.0},
        "trainer": {"epochs": 1, "batch_size": 2, "learning_rate": 0.02},
    }
    train(Recipe("stored", sections, tmp_path / "out", write(tmp_path)))
    results = [json.loads(file.read_text()) for file in sorted(tmp_path.rglob("result.json"))]
    weights = [each["settings"]["row"]["weights"] for each in results]
    assert [(each["alpha"], each["beta"]) for each in weights] == [
        (0.0, 0.0), (0.0, 0.2), (0.1, 0.0), (0.1, 0.2),
    ]  # fmt: skip
    assert "| magtkd, alpha 0.1, beta 0.2, causal |" in (tmp_path / "out/table.md").read_text()
    grid_row["grid"] = {"alpha": 0.1}
    with pytest.raises(RecipeError, match=r"grid.*lists"):
        train(Recipe("stored", sections, tmp_path / "again", tmp_path))


def test_files_that_do_not_belong_together_end_the_training(tmp_path: Path) -> None:
    data = write(tmp_path, test_label=np.full(5, 2, np.int8))
    with pytest.raises(RecipeError, match="mosi-features"):
        train(Recipe("stored", {"features": {"corpus": "mosi-features"}}, tmp_path / "out", data))


@pytest.mark.parametrize("name", ["mosi_ablations", "mosi_grid"])
def test_ablations_and_grids_change_the_models_of_the_main_comparison(name: str) -> None:
    main, other = (
        yaml.safe_load((RECIPES / f"{recipe}.yaml").read_text()) for recipe in ("mosi", name)
    )
    for section in ("network", "dropout", "trainer"):
        assert other[section] == main[section]
    for setting in ("modes", "epoch"):
        assert other["comparison"][setting] == main["comparison"][setting]
    options = {row["head"]: row.get("options", {}) for row in main["rows"]}
    for row in other["rows"]:
        assert options[row["head"]].items() <= row["options"].items(), row
