"""Metrics compared with values computed by hand, and with scikit-learn if installed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erc_ros.metrics import classification as metrics

TRUTH = [0, 0, 0, 1, 1, 2]
PREDICTED = [0, 0, 1, 1, 2, 2]  # by hand: F1 = 4/5, 2/4, 2/3

pairs = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60)


def f1_per_class(truth: Sequence[int], predicted: Sequence[int], classes: int) -> list[float]:
    certain = np.eye(classes)[np.asarray(predicted)]
    report = metrics.report(truth, certain, [str(label) for label in range(classes)])
    return list(report["f1"].values())


def one_vs_all(score: str, truth: Sequence[int], predicted: Sequence[int], classes: int) -> float:
    counts = metrics.confusion(truth, predicted, classes)
    return float(metrics.SCORES[f"one_vs_all_{score}"](counts))


def test_confusion_has_reference_labels_in_rows() -> None:
    expected = [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert metrics.confusion(TRUTH, PREDICTED, 3).tolist() == expected


def test_figures_worked_out_by_hand() -> None:
    assert metrics.accuracy(TRUTH, PREDICTED, 3) == pytest.approx(4 / 6)
    assert f1_per_class(TRUTH, PREDICTED, 3) == pytest.approx([0.8, 0.5, 2 / 3])
    assert metrics.weighted_f1(TRUTH, PREDICTED, 3) == pytest.approx(
        (3 * 0.8 + 2 * 0.5 + 2 / 3) / 6
    )
    assert metrics.macro_f1(TRUTH, PREDICTED, 3) == pytest.approx((0.8 + 0.5 + 2 / 3) / 3)
    assert metrics.unweighted_recall(TRUTH, PREDICTED, 3) == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)


def test_a_class_that_never_occurs_counts_for_nothing() -> None:
    assert metrics.macro_f1([0, 1], [0, 1], 7) == 1.0
    assert metrics.unweighted_recall([0, 1], [0, 1], 7) == 1.0
    assert f1_per_class([0, 1], [0, 1], 3) == [1, 1, 0]


@settings(deadline=None)
@given(pairs)
def test_agrees_with_scikit_learn(rows: list[tuple[int, int]]) -> None:
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    truth, predicted = (list(column) for column in zip(*rows, strict=True))
    f1 = sklearn_metrics.f1_score
    arguments = {"labels": range(5), "zero_division": 0}
    assert f1_per_class(truth, predicted, 5) == pytest.approx(
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
    # Two predictions at 0.9 (one right), two at 0.6 (both right): (|1 - 1.8| + |2 - 1.2|) / 4
    p = [[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]]
    assert metrics.calibration_error([0, 1, 1, 1], p, bins=10) == pytest.approx(0.4)


def test_sure_and_right_is_calibrated() -> None:
    assert metrics.calibration_error([0, 1], [[1.0, 0.0], [0.0, 1.0]]) == 0


def test_one_vs_all_by_hand() -> None:
    """Classes 0, 1, 2 against the rest: 1, 2 and 1 of 6 wrong; F1 of both sides by support."""
    assert one_vs_all("accuracy", TRUTH, PREDICTED, 3) == pytest.approx((5 + 4 + 5) / 18)
    sides = [(3, 0.8, 6 / 7), (2, 0.5, 6 / 8), (1, 2 / 3, 8 / 9)]  # support, F1, F1 of the rest
    expected = np.mean([(n * f1 + (6 - n) * rest) / 6 for n, f1, rest in sides])
    assert one_vs_all("f1", TRUTH, PREDICTED, 3) == pytest.approx(expected)


@settings(deadline=None)
@given(pairs)
def test_one_vs_all_agrees_with_scikit_learn(rows: list[tuple[int, int]]) -> None:
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    truth, predicted = (np.array(column) for column in zip(*rows, strict=True))
    accuracies, f1 = [], []
    for label in sorted({*truth.tolist(), *predicted.tolist()}):
        one = truth == label, predicted == label
        accuracies.append(sklearn_metrics.accuracy_score(*one))
        f1.append(sklearn_metrics.f1_score(*one, average="weighted", zero_division=0))
    assert one_vs_all("accuracy", truth, predicted, 5) == pytest.approx(np.mean(accuracies))
    assert one_vs_all("f1", truth, predicted, 5) == pytest.approx(np.mean(f1))


def test_reliability_by_hand() -> None:
    p = [[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]]
    reliability = metrics.reliability([0, 1, 1, 1], p, bins=10)
    assert reliability.count.tolist() == [0] * 6 + [2, 0, 0, 2]
    assert reliability.right[[6, 9]].tolist() == [2, 1]
    assert reliability.confidence[[6, 9]] == pytest.approx([1.2, 1.8])


RNG = np.random.default_rng(0)
NAMES = ("a", "b", "c")


def guesses(n: int, seeds: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Return labels (N,) and probabilities (S, N, 3) that are right in most cases."""
    truth = RNG.integers(0, 3, n)
    p = RNG.dirichlet((1, 1, 1), (seeds, n)) + 0.7 * np.eye(3)[truth]
    return truth, p / p.sum(axis=-1, keepdims=True)


