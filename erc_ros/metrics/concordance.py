"""Lin's concordance correlation coefficient (Biometrics 45, 1989), from additive sums."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from erc_ros.values.errors import ErcValueError


def moments(truth: ArrayLike, predicted: ArrayLike) -> NDArray[np.float64]:
    """Return the number of pairs and the sums of x, y, x^2, y^2 and x y, (6,).

    The moments of two sets add up to those of their union.

    Raises:
        ValueError: the lengths differ.
    """
    x, y = np.asarray(truth, np.float64), np.asarray(predicted, np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise ErcValueError(f"need two rows of one length, not {x.shape} and {y.shape}")
    return np.array([len(x), x.sum(), y.sum(), x @ x, y @ y, x @ y])


def concordance(sums: NDArray[Any]) -> NDArray[np.float64]:
    """Return the coefficient 2 s_xy / (s_x^2 + s_y^2 + (m_x - m_y)^2) of moments (..., 6).

    Variances are divided by n, as in the paper. NaN for fewer than two pairs, or if both rows are
    the same constant.
    """
    n, x, y, xx, yy, xy = np.moveaxis(np.asarray(sums, np.float64), -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_x, mean_y = x / n, y / n
        spread = xx / n - mean_x**2 + yy / n - mean_y**2 + (mean_x - mean_y) ** 2
        value = 2 * (xy / n - mean_x * mean_y) / spread
    result: NDArray[np.float64] = np.where((n >= 2) & (spread > 1e-12), value, np.nan)
    return result
