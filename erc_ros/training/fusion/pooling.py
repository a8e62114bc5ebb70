"""Fit a late fusion (`heads.pooling`): what each sense says, calibrated, and how far it is trusted.

Every sense has a linear classifier on its embeddings, by logistic regression on the train split,
and a temperature from dev, whose clips the encoders have not met. The text's is fitted as well:
its encoder's own knows more of what a conversation means, but takes plain sentences for fear
(docs/results/trust.md, "What the fusion took from the text"). MELD has hardly any of those, so it
may learn from others, too (`simulated.more_text`). Then dev says how much a sense is to be
doubted beside the text: so much that it costs next to nothing while it is broken.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from erc_ros.metrics.calibration import fit_temperature, log_likelihood_loss
from erc_ros.metrics.classification import weighted_f1
from erc_ros.training.fusion.conditions import TOLERANCE, Result, as_they_are, worst
from erc_ros.training.fusion.dialogues import Dialogues
from erc_ros.training.heads.base import AUDIO, MODALITIES, TEXT, VISUAL
from erc_ros.training.heads.pooling import Pooling

Floats = NDArray[np.float32]
STRENGTHS = (0.001, 0.003, 0.01, 0.03)
"""Of the regularisation (sklearn's C): 1,000 to 30 times weaker than the data."""
BROKEN = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
TOGETHER = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
PRIORS = (1.0, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0)


@dataclass(frozen=True, eq=False)
class Linear:
    """A calibrated classifier: weight (C, E), bias (C,)."""

    weight: Floats
    bias: Floats

    def __call__(self, embeddings: Floats) -> Floats:
        """(N, E) -> logits (N, C)."""
        found: Floats = embeddings @ self.weight.T + self.bias
        return found


def fit_sense(
    train: Floats, labels: NDArray[np.int64], dev: Floats, truth: NDArray[np.int64]
) -> Linear:
    """Of the strengths the one with the smallest loss on dev, after its temperature."""
    best: tuple[float, Linear] | None = None
    scaler = StandardScaler().fit(train)
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=200, tol=1e-3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # settled long before
            model.fit(scaler.transform(train), labels)
        weight = model.coef_ / scaler.scale_
        bias = model.intercept_ - weight @ scaler.mean_
        logits = dev @ weight.T + bias
        temperature = fit_temperature(logits, truth)
        loss = log_likelihood_loss(logits, truth, temperature)
        if best is None or loss < best[0]:
            found = Linear(
                (weight / temperature).astype(np.float32), (bias / temperature).astype(np.float32)
            )
            best = loss, found
    assert best is not None
    return best[1]


def fit_pooling(
    model: Pooling,
    train: Dialogues,
    dev: Dialogues,
    measure: Callable[[nn.Module], Sequence[Result]],
    say: Callable[[str], None] = print,
    more_text: tuple[Floats, NDArray[np.int64]] | None = None,
) -> None:
    """Set the classifiers, the prior and the doubts of `model`.

    Args:
        measure: the conditions on dev (`conditions.measure_conditions`).
        more_text: embeddings (N, E) and labels (N,) of other words that the text's classifier
            learns from beside those of `train`.

    Raises:
        ValueError: the train split lacks a label.
    """
    known = train.labels >= 0
    counts = np.bincount(train.labels[known], minlength=model.config.labels)
    if not counts.all():
        raise ValueError(f"labels {np.flatnonzero(counts == 0).tolist()} have no utterance")
    model.prior.copy_(torch.from_numpy(np.log(counts / counts.sum())))
    for m, name in enumerate(MODALITIES):
        heard = known if train.present is None else known & train.present[:, m]
        shown = dev.labels >= 0 if dev.present is None else (dev.labels >= 0) & dev.present[:, m]
        rows, labels = getattr(train, name)[heard], train.labels[heard]
        if m == TEXT and more_text is not None:
            rows = np.concatenate([rows, more_text[0]])
            labels = np.concatenate([labels, more_text[1]])
        fitted = fit_sense(rows, labels, getattr(dev, name)[shown], dev.labels[shown])
        classifier: nn.Linear = model.classifiers[m]  # type: ignore[assignment]
        with torch.no_grad():
            classifier.weight.copy_(torch.from_numpy(fitted.weight))
            classifier.bias.copy_(torch.from_numpy(fitted.bias))
    _fit_together(model, dev)
    _fit_beside_text(model, measure, say)


def _fit_together(model: Pooling, dev: Dialogues) -> None:
    """How much prior and senses count where there is no text.

    The prior: the least of it with which a sense alone is within a point of its best weighted F1,
    as rare emotions are not heard or seen under all of it. Then both senses: by weighted F1.
    """
    own = [
        torch.log_softmax(model.classifiers[m](torch.from_numpy(getattr(dev, name))), dim=-1)
        for m, name in enumerate(MODALITIES)
    ]

    def score(share: float, *evidence: Tensor) -> float:
        answered = (share * model.prior + sum(evidence)).argmax(dim=-1).numpy()
        return weighted_f1(dev.labels, answered, model.config.labels)

    evidence = [own[m] - model.prior for m in (AUDIO, VISUAL)]
    alone = {share: sum(score(share, e) for e in evidence) / 2 for share in PRIORS}
    most = max(alone.values())
    share = min(share for share, f1 in alone.items() if f1 >= most - 0.01)
    both = {w: score(share, *(w * e for e in evidence)) for w in TOGETHER}
    model.share.fill_(share)
    model.together.fill_(max(both, key=both.__getitem__))


def _fit_beside_text(
    model: Pooling, measure: Callable[[nn.Module], Sequence[Result]], say: Callable[[str], None]
) -> None:
    """Doubt each sense as little as the rule allows: TOLERANCE points while it is broken.

    First each by itself, then both: together they may have to be doubted a little more.
    """

    def doubt(audio: float, visual: float) -> Sequence[Result]:
        model.broken.copy_(torch.tensor([0.0, audio, visual]))
        return [result for result in measure(model) if result.condition.text]

    tables = {share: doubt(share, share) for share in BROKEN}
    chosen = {}
    for sense, other in ((AUDIO, VISUAL), (VISUAL, AUDIO)):
        only = {e: [r for r in rows if not r.condition.seen[other]] for e, rows in tables.items()}
        good = [e for e, rows in only.items() if worst(rows).difference >= -TOLERANCE]
        chosen[sense] = max(good or BROKEN[-1:], key=lambda e: as_they_are(only[e]))
    for share in SHARES:
        audio, visual = (1 - share * (1 - chosen[sense]) for sense in (AUDIO, VISUAL))
        results = doubt(audio, visual)
        if worst(results).difference >= -TOLERANCE:
            break
    say(
        f"taken to be broken: sound {audio:.3f}, face {visual:.3f}; as they are"
        f" {as_they_are(results):.2f}, text {results[0].f1:.2f}, worst"
        f" {worst(results).difference:+.2f} ({worst(results).condition.name})"
    )
