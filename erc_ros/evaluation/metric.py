"""Interface of metrics that other packages define."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from erc_ros.plugins import METRICS, PluginError, make


class Metric(Protocol):
    """One number from reference labels and estimated probabilities.

    Contract:

    - The class is called without arguments. `name` is the figure's name in scores.json and in the
      report: lower case letters, digits and underscores; not the name of another figure.
    - `compute` depends on its arguments alone, does not change them, and does not depend on the
      order of the utterances: intervals come from drawing whole conversations with replacement,
      and `compute` is called a thousand times for them.
    - It returns a finite number, or NaN where the figure is not defined, also for one utterance.
    """

    name: str

    def compute(
        self,
        truth: NDArray[np.int64],
        probabilities: NDArray[np.float64],
        labels: Sequence[str],
    ) -> float:
        """Return the figure.

        Args:
            truth: (N,) the index of each utterance's reference label, N at least 1.
            probabilities: (N, C), each row with sum 1; C = len(labels).
            labels: names of the C labels.
        """


def load_metrics(names: Sequence[str]) -> tuple[Metric, ...]:
    """Return the metrics of these names: entry points, module:Class or file.py:Class.

    Raises:
        PluginError: there is no such class, or its name cannot be a figure's name.
    """
    metrics: list[Metric] = [make(METRICS, name) for name in names]
    for metric in metrics:
        figure = str(metric.name)
        if not (figure.isidentifier() and figure == figure.lower()):
            raise PluginError(
                f"metric {figure!r}: a name has lower case letters, digits and underscores"
            )
    return tuple(metrics)


def value_of(
    metric: Metric,
    truth: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    labels: Sequence[str],
) -> float:
    """Compute the figure; NaN for zero utterances and infinite values."""
    if not len(truth):
        return float("nan")
    value = float(metric.compute(truth, probabilities, labels))
    return value if np.isfinite(value) else float("nan")
