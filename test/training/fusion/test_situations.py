"""The situations that reliability is fitted to, and the fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from erc_ros.inference.reliability import PairConfig, PerModality, ReliabilityConfig
from erc_ros.training.fusion import fit_reliability, situations
from erc_ros.training.fusion.situations import Clips, Material

PRIOR = np.array([0.47, 0.12, 0.03, 0.07, 0.17, 0.03, 0.11])
CONFIG = ReliabilityConfig(
    prior=tuple(PRIOR.tolist()),
    initial=PerModality(0.2, 0.2),
    mismatch=PerModality(0.4, 0.5),
    unexpressed=0.15,
    change_rate=0.002,
    text_exponent=0.75,
    plain_words=0.2,
)


def reports(labels: np.ndarray, rng: np.random.Generator, sure: float) -> np.ndarray:
    rows = np.tile(PRIOR, (len(labels), 1)) * (1 - sure)
    rows[np.arange(len(labels)), labels] += sure
    rows *= rng.uniform(0.5, 1.5, rows.shape)
    return np.asarray(rows / rows.sum(axis=1, keepdims=True))


@pytest.fixture(scope="module")
def material() -> Material:
    rng = np.random.default_rng(0)
    labels = rng.choice(7, 350, p=PRIOR)
    labels[:7] = np.arange(7)
    said = np.where(rng.random(350) < 0.6, labels, rng.choice(7, 350, p=PRIOR))
    words = reports(said, rng, 0.5)
    is_plain = np.arange(437) % 5 == 4
    plain = np.empty((437, 7))
    plain[~is_plain] = words
    plain[is_plain] = reports(np.zeros(is_plain.sum(), int), rng, 0.8)
    shown = np.arange(140) % 7
    clips = Clips(reports(shown, rng, 0.8), shown, reports(shown[:9], rng, 0), {}, 0.6)
    first = np.arange(350) // 10 * 10
    speakers = np.arange(350) % 2
    return Material(words, labels, first, speakers, plain, is_plain, clips, clips, 0.1)


def test_every_situation_of_the_mixture_is_there(material: Material) -> None:
    made = situations.streams(material, 0)
    assert {stream.group for stream in made} - {""} == set(situations.WEIGHTS)
    assert sum(fit_reliability._weights(made)) == pytest.approx(1)
    assert sum(situations.WEIGHTS.values()) == pytest.approx(1)


def test_working_modalities_gain_and_broken_ones_cost_little(material: Material) -> None:
    made = situations.streams(material, 0)
    gains = {
        stream.name: situations.gain(stream, predicted)
        for stream, predicted in zip(made, situations.replayed(CONFIG, made), strict=True)
    }
    assert gains["no mismatch, both"] > 15
    assert gains["both always anger"] > -3 and gains["both any emotion"] > -3
    assert gains["plain words"] > 20
    assert 0 <= situations.half_back(CONFIG, material, (0,)) < situations.WELL


def test_a_fit_is_repeatable_and_never_worse_than_its_start(material: Material) -> None:
    quiet = {"steps": 2, "seeds": (0,), "say": lambda _: None}
    one = fit_reliability.fit(CONFIG, material, **quiet)  # type: ignore[arg-type]
    assert one == fit_reliability.fit(CONFIG, material, **quiet)  # type: ignore[arg-type]
    made = situations.streams(material, 0)
    assert fit_reliability.objective(one, made) >= fit_reliability.objective(CONFIG, made)


def test_a_television_costs_less_where_pairs_are_modeled(material: Material) -> None:
    pair = PairConfig(0.1, 0.1, 0.25, 0.05, 0.01, 1.2, 2.0, 1.0)
    config = replace(CONFIG, pair=pair)
    made = situations.streams(material, 0)
    (television,) = (s for s in made if s.name == f"both {situations.TOGETHER}")
    (naive,), (wary,) = (situations.replayed(c, [television]) for c in (CONFIG, config))
    assert situations.gain(television, wary) > situations.gain(television, naive)
