"""Fit the calibrated late fusion (`heads.late_fusion`).

Every modality has a linear classifier on its embeddings, by logistic regression. That of the text
is trained on MELD: the encoder's own classifier is more accurate in conversations, but classifies
plain sentences as fear (docs/results/what_did_not_help.md). MELD has few plain sentences, so that
other corpora can be added (`simulated.more_text`). The classifiers of audio and faces are trained
on the clips themselves, not on those that are drawn for MELD; clips of people held out from the
encoders' training determine the temperature.

The probability that audio or face is uninformative is fitted on dev: together with text, the
smallest one with which uninformative input costs at most TOLERANCE points; without text, by
likelihood with half as many mismatched clips as on MELD (`simulation.BETWEEN`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn

from erc_ros.metrics.calibration import fit_temperature, log_likelihood_loss
from erc_ros.metrics.classification import weighted_f1
from erc_ros.training.engine.embeddings import Embedded
from erc_ros.training.fusion.conditions import TOLERANCE, Result, as_they_are, worst
from erc_ros.training.fusion.dialogues import Dialogues
from erc_ros.training.heads.base import AUDIO, MODALITIES, TEXT, VISUAL
from erc_ros.training.heads.late_fusion import LateFusion, doubted

Floats = NDArray[np.float32]
STRENGTHS = (0.001, 0.003, 0.01, 0.03)
"""Inverse regularization strengths that are tried (C in scikit-learn)."""
BROKEN = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
BROKEN_ALONE = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8)
PRIORS = (1.0, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0)


@dataclass(frozen=True, eq=False)
class Linear:
    """A calibrated classifier: weight (C, E), bias (C,)."""

    weight: Floats
    bias: Floats

    def __call__(self, embeddings: Floats) -> Floats:
        """Return logits (N, C) of embeddings (N, E)."""
        logits: Floats = embeddings @ self.weight.T + self.bias
        return logits


@dataclass(frozen=True, eq=False)
class ModalityClips:
    """Clips of a modality: training clips of the encoder, and clips of held-out people.

    between: embeddings (draws * N, E) of the clips for dev's N utterances without text, one draw
    after the other. negatives: (K, E), of non-face images or non-speech audio, if the encoder's
    training stored them.
    """

    train: Embedded
    dev: Embedded
    between: Floats
    negatives: Floats | None


def fit_classifier(
    train: Floats,
    labels: NDArray[np.int64],
    dev: Floats,
    truth: NDArray[np.int64],
    negatives: Floats | None = None,
) -> Linear:
    """Fit with each regularization strength; return the one with the smallest calibrated dev loss.

    negatives: embeddings (K, E) with the class prior as target.
    """
    best: tuple[float, Linear] | None = None
    weights = np.ones(len(labels))
    scaler = StandardScaler().fit(train)
    if negatives is not None:
        counts = np.bincount(labels)
        train = np.concatenate([train, np.repeat(negatives, len(counts), axis=0)])
        labels = np.concatenate([labels, np.tile(np.arange(len(counts)), len(negatives))])
        weights = np.concatenate([weights, np.tile(counts / counts.sum(), len(negatives))])
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=200, tol=1e-3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the iteration limit is sufficient
            model.fit(scaler.transform(train), labels, sample_weight=weights)
        weight = model.coef_ / scaler.scale_
        bias = model.intercept_ - weight @ scaler.mean_
        logits = dev @ weight.T + bias
        temperature = fit_temperature(logits, truth)
        loss = log_likelihood_loss(logits, truth, temperature)
        if best is None or loss < best[0]:
            best = (
                loss,
                Linear(
                    (weight / temperature).astype(np.float32),
                    (bias / temperature).astype(np.float32),
                ),
            )
    assert best is not None
    return best[1]


def fit_late_fusion(
    model: LateFusion,
    train: Dialogues,
    dev: Dialogues,
    modalities: Mapping[str, ModalityClips],
    measure: Callable[[nn.Module], Sequence[Result]],
    say: Callable[[str], None] = print,
    more_text: tuple[Floats, NDArray[np.int64]] | None = None,
) -> None:
    """Set the classifiers, the prior and the failure probabilities of `model`.

    Args:
        train, dev: only text embeddings and labels are used.
        modalities: clips of audio and visual.
        measure: evaluates the conditions on dev (`conditions.measure_conditions`).
        more_text: embeddings (N, E) and labels (N,) for the training of the text classifier in
            addition to `train`.

    Raises:
        ValueError: the train split, or the clips of a modality, lack a label.
    """
    prior = log_shares(train.labels, model.config.labels, "the dialogues")
    model.prior.copy_(torch.from_numpy(prior))
    rows, labels = train.text, train.labels
    if more_text is not None:
        rows, labels = np.concatenate([rows, more_text[0]]), np.concatenate([labels, more_text[1]])
    _set(model, TEXT, fit_classifier(rows, labels, dev.text, dev.labels))
    for m in (AUDIO, VISUAL):
        clips = modalities[MODALITIES[m]]
        shares = log_shares(clips.train.labels, model.config.labels, f"the {MODALITIES[m]} clips")
        seen, unseen = clips.train, clips.dev
        fitted = fit_classifier(
            seen.embeddings, seen.labels, unseen.embeddings, unseen.labels, clips.negatives
        )
        bias = fitted.bias - shares + prior  # from the clips' prior to the dialogues'
        _set(model, m, Linear(fitted.weight, bias.astype(np.float32)))
    _fit_alone(model, dev.labels, modalities)
    _fit_with_text(model, measure, say)


def log_shares(labels: NDArray[np.int64], classes: int, of: str) -> NDArray[np.float64]:
    """Return the log frequency (C,) of each label.

    Raises:
        ValueError: a label does not occur.
    """
    counts = np.bincount(labels, minlength=classes)
    if not counts.all():
        missing = np.flatnonzero(counts == 0).tolist()
        raise ValueError(f"labels {missing} do not occur in {of}")
    shares: NDArray[np.float64] = np.log(counts / counts.sum())
    return shares


def _set(model: LateFusion, modality: int, fitted: Linear) -> None:
    classifier: nn.Linear = model.classifiers[modality]  # type: ignore[assignment]
    with torch.no_grad():
        classifier.weight.copy_(torch.from_numpy(fitted.weight))
        classifier.bias.copy_(torch.from_numpy(fitted.bias))


def _fit_alone(
    model: LateFusion, labels: NDArray[np.int64], modalities: Mapping[str, ModalityClips]
) -> None:
    """Fit the weight of the prior and the failure probabilities without text.

    The failure probabilities maximize the likelihood of the labels (N,) given the drawn clips. The
    weight of the prior is the smallest one with which a single modality is within a point of its
    best weighted F1: the full prior would suppress rare emotions.
    """
    evidence = {
        m: torch.log_softmax(
            model.classifiers[m](torch.from_numpy(modalities[name].between)), dim=-1
        )
        - model.prior
        for m, name in enumerate(MODALITIES)
        if m != TEXT
    }
    truth = np.tile(labels, len(next(iter(evidence.values()))) // len(labels))

    def answers(share: float, m: int, broken: float) -> Floats:
        logits = share * model.prior + doubted(evidence[m], torch.tensor(broken))
        return np.asarray(logits.detach().numpy(), np.float32)

    def most_likely(share: float, m: int) -> float:
        losses = {
            e: log_likelihood_loss(answers(share, m, e), truth, temperature=1.0)
            for e in BROKEN_ALONE
        }
        return min(losses, key=losses.__getitem__)

    broken = {share: {m: most_likely(share, m) for m in evidence} for share in PRIORS}
    f1 = {
        share: np.mean(
            [
                weighted_f1(truth, answers(share, m, e).argmax(axis=1), model.config.labels)
                for m, e in chosen.items()
            ]
        )
        for share, chosen in broken.items()
    }
    share = min(share for share in PRIORS if f1[share] >= max(f1.values()) - 0.01)
    model.share.fill_(share)
    for m, e in broken[share].items():
        model.broken[1, m] = e


def _fit_with_text(
    model: LateFusion, measure: Callable[[nn.Module], Sequence[Result]], say: Callable[[str], None]
) -> None:
    """Fit the smallest failure probabilities that keep the loss within TOLERANCE.

    First for each modality, then for both together, which may need slightly larger values.
    """

    def doubt(audio: float, visual: float) -> Sequence[Result]:
        model.broken[0] = torch.tensor([0.0, audio, visual])
        return [result for result in measure(model) if result.condition.text]

    tables = {share: doubt(share, share) for share in BROKEN}
    chosen = {}
    for modality, other in ((AUDIO, VISUAL), (VISUAL, AUDIO)):
        only = {e: [r for r in rows if not r.condition.seen[other]] for e, rows in tables.items()}
        good = [e for e, rows in only.items() if worst(rows).difference >= -TOLERANCE]
        chosen[modality] = max(good or BROKEN[-1:], key=lambda e: as_they_are(only[e]))
    for share in SHARES:
        audio, visual = (1 - share * (1 - chosen[modality]) for modality in (AUDIO, VISUAL))
        results = doubt(audio, visual)
        if worst(results).difference >= -TOLERANCE:
            break
    say(
        f"assumed to be uninformative: audio {audio:.3f}, face {visual:.3f}; as they are"
        f" {as_they_are(results):.2f}, text {results[0].f1:.2f}, worst"
        f" {worst(results).difference:+.2f} ({worst(results).condition.name})"
    )
