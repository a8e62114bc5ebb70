"""Simulated trimodal conversations: MELD's dialogues with audio and faces of other people.

MELD's own audio and video are not available to this project, so each of its utterances gets the
embedding of a clip with the same label, drawn from other corpora. Acted speech and posed faces are
far easier than a television series: a share of the clips is therefore replaced by clips of any
label, until each modality alone has the accuracy that is published for MELD. Errors of real
modalities are not independent, so that a clip is mismatched more often where text alone is wrong
(`Weakness.coupling`). The data are for training a fusion of three modalities with realistic
weights; a result on them is not a benchmark.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from erc_ros.metrics.classification import weighted_f1
from erc_ros.training.engine.embeddings import Embedded
from erc_ros.values.settings import check, setting

Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Weakness:
    """Accuracy of the simulated modalities; the section `simulation` of a fusion recipe."""

    audio: float = setting(
        0.448, "weighted F1 of audio alone on MELD (MAGTKD, table 3)", "", (0.01, 0.99)
    )
    visual: float = setting(0.3684, "weighted F1 of video alone", "", (0.01, 0.99))
    coupling: float = setting(
        0.13,
        "how much more often a clip is mismatched where text alone is wrong, and how much "
        "less where it is correct; with 0 audio and faces gain twice as much as real ones",
        "",
        (0, 0.99),
    )
    draws: int = 0
    """Seed of the draws. Not named `seed`, as all training seeds use the same data."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, eq=False)
class Matched:
    """One simulated modality for all three splits.

    mismatch: share of mismatched clips. chosen: per split (N,), the clip of each utterance;
    embeddings: (N, E), of these clips. dev_draws: (DRAWS, N), further draws for dev, `chosen`
    first. dev_between: (DRAWS, N), the same with half as many mismatched clips. dev_f1: weighted
    F1 on dev of a linear probe that was trained on the simulated train embeddings.
    """

    mismatch: float
    dev_f1: float
    chosen: dict[str, NDArray[np.int64]]
    dev_draws: NDArray[np.int64]
    dev_between: NDArray[np.int64]
    embeddings: dict[str, NDArray[np.float32]]


DRAWS = 5
BETWEEN = 0.5
"""Share of MELD's mismatches without text. MELD's labels follow words and plot more than audio and
faces; those of actors and images follow the expression. A robot's situation is in between."""


def draw(
    labels: Labels,
    clips: Labels,
    mismatch: float | NDArray[np.float64],
    prior: NDArray[np.float64],
    seed: int,
) -> Labels:
    """Draw a clip for each utterance: indices (N,) into clips with these labels.

    With probability `mismatch`, one for all or one each (N,), the clip's label is drawn from
    `prior` (C,) instead, so that it is uninformative. The same seed gives the same draws; a higher
    rate replaces more of them and does not change the others.

    Raises:
        ValueError: a label without any clip.
    """
    rng = np.random.default_rng(seed)
    chance, place = rng.random(len(labels)), rng.random(len(labels))
    other = rng.choice(len(prior), len(labels), p=prior)
    return clip_of(np.where(chance < mismatch, other, labels), clips, place)


def clip_of(wanted: Labels, clips: Labels, place: NDArray[np.float64]) -> Labels:
    """Return for each wanted label (N,) a clip with it, by a position in [0, 1) among these.

    Raises:
        ValueError: a label without any clip.
    """
    classes = int(max(wanted.max(), clips.max())) + 1
    order = np.argsort(clips, kind="stable")
    counts = np.bincount(clips, minlength=classes)
    starts = np.cumsum(counts) - counts
    if (counts[wanted] == 0).any():
        missing = sorted(set(wanted[counts[wanted] == 0].tolist()))
        raise ValueError(f"no clip has the labels {missing}; train that encoder on all labels")
    chosen: Labels = order[starts[wanted] + (place * counts[wanted]).astype(np.int64)]
    return chosen


def rates(mismatch: float, is_right: NDArray[np.bool_], coupling: float) -> NDArray[np.float64]:
    """Return mismatch rates (N,) of the utterances: lower where text alone is correct."""
    shares: NDArray[np.float64] = mismatch * np.where(is_right, 1 - coupling, 1 + coupling)
    return shares.clip(0, 1)


