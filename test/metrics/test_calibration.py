from __future__ import annotations

import numpy as np
import pytest

from erc_ros.metrics.calibration import (
    fit_confidence,
    fit_confidence_factors,
    fit_temperature,
    log_likelihood_loss,
)
from erc_ros.metrics.classification import calibration_error, softmax


def overconfident(temperature: float, count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Return logits that are `temperature` times too large for their accuracy."""
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


@pytest.mark.parametrize("seed", [1, 3, 4])
def test_a_single_lucky_temperature_is_not_chosen(seed: int) -> None:
    rng = np.random.default_rng(seed)  # few rows: the error jumps from temperature to temperature
    logits = rng.normal(size=(40, 4)) * 3
    labels = np.where(rng.random(40) < 0.5, logits.argmax(axis=1), rng.integers(0, 4, 40))
    tried = np.geomspace(0.2, 2.0, 80)
    errors = [calibration_error(labels, softmax(logits / t)) for t in tried]
    means = [np.mean(errors[max(0, n - 1) : n + 2]) for n in range(80)]
    place = int(np.abs(tried - fit_confidence(logits, labels)).argmin())
    assert 0 < int(np.argmin(means[1:-1])) + 1 < 79
    assert means[place] == pytest.approx(min(means[1:-1]))
    assert int(np.argmin(errors)) != place  # the lowest single one is elsewhere


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


def answered(share: float, label: int, confidence: float, count: int) -> tuple[np.ndarray, ...]:
    """Return `count` predictions of `label` with a confidence; `share` of them are right."""
    p = np.full((count, 3), (1 - confidence) / 2)
    p[:, label] = confidence
    return p, np.where(np.arange(count) < share * count, label, (label + 1) % 3)


def test_each_predicted_label_gets_a_factor_of_its_own() -> None:
    rows = [answered(0.6, 0, 0.5, 1000), answered(0.2, 1, 0.8, 1000)]
    p, labels = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    factors = fit_confidence_factors(p, labels, people=1_000_000)
    np.testing.assert_allclose(factors, [1.2, 0.25, 1.0], atol=1e-3)


def test_the_fewer_people_the_nearer_to_one() -> None:
    p, labels = answered(0.3, 2, 0.6, 1000)
    near = [fit_confidence_factors(p, labels, people)[2] for people in (1, 4, 40, 4000)]
    assert near == sorted(near, reverse=True)
    assert 0.8 < near[0] < 1 and near[-1] == pytest.approx(0.5, abs=1e-3)


def test_fitting_factors_without_people_is_an_error() -> None:
    p, labels = answered(0.3, 2, 0.6, 10)
    with pytest.raises(ValueError, match=r"people.*0"):
        fit_confidence_factors(p, labels, people=0)
    with pytest.raises(ValueError, match="utterance"):
        fit_confidence_factors(p[:0], labels[:0], people=3)


def test_nothing_to_calibrate_on_is_an_error() -> None:
    with pytest.raises(ValueError, match="finite"):
        fit_temperature(np.zeros((0, 5)), np.zeros(0, np.int64))
    with pytest.raises(ValueError, match="finite"):
        fit_temperature(np.full((1, 5), np.nan), np.zeros(1, np.int64))
    with pytest.raises(ValueError, match="finite"):
        fit_confidence(np.zeros((0, 5)), np.zeros(0, np.int64))
