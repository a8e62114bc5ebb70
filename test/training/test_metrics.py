"""Metrics against numbers worked out by hand, and against scikit-learn where it is installed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erc_ros.training import metrics

TRUTH = [0, 0, 0, 1, 1, 2]
PREDICTED = [0, 0, 1, 1, 2, 2]  # by hand: F1 = 4/5, 2/4, 2/3

pairs = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60)


def test_confusion_has_truth_in_rows() -> None:
    expected = [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert metrics.confusion(TRUTH, PREDICTED, 3).tolist() == expected


def test_figures_worked_out_by_hand() -> None:
    assert metrics.accuracy(TRUTH, PREDICTED, 3) == pytest.approx(4 / 6)
    assert metrics.f1_per_class(TRUTH, PREDICTED, 3) == pytest.approx([0.8, 0.5, 2 / 3])
    assert metrics.weighted_f1(TRUTH, PREDICTED, 3) == pytest.approx(
        (3 * 0.8 + 2 * 0.5 + 2 / 3) / 6
    )
    assert metrics.macro_f1(TRUTH, PREDICTED, 3) == pytest.approx((0.8 + 0.5 + 2 / 3) / 3)
    assert metrics.unweighted_recall(TRUTH, PREDICTED, 3) == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)


def test_a_class_that_never_occurs_counts_for_nothing() -> None:
    assert metrics.macro_f1([0, 1], [0, 1], 7) == 1.0
    assert metrics.unweighted_recall([0, 1], [0, 1], 7) == 1.0
    assert metrics.f1_per_class([0, 1], [0, 1], 3).tolist() == [1, 1, 0]


@settings(deadline=None)
@given(pairs)
def test_agrees_with_scikit_learn(rows: list[tuple[int, int]]) -> None:
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    truth, predicted = (list(column) for column in zip(*rows, strict=True))
    f1 = sklearn_metrics.f1_score
    arguments = {"labels": range(5), "zero_division": 0}
    assert metrics.f1_per_class(truth, predicted, 5) == pytest.approx(
        f1(truth, predicted, average=None, **arguments)
    )
    assert metrics.weighted_f1(truth, predicted, 5) == pytest.approx(
        f1(truth, predicted, average="weighted", **arguments)
    )
    assert metrics.macro_f1(truth, predicted, 5) == pytest.approx(
        f1(truth, predicted, average="macro", zero_division=0)
    )
    seen = sorted(set(truth))
    assert metrics.unweighted_recall(truth, predicted, 5) == pytest.approx(
        sklearn_metrics.recall_score(
            truth, predicted, labels=seen, average="macro", zero_division=0
        )
    )


def test_calibration_error_worked_out_by_hand() -> None:
    # Two answers at 0.9 (one right), two at 0.6 (both right): (|1 - 1.8| + |2 - 1.2|) / 4
    p = [[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]]
    assert metrics.calibration_error([0, 1, 1, 1], p, bins=10) == pytest.approx(0.4)


def test_sure_and_right_is_calibrated() -> None:
    assert metrics.calibration_error([0, 1], [[1.0, 0.0], [0.0, 1.0]]) == 0


@pytest.mark.parametrize(
    ("truth", "predicted"), [([], []), ([0], [0, 1]), ([0, 7], [0, 0]), ([-1], [0]), ([0.5], [0])]
)
def test_labels_that_make_no_sense_are_refused(truth: list[float], predicted: list[float]) -> None:
    with pytest.raises(ValueError):
        metrics.accuracy(truth, predicted, 7)


@pytest.mark.parametrize("rows", [[[0.5, 0.6]], [[-0.5, 1.5]], [0.5, 0.5]])
def test_probabilities_that_are_none_are_refused(rows: list[list[float]]) -> None:
    with pytest.raises(ValueError):
        metrics.calibration_error([0], rows)


def test_the_report_is_json() -> None:
    import json

    p = np.eye(3)[PREDICTED]
    report = json.loads(json.dumps(metrics.report(TRUTH, p, ("a", "b", "c"))))
    assert report["n"] == 6 and report["f1"]["a"] == pytest.approx(0.8)
