"""Simulated trimodal conversations: MELD's dialogues with sounds and faces of other people.

MELD's own audio and video are not available to this project, so each of its utterances gets the
embedding of a clip with the same label, drawn from other corpora. Acted speech and posed faces are
far easier than a television series: part of the draws is therefore replaced by clips of any label,
until each modality alone is as weak as published for MELD. This is simulation. It serves to train a
fusion that uses three modalities with plausible trust in each; a result on it is no benchmark.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from erc_ros.metrics.classification import weighted_f1
from erc_ros.training.engine.embeddings import Embedded

Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Weakness:
    """How weak each modality alone is made; the section `simulation` of a fusion recipe."""

    audio: float = 0.448
    """Weighted F1 of audio alone on MELD, as published (MAGTKD, table 3)."""
    visual: float = 0.3684
    """The same of video alone."""
    draws: int = 0
    """Seed of the draws. Not called `seed`: all training seeds are to see the same data."""

    def __post_init__(self) -> None:
        for name in ("audio", "visual"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, a weighted F1 is in (0, 1)")


@dataclass(frozen=True, eq=False)
class Matched:
    """One modality for all three splits: which share was mismatched, and what came of it.

    embeddings: per split (N, E), in the order of its labels. dev_f1: weighted F1 on dev of a linear
    probe that was trained on the simulated train embeddings.
    """

    mismatch: float
    dev_f1: float
    embeddings: dict[str, NDArray[np.float32]]


def draw(
    labels: Labels, clips: Embedded, mismatch: float, prior: NDArray[np.float64], seed: int
) -> Labels:
    """Which clip stands for each utterance: (N,) indices into `clips`.

    With probability `mismatch` the clip has a label drawn from `prior` (C,) instead of its own, so
    that it tells nothing. The same seed gives the same draws; a higher rate replaces more of them
    and leaves the others as they were.

    Raises:
        ValueError: a label without any clip.
    """
    classes = len(prior)
    order = np.argsort(clips.labels, kind="stable")
    counts = np.bincount(clips.labels, minlength=classes)
    starts = np.cumsum(counts) - counts
    rng = np.random.default_rng(seed)
    chance, place = rng.random(len(labels)), rng.random(len(labels))
    other = rng.choice(classes, len(labels), p=prior)
    wanted = np.where(chance < mismatch, other, labels)
    if (counts[wanted] == 0).any():
        missing = sorted(set(wanted[counts[wanted] == 0].tolist()))
        raise ValueError(f"no clip has the labels {missing}; train that encoder on all labels")
    chosen: Labels = order[starts[wanted] + (place * counts[wanted]).astype(np.int64)]
    return chosen


def match(
    labels: Mapping[str, Labels],
    clips: Mapping[str, Embedded],
    target: float,
    seed: int,
    steps: int = 9,
) -> Matched:
    """Embeddings for every split, as weak as `target` says.

    labels, clips: by split name; the clips of dev and test are of people whom the encoder of the
    clips did not hear or see in training. The mismatch rate is found by bisection on dev.

    Returns with mismatch 0 if the clips themselves are weaker than `target`.
    """

    def probe(mismatch: float) -> float:
        seen = {split: clips[split] for split in ("train", "dev")}
        drawn = simulate(labels, seen, mismatch, seed)
        classes = int(labels["train"].max()) + 1
        return linear_probe(drawn["train"], labels["train"], drawn["dev"], labels["dev"], classes)

    rate, f1 = 0.0, probe(0.0)
    low, high = 0.0, 1.0
    if f1 > target:
        for _ in range(steps):
            rate = (low + high) / 2
            f1 = probe(rate)
            low, high = (rate, high) if f1 > target else (low, rate)
    return Matched(rate, f1, simulate(labels, clips, rate, seed))


def simulate(
    labels: Mapping[str, Labels], clips: Mapping[str, Embedded], mismatch: float, seed: int
) -> dict[str, NDArray[np.float32]]:
    """One modality for every split of `clips`: the drawn clips' embeddings (N, E).

    The labels of mismatched clips are as frequent as those of the train split.
    """
    prior = np.bincount(labels["train"]) / len(labels["train"])
    result = {}
    for number, split in enumerate(("train", "dev", "test")):
        if split in clips:
            chosen = draw(labels[split], clips[split], mismatch, prior, seed * 10 + number)
            result[split] = clips[split].embeddings[chosen]
    return result


def linear_probe(
    train: NDArray[np.float32],
    labels: Labels,
    dev: NDArray[np.float32],
    truth: Labels,
    classes: int,
) -> float:
    """Weighted F1 on dev of a linear classifier: how much a modality alone tells."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=60, tol=1e-3))
    with warnings.catch_warnings():
        # The F1 has settled long before the weights have.
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(train, labels)
    return weighted_f1(truth, probe.predict(dev).astype(np.int64), classes)


@dataclass(frozen=True, slots=True)
class ModalityDropout:
    """How often a modality is missing in training; the section `dropout` of a fusion recipe."""

    conversation: tuple[float, ...] = (0.1, 0.25, 0.25)
    """Chance that text, audio, visual is missing for a whole conversation (no microphone ...)."""
    utterance: tuple[float, ...] = (0.1, 0.1, 0.2)
    """Chance that it is missing for a single utterance (no face in view, text came too late)."""

    def __post_init__(self) -> None:
        for name in ("conversation", "utterance"):
            rates = getattr(self, name)
            if len(rates) != 3 or not all(0 <= rate < 1 for rate in rates):
                raise ValueError(f"{name} is {rates}; it must be three chances in [0, 1)")


def drop_modalities(
    valid: NDArray[np.bool_], dropout: ModalityDropout, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Which modalities are seen: valid (B, U) -> (B, U, 3); a valid utterance keeps one."""
    b, u = valid.shape
    gone = rng.random((b, 1, 3)) < np.array(dropout.conversation)
    gone = gone | (rng.random((b, u, 3)) < np.array(dropout.utterance))
    seen = ~gone
    kept = rng.integers(0, 3, (b, u))
    none_left = ~seen.any(axis=2)
    seen[none_left, kept[none_left]] = True
    result: NDArray[np.bool_] = seen & valid[..., None]
    return result
