"""The contract of `erc_ros.evaluation.metric.Metric`."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from erc_ros.evaluation.metric import Metric, load_metrics

LABELS = ("neutral", "joy", "anger")


@pytest.fixture
def loaded(metric: str) -> Metric:
    """The metric, loaded as in `erc evaluate --metric`; this also checks its name."""
    (instance,) = load_metrics([metric])
    return instance


def estimates(count: int, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return random reference labels (N,) and probabilities (N, 3)."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 3, count), rng.dirichlet(np.ones(3), count)


@pytest.mark.parametrize("count", [1, 2, 50])
def test_it_is_a_number(loaded: Metric, count: int) -> None:
    """The result is finite or NaN, also for a single utterance."""
    value = float(loaded.compute(*estimates(count), LABELS))
    assert not math.isinf(value)


def test_it_is_a_number_where_one_label_never_occurs(loaded: Metric) -> None:
    """Likewise for probabilities of 0 and 1."""
    truth, _ = estimates(20)
    truth[:] = 1
    probabilities = np.eye(3)[truth]
    assert not math.isinf(float(loaded.compute(truth, probabilities, LABELS)))


def test_the_order_of_the_utterances_does_not_count(loaded: Metric) -> None:
    """This is required for bootstrap intervals over conversations."""
    truth, probabilities = estimates(50)
    order = np.random.default_rng(1).permutation(50)
    first = loaded.compute(truth, probabilities, LABELS)
    other = loaded.compute(truth[order], probabilities[order], LABELS)
    np.testing.assert_allclose(first, other, atol=1e-9)


def test_the_result_depends_on_the_arguments_alone(loaded: Metric) -> None:
    """The arguments are not changed, and other calls in between have no effect."""
    truth, probabilities = estimates(50)
    before = truth.copy(), probabilities.copy()
    first = loaded.compute(truth, probabilities, LABELS)
    loaded.compute(*estimates(10, 5), LABELS)
    np.testing.assert_equal(loaded.compute(truth, probabilities, LABELS), first)
    np.testing.assert_array_equal(truth, before[0])
    np.testing.assert_array_equal(probabilities, before[1])
