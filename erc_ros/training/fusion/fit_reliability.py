"""Fit the constants of a bundle's section `reliability` to the mixture of situations, on dev.

Maximizes the likelihood of the labels under `situations.WEIGHTS`, with one temperature for all,
minus a penalty if a broken modality costs more than `TOLERANCE` points of weighted F1 (with a
learned state) or a broken pair in a cold start more than `COLD`. The method is a local random
search from the constants of the bundle with a fixed seed, so that the result is reproducible.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erc_ros.encoders.text import Turn
from erc_ros.inference.bundle import MODALITY_LOGITS, Bundle, text_prompt
from erc_ros.inference.estimate import softmax
from erc_ros.inference.reliability import PairConfig, PerModality, ReliabilityConfig
from erc_ros.inference.text_encoders import open_text_encoder
from erc_ros.metrics.calibration import fit_temperature, log_likelihood_loss
from erc_ros.networks.network import Network
from erc_ros.networks.session import signature
from erc_ros.training.datasets import corpora
from erc_ros.training.datasets.utterances import LABELS
from erc_ros.training.fusion import situations
from erc_ros.training.fusion.bundle_trial import COUPLING, MISMATCH, BundleTrial
from erc_ros.training.fusion.conditions import TOLERANCE, SimulatedModality
from erc_ros.training.fusion.situations import PLAIN, SHARES, WEIGHTS, Clips, Material, Stream

Floats = NDArray[np.float64]

COLD = 1.0
MARGIN = 0.1  # safety margin of the constraints, which are evaluated on dev
PENALTY = 0.03  # nats per point of weighted F1
EVERY = 4  # utterances between plain sentences
SEEDS = (0, 1, 2)
START = ReliabilityConfig(
    prior=(1 / 7,) * 7,
    initial=PerModality(0.2, 0.2),
    mismatch=PerModality(0.5, 0.5),
    unexpressed=0.1,
    change_rate=0.002,
    text_exponent=0.75,
    plain_words=0.2,
    without_text=0.2,
    word_correction=0.2,
    pair=PairConfig(
        expressive=0.05,
        another_person=0.05,
        mismatch=0.25,
        unexpressed=0.07,
        change_rate=0.01,
        uninformative_words=1.3,
        uninformative_power=2.0,
        current_count=1.0,
    ),
)
LOGS = ("unexpressed", "change_rate", "text_exponent", "prior_count", "recent_count")
LINEAR = ("plain_words", "word_correction")
DECAYS = ("decay", "recent_decay")
SHARED = ("initial", "mismatch")


def read_material(bundle: Bundle, trial: BundleTrial, data: Path, split: str) -> Material:
    """Return the outputs of the bundle's networks for a split.

    Raises:
        ValueError: the fusion has no output `modality_logits`.
    """
    if MODALITY_LOGITS not in signature(bundle.fusion.file).outputs:
        raise ValueError(
            f"{bundle.fusion.file.name} has no logits of single modalities (output"
            f" {MODALITY_LOGITS}): only a late fusion can be fitted"
        )
    network = Network(bundle.fusion.file)
    widths = {name: part.embedding for name, part in bundle.encoders.items()}

    def reports(modality: str, embeddings: NDArray[np.float32]) -> Floats:
        count = len(embeddings)
        inputs = {name: np.zeros((count, 1, width), np.float32) for name, width in widths.items()}
        inputs[modality] = embeddings[:, None]
        m = list(widths).index(modality)
        outputs = network(
            {
                **inputs,
                "modalities": np.repeat(np.eye(3, dtype=bool)[m][None, None], count, axis=0),
                "speakers": np.zeros((count, 1), np.int64),
                "valid": np.ones((count, 1), bool),
            }
        )[MODALITY_LOGITS]
        return np.asarray(softmax(outputs[:, 0, m]), np.float64)

    def clips(name: str, modality: SimulatedModality) -> Clips:
        noise = np.concatenate(list(modality.noise.values()))
        worse = {kind: reports(name, rows) for kind, rows in modality.worse.items()}
        own = reports(name, modality.embeddings)
        return Clips(own, modality.labels, reports(name, noise), worse, MISMATCH[name])

    embedded, is_plain = _with_plain_words(bundle, data, split)
    return Material(
        words=reports("text", trial.dialogues.text),
        labels=trial.dialogues.labels,
        first=trial.dialogues.first,
        speakers=trial.dialogues.speakers,
        plain_words=reports("text", embedded),
        is_plain=is_plain,
        audio=clips("audio", trial.audio),
        visual=clips("visual", trial.visual),
        coupling=COUPLING,
    )


def _with_plain_words(
    bundle: Bundle, data: Path, split: str
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Add a plain sentence of the same speaker after every fourth utterance of MELD."""
    prompt, network = text_prompt(bundle.text), Network(bundle.text.file)
    rng = np.random.default_rng(5)
    rows, is_plain, number = [], [], 0
    for conversation in corpora.read(corpora.DIALOGUES, data, split).conversations:
        turns = []
        for utterance in conversation.utterances:
            number += 1
            turns.append(Turn(utterance.speaker, utterance.text))
            is_plain.append(False)
            if number % EVERY == 0:
                turns.append(Turn(utterance.speaker, PLAIN[int(rng.integers(len(PLAIN)))]))
                is_plain.append(True)
        rows.append(open_text_encoder(network, bundle.text, prompt).conversation(iter(turns)))
    return np.concatenate(rows), np.array(is_plain)


