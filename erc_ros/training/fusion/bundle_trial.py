"""Evaluate a bundle on MELD with clips of held-out people, in the `conditions` and calibration.

All inputs are processed by the bundle's own networks as in the recognizer: one input at a time,
each audio clip as the first of its speaker, with the last utterances of the dialogue as context.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from erc_ros.encoders.text import Turn
from erc_ros.inference import reliability
from erc_ros.inference.bundle import MODALITY_LOGITS, Bundle, fusion_sizes, text_prompt
from erc_ros.inference.estimate import calibrated, softmax
from erc_ros.inference.evidence import SUBSETS
from erc_ros.inference.manifest import CONFIDENCE_FACTORS, MANIFEST, Calibration, modality_set
from erc_ros.inference.reliability import Reading, ReliabilityConfig
from erc_ros.inference.text_encoders import open_text_encoder
from erc_ros.metrics.calibration import (
    fit_confidence,
    fit_confidence_factors,
    fit_temperature,
)
from erc_ros.metrics.classification import calibration_error
from erc_ros.networks.network import Network
from erc_ros.networks.session import Run, signature
from erc_ros.training.datasets import corpora
from erc_ros.training.datasets.held_out import acted_speech, speakers_of_bundle
from erc_ros.training.datasets.speech import Clip
from erc_ros.training.datasets.utterances import LABELS, Conversation
from erc_ros.training.fusion.conditions import AS_IT_IS, MISSING, SimulatedModality, embedded
from erc_ros.training.fusion.dialogues import Dialogues, head_inputs, windows
from erc_ros.training.fusion.simulation import BETWEEN, DRAWS, draw, rates
from erc_ros.training.quantization.task import Material, Task, owners_of

MISMATCH = {"audio": 0.56, "visual": 0.69}
COUPLING = 0.13
"""Result of `simulation.match` for edge-small 0.2.0's encoders; fixed to compare bundles."""
CLIPS, NOISES = 400, 40

SETS = tuple(seen for seen in itertools.product((True, False), repeat=3) if any(seen))
"""Every set of modalities (text, audio, visual)."""

Floats = NDArray[np.float32]
Predict = Callable[[Dialogues, Sequence[bool]], Floats]


@dataclass(frozen=True, eq=False)
class BundleTrial:
    """The data of one split.

    dialogues: MELD's text as embedded by the bundle, audio and faces of the first draw. is_right:
    (N,), where text alone is correct. people: number of people in the clips of audio and faces.
    """

    dialogues: Dialogues
    audio: SimulatedModality
    visual: SimulatedModality
    is_right: NDArray[np.bool_]
    people: tuple[int, int]
    predict: Predict


