"""The cheapest one-to-one assignment (Kuhn 1955), by shortest augmenting paths."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from erc_ros.values.errors import ErcValueError


def assignment(cost: ArrayLike) -> list[tuple[int, int]]:
    """Pairs (row, column), each row and each column at most once, with the smallest sum of costs.

    cost (N, M), finite; min(N, M) pairs in ascending order of the rows. O(min(N, M)^2 max(N, M)).

    Raises:
        ValueError: not a matrix, or costs that are not finite.
    """
    c = np.asarray(cost, np.float64)
    if c.ndim != 2 or not np.isfinite(c).all():
        raise ErcValueError(f"need a matrix of finite costs, not shape {c.shape}")
    if c.shape[0] > c.shape[1]:
        return sorted((row, column) for column, row in assignment(c.T))
    rows, columns = c.shape
    u, v = np.zeros(rows), np.zeros(columns + 1)  # potentials; column `columns` is the start
    row_of = np.full(columns + 1, -1)
    for row in range(rows):
        row_of[columns] = row
        column = columns
        least = np.full(columns, np.inf)
        before = np.full(columns, columns)
        done = np.zeros(columns + 1, bool)
        while row_of[column] >= 0:
            done[column] = True
            here = row_of[column]
            reduced = c[here] - u[here] - v[:columns]
            nearer = ~done[:columns] & (reduced < least)
            least[nearer], before[nearer] = reduced[nearer], column
            open_ = np.where(done[:columns], np.inf, least)
            column = int(open_.argmin())
            step = open_[column]
            u[row_of[done]] += step
            v[done] -= step
            least[~done[:columns]] -= step
        while column != columns:  # along the path, every column takes the row of the one before
            row_of[column] = row_of[before[column]]
            column = before[column]
    return sorted((int(row_of[column]), column) for column in range(columns) if row_of[column] >= 0)
