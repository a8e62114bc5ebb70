"""What the late fusion learns of dialogues."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

import torch

from erc_ros.metrics.calibration import fit_temperature
from erc_ros.training.engine.embeddings import Embedded
from erc_ros.training.fusion.conditions import Result, SimulatedModality, measure_conditions
from erc_ros.training.fusion.dialogues import Dialogues, predict_windows
from erc_ros.training.fusion.late_fusion import ModalityClips, fit_late_fusion
from erc_ros.training.fusion.simulation import draw
from erc_ros.training.heads.late_fusion import LateFusion, LateFusionConfig

LABELS, SIZE = 7, 8
RNG = np.random.default_rng(0)


def embedded(labels: np.ndarray, noise: float) -> np.ndarray:
    """Points in the direction of their label, (N, SIZE)."""
    points = np.eye(LABELS, SIZE)[labels] + noise * RNG.normal(size=(len(labels), SIZE))
    return np.asarray(points, np.float32)


PRIOR = np.array([0.46, 0.09, 0.09, 0.09, 0.09, 0.09, 0.09])


def clips(truth: np.ndarray, mismatched: float, noise: float = 0.4) -> ModalityClips:
    """As many of each label, which say it rather clearly; so many of dev's tell another one."""
    train, dev = (np.arange(count) % LABELS for count in (1400, 700))
    seen = Embedded(embedded(dev, noise), dev)
    rows = np.concatenate([draw(truth, dev, mismatched, PRIOR, seed) for seed in range(3)])
    nobody = np.full((40, SIZE), -1.0, np.float32)
    return ModalityClips(
        Embedded(embedded(train, noise), train), seen, seen.embeddings[rows], nobody
    )


def dialogues(count: int) -> Dialogues:
    """Half of the utterances have label 0; each is a dialogue of its own."""
    labels = RNG.choice(LABELS, count, p=PRIOR)
    return Dialogues(
        embedded(labels, 0.4),
        embedded(labels, 1.0),
        embedded(labels, 1.0),
        labels,
        np.ones(count, np.int64),
        np.arange(count),
    )


def measured_on(dev: Dialogues) -> Callable[[torch.nn.Module], list[Result]]:
    """What a head answers on `dev` in every condition."""
    draws = RNG.permutation(len(dev.labels))[None]
    audio, visual = (
        SimulatedModality(dev.audio, dev.labels, draws),
        SimulatedModality(dev.visual, dev.labels, draws),
    )

    def measure(model: torch.nn.Module) -> list[Result]:
        return measure_conditions(
            lambda data, seen: predict_windows(model, data, 1, seen), dev, audio, visual
        )

    return measure


def test_a_fitted_head_is_calibrated_and_doubts_the_senses_beside_the_text() -> None:
    train, dev = dialogues(1000), dialogues(400)
    model = LateFusion(LateFusionConfig(embeddings=(SIZE, SIZE, SIZE), labels=LABELS))
    senses = {"audio": clips(dev.labels, 0.2), "visual": clips(dev.labels, 0.6)}
    fit_late_fusion(model, train, dev, senses, measured_on(dev), lambda line: None)
    read = predict_windows(model, dev, 1, (True, False, False))
    assert (read.argmax(axis=1) == dev.labels).mean() > 0.7
    assert fit_temperature(read, dev.labels) == pytest.approx(1, abs=0.01)
    assert (model.broken[:, 0] == 0).all() and (model.broken[0, 1:] > 0).all()
    assert model.broken[1, 1:].tolist() == pytest.approx([0.2, 0.6], abs=0.11)


def test_a_sense_is_as_sure_as_its_clips_are_right_however_often_a_label_comes() -> None:
    train, dev = dialogues(300), dialogues(300)
    model = LateFusion(LateFusionConfig(embeddings=(SIZE, SIZE, SIZE), labels=LABELS))
    unclear = clips(dev.labels, 0.3, noise=0.6)
    senses = {"audio": unclear, "visual": unclear}
    fit_late_fusion(model, train, dev, senses, measured_on(dev), lambda line: None)
    heard = model.classifiers[1](torch.from_numpy(unclear.dev.embeddings)).log_softmax(dim=-1)
    alike = (heard - model.prior).detach().numpy()  # as if all labels came as often
    assert (alike.argmax(axis=1) == unclear.dev.labels).mean() > 0.6
    assert fit_temperature(alike, unclear.dev.labels) == pytest.approx(1, abs=0.02)
    nothing = model.classifiers[1](torch.from_numpy(unclear.negatives[:1])).softmax(dim=-1)
    torch.testing.assert_close(nothing[0], model.prior.exp(), atol=0.05, rtol=0)


@pytest.mark.parametrize("frequent", [0, 3])
def test_how_often_a_label_comes_among_the_clips_does_not_count(frequent: int) -> None:
    """Clips that say nothing leave the dialogues' prior, whatever the clips' own shares are."""
    train, dev = dialogues(300), dialogues(300)
    shares = np.full(LABELS, 0.5 / (LABELS - 1))
    shares[frequent] = 0.5
    labels = RNG.choice(LABELS, 2000, p=shares)
    rows = np.asarray(RNG.normal(size=(2000, SIZE)), np.float32)  # of no label in particular
    seen, unseen = Embedded(rows[:1000], labels[:1000]), Embedded(rows[1000:], labels[1000:])
    of_dev = draw(dev.labels, unseen.labels, 0.5, PRIOR, 0)
    empty = ModalityClips(seen, unseen, unseen.embeddings[of_dev], None)
    model = LateFusion(LateFusionConfig(embeddings=(SIZE, SIZE, SIZE), labels=LABELS))
    senses = {"audio": empty, "visual": empty}
    fit_late_fusion(model, train, dev, senses, measured_on(dev), lambda line: None)
    said = model.classifiers[1](torch.zeros(1, SIZE)).softmax(dim=-1)[0].detach().numpy()
    assert np.abs(said - np.bincount(train.labels) / 300).max() < 0.12


def test_the_text_may_learn_from_other_words_too() -> None:
    train, dev = dialogues(300), dialogues(300)
    words = np.zeros((200, SIZE), np.float32)
    words[:, 7] = 3.0  # of which nobody says anything in `train`
    fear = np.full(200, 2, np.int64)
    senses = {name: clips(dev.labels, 0.5) for name in ("audio", "visual")}
    heads = [LateFusion(LateFusionConfig(embeddings=(SIZE,) * 3, labels=LABELS)) for _ in range(2)]
    for head, more in zip(heads, (None, (words, fear)), strict=True):
        fit_late_fusion(
            head, train, dev, senses, measured_on(dev), lambda line: None, more_text=more
        )
    without, with_them = (head.classifiers[0](torch.from_numpy(words[:1])) for head in heads)
    assert with_them.argmax() == 2 and without.argmax() != 2
    assert torch.equal(heads[0].classifiers[1].weight, heads[1].classifiers[1].weight)


def test_a_label_that_never_comes_is_refused() -> None:
    train = dialogues(50)
    train.labels[train.labels == 2] = 0
    model = LateFusion(LateFusionConfig(embeddings=(SIZE, SIZE, SIZE), labels=LABELS))
    senses = {name: clips(train.labels, 0.5) for name in ("audio", "visual")}
    with pytest.raises(ValueError, match=r"\[2\].*dialogues"):
        fit_late_fusion(model, train, train, senses, lambda model: [])
    whole = dialogues(200)
    senses["visual"].train.labels[senses["visual"].train.labels == 5] = 0
    with pytest.raises(ValueError, match=r"\[5\].*visual"):
        fit_late_fusion(model, whole, whole, senses, lambda model: [])
