"""Confidence factors: the most probable label does not change, the others share the rest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from erc_ros.inference.estimate import SUREST, calibrated, scale_confidence, softmax
from erc_ros.inference.manifest import CONFIDENCE_FACTORS, Calibration

LABELS = 5
SOUND = (False, True, False)
FACTORS = st.lists(st.floats(*CONFIDENCE_FACTORS), min_size=LABELS, max_size=LABELS)
TIES = [float(np.float32(value)) for value in (0.0, 1e-7, 1.0, 1.0000001)]
LOGITS = st.one_of(
    arrays(np.float32, (3, LABELS), elements=st.floats(-90, 90, width=32)),
    arrays(np.float32, (3, LABELS), elements=st.sampled_from(TIES)),
)


@given(LOGITS, FACTORS)
def test_the_label_never_changes_and_it_stays_a_distribution(
    logits: np.ndarray, factors: list[float]
) -> None:
    before = softmax(logits)
    after = scale_confidence(before, factors)
    assert after.dtype == np.float32 and after.shape == before.shape
    np.testing.assert_array_equal(after.argmax(axis=1), before.argmax(axis=1))
    np.testing.assert_allclose(after.sum(axis=1), 1, atol=1e-5)
    assert (after >= 0).all() and (
        after.max(axis=1) <= np.maximum(before.max(axis=1), SUREST)
    ).all()


@given(LOGITS, FACTORS)
def test_a_batch_is_its_rows(logits: np.ndarray, factors: list[float]) -> None:
    calibration = Calibration(0.7, confidence_factors={"audio": tuple(factors)})
    rows = [calibrated(row, calibration, SOUND) for row in logits]
    np.testing.assert_allclose(calibrated(logits, calibration, SOUND), rows, atol=1e-6)


@given(LOGITS)
def test_without_factors_or_with_ones_nothing_changes(logits: np.ndarray) -> None:
    expected = softmax(logits / np.float32(0.7))
    factors = {"audio": (1.0,) * LABELS, "visual": (2.0,) * LABELS}
    for calibration in (Calibration(0.7), Calibration(0.7, {}, factors)):
        np.testing.assert_array_equal(calibrated(logits, calibration, SOUND), expected)


def test_the_confidence_is_multiplied_and_the_others_keep_their_shares() -> None:
    before = np.array([0.5, 0.3, 0.2, 0.0], np.float32)
    after = scale_confidence(before, [1.4, 1.0, 1.0, 1.0])
    np.testing.assert_allclose(after, [0.7, 0.18, 0.12, 0.0], atol=1e-6)


def test_it_is_limited_so_that_the_label_does_not_change() -> None:
    before = np.array([0.3, 0.5, 0.2], np.float32)
    after = scale_confidence(before, [1.0, 0.1, 1.0])  # 0.05: both others would be above it
    assert after.argmax() == 1
    np.testing.assert_allclose(after, [0.375, 0.375, 0.25], atol=1e-4)  # their ratio is 3 : 2


@pytest.mark.parametrize(("sure", "expected"), [(0.5, 0.99), (0.995, 0.995), (1.0, 1.0)])
def test_a_factor_makes_nothing_surer_than_the_limit(sure: float, expected: float) -> None:
    before = np.array([sure, 1 - sure, 0.0], np.float32)
    assert scale_confidence(before, [3.0, 1.0, 1.0])[0] == pytest.approx(expected, abs=1e-6)


def test_who_was_certain_and_is_not_leaves_the_same_to_all_others() -> None:
    after = scale_confidence(np.array([1.0, 0.0, 0.0], np.float32), [0.6, 1.0, 1.0])
    np.testing.assert_allclose(after, [0.6, 0.2, 0.2], atol=1e-6)
