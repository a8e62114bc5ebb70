"""Concordance correlation, with values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from erc_ros.metrics.concordance import concordance, moments


def test_by_hand() -> None:
    # means 2 and 3, variances 2/3 and 2/3, covariance 2/3: 2 (2/3) / (4/3 + 1)
    assert concordance(moments([1, 2, 3], [2, 3, 4])) == pytest.approx(4 / 7)
    assert concordance(moments([1, 2, 3], [1, 2, 3])) == pytest.approx(1)
    assert concordance(moments([1, 2, 3], [3, 2, 1])) == pytest.approx(-1)


def test_sums_of_parts_are_the_whole() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 50))
    parts = moments(x[:20], y[:20]) + moments(x[20:], y[20:])
    assert concordance(parts) == pytest.approx(float(concordance(moments(x, y))))


def test_undefined_and_refused() -> None:
    assert np.isnan(concordance(moments([1], [1])))
    assert np.isnan(concordance(moments([1, 1], [1, 1])))
    with pytest.raises(ValueError, match="length"):
        moments([1, 2], [1])