def match(
    labels: Mapping[str, Labels],
    clips: Mapping[str, Embedded],
    target: float,
    seed: int,
    is_right: Mapping[str, NDArray[np.bool_]] | None = None,
    coupling: float = 0.0,
    steps: int = 9,
) -> Matched:
    """Simulate a modality for every split with the accuracy `target`.

    labels, clips: by split name; the clips of dev and test are of people held out from the
    encoder's training. is_right: where text alone is correct, for `coupling`. The mismatch rate is
    determined by bisection on dev.

    The mismatch is 0 if the accuracy of the clips themselves is below `target`.
    """
    right = is_right or {split: np.ones(len(rows), bool) for split, rows in labels.items()}
    classes = int(labels["train"].max()) + 1

    def probe(mismatch: float) -> float:
        seen = {split: clips[split] for split in ("train", "dev")}
        how = {split: rates(mismatch, right[split], coupling) for split in seen}
        chosen = simulate(labels, seen, how, seed)
        drawn = {split: clips[split].embeddings[chosen[split]] for split in seen}
        return linear_probe(drawn["train"], labels["train"], drawn["dev"], labels["dev"], classes)

    rate, f1 = 0.0, probe(0.0)
    low, high = 0.0, 1.0
    if f1 > target:
        for _ in range(steps):
            rate = (low + high) / 2
            f1 = probe(rate)
            low, high = (rate, high) if f1 > target else (low, rate)
    how = {split: rates(rate, right[split], coupling) for split in clips}
    chosen = simulate(labels, clips, how, seed)
    embeddings = {split: clips[split].embeddings[rows] for split, rows in chosen.items()}
    only = {"dev": clips["dev"]}
    half = {"dev": BETWEEN * how["dev"]}
    others = [simulate(labels, only, how, seed + 100 * n)["dev"] for n in range(1, DRAWS)]
    between = [simulate(labels, only, half, seed + 100 * n)["dev"] for n in range(DRAWS)]
    draws = np.stack([chosen["dev"], *others])
    return Matched(rate, f1, chosen, draws, np.stack(between), embeddings)


def simulate(
    labels: Mapping[str, Labels],
    clips: Mapping[str, Embedded],
    mismatch: Mapping[str, NDArray[np.float64]],
    seed: int,
) -> dict[str, Labels]:
    """Draw the clips (N,) of a modality for every split of `clips`.

    The labels of mismatched clips have the frequencies of the train split.
    """
    prior = np.bincount(labels["train"]) / len(labels["train"])
    return {
        split: draw(labels[split], clips[split].labels, mismatch[split], prior, seed * 10 + number)
        for number, split in enumerate(("train", "dev", "test"))
        if split in clips
    }


def linear_probe(
    train: NDArray[np.float32],
    labels: Labels,
    dev: NDArray[np.float32],
    truth: Labels,
    classes: int,
) -> float:
    """Return the weighted F1 on dev of a linear classifier on one modality."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=60, tol=1e-3))
    with warnings.catch_warnings():
        # The F1 converges long before the weights do.
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(train, labels)
    return weighted_f1(truth, probe.predict(dev).astype(np.int64), classes)


@dataclass(frozen=True, slots=True)
class ModalityDropout:
    """Rates of missing modalities in training; the section `dropout` of a fusion recipe."""

    conversation: tuple[float, ...] = (0.1, 0.25, 0.25)
    """Probability that text, audio, visual is missing for a conversation (no microphone ...)."""
    utterance: tuple[float, ...] = (0.1, 0.1, 0.2)
    """Probability that it is missing for a single utterance (no face in view, text too late)."""
    replaced: tuple[float, ...] = (0.0, 0.0, 0.0)
    """Probability that text, audio, visual is that of another utterance of the batch. For features
    that were trained with the labels of this train split: with two labels, 2 (1 - a) gives
    features of accuracy a."""

    def __post_init__(self) -> None:
        for name in ("conversation", "utterance", "replaced"):
            value = getattr(self, name)
            if len(value) != 3 or not all(0 <= rate < 1 for rate in value):
                raise ValueError(f"{name} is {value}; it must be three probabilities in [0, 1)")


def drop_modalities(
    valid: NDArray[np.bool_], dropout: ModalityDropout, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Draw a mask of modalities (B, U, 3) for valid (B, U); a valid utterance keeps one or more."""
    b, u = valid.shape
    gone = rng.random((b, 1, 3)) < np.array(dropout.conversation)
    gone = gone | (rng.random((b, u, 3)) < np.array(dropout.utterance))
    seen = ~gone
    kept = rng.integers(0, 3, (b, u))
    none_left = ~seen.any(axis=2)
    seen[none_left, kept[none_left]] = True
    result: NDArray[np.bool_] = seen & valid[..., None]
    return result


def replace_modalities(
    rows: NDArray[np.int64],
    sources: Sequence[NDArray[np.int64]],
    dropout: ModalityDropout,
    rng: np.random.Generator,
) -> list[NDArray[np.int64]]:
    """Draw the source rows of text, audio and visual: rows, sources (B, U) -> 3 x (B, U)."""
    others = rows[rows >= 0]
    return [
        np.where(
            (rng.random(rows.shape) < chance) & (rows >= 0), rng.choice(others, rows.shape), own
        )
        for chance, own in zip(dropout.replaced, sources, strict=True)
    ]
