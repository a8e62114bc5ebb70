"""`erc evaluate` and `erc table` on runs that were written as the trainings write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from erc_ros.cli import main
from erc_ros.metrics import classification as metrics
from erc_ros.training.engine.evaluation import RunError, evaluate, read_run

NAMES = ("joy", "fear", "anger")
DEV, TEST = np.array([0, 1, 2, 0]), np.array([0, 0, 1, 1, 2, 2])
HISTORY = [{"loss": 1.0, "weighted_f1": 0.5}, {"loss": 0.5, "weighted_f1": 0.7}]


def logits(labels: np.ndarray, wrong: tuple[int, ...] = ()) -> np.ndarray:
    """(N, 3), right but for the rows `wrong`, which name the next class."""
    rows = 3.0 * np.eye(3)[labels]
    rows[list(wrong)] = np.roll(rows[list(wrong)], 1, axis=1)
    return rows


def write_seed(run: Path, seed: int, wrong: tuple[int, ...] = (), **arrays: Any) -> Path:
    folder = run / f"seed-{seed}"
    folder.mkdir(parents=True)
    stored = {"dev": logits(DEV), "dev_labels": DEV, "test": logits(TEST, wrong)}
    stored |= {"test_labels": TEST, "names": np.array(NAMES), **arrays}
    np.savez(folder / "logits.npz", **{n: a for n, a in stored.items() if a is not None})
    content = {
        split: metrics.report(labels, metrics.softmax(rows), NAMES)
        for split, labels, rows in (("dev", DEV, logits(DEV)), ("test", TEST, logits(TEST, wrong)))
    }
    (folder / "metrics.json").write_text(json.dumps(content))
    record = {"choose": "weighted_f1", "history": HISTORY}
    (folder / "training.json").write_text(json.dumps(record))
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two seeds: one makes a mistake on test, the other two."""
    write_seed(tmp_path / "text", 0, wrong=(1,))
    write_seed(tmp_path / "text", 1, wrong=(1, 2))
    return tmp_path / "text"


def test_an_evaluation_has_mean_spread_and_interval_of_every_figure(run: Path) -> None:
    report = evaluate(read_run(run))
    accuracy = report["test"]["scores"]["accuracy"]
    assert accuracy["values"] == pytest.approx([5 / 6, 4 / 6])
    assert accuracy["mean"] == pytest.approx(0.75)
    assert accuracy["std"] == pytest.approx(np.std([5 / 6, 4 / 6], ddof=1))
    low, high = accuracy["interval"]
    assert 0.3 < low < 0.75 < high <= 1
    assert set(report["test"]["scores"]) == {*metrics.SCORES, "calibration_error"}
    assert [each["support"] for each in report["test"]["f1"].values()] == [2, 2, 2]
    assert report["test"]["f1"]["joy"]["mean"] == pytest.approx(2 / 3)
    assert report["test"]["confusion"] == [[2, 2, 0], [0, 3, 1], [0, 0, 4]]  # both seeds
    assert report["dev"]["scores"]["weighted_f1"]["values"] == [1, 1]


def test_conversations_are_drawn_whole_where_they_are_known(tmp_path: Path) -> None:
    labels = np.tile([0, 1], 10)
    test = logits(labels, wrong=tuple(range(1, 20, 2)))  # half of each conversation
    conversations = np.repeat([9, 5, 7, 3, 1], 4)
    write_seed(tmp_path, 0, test=test, test_labels=labels, test_conversations=conversations)
    report = evaluate(read_run(tmp_path))
    assert report["test"]["resampled"] == "conversations"
    assert report["dev"]["resampled"] == "utterances"
    assert report["test"]["scores"]["accuracy"]["interval"] == [0.5, 0.5]


def test_a_few_conversations_have_no_interval(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_seed(tmp_path, 0, wrong=(0, 1), test_conversations=np.array([5, 5, 7, 7, 7, 7]))
    assert main(["evaluate", str(tmp_path)]) == 0
    figures = json.loads((tmp_path / "evaluation.json").read_text())["test"]
    everything = [*figures["scores"].values(), *figures["f1"].values()]
    assert {each["interval"] for each in everything} == {None}
    assert "| accuracy | 66.67 | - |" in capsys.readouterr().out


def test_the_command_writes_figures_and_pictures(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(run), "--resamples", "50"]) == 0
    shown = capsys.readouterr().out
    assert "| accuracy | 75.00 ± 11.79 |" in shown and "| F1 joy (2) | 66.67 ± 0.00 |" in shown
    written = {path.name for path in run.iterdir() if path.is_file()}
    assert written == {
        "evaluation.json",
        "evaluation.md",
        "confusion-dev.png",
        "confusion-test.png",
        "reliability-dev.png",
        "reliability-test.png",
        "training.png",
    }
    assert json.loads((run / "evaluation.json").read_text())["seeds"] == ["seed-0", "seed-1"]


