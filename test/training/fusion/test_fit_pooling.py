"""What the late fusion keeps of the text's own classifier, and what it learns of the dialogues."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

import torch

from erc_ros.training.fusion.conditions import Result, Sense, measure_conditions
from erc_ros.training.fusion.dialogues import Dialogues, predict_windows
from erc_ros.training.fusion.pooling import Linear, fit_bias, fit_pooling
from erc_ros.training.heads.pooling import Pooling, PoolingConfig

LABELS, SIZE = 7, 8
RNG = np.random.default_rng(0)
OWN = Linear(np.eye(LABELS, SIZE, dtype=np.float32) * 4, np.zeros(LABELS, np.float32))


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


def test_a_bias_makes_answers_as_frequent_as_labels_and_keeps_the_directions() -> None:
    train = dialogues(2000)
    fitted = fit_bias(OWN, train.text, train.labels)
    directions = fitted.weight / np.linalg.norm(fitted.weight)
    np.testing.assert_allclose(directions, OWN.weight / np.linalg.norm(OWN.weight), atol=1e-6)
    shares = torch.from_numpy(fitted(train.text)).softmax(dim=1).mean(dim=0).numpy()
    np.testing.assert_allclose(shares, np.bincount(train.labels) / 2000, atol=0.01)
    assert fitted.bias.argmax() == 0


def test_a_fitted_head_reads_the_text_with_its_encoders_classifier() -> None:
    train, dev = dialogues(1000), dialogues(400)
    model = Pooling(PoolingConfig(embeddings=(SIZE, SIZE, SIZE), labels=LABELS))
    draws = RNG.permutation(400)[None]
    audio, visual = Sense(dev.audio, dev.labels, draws), Sense(dev.visual, dev.labels, draws)

    def measure(model: torch.nn.Module) -> list[Result]:
        return measure_conditions(
            lambda data, seen: predict_windows(model, data, 1, seen), dev, audio, visual
        )

    fit_pooling(model, train, dev, OWN, measure, lambda line: None)
    expected = fit_bias(OWN, train.text, train.labels)
    answers = predict_windows(model, dev, 1, (True, False, False))
    assert (answers.argmax(axis=1) == expected(dev.text).argmax(axis=1)).all()
    assert 0 < model.broken[1] < 1 and model.broken[0] == 0


def test_a_label_that_never_comes_is_refused() -> None:
    train = dialogues(50)
    train.labels[train.labels == 2] = 0
    model = Pooling(PoolingConfig(embeddings=(SIZE, SIZE, SIZE), labels=LABELS))
    with pytest.raises(ValueError, match=r"labels \[2\]"):
        fit_pooling(model, train, train, OWN, lambda model: [])
