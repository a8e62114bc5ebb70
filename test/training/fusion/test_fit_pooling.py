"""What the late fusion learns of dialogues."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

import torch

from erc_ros.metrics.calibration import fit_temperature
from erc_ros.training.fusion.conditions import Result, Sense, measure_conditions
from erc_ros.training.fusion.dialogues import Dialogues, predict_windows
from erc_ros.training.fusion.pooling import fit_pooling
from erc_ros.training.heads.pooling import Pooling, PoolingConfig

LABELS, SIZE = 7, 8
RNG = np.random.default_rng(0)


def embedded(labels: np.ndarray, noise: float) -> np.ndarray:
    """Points in the direction of their label, (N, SIZE)."""
    found = np.eye(LABELS, SIZE)[labels] + noise * RNG.normal(size=(len(labels), SIZE))
    return np.asarray(found, np.float32)


def dialogues(count: int) -> Dialogues:
    """Half of the utterances have label 0; each is a dialogue of its own."""
    labels = RNG.choice(LABELS, count, p=[0.46, 0.09, 0.09, 0.09, 0.09, 0.09, 0.09])
    return Dialogues(
        embedded(labels, 0.4),
        embedded(labels, 1.0),
        embedded(labels, 1.0),
        labels,
        np.ones(count, np.int64),
        np.arange(count),
    )


def test_a_fitted_head_is_calibrated_and_doubts_the_senses_beside_the_text() -> None:
    train, dev = dialogues(1000), dialogues(400)
    model = Pooling(PoolingConfig(embeddings=(SIZE, SIZE, SIZE), labels=LABELS))
    draws = RNG.permutation(400)[None]
    audio, visual = Sense(dev.audio, dev.labels, draws), Sense(dev.visual, dev.labels, draws)

    def measure(model: torch.nn.Module) -> list[Result]:
        return measure_conditions(
            lambda data, seen: predict_windows(model, data, 1, seen), dev, audio, visual
        )

    fit_pooling(model, train, dev, measure, lambda line: None)
    read = predict_windows(model, dev, 1, (True, False, False))
    assert (read.argmax(axis=1) == dev.labels).mean() > 0.7
    assert fit_temperature(read, dev.labels) == pytest.approx(1, abs=0.01)
    assert 0 < model.broken[1] < 1 and model.broken[0] == 0


def test_the_text_may_learn_from_other_words_too() -> None:
    train, dev = dialogues(300), dialogues(300)
    draws = RNG.permutation(300)[None]
    audio, visual = Sense(dev.audio, dev.labels, draws), Sense(dev.visual, dev.labels, draws)

    def measure(model: torch.nn.Module) -> list[Result]:
        return measure_conditions(
            lambda data, seen: predict_windows(model, data, 1, seen), dev, audio, visual
        )

    words = np.zeros((200, SIZE), np.float32)
    words[:, 7] = 3.0  # of which nobody says anything in `train`
    fear = np.full(200, 2, np.int64)
    heads = [Pooling(PoolingConfig(embeddings=(SIZE,) * 3, labels=LABELS)) for _ in range(2)]
    for head, more in zip(heads, (None, (words, fear)), strict=True):
        fit_pooling(head, train, dev, measure, lambda line: None, more_text=more)
    without, with_them = (head.classifiers[0](torch.from_numpy(words[:1])) for head in heads)
    assert with_them.argmax() == 2 and without.argmax() != 2
    assert torch.equal(heads[0].classifiers[1].weight, heads[1].classifiers[1].weight)


def test_a_label_that_never_comes_is_refused() -> None:
    train = dialogues(50)
    train.labels[train.labels == 2] = 0
    model = Pooling(PoolingConfig(embeddings=(SIZE, SIZE, SIZE), labels=LABELS))
    with pytest.raises(ValueError, match=r"labels \[2\]"):
        fit_pooling(model, train, train, lambda model: [])
