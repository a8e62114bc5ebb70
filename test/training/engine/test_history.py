"""Where a run comes from, as the trainings record it."""

from __future__ import annotations

from pathlib import Path

import pytest

from erc_ros.training.command import main
from erc_ros.training.engine.history import (
    RunHistory,
    kind_of,
    read_history,
    record,
    whole_history,
)


def test_what_is_recorded_twice_is_there_once(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert read_history(run) == RunHistory()
    record(run, commands=["a"], corpora=["meld"])
    record(run, commands=["b", "a"], corpora=["meld", "emodb"])
    assert read_history(run) == RunHistory(("a", "b"), ("meld", "emodb"))


def test_a_folder_best_has_the_history_of_its_run(tmp_path: Path) -> None:
    record(tmp_path, commands=["a"])
    (tmp_path / "best").mkdir()
    assert read_history(tmp_path / "best").commands == ("a",)


def test_teachers_come_first_and_a_circle_ends(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    record(one, commands=["one"], corpora=["meld"], teachers=[str(two / "best")])
    record(two, commands=["two"], corpora=["goemotions"], teachers=[str(one)])
    assert whole_history(one).commands == ("two", "one")
    assert whole_history(one).corpora == ("goemotions", "meld")


def test_the_command_is_recorded_without_the_place_of_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(
        "kind: face\ntrainer: {epochs: 1, batch_size: 1, learning_rate: 0.1}"
    )
    assert main(["mine.yaml", "--seed", "4", "--data", str(tmp_path / "secret")]) == 2  # no data
    run = tmp_path / "runs" / "mine"
    assert read_history(run).commands == ("erc train mine.yaml --seed 4",)
    assert kind_of(run) == "face"


def test_a_damaged_history_is_named(tmp_path: Path) -> None:
    (tmp_path / "history.json").write_text('{"comands": []}')
    with pytest.raises(ValueError, match=r"history\.json.*\['comands'\]"):
        read_history(tmp_path)
