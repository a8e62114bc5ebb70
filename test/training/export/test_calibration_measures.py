"""What `erc calibrate` measures after the fit, each by hand on a few utterances."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra [train]")
pytest.importorskip("soundfile", reason="needs the extra [train]")

from erc_ros.inference.manifest import Calibration
from erc_ros.training.datasets.utterances import LABELS
from erc_ros.training.export import calibration
from erc_ros.training.fusion.conditions import MISSING, Condition, Result

AS_IT_IS = Calibration()


def logits(*rows: dict[str, float]) -> np.ndarray:
    """Of these probabilities; what a row does not name shares the remainder."""
    table = np.empty((len(rows), len(LABELS)))
    for place, row in enumerate(rows):
        others = (1 - sum(row.values())) / (len(LABELS) - len(row))
        table[place] = [row.get(label, others) for label in LABELS]
    return np.log(table).astype(np.float32)


def test_the_table_of_min_confidence_counts_unknown_and_right_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = logits({"joy": 0.9}, {"joy": 0.55}, {"anger": 0.45}, {"fear": 0.32})
    truth = np.array([LABELS.index(name) for name in ("joy", "anger", "anger", "joy")])
    monkeypatch.setattr(calibration, "answered", lambda trial, seen: (answers, truth))
    tables = calibration.abstaining(None, AS_IT_IS)  # type: ignore[arg-type]
    assert list(tables) == ["text+audio+visual", "text"]
    for rows in tables.values():
        by_threshold = {row[0]: row[1:] for row in rows}
        unknown, right_of_these, right_of_others = by_threshold[0.25]
        assert (unknown, right_of_others) == (0, 0.5) and math.isnan(right_of_these)
        assert by_threshold[0.35] == (0.25, 0, pytest.approx(2 / 3))
        assert by_threshold[0.5] == (0.5, 0.5, 0.5)
        assert by_threshold[0.6] == (0.75, pytest.approx(1 / 3), 1)


def test_four_classes_share_the_probability_of_seven_labels(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of EmoContext's classes, `others` has what joy, sadness and anger leave."""
    file = tmp_path / "emocontext_semeval19" / "test.txt"
    file.parent.mkdir()
    lines = ["id\tturn1\tturn2\tturn3\tlabel"]
    classes = ("happy", "sad", "angry", "others", "happy")
    lines += [f"{n}\tHi\tHello\tWell {n}\t{name}" for n, name in enumerate(classes)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    last = logits(
        {"joy": 0.8}, {"sadness": 0.6}, {"anger": 0.7}, {"neutral": 0.4, "fear": 0.3}, {"fear": 0.9}
    )
    every = np.zeros((3 * len(classes), len(LABELS)), np.float32)
    every[2::3] = last
    ends = np.arange(2, len(every), 3)
    monkeypatch.setattr(calibration, "read_text", lambda bundle, chosen: (every, ends))
    measured = calibration.other_text(None, tmp_path, AS_IT_IS)  # type: ignore[arg-type]
    assert measured["accuracy"] == pytest.approx(0.8)  # the last one is `others`, not happy
    confidences = (0.8, 0.6, 0.7, 1 - 3 * 0.3 / 5, 1 - 3 * 0.1 / 6)
    right = (1, 1, 1, 1, 0)
    expected = sum(abs(a - b) for a, b in zip(confidences, right, strict=True)) / 5
    assert measured["calibration error"] == pytest.approx(expected, abs=1e-5)  # a bin for each


def test_the_summary_names_the_condition_that_costs_most() -> None:
    better, worse = Condition("random", MISSING), Condition(MISSING, "random")
    results = [Result(better, 60.004, 0.5, 60.0), Result(worse, 59.0, 0.5, 60.006)]
    summary = calibration.summary(results, {"test": {"text": 0.03456}}, {}, {})
    assert summary["worst_condition"] == {worse.name: -1.01}
    assert summary["meld_test_weighted_f1"] == {better.name: 60.0, worse.name: 59.0}
    assert summary["calibration_error"] == {"test": {"text": 0.0346}}