def read_trial(bundle: Bundle, data: Path, split: str) -> BundleTrial:
    """Embed a split of MELD, and the clips that replace its audio and faces.

    Args:
        split: "dev" or "test".

    Raises:
        FileNotFoundError: a corpus is missing; names it.
        ValueError: the bundle has no audio or no faces, so that there is nothing to compare.
    """
    if bundle.audio is None or bundle.visual is None:
        raise ValueError(f"{bundle.folder} has no audio or face encoder to evaluate")
    conversations = tuple(corpora.read(corpora.DIALOGUES, data, split).conversations)
    clips = unseen_clips(bundle, data, split)
    faces, labels = unseen_faces(data, split)
    sounds = tuple(_int16(clip.samples) for clip in clips)
    sound_labels = np.array([clip.label for clip in clips], np.int64)
    material = Material(conversations, sounds, sound_labels, faces, labels)
    task = Task(bundle, {split: material})
    networks = {name: Network(part.file) for name, part in bundle.parts.items()}
    text = task.embed("text", networks["text"], split)

    def heard(clips: Sequence[NDArray[np.int16]]) -> Floats:
        embeddings = [task.embed_sound(networks["audio"], sound) for sound in clips]
        return np.concatenate([row for row in embeddings if row is not None])

    def shown(clips: NDArray[np.uint8]) -> Floats:
        embeddings = [task.embed_face(networks["visual"], face[None]) for face in clips]
        return np.concatenate([row for row in embeddings if row is not None])

    truth = material.labels
    owners = owners_of(conversations)
    first = np.searchsorted(owners, owners)
    nothing = np.zeros((len(truth), 1), np.float32)
    dialogues = Dialogues(text, nothing, nothing, truth, speakers_of(conversations), first)

    def predict(data: Dialogues, seen: Sequence[bool]) -> Floats:
        if bundle.reliability is not None:
            return with_reliability(networks["fusion"], bundle, data, seen)
        return answers(networks["fusion"], data, bundle.fusion.context, seen)

    widths = bundle.audio.embedding, bundle.visual.embedding
    silent = _with(dialogues, *(np.zeros((len(truth), width), np.float32) for width in widths))
    is_right = predict(silent, (True, False, False)).argmax(axis=1) == truth
    generator = np.random.default_rng(1)
    audio = SimulatedModality(
        heard(sounds),
        sound_labels,
        _draws(truth, sound_labels, is_right, "audio"),
        {
            f"at {level} dB": heard([noisy(sound, level, generator) for sound in sounds])
            for level in (10, 0)
        },
        {"noise only": heard([hiss(generator) for _ in range(NOISES)])},
    )
    visual = SimulatedModality(
        shown(faces),
        labels,
        _draws(truth, labels, is_right, "visual"),
        {
            "blurred": shown(np.stack([cv2.GaussianBlur(face, (0, 0), 3) for face in faces])),
            "dark": shown((faces * 0.1).astype(np.uint8)),
        },
        {"noise only": shown(generator.integers(0, 256, (NOISES, *faces.shape[1:]), np.uint8))},
    )
    drawn = [
        embedded(AS_IT_IS, modality, dialogues, 0, np.random.default_rng(0))
        for modality in (audio, visual)
    ]
    people = len({clip.speaker for clip in clips}), len(faces)
    return BundleTrial(_with(dialogues, *drawn), audio, visual, is_right, people, predict)


def read_text(
    bundle: Bundle, conversations: Sequence[Conversation]
) -> tuple[Floats, NDArray[np.int64]]:
    """Return logits (N, C) of all utterances from text alone, and rows of the last turns (M,)."""
    prompt = text_prompt(bundle.text)
    text, fusion = Network(bundle.text.file), Network(bundle.fusion.file)
    names = fusion_sizes(bundle)
    rows = []
    for conversation in conversations:
        encoder = open_text_encoder(text, bundle.text, prompt)
        rows.append(encoder.conversation(Turn(u.speaker, u.text) for u in conversation.utterances))
    ends = np.cumsum([len(c.utterances) for c in conversations])
    count, first = int(ends[-1]), np.concatenate([[0], ends[:-1]])
    audio, visual = (
        np.zeros((count, 1 if part is None else part.embedding), np.float32)
        for part in (bundle.audio, bundle.visual)
    )
    data = Dialogues(
        np.concatenate(rows),
        audio,
        visual,
        labels=np.full(count, -100, np.int64),
        speakers=speakers_of(conversations),
        first=np.repeat(first, np.diff(np.concatenate([first, ends[-1:]]))),
    )

    def asked(inputs: dict[str, NDArray[Any]]) -> dict[str, Floats]:
        return fusion({name: inputs[name] for name in names})  # text alone has no other modalities

    return answers(asked, data, bundle.fusion.context, (True, False, False)), ends - 1


def calibrate(trial: BundleTrial) -> Calibration:
    """Fit a temperature for each set of modalities, and factors where they lower the error.

    Without text half as many clips are mismatched (`simulation.BETWEEN`). The factors of text
    alone are shrunk by the number of dialogues, the others by the number of people in the clips.
    """
    temperatures, factors = {}, {}
    dialogues = len(np.unique(trial.dialogues.first))
    for seen in SETS:
        name = modality_set(seen)
        logits, truth = _pooled(trial, seen)
        temperatures[name] = round(fit_confidence(logits, truth), 3)
        people = min(itertools.compress(trial.people, seen[1:]), default=dialogues)
        temperature = round(fit_temperature(logits, truth), 3)
        fitted = fit_confidence_factors(softmax(logits / temperature), truth, people)
        rounded = tuple(round(float(f), 3) for f in fitted.clip(*CONFIDENCE_FACTORS))
        plain, scaled = (
            Calibration(temperatures[name]),
            Calibration(temperature, {}, {name: rounded}),
        )
        if _error(logits, truth, scaled, seen) < _error(logits, truth, plain, seen):
            temperatures[name], factors[name] = temperature, rounded
    return Calibration(temperatures[modality_set((True, True, True))], temperatures, factors)


