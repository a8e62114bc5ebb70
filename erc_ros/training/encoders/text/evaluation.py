"""Predictions and scores of a text model, and the correction of its prior on dev."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from erc_ros.encoders.text import TextPrompt
from erc_ros.metrics import classification as metrics
from erc_ros.training.datasets.utterances import LABELS, Conversation, Split
from erc_ros.training.encoders.text.examples import TextConfig, collate, rows_of
from erc_ros.training.encoders.text.mixture import Corpus
from erc_ros.training.encoders.text.model import TextClassifier
from erc_ros.training.engine.runs import MEASURED, Predicted
from erc_ros.training.engine.trainer import autocast, device_of

Floats = NDArray[np.float32]


@torch.inference_mode()
def predict(
    model: nn.Module,
    conversations: Sequence[Conversation],
    prompt: TextPrompt,
    config: TextConfig,
    precision: str = "fp32",
    ask: Callable[..., Tensor] | None = None,
) -> tuple[Floats, NDArray[np.int64]]:
    """Return logits (N, outputs) and labels (N,) of all labeled utterances, in their order.

    A label is -1 where several labels may be right. `ask` is called in place of the model, a
    `TextClassifier`, which is left in eval mode.
    """
    ask, device = ask or model, device_of(model)
    model.eval()
    plain = replace(config, votes=0.0)
    rows = [row for c in conversations for row in rows_of(c, prompt, plain)]
    order = sorted(range(len(rows)), key=lambda number: len(rows[number].layout.input_ids))
    logits: list[Floats] = [np.zeros((0, 0), np.float32)] * len(rows)
    with autocast(model, precision):
        for start in range(0, len(order), 8):
            group = order[start : start + 8]
            batch = collate([rows[number] for number in group])
            inputs = (batch.ids, batch.positions, batch.visible, batch.asked_at)
            answers = ask(*(tensor.to(device) for tensor in inputs)).float().cpu()
            for number, answer, mask in zip(group, answers, batch.asked, strict=True):
                logits[number] = answer[mask].numpy()
    labels = [
        -1 if u.label is None else u.label
        for c in conversations
        for u in c.utterances
        if u.is_labelled
    ]
    return np.concatenate(logits), np.array(labels, np.int64)


def score(
    model: TextClassifier,
    corpus: Corpus,
    prompt: TextPrompt,
    config: TextConfig,
    precision: str = "fp32",
) -> dict[str, float]:
    """Return weighted and macro F1 on the corpus's own classes, without the corpus's offset.

    The probability of a class that means several labels is the sum of theirs.
    """
    logits, _ = predict(model, corpus.conversations, prompt, config, precision)
    probabilities = metrics.softmax(logits)
    summed = np.stack([probabilities[:, list(each)].sum(axis=1) for each in corpus.classes], axis=1)
    labels, predicted = np.array(corpus.truth()), summed.argmax(axis=1)
    return {
        "weighted_f1": metrics.weighted_f1(labels, predicted, len(corpus.classes)),
        "macro_f1": metrics.macro_f1(labels, predicted, len(corpus.classes)),
    }


def measure(
    model: TextClassifier,
    splits: Mapping[str, Split],
    prompt: TextPrompt,
    config: TextConfig,
    is_learned: bool = True,
) -> tuple[float, dict[str, Predicted]]:
    """Correct the classifier's prior on dev; return the correction and predictions of dev and test.

    is_learned: False if the main corpus is held out; then the correction is 0.
    """
    logits = {s: predict(model, splits[s].conversations, prompt, config) for s in MEASURED}
    share = prior(splits["train"].conversations)
    tau = best_prior_correction(*logits["dev"], share) if is_learned else 0.0
    correction = (tau * np.log(share)).astype(np.float32)
    with torch.no_grad():
        model.head.bias.sub_(torch.from_numpy(correction).to(model.head.bias))
    return tau, {
        split: Predicted(values - correction, labels, owners(splits[split]))
        for split, (values, labels) in logits.items()
    }


def owners(split: Split) -> NDArray[np.int64]:
    """Return the number of each utterance's conversation, (N,)."""
    counts = [len(c.utterances) for c in split.conversations]
    return np.repeat(np.arange(len(counts)), counts)


def prior(conversations: Sequence[Conversation]) -> NDArray[np.float64]:
    """Return the share of each label, (C,)."""
    labels = [u.label for c in conversations for u in c.utterances]
    counts = np.bincount([x for x in labels if x is not None], minlength=len(LABELS)) + 1.0
    share: NDArray[np.float64] = counts / counts.sum()
    return share


def best_prior_correction(
    logits: Floats, labels: NDArray[np.int64], share: NDArray[np.float64]
) -> float:
    """Return the tau in 0..0.5 for which logits - tau * log(prior) is best on dev (weighted F1).

    Cross-entropy favors frequent classes (Menon et al. 2021). A single number for all classes
    avoids overfitting to dev. The F1 is smoothed over adjacent tau, as single peaks are noise.
    """
    taus = np.arange(0, 0.51, 0.05)
    scores = [
        metrics.weighted_f1(labels, (logits - tau * np.log(share)).argmax(1), len(share))
        for tau in taus
    ]
    padded = np.pad(scores, 1, mode="edge")
    smooth = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    return float(round(taus[smooth.argmax()], 2))
