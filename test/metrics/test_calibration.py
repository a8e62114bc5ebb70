from __future__ import annotations

import numpy as np
import pytest

from erc_ros.metrics.calibration import fit_confidence, fit_temperature, log_likelihood_loss
from erc_ros.metrics.classification import calibration_error, softmax


def overconfident(temperature: float, count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `temperature` times too large for how often they are right."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(count, 5)) * 1.5
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(5, p=row) for row in p])
    return logits * temperature, labels


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_temperature_that_was_put_in_is_found(temperature: float) -> None:
    logits, labels = overconfident(temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.08)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 1.8])
def test_confidence_finds_it_as_well(temperature: float) -> None:
    logits, labels = overconfident(temperature)
    assert fit_confidence(logits, labels) == pytest.approx(temperature, rel=0.15)


def test_under_another_prior_confidence_is_nearer_to_how_often_it_is_right() -> None:
    logits, labels = overconfident(1.0)
    shifted = logits - np.array([2.0, 0.0, 0.0, 0.0, 0.0])  # believes too little in the first

    def error(temperature: float) -> float:
        return calibration_error(labels, softmax(shifted / temperature))

    assert error(fit_confidence(shifted, labels)) < error(fit_temperature(shifted, labels))


def test_calibration_repairs_confidence_and_keeps_the_labels() -> None:
    logits, labels = overconfident(3.0)
    found = fit_temperature(logits, labels)
    assert log_likelihood_loss(logits, labels, found) < log_likelihood_loss(logits, labels, 1.0)

    def error(temperature: float) -> float:
        p = np.exp(logits / temperature)
        return calibration_error(labels, p / p.sum(axis=1, keepdims=True))

    assert error(found) < 0.03 < error(1.0)


def test_nothing_to_calibrate_on_is_an_error() -> None:
    with pytest.raises(ValueError, match="finite logits"):
        fit_temperature(np.zeros((0, 5)), np.zeros(0, np.int64))
    with pytest.raises(ValueError, match="finite logits"):
        fit_temperature(np.full((1, 5), np.nan), np.zeros(1, np.int64))
    with pytest.raises(ValueError, match="finite logits"):
        fit_confidence(np.zeros((0, 5)), np.zeros(0, np.int64))
