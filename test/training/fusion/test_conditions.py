from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from erc_ros.training.datasets.utterances import LABELS
from erc_ros.training.fusion.conditions import (
    ALWAYS,
    ANOTHER,
    AS_IT_IS,
    MISSING,
    SAME,
    Condition,
    SimulatedModality,
    embedded,
    measure_conditions,
    table,
    worst,
)
from erc_ros.training.fusion.dialogues import Dialogues

C, N = len(LABELS), 600


def shown(labels: np.ndarray, right: float, rng: np.random.Generator) -> np.ndarray:
    """Logits that say the label, or for a share anything."""
    told = np.where(rng.random(len(labels)) < right, labels, rng.integers(0, C, len(labels)))
    return 3 * np.eye(C, dtype=np.float32)[told]


@pytest.fixture(scope="module")
def data() -> Dialogues:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, C, N)
    nothing = np.zeros((N, C), np.float32)
    first = np.arange(N) // 10 * 10
    return Dialogues(shown(labels, 0.6, rng), nothing, nothing, labels, np.ones(N, int), first)


@pytest.fixture(scope="module")
def sense(data: Dialogues) -> SimulatedModality:
    rng = np.random.default_rng(1)
    labels = np.arange(210) % C
    chosen = [[rng.choice(np.flatnonzero(labels == y)) for y in data.labels] for _ in range(2)]
    clips = shown(labels, 0.9, rng)
    return SimulatedModality(
        clips, labels, np.array(chosen), {"0 dB": clips * 0}, {"hiss": clips[:3]}
    )


def trusting(weight: float):
    def predict(data: Dialogues, seen: Sequence[bool]) -> np.ndarray:
        senses = data.audio * seen[1] + data.visual * seen[2]
        return data.text * seen[0] + weight * senses

    return predict


def test_a_fusion_that_ignores_the_senses_is_never_worse(
    data: Dialogues, sense: SimulatedModality
) -> None:
    results = measure_conditions(trusting(0.0), data, sense, sense)
    beside = [result for result in results if result.condition.text]
    assert len(beside) > 40 and all(result.difference == 0 for result in beside)
    assert len({result.condition.name for result in results}) == len(results)


def test_a_fusion_that_trusts_too_much_gains_and_loses(
    data: Dialogues, sense: SimulatedModality
) -> None:
    results = measure_conditions(trusting(2.0), data, sense, sense)
    by_condition = {result.condition: result for result in results}
    assert by_condition[Condition(AS_IT_IS, MISSING)].difference > 1
    assert by_condition[Condition(ALWAYS[3], MISSING)].difference < -10
    assert by_condition[Condition("0 dB", MISSING)].difference == 0
    assert worst(results).difference < -20
    assert any("**worse**" in line for line in table(results))


def test_a_sense_is_broken_as_the_condition_says(data: Dialogues, sense: SimulatedModality) -> None:
    rng = np.random.default_rng(0)
    same = embedded(SAME, sense, data, 0, rng)
    assert (same == same[0]).all()
    joy = embedded(f"always {LABELS[4]}", sense, data, 0, rng)
    of_joy = sense.embeddings[sense.labels == 4]
    assert all((row == of_joy).all(axis=1).any() for row in joy)
    others = embedded(ANOTHER, sense, data, 0, rng)
    right = embedded(AS_IT_IS, sense, data, 0, rng)
    says = [(rows.argmax(axis=1) == data.labels).mean() for rows in (others, right)]
    assert says[0] < 0.4 < 0.6 < says[1]
    assert not embedded(MISSING, sense, data, 0, rng).any()
