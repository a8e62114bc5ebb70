"""The folder of a run: which seed was best, and what is finished."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from erc_ros.training.engine.runs import (
    RunError,
    choose_best,
    finished,
    log_probabilities,
    plain,
    read_metrics,
    run_folders,
    seed_folders,
    write_json,
    write_metrics,
)


def test_the_best_seed_on_dev_is_chosen_whatever_test_says(tmp_path: Path) -> None:
    for seed, (dev, test) in enumerate([(0.5, 0.9), (0.7, 0.1), (0.6, 0.5)]):
        folder = tmp_path / f"seed-{seed}"
        folder.mkdir()
        (folder / "part.onnx").write_text(f"part of seed {seed}")
        write_metrics({"seed": seed, "dev": dev, "test": {"recall": test}}, folder)
    chosen = choose_best(tmp_path, ["part.onnx"])
    assert chosen["seed"] == 1
    assert (tmp_path / "best" / "part.onnx").read_text() == "part of seed 1"
    assert chosen["all_seeds"]["mean"]["recall"] == pytest.approx(0.5)
    assert chosen["all_seeds"]["deviation"]["recall"] == pytest.approx(0.4)


def test_without_a_finished_seed_there_is_no_best(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="seed-"):
        choose_best(tmp_path, [])


def test_a_result_is_finished_only_with_the_settings_it_was_made_with(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    settings = {"seeds": (0, 1), "rate": 0.1}
    assert finished(file, settings) is None
    write_json(file, {"settings": settings, "f1": 0.5})
    assert finished(file, settings) == {"settings": plain(settings), "f1": 0.5}
    assert finished(file, {**settings, "rate": 0.2}) is None
    file.write_text("{")
    with pytest.raises(RunError, match=r"result\.json.*JSON.*again"):
        finished(file, settings)
    file.write_text("[1]")
    with pytest.raises(RunError, match=r"table.*list"):
        finished(file, settings)


def test_a_result_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    write_metrics({"seed": 0}, tmp_path)
    with pytest.raises(TypeError):
        write_metrics({"seed": object()}, tmp_path)
    assert read_metrics(tmp_path) == {"seed": 0}


def test_seeds_are_found_by_number(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="finished"):
        seed_folders(tmp_path, "metrics.json")
    for seed in (10, 2):
        (tmp_path / f"seed-{seed}").mkdir()
        write_metrics({}, tmp_path / f"seed-{seed}")
    assert [f.name for f in seed_folders(tmp_path, "metrics.json")] == ["seed-2", "seed-10"]
    assert run_folders(tmp_path) == [tmp_path]


def test_logits_of_probabilities_are_finite() -> None:
    logits = log_probabilities(np.array([[0.0, 1.0]], np.float32))
    assert np.isfinite(logits).all() and logits[0, 1] == 0