def fit(
    config: ReliabilityConfig,
    material: Material,
    steps: int,
    seeds: Sequence[int] = SEEDS,
    say: Callable[[str], None] = print,
) -> ReliabilityConfig:
    """Return the best constants of `steps` trials, starting with `config`."""
    made = [
        stream
        for number, seed in enumerate(seeds)
        for stream in situations.streams(material, seed, all_broken=number == 0)
    ]
    rng = np.random.default_rng(0)
    best, best_value = config, objective(config, made)
    say(f"start: {best_value:.4f}")
    for number in range(steps):
        tried = _changed(best, rng)
        value = objective(tried, made)
        if value > best_value:
            best, best_value = tried, value
            say(f"{number + 1}: {best_value:.4f}")
    return best


def objective(config: ReliabilityConfig, made: Sequence[Stream]) -> float:
    """Return the mean log likelihood (nats) of the mixture minus the penalties."""
    predicted = situations.replayed(config, made)
    logits = [np.log(np.maximum(p, 1e-9)) for p in predicted]
    weights = _weights(made)
    rows = np.concatenate([log for log, w in zip(logits, weights, strict=True) if w])
    truth = np.concatenate([s.labels for s, w in zip(made, weights, strict=True) if w])
    temperature = fit_temperature(rows[::7], truth[::7])
    likelihood = -sum(
        w * log_likelihood_loss(log, stream.labels, temperature)
        for log, stream, w in zip(logits, made, weights, strict=True)
        if w
    )
    costs = {
        s.name: situations.gain(s, p)
        for s, p in zip(made, predicted, strict=True)
        if s.group == "broken" or s.name.startswith("cold, both")
    }
    kept = min((v for name, v in costs.items() if not name.startswith("cold")), default=0.0)
    cold = min((v for name, v in costs.items() if name.startswith("cold")), default=0.0)
    penalty = max(0.0, -(TOLERANCE - MARGIN) - kept) + max(0.0, -(COLD - MARGIN) - cold) / 2
    return likelihood - PENALTY * penalty


def _weights(made: Sequence[Stream]) -> list[float]:
    """Return the weight of each stream; the sum is 1 if no situation is missing."""
    shares = []
    for stream in made:
        place = stream.name.split(", ")[-1]
        is_level = stream.group in situations.LEVELS
        shares.append(SHARES[place] if is_level else float(bool(stream.group)))
    totals: dict[str, float] = {}
    for stream, share in zip(made, shares, strict=True):
        totals[stream.group] = totals.get(stream.group, 0.0) + share
    return [
        WEIGHTS[stream.group] * share / totals[stream.group] if stream.group else 0.0
        for stream, share in zip(made, shares, strict=True)
    ]


def _changed(config: ReliabilityConfig, rng: np.random.Generator) -> ReliabilityConfig:
    """Change one to three random constants of `config`."""
    while True:
        names = rng.choice([*LOGS, *LINEAR, *DECAYS, *SHARED, "pair"], rng.integers(1, 4), False)
        try:
            return replace(
                config, **{name: _near(name, getattr(config, name), rng) for name in names}
            )
        except ValueError:
            continue  # outside of the range of a constant


def _near(name: str, old: Any, rng: np.random.Generator) -> Any:
    """Return a random value near `old`; for a pair, one of its values is changed."""
    if name in LOGS:
        return round(float(old * np.exp(0.25 * rng.normal())), 5)
    if name in LINEAR:
        return round(float(np.clip(old + 0.1 * rng.normal(), 0, 1)), 4)
    if name in DECAYS:
        return round(float(1 - (1 - old) * np.exp(0.4 * rng.normal())), 5)
    if old is None:
        return None
    part = str(rng.choice([each.name for each in fields(old)]))
    value = getattr(old, part)
    if name in SHARED:
        odds = np.log(value / (1 - value)) + 0.4 * rng.normal()
        return replace(old, **{part: round(float(1 / (1 + np.exp(-odds))), 4)})
    return replace(old, **{part: round(float(value * np.exp(0.4 * rng.normal())), 5)})


def start_of(bundle: Bundle, material: Material) -> ReliabilityConfig:
    """Return the bundle's constants, or START with the label frequencies of text alone."""
    if bundle.reliability is not None:
        return bundle.reliability
    counts = np.bincount(material.labels, minlength=len(bundle.labels)) + 1.0
    prior = tuple(float(x) for x in counts / counts.sum())
    return replace(START, prior=prior, neutral=LABELS.index("neutral"))
