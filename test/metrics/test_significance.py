from __future__ import annotations

import numpy as np
import pytest

from erc_ros.metrics.classification import weighted_f1
from erc_ros.metrics.significance import holm, paired_bootstrap

RNG = np.random.default_rng(0)
TRUTH = RNG.integers(0, 3, 600)
CONVERSATIONS = np.repeat(np.arange(30), 20) * 20  # numbered by their first row


def guess(right: float, seeds: int = 2) -> np.ndarray:
    """Return predictions (S, N) with this accuracy."""
    rng = np.random.default_rng(int(100 * right))
    wrong = rng.integers(0, 3, (seeds, len(TRUTH)))
    return np.where(rng.random((seeds, len(TRUTH))) < right, TRUTH, wrong)


def test_the_difference_is_that_of_the_mean_weighted_f1() -> None:
    a, b = guess(0.7), guess(0.5)
    difference = paired_bootstrap(TRUTH, a, b, CONVERSATIONS, 3)
    f1 = [np.mean([weighted_f1(TRUTH, row, 3) for row in rows]) for rows in (a, b)]
    assert difference.value == pytest.approx(f1[0] - f1[1])
    assert 0 < difference.low < difference.value < difference.high and difference.p < 0.01
    turned = paired_bootstrap(TRUTH, b, a, CONVERSATIONS, 3)
    assert turned.value == -difference.value and turned.p == difference.p


def test_any_score_can_be_compared() -> None:
    a, b = guess(0.7), guess(0.5)
    difference = paired_bootstrap(TRUTH, a, b, CONVERSATIONS, 3, score="accuracy")
    assert difference.value == pytest.approx((a == TRUTH).mean() - (b == TRUTH).mean())
    with pytest.raises(KeyError, match="f2"):
        paired_bootstrap(TRUTH, a, b, CONVERSATIONS, 3, score="f2")


def test_a_model_is_no_better_than_itself_or_than_one_as_good() -> None:
    a = guess(0.6)
    same = paired_bootstrap(TRUTH, a, a, CONVERSATIONS, 3)
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)
    assert paired_bootstrap(TRUTH, a, guess(0.61), CONVERSATIONS, 3).p > 0.05


def test_few_conversations_make_a_wide_interval() -> None:
    a, b = guess(0.6), guess(0.5)
    many = paired_bootstrap(TRUTH, a, b, np.arange(600), 3)
    few = paired_bootstrap(TRUTH, a, b, np.arange(600) // 120, 3)
    assert many.low < many.value < many.high
    assert few.value == pytest.approx(many.value) and few.low < few.high
    again = paired_bootstrap(TRUTH, a, b, np.arange(600), 3)
    assert again == many  # the draws have a seed


@pytest.mark.parametrize("count", [1, 4])
def test_too_few_conversations_have_no_interval_and_no_p(count: int) -> None:
    few = paired_bootstrap(TRUTH, guess(0.6), guess(0.5), np.arange(600) % count, 3)
    assert few.value > 0 and np.isnan([few.low, few.high, few.p]).all()
    assert few.text(2) == f"{100 * few.value:+.2f}"


def test_p_is_not_smaller_than_the_resamples_can_resolve() -> None:
    few, many = (
        paired_bootstrap(TRUTH, guess(1.0), guess(0.2), CONVERSATIONS, 3, count)
        for count in (200, 2000)
    )
    assert few.p == pytest.approx(2 / 201) and few.text(1).endswith("p 0.010")
    assert many.p == pytest.approx(2 / 2001) and many.text(1).endswith("p < 0.001")


def test_predictions_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="predictions"):
        paired_bootstrap(TRUTH, guess(0.5)[:, :-1], guess(0.5), CONVERSATIONS, 3)


def test_several_tests_are_corrected_as_in_r() -> None:
    # p.adjust(c(0.01, 0.04, 0.03, 0.02), "holm")
    assert holm([0.01, 0.04, 0.03, 0.02]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert holm([0.9, 0.6]) == [1.0, 1.0] and holm([]) == []
