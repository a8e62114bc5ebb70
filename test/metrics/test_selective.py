"""Risk-coverage curve, with values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from erc_ros.metrics.selective import area_under_risk_coverage, risk_coverage


def test_by_hand() -> None:
    coverage, risk = risk_coverage([0.5, 0.9, 0.7, 0.6], [False, True, True, True])
    assert coverage == pytest.approx([0.25, 0.5, 0.75, 1])
    assert risk == pytest.approx([0, 0, 0, 0.25])
    assert area_under_risk_coverage([0.5, 0.9, 0.7, 0.6], [False, True, True, True]) == 1 / 16


def test_predictions_of_one_confidence_are_one_point() -> None:
    coverage, risk = risk_coverage([0.5, 0.5, 0.9], [True, False, False])
    assert coverage == pytest.approx([1 / 3, 1])
    assert risk == pytest.approx([1, 2 / 3])


def test_weights_are_repetitions() -> None:
    p, right = np.array([0.9, 0.4, 0.6]), np.array([True, False, True])
    twice = area_under_risk_coverage(np.repeat(p, [2, 0, 1]), np.repeat(right, [2, 0, 1]))
    assert area_under_risk_coverage(p, right, [2, 0, 1]) == pytest.approx(twice)


def test_nothing_has_no_area() -> None:
    assert np.isnan(area_under_risk_coverage([], []))
