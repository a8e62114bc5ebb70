"""Joint errors of two classifiers, with cases counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from erc_ros.metrics.dependence import joint_error_intervals, joint_errors


def test_errors_are_counted_as_they_fall() -> None:
    truth = np.array([0, 0, 1, 1])
    a, b = np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0])
    found = joint_errors(truth, a, b, 3)
    assert found["both right"] == 0.25 and found["both wrong"] == 0.5
    assert found["only a right"] == 0.25 and found["only b right"] == 0
    assert found["same wrong answer"] == 1
    # label 0: each is wrong in half, label 1: a in half, b always
    assert found["both wrong if independent"] == pytest.approx((2 * 0.25 + 2 * 0.5) / 4)
    assert found["phi"] == pytest.approx(0.57735, abs=1e-4)


def test_what_depends_on_the_label_alone_is_no_dependence_within_it() -> None:
    """An easy and a difficult label correlate the errors, although clips are independent."""
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1], 20_000)
    share = np.where(truth == 0, 0.9, 0.2)
    a, b = (np.where(rng.random(len(truth)) < share, truth, 2) for _ in range(2))
    found = joint_errors(truth, a, b, 3)
    assert found["phi"] > 0.4 and abs(found["phi within labels"]) < 0.02
    assert found["both wrong"] == pytest.approx(found["both wrong if independent"], abs=0.01)
    assert found["same wrong answer"] == found["same wrong answer if independent"] == 1


def test_the_same_classifier_twice_is_wrong_together() -> None:
    rng = np.random.default_rng(1)
    truth, a = rng.integers(0, 4, 500), rng.integers(0, 4, 500)
    found = joint_errors(truth, a, a, 4)
    assert found["phi"] == pytest.approx(1) and found["phi within labels"] == pytest.approx(1)
    assert found["same wrong answer"] == pytest.approx(1)
    assert found["same wrong answer if independent"] < 0.5


def test_the_interval_holds_the_figure_and_draws_whole_groups() -> None:
    rng = np.random.default_rng(2)
    truth, a, b = (rng.integers(0, 3, 300) for _ in range(3))
    found = joint_error_intervals(truth, a[None], b[None], 3, np.arange(300) // 10, 200)
    for name, figure in found.items():
        assert figure.low <= figure.value <= figure.high, name
    one = joint_error_intervals(truth, a[None], b[None], 3, np.zeros(300, int), 20)
    assert one["both wrong"].low == one["both wrong"].high


@pytest.mark.parametrize("length, weights", [(0, None), (3, np.zeros(3)), (3, np.ones(2))])
def test_nothing_to_count_is_refused(length: int, weights: np.ndarray | None) -> None:
    labels = np.zeros(length, np.int64)
    with pytest.raises(ValueError):
        joint_errors(labels, labels, labels, 2, weights)


def test_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="must be one"):
        joint_errors(np.zeros(2, np.int64), np.zeros(3, np.int64), np.zeros(2, np.int64), 2)