def test_an_interval_is_what_drawing_conversations_one_by_one_gives() -> None:
    truth, p = guesses(60)
    groups = np.repeat([7, 3, 9, 1, 4, 8], 10)
    intervals = metrics.intervals(truth, p, NAMES, groups, resamples=50, seed=5)
    times = metrics.draws(6, 50, seed=5)
    slow: dict[str, list[float]] = {"weighted_f1": [], "calibration_error": [], "f1 b": []}
    for row in times:  # np.unique sorts the groups: 1 3 4 7 8 9
        rows = np.concatenate(
            [
                np.tile(np.flatnonzero(groups == g), n)
                for g, n in zip((1, 3, 4, 7, 8, 9), row, strict=True)
            ]
        ).astype(int)
        each = [metrics.report(truth[rows], one[rows], NAMES) for one in p]
        slow["weighted_f1"].append(np.mean([r["weighted_f1"] for r in each]))
        slow["calibration_error"].append(np.mean([r["calibration_error"] for r in each]))
        slow["f1 b"].append(np.mean([r["f1"]["b"] for r in each]))
    for name, values in slow.items():
        low, high = np.quantile(values, (0.025, 0.975))
        assert (intervals[name].low, intervals[name].high) == pytest.approx((low, high))
    whole = [metrics.report(truth, one, NAMES) for one in p]
    for name in (*metrics.SCORES, "calibration_error"):
        assert intervals[name].value == pytest.approx(np.mean([r[name] for r in whole]))


def test_whole_conversations_make_wider_intervals_than_their_utterances() -> None:
    truth, p = np.repeat(RNG.integers(0, 3, 20), 30), np.repeat(guesses(20)[1], 30, axis=1)
    alone = metrics.intervals(truth, p, NAMES)["accuracy"]
    whole = metrics.intervals(truth, p, NAMES, np.repeat(np.arange(20), 30))["accuracy"]
    assert whole.high - whole.low > 2 * (alone.high - alone.low)
    assert metrics.intervals(truth, p, NAMES)["accuracy"] == alone  # the draws have a seed


def test_a_class_that_is_absent_or_rare_has_no_made_up_interval() -> None:
    truth = np.array([0] * 30 + [1])
    p = np.eye(3)[truth][None] * 0.9 + 1 / 30
    intervals = metrics.intervals(truth, p, NAMES)
    assert np.isnan(intervals["f1 c"].value) and np.isnan(intervals["f1 c"].low)
    assert (intervals["f1 b"].low, intervals["f1 b"].high) == (1, 1)  # where it is drawn at all
    assert intervals["macro_f1"].value == 1


def test_figures_that_do_not_fit_are_refused() -> None:
    truth, p = guesses(10)
    for wrong in (p[0], p[:, :9], p[..., :2]):
        with pytest.raises(ValueError, match=r"not \(S, 10, 3\)"):
            metrics.intervals(truth, wrong, NAMES)
    with pytest.raises(ValueError, match="9 groups"):
        metrics.intervals(truth, p, NAMES, np.zeros(9))
    with pytest.raises(ValueError):
        metrics.intervals(truth[:0], p[:, :0], NAMES)
    with pytest.raises(ValueError, match=r"sum.*1"):
        metrics.intervals(truth, p * np.nan, NAMES)


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


def test_certain_predictions_are_in_the_last_bin() -> None:
    reliability = metrics.reliability([0, 1, 0], [[1.0, 0.0], [1.0, 0.0], [0.95, 0.05]], bins=10)
    assert reliability.count.tolist() == [0] * 9 + [3]
    assert reliability.right.tolist() == [0] * 9 + [2]
    assert reliability.confidence[-1] == pytest.approx(2.95)
