from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

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
    Result,
    SimulatedModality,
    choose,
    conditions,
    embedded,
    mean_results,
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
    found = measure_conditions(trusting(0.0), data, sense, sense)
    beside = [result for result in found if result.condition.text]
    assert len(beside) > 40 and all(result.difference == 0 for result in beside)
    assert len({result.condition.name for result in found}) == len(found)


def test_a_fusion_that_trusts_too_much_gains_and_loses(
    data: Dialogues, sense: SimulatedModality
) -> None:
    found = measure_conditions(trusting(2.0), data, sense, sense)
    by_condition = {result.condition: result for result in found}
    assert by_condition[Condition(AS_IT_IS, MISSING)].difference > 1
    assert by_condition[Condition(ALWAYS[3], MISSING)].difference < -10
    assert by_condition[Condition("0 dB", MISSING)].difference == 0
    assert worst(found).difference < -20
    assert any("**worse**" in line for line in table(found))


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


def results(sense: SimulatedModality, text: float, gain: float, loss: float) -> list[Result]:
    """With one condition that is worse."""
    found = []
    for condition in conditions(sense, sense):
        states = {condition.audio, condition.visual}
        more = gain if AS_IT_IS in states and states <= {AS_IT_IS, MISSING} else 0.0
        broken = condition == Condition(ALWAYS[6], MISSING)
        found.append(Result(condition, text + more - loss * broken, 0.0, text))
    return found


def test_the_rule_takes_the_best_that_qualifies_and_of_equals_the_simplest(
    sense: SimulatedModality,
) -> None:
    simple, careful, bold = "simple", "careful", "bold"
    tables = {
        simple: results(sense, 60, 2.0, 0.4),
        careful: results(sense, 60, 2.2, 0.1),
        bold: results(sense, 60, 5.0, 0.6),
    }
    order = [simple, careful, bold]
    assert choose(tables, order) == simple  # 0.15 points of mean are nothing
    tables[careful] = results(sense, 60, 4.0, 0.1)
    assert choose(tables, order) == careful
    assert choose({name: results(sense, 60, 3.0, 2.0 + len(name)) for name in order}, order) == bold


def test_results_are_read_back_from_tables(sense: SimulatedModality) -> None:
    one, two = results(sense, 60, 1.0, 0.0), results(sense, 62, 1.0, 0.0)
    found = mean_results([[asdict(row) for row in rows] for rows in (one, two)])
    assert found[0].f1 == 61 and found[0].condition == one[0].condition
    assert len(found) == len(one)