def test_one_seed_alone_can_be_evaluated(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run / "seed-1"), "--resamples", "10"]) == 0
    assert "| accuracy | 66.67 |" in capsys.readouterr().out  # no deviation is made up


def test_seeds_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for seed in (10, 2, 0):
        write_seed(tmp_path, seed)
    assert read_run(tmp_path).seeds == ("seed-0", "seed-2", "seed-10")


def test_names_come_from_the_metrics_where_the_answers_lack_them(tmp_path: Path) -> None:
    folder = write_seed(tmp_path, 0, names=None)
    assert read_run(tmp_path).names == NAMES
    (folder / "metrics.json").unlink()
    assert read_run(tmp_path).names == ("class 0", "class 1", "class 2")


def test_a_class_absent_from_dev_has_no_interval_and_hurts_nobody(tmp_path: Path) -> None:
    write_seed(tmp_path, 0, dev=logits(np.array([0, 1])), dev_labels=np.array([0, 1]))
    report = evaluate(read_run(tmp_path))["dev"]
    assert report["f1"]["anger"]["interval"] is None and report["f1"]["anger"]["support"] == 0
    assert report["scores"]["macro_f1"]["mean"] == 1


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"test_labels": None}, "lacks.*test_labels"),
        ({"test": np.zeros((5, 3))}, r"test is \(5, 3\) for \(6,\) labels"),
        ({"test": np.full((6, 3), np.nan)}, r"test.*first \["),
        ({"dev": np.zeros((0, 3)), "dev_labels": np.zeros(0, int)}, r"dev is \(0, 3\)"),
        ({"names": np.array(["a", "b"])}, "3 outputs and 2 labels"),
        ({"names": np.array([{"a": 1}], object)}, "cannot be read"),
    ],
)
def test_answers_that_are_not_usable_are_named(
    tmp_path: Path, arrays: dict[str, Any], message: str
) -> None:
    write_seed(tmp_path, 0, **arrays)
    with pytest.raises(RunError, match=message):
        read_run(tmp_path)


@pytest.mark.parametrize("size", [0, 10, 300])
def test_a_cut_file_is_named(run: Path, size: int) -> None:
    file = run / "seed-1" / "logits.npz"
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(RunError, match=r"seed-1/logits\.npz"):
        read_run(run)


def test_seeds_that_were_measured_on_other_data_are_not_averaged(run: Path) -> None:
    write_seed(run, 2, test=logits(TEST[::-1]), test_labels=TEST[::-1])
    with pytest.raises(RunError, match="seed-2"):
        read_run(run)


def test_an_unfinished_seed_is_named(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "seed-1" / "unfinished.pt").touch()
    assert main(["evaluate", str(run)]) == 1
    assert "seed-1 is not finished" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["evaluate", "table"])
def test_a_folder_that_is_no_run_is_named(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, str(tmp_path / "nothing")]) == 1
    assert "nothing" in capsys.readouterr().err


def test_a_table_has_a_row_for_each_run(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_seed(tmp_path / "other", 0)
    arguments = [str(run), str(tmp_path / "other")]
    assert main(["table", *arguments, "--metric", "accuracy"]) == 0
    assert capsys.readouterr().out == (
        "| run | seeds | dev accuracy | test accuracy |\n"
        "|---|---|---|---|\n"
        "| text | 2 | 100.00 ± 0.00 | 75.00 ± 11.79 |\n"
        "| other | 1 | 100.00 | 100.00 |\n"
    )


def test_a_table_reads_what_the_other_trainings_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A number for dev, a table for test; or full reports beside them."""
    for name, content in {
        "audio": {"dev": 0.5, "test": {"uar_together": 0.6}},
        "fusion": {
            "dev": 0.7,
            "test": {"text": 0.1},
            "dev_report": {"weighted_f1": 0.7},
            "test_report": {"weighted_f1": 0.65},
        },
    }.items():
        (tmp_path / name / "seed-0").mkdir(parents=True)
        (tmp_path / name / "seed-0" / "metrics.json").write_text(json.dumps(content))
    assert main(["table", str(tmp_path / "audio"), "--metric", "uar_together"]) == 0
    assert "| audio | 1 | - | 60.00 |" in capsys.readouterr().out
    assert main(["table", str(tmp_path / "fusion")]) == 0
    assert "| fusion | 1 | 70.00 | 65.00 |" in capsys.readouterr().out
    assert main(["table", str(tmp_path / "audio"), "--metric", "weighted_f1"]) == 1
    assert "has no 'weighted_f1'; it has ['uar_together']" in capsys.readouterr().err


def test_runs_of_the_same_name_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        write_seed(tmp_path / name / "text", 0)
    assert main(["table", str(tmp_path / "a" / "text"), str(tmp_path / "b" / "text")]) == 0
    shown = capsys.readouterr().out
    assert f"| {tmp_path / 'a' / 'text'} |" in shown and f"| {tmp_path / 'b' / 'text'} |" in shown