def calibration_errors(trial: BundleTrial, calibration: Calibration) -> dict[str, float]:
    """Return the expected calibration error of each set of modalities, in the fitted condition."""
    return {modality_set(seen): _error(*_pooled(trial, seen), calibration, seen) for seen in SETS}


def errors_without_text(
    trial: BundleTrial, calibration: Calibration
) -> dict[str, dict[float, float]]:
    """Return the same without text for each share of MELD's mismatches: 0, `BETWEEN`, 1."""
    return {
        modality_set(seen): {
            share: _error(*_pooled(trial, seen, share), calibration, seen)
            for share in (0.0, BETWEEN, 1.0)
        }
        for seen in SETS
        if not seen[0]
    }


def _error(
    logits: Floats, truth: NDArray[np.int64], calibration: Calibration, seen: Sequence[bool]
) -> float:
    return calibration_error(truth, calibrated(logits, calibration, seen))


def answered(trial: BundleTrial, seen: Sequence[bool]) -> tuple[Floats, NDArray[np.int64]]:
    """Return logits of all draws (DRAWS * N, C) with these modalities, and the labels.

    Without text half as many clips are mismatched (`simulation.BETWEEN`).
    """
    return _pooled(trial, tuple(seen))


def simulated_logits(
    trial: BundleTrial, seen: Sequence[bool], mismatches: float
) -> tuple[Floats, NDArray[np.int64]]:
    """Return logits of all draws (DRAWS * N, C) with these modalities, and the labels.

    Args:
        mismatches: share of the mismatched clips that degrade the modalities to MELD's accuracy; 1:
            as published for MELD, 0: every clip has the label of its utterance.
    """
    return _pooled(trial, tuple(seen), mismatches)


