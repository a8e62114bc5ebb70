"""The cheapest assignment against trying all of them."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from erc_ros.metrics.assignment import assignment


@given(
    arrays(
        np.int64,
        st.tuples(st.integers(1, 5), st.integers(1, 5)),
        elements=st.integers(-9, 9),
    )
)
def test_nothing_is_cheaper(cost: np.ndarray) -> None:
    pairs = assignment(cost)
    assert len(pairs) == min(cost.shape)
    assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs)
    wide = cost if cost.shape[0] <= cost.shape[1] else cost.T
    rows = np.arange(wide.shape[0])
    cheapest = min(
        wide[rows, list(columns)].sum() for columns in permutations(range(wide.shape[1]), len(rows))
    )
    assert sum(cost[pair] for pair in pairs) == cheapest


def test_a_large_one_as_scipy_has_it() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    cost = np.random.default_rng(0).normal(size=(60, 90))
    rows, columns = optimize.linear_sum_assignment(cost)
    assert assignment(cost) == list(zip(rows.tolist(), columns.tolist(), strict=True))


def test_nothing_to_assign_and_nonsense() -> None:
    assert assignment(np.zeros((0, 3))) == []
    with pytest.raises(ValueError, match="finite"):
        assignment([[np.nan]])