def answers(network: Run, data: Dialogues, context: int, modalities: Sequence[bool]) -> Floats:
    """Return logits (N, C) of the exported fusion for every utterance, as in the recognizer."""
    logits = []
    rows = windows(data.first, context)
    for piece in np.array_split(rows, max(1, len(rows) // 256)):
        seen = (piece >= 0)[..., None] & np.array(modalities)
        inputs = {name: value.numpy() for name, value in head_inputs(data, piece, seen).items()}
        logits.append(network(inputs)["logits"][:, -1])
    return np.concatenate(logits)


def with_reliability(
    network: Run, bundle: Bundle, data: Dialogues, modalities: Sequence[bool]
) -> Floats:
    """Return log probabilities (N, C) as in the recognizer, with the reliability state."""
    config = bundle.reliability
    assert config is not None
    present = np.array(modalities)
    has_modality_logits = MODALITY_LOGITS in signature(bundle.fusion.file).outputs
    rows = windows(data.first, bundle.fusion.context)
    state, outcomes = reliability.initial_state(config), []
    for piece in np.array_split(rows, max(1, len(rows) // 256)):
        for reading in _readings(network, config, data, piece, present, has_modality_logits):
            state, outcome = reliability.step(config, state, reading)
            outcomes.append(outcome.probabilities)
    return np.log(np.maximum(outcomes, 1e-9)).astype(np.float32)


def _readings(
    network: Run,
    config: ReliabilityConfig,
    data: Dialogues,
    piece: NDArray[np.int64],
    present: NDArray[np.bool_],
    has_modality_logits: bool,
) -> Iterator[Reading]:
    """Yield the result of `inference.evidence.read` for each window, computed in batches."""
    seen = (piece >= 0)[..., None] & present
    inputs = {name: value.numpy() for name, value in head_inputs(data, piece, seen).items()}
    prior = np.array(config.prior)
    alone = np.tile(prior, (len(piece), 3, 1))
    if has_modality_logits:
        alone[:, present] = softmax(network(inputs)[MODALITY_LOGITS][:, -1])[:, present]
        yield from (Reading(each, present) for each in alone)
        return
    joint = np.tile(prior, (len(piece), 2, 2, 2, 1))
    for subset in SUBSETS:
        if any(np.array(subset) & ~present):
            continue
        masked = dict(inputs, modalities=inputs["modalities"].copy())
        masked["modalities"][:, -1] = subset
        joint[:, int(subset[0]), int(subset[1]), int(subset[2])] = softmax(
            network(masked)["logits"][:, -1]
        )
    for m in np.flatnonzero(present):
        alone[:, m] = joint[:, int(m == 0), int(m == 1), int(m == 2)]
    yield from (Reading(each, present, both) for each, both in zip(alone, joint, strict=True))


def unseen_clips(bundle: Bundle, data: Path, split: str) -> list[Clip]:
    """Return at most CLIPS of RAVDESS and EmoDB, of speakers held out from the bundle's training.

    Raises:
        ValueError: the manifest does not name these speakers (`training.held_out.audio`).
    """
    corpus = acted_speech(data).clips
    source = str(bundle.folder / MANIFEST)
    speakers = speakers_of_bundle(bundle.training, bundle.audio is not None, corpus, source)
    chosen = [corpus[row] for row in speakers.rows(corpus, split)]
    kept = np.random.default_rng(0).permutation(len(chosen))[:CLIPS]
    return [chosen[row] for row in sorted(kept)]


def unseen_faces(data: Path, split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return at most three times CLIPS images of FER+ (valid for dev), and their labels."""
    pictures = corpora.images(corpora.FACES, data)
    faces = pictures.test if split == "test" else pictures.valid
    to_labels = corpora.find(corpora.FACES).to_labels
    known = np.flatnonzero(faces.labels >= 0)
    known = np.sort(np.random.default_rng(0).permutation(known)[: 3 * CLIPS])
    return faces.pictures[known], to_labels[faces.labels[known]]


def noisy(
    sound: NDArray[np.int16], level: float, generator: np.random.Generator
) -> NDArray[np.int16]:
    """Add white noise at `level` dB signal-to-noise ratio."""
    samples = sound.astype(np.float64)
    noise = generator.standard_normal(len(samples))
    noise *= np.sqrt(np.square(samples).mean() / 10 ** (level / 10))
    mixed: NDArray[np.int16] = (samples + noise).clip(-32768, 32767).astype(np.int16)
    return mixed


def hiss(generator: np.random.Generator) -> NDArray[np.int16]:
    """Return 3 s of white noise of a random level."""
    return _int16(generator.standard_normal(48_000) * 10 ** generator.uniform(-3, -1))


def speakers_of(conversations: Sequence[Conversation]) -> NDArray[np.int64]:
    """Return the speakers (N,) of all utterances."""
    return np.array([u.speaker for c in conversations for u in c.utterances], np.int64)


def _draws(
    truth: NDArray[np.int64],
    labels: NDArray[np.int64],
    is_right: NDArray[np.bool_],
    name: str,
    share: float = 1.0,
) -> NDArray[np.int64]:
    """Draw clips (DRAWS, N) with this share of MELD's mismatches."""
    prior = np.bincount(truth, minlength=len(LABELS)) / len(truth)
    how = share * rates(MISMATCH[name], is_right, COUPLING)
    seeds = np.arange(DRAWS) * 100 + ("audio", "visual").index(name)
    return np.stack([draw(truth, labels, how, prior, int(seed)) for seed in seeds])


def _pooled(
    trial: BundleTrial, seen: tuple[bool, ...], share: float | None = None
) -> tuple[Floats, NDArray[np.int64]]:
    data = trial.dialogues
    if share is None:
        share = 1.0 if seen[0] else BETWEEN
    modalities = [
        replace(modality, chosen=_draws(data.labels, modality.labels, trial.is_right, name, share))
        for name, modality in (("audio", trial.audio), ("visual", trial.visual))
    ]
    logits = []
    for number in range(DRAWS):
        how = [AS_IT_IS if there else MISSING for there in seen[1:]]
        rng = np.random.default_rng(0)
        states = zip(how, modalities, strict=True)
        drawn = [embedded(state, modality, data, number, rng) for state, modality in states]
        logits.append(trial.predict(_with(data, *drawn), seen))
    return np.concatenate(logits), np.tile(data.labels, DRAWS)


def _with(data: Dialogues, audio: Floats, visual: Floats) -> Dialogues:
    return replace(data, audio=audio, visual=visual)


def _int16(samples: NDArray[np.floating]) -> NDArray[np.int16]:
    rounded: NDArray[np.int16] = np.rint(samples * 32767).clip(-32768, 32767).astype(np.int16)
    return rounded
