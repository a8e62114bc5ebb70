"""Training of the voice part on all speech corpora, and evaluation on a held-out corpus.

    erc train config/training/audio.yaml                        the part for the bundle
    erc train config/training/audio.yaml --hold-out nemo        evaluation outside its corpora

Acted clips become conversations by drawing, for each clip, earlier clips of the same speaker
(`voice_histories`). The probabilities of several seeds are averaged. The epoch is selected by
likelihood on dev speakers; test speakers are evaluated once.

The embedding of the part is the log-probability of each label. It is the same kind of value for
speakers of the training and for others, so the fusion is trained on embeddings
(`embeddings.safetensors`) of networks that were not trained on the speaker.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot

from erc_ros.dialogue.speakers.embedding import load_manifest
from erc_ros.metrics import classification as metrics
from erc_ros.resources import model_folder
from erc_ros.training.datasets import corpora
from erc_ros.training.datasets.corpora import VOICES
from erc_ros.training.datasets.speech import SpeechCorpus, together
from erc_ros.training.datasets.utterances import LABELS
from erc_ros.training.encoders.audio import voice_features
from erc_ros.training.encoders.audio.voice_features import VoiceClips, voice_clips
from erc_ros.training.encoders.audio.voice_histories import (
    MIXED,
    NONE,
    OTHER,
    SINGLE,
    Histories,
    HistorySampling,
    Rows,
    streams,
)
from erc_ros.training.encoders.audio.voice_model import (
    VoiceEnsemble,
    VoiceNetwork,
    VoiceNetworkConfig,
)
from erc_ros.training.encoders.augmentation import ChannelAugmentation
from erc_ros.training.encoders.mixing import cross_entropy, insert_negatives, smoothed
from erc_ros.training.engine.embeddings import FILE, Embedded, save_embeddings
from erc_ros.training.engine.history import record
from erc_ros.training.engine.recipe import Recipe, RecipeError
from erc_ros.training.engine.runs import BEST, Predicted, write_run
from erc_ros.training.engine.trainer import TrainerConfig, device_of, fit, save_weights, set_seeds
from erc_ros.training.onnx import export_voice
from erc_ros.values.settings import check, setting

FOUR = ("neutral", "sadness", "joy", "anger")  # labels of all four corpora
FOLDS = 5  # folds of speakers, for the embeddings on which the fusion is trained
HELD_OUT = 10  # dev and test have one tenth of the speakers each
EXAMPLES = "examples.safetensors"
NEUTRAL = LABELS.index("neutral")
ALARMS = 0.006  # share of false alarms on ordinary speech of dev speakers that `prior_of` allows
PRIORS = np.arange(0, 2.01, 0.05)
AFTER = 6  # utterances of a speaker, the current one included
STREAMS = 11  # seed of the order of a speaker's clips in evaluations

Log = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class VoiceConfig:
    """Data and regularization; the section `voice` of a recipe."""

    corpora: tuple[str, ...] = VOICES
    speaker_network: str = "speaker-campplus"
    """A folder, or a name in models/. The bundle refers to it by this name."""
    heard: int = setting(24, "earlier utterances of the same speaker, at most", "", (1, 1000))
    seeds: tuple[int, ...] = (0, 1, 2)
    """The exported part averages their probabilities."""
    mixup: float = setting(0.4, "mixed pairs of examples: Beta(mixup, mixup); 0: none", "", (0, 10))
    label_smoothing: float = setting(0.1, "share of all labels in a target", "", (0, 0.99))
    negatives: float = setting(0.03, "share of non-speech audio in a batch", "", (0, 0.99))
    ordinary: float = setting(
        0.0, "share of ordinary speech (`datasets.ordinary_speech`), all neutral", "", (0, 0.99)
    )

    def __post_init__(self) -> None:
        check(self)
        if not self.corpora or not self.seeds:
            raise ValueError("corpora and seeds must not be empty")


@dataclass(frozen=True, slots=True)
class VoiceRecipe:
    """The sections of a voice recipe that determine a network."""

    voice: VoiceConfig
    network: VoiceNetworkConfig
    histories: HistorySampling
    trainer: TrainerConfig


def train(recipe: Recipe) -> None:
    """Run `erc train config/training/audio.yaml`, with or without `--hold-out`.

    Raises:
        RecipeError, FileNotFoundError: the recipe or the data is not usable.
    """
    recipe.refuse_other_sections({"voice", "network", "histories", "trainer", "channels"})
    sections = VoiceRecipe(
        recipe.section("voice", VoiceConfig),
        recipe.section("network", VoiceNetworkConfig),
        recipe.section("histories", HistorySampling),
        recipe.section("trainer", TrainerConfig),
    )
    voice = sections.voice
    if recipe.leave_out and recipe.leave_out not in voice.corpora:
        raise RecipeError(
            f"corpus {recipe.leave_out!r} cannot be held out: the recipe has {list(voice.corpora)}"
        )
    try:
        corpus = corpora.clips(voice.corpora, recipe.data)
    except ValueError as error:
        raise RecipeError(str(error)) from error
    if voice.ordinary:
        corpus = with_ordinary_speech(corpus, recipe.data)
    print(f"{len(corpus.clips)} clips, skipped {json.dumps(corpus.skipped)}", flush=True)
    # Next to the run, so that trainings with `--hold-out` use it as well.
    file = recipe.out.parent / voice_features.FILE
    channels = recipe.section("channels", ChannelAugmentation)
    clips = voice_clips(corpus.clips, channels, voice.speaker_network, file)
    ordinary = [corpora.ORDINARY] if clips.is_ordinary.any() else []
    acted = [name for name in voice.corpora if name != recipe.leave_out]
    record(recipe.out, corpora=[*acted, *ordinary])
    (recipe.out / BEST).mkdir(parents=True, exist_ok=True)
    if recipe.leave_out:
        splits, content = hold_out(clips, recipe.leave_out, sections, recipe.out)
    else:
        splits, content = make_part(clips, sections, recipe.out)
    content["skipped"] = dict(corpus.skipped)
    result = write_run(recipe.out / BEST, LABELS, splits, content)
    print(json.dumps(result["test"], indent=2))


def with_ordinary_speech(corpus: SpeechCorpus, data: Path) -> SpeechCorpus:
    """Add the ordinary speech in `data`; without it, print a warning."""
    try:
        return together([corpus, corpora.clips([corpora.ORDINARY], data)])
    except FileNotFoundError as error:
        print(
            f"warning: {error}; without it the voice part raises several times as many false"
            " alarms on ordinary speech (docs/reference/datasets.md lists the recordings)",
            flush=True,
        )
        return corpus


RunContent = tuple[dict[str, Predicted], dict[str, Any]]
"""Predictions of dev and test, and further content of metrics.json; see `write_run`."""


def hold_out(clips: VoiceClips, corpus: str, sections: VoiceRecipe, out: Path) -> RunContent:
    """Train on the other corpora; evaluate each seed and their average on this one."""
    own = clips.corpora == corpus
    others, unseen = clips.of(~own), clips.of(own)
    folds = speaker_folds(others, HELD_OUT)
    members, each = [], {}
    for seed in sections.voice.seeds:
        dev = folds == seed % HELD_OUT
        model = fit_voice(others, ~dev, dev, sections, seed, out / f"seed-{seed}")
        members.append(model)
        each[str(seed)] = measure(model, unseen, sections.voice.heard)
    dev = others.of(folds == sections.voice.seeds[0] % HELD_OUT)
    prior = prior_of(members[0], dev, sections.voice.heard)
    part = VoiceEnsemble(members, prior)
    together = measure(part, unseen, sections.voice.heard)
    figures = list(each.values())
    deviation = {
        name: statistics.stdev(one["test"][name] for one in figures) if len(figures) > 1 else 0.0
        for name in together["test"]
    }
    splits = {
        # The first network was not trained on these speakers.
        "dev": predicted_labels(members[0], dev, sections.voice.heard),
        "test": predicted_labels(part, unseen, sections.voice.heard),
    }
    return splits, {
        "left_out": corpus,
        "seed": sections.voice.seeds[0],
        "prior": prior,
        **together,
        "seeds": {seed: one["test"] for seed, one in each.items()},
        "deviation": deviation,
    }


def make_part(clips: VoiceClips, sections: VoiceRecipe, out: Path) -> RunContent:
    """Export the part, and embed all speakers with networks that were not trained on them."""
    voice, best = sections.voice, out / BEST
    tenths = speaker_folds(clips, HELD_OUT)
    test, dev = tenths == 0, tenths == 1
    members = [
        fit_voice(clips, ~test & ~dev, dev, sections, seed, out / f"seed-{seed}")
        for seed in voice.seeds
    ]
    prior = prior_of(VoiceEnsemble(members), clips.of(dev), voice.heard)
    part = VoiceEnsemble(members, prior).eval()
    unheard, embedded = embed_unheard(clips, ~test & ~dev, sections, out, prior)
    size = clips.features.shape[2]
    difference = export_voice(part, best / "audio.onnx", size, voice.heard)
    save_weights(part, best / "best.safetensors")
    # Acted speech only, so that fusion and calibration stay comparable between versions.
    examples = {
        "valid": PartExamples.of(clips.of(dev & ~clips.is_ordinary), voice.heard),
        "test": PartExamples.of(clips.of(test & ~clips.is_ordinary), voice.heard),
    }
    for name, those in examples.items():
        log = answers(part, those.features, those.heard, those.rows)
        embedded[name] = Embedded(log, those.labels)
    save_embeddings(embedded, best / FILE)
    save_examples(examples, best / EXAMPLES)
    manifest = load_manifest(model_folder(voice.speaker_network))
    splits = {
        name: predicted_labels(part, clips.of(chosen), voice.heard)
        for name, chosen in (("dev", dev), ("test", test))
    }
    return splits, {
        "seed": voice.seeds[0],
        "dev": measure(part, clips.of(dev), voice.heard)["test"]["seven_all"],
        "test": unheard["test"],  # of all speakers, by networks that were not trained on them
        "unheard": unheard,
        "prior": prior,
        "part_test": measure(part, clips.of(test), voice.heard),
        "part": {
            "kind": "voice",
            "embedding": len(LABELS),
            "max_seconds": voice_features.MAX_SECONDS,
            "features": size,
            "heard": voice.heard,
            "speaker_network": voice.speaker_network,
            "speaker_sha256": manifest.sha256,
        },
        "held_out": {
            name: sorted(set(clips.speakers[chosen & ~clips.is_ordinary].tolist()))
            for name, chosen in (("dev", dev), ("test", test))
        },
        "settings": {name: asdict(getattr(sections, name)) for name in VoiceRecipe.__slots__},
        "parameters": sum(p.numel() for p in part.parameters()),
        "onnx_difference": difference,
    }


@dataclass(frozen=True, eq=False)
class PartExamples:
    """M inputs of the exported part, from n clips of held-out speakers.

    features (n, D); rows (M,): the clip of each; heard (M, H): clips before it, or NONE;
    labels (M,).
    """

    features: NDArray[np.float32]
    rows: Rows
    heard: Rows
    labels: Rows

    @classmethod
    def of(cls, clips: VoiceClips, most: int) -> PartExamples:
        """Return every clip once in each condition."""
        heard = [histories for histories, _ in _conditions(clips, most).values()]
        rows = np.tile(np.arange(len(clips.labels)), len(heard))
        clean = np.ascontiguousarray(clips.features[:, 0])
        return cls(clean, rows, np.concatenate(heard), clips.labels[rows])

    def inputs(self) -> list[dict[str, NDArray[Any]]]:
        """Return the inputs one by one, as the emotion recognizer passes them."""
        inputs = []
        for row, before in zip(self.rows, self.heard, strict=True):
            is_heard = before != NONE
            heard = np.where(is_heard[:, None], self.features[before], np.float32(0))
            voice = self.features[row][None]
            inputs.append({"voice": voice, "heard": heard[None], "is_heard": is_heard[None]})
        return inputs


def save_examples(examples: Mapping[str, PartExamples], file: Path) -> None:
    """Write them to one safetensors file."""
    arrays = {f"{n}.{k}": array for n, of in examples.items() for k, array in vars(of).items()}
    save_file(arrays, file)


def load_examples(file: Path) -> dict[str, PartExamples]:
    """Read the splits valid and test that `save_examples` wrote."""
    arrays, parts = load_file(file), ("features", "rows", "heard", "labels")
    return {
        name: PartExamples(*(arrays[f"{name}.{part}"] for part in parts))
        for name in ("valid", "test")
    }


# --- speakers ---


def speaker_folds(clips: VoiceClips, count: int) -> Rows:
    """Return folds (N,) of whole speakers, 0..count - 1, each with its share of corpora and sexes.

    Ordinary speech comes last, so that it does not change the folds of the acted corpora.
    """
    groups: dict[tuple[bool, str, str], set[str]] = {}
    rows = zip(
        clips.is_ordinary.tolist(),
        clips.corpora.tolist(),
        clips.sexes.tolist(),
        clips.speakers.tolist(),
        strict=True,
    )
    for is_ordinary, corpus, sex, speaker in rows:
        groups.setdefault((is_ordinary, corpus, sex), set()).add(speaker)
    dealt = [speaker for key in sorted(groups) for speaker in sorted(groups[key])]
    fold = {speaker: number % count for number, speaker in enumerate(dealt)}
    return np.array([fold[speaker] for speaker in clips.speakers.tolist()], np.int64)


def balance(
    clips: VoiceClips, chosen: NDArray[np.bool_], ordinary: float = 0.0
) -> NDArray[np.float64]:
    """Return the share (N,) of each clip in the training examples; the sum is 1.

    All labels of all acted corpora have the same share. Ordinary speech, if there is any, has the
    share `ordinary`; its sources count by the square root of their size.
    """
    acted, other = np.zeros((2, len(clips.labels)))
    for corpus in np.unique(clips.corpora[chosen]):
        source = chosen & (clips.corpora == corpus)
        if clips.is_ordinary[source].any():
            other[source] = source.sum() ** -0.5
            continue
        for label in range(len(LABELS)):
            own = source & (clips.labels == label)
            acted[own] = 1 / max(1, own.sum())
    weights = acted / acted.sum()
    if ordinary and other.any():
        weights = (1 - ordinary) * weights + ordinary * other / other.sum()
    return np.asarray(weights, np.float64)


# --- training ---


class VoiceBatch(NamedTuple):
    """B examples. kinds (B,): of their histories, see `voice_histories`."""

    voice: Tensor
    """(B, D)"""
    heard: Tensor
    """(B, H, D); 0 where is_heard (B, H) is False."""
    is_heard: Tensor
    target: Tensor
    """(B, C) probabilities of the labels."""
    kinds: Rows


class VoiceSampler:
    """Draws training examples: clip, version, history, mixed pairs and negatives.

    Args:
        chosen: (N,) bool, the training clips.
    """

    def __init__(
        self,
        clips: VoiceClips,
        chosen: NDArray[np.bool_],
        sections: VoiceRecipe,
        generator: np.random.Generator,
    ) -> None:
        self._clips, self._sections, self._generator = clips, sections, generator
        self._there = np.isfinite(clips.features[:, :, 0])
        speakers = np.unique(clips.speakers, return_inverse=True)[1].astype(np.int64)
        rows, most = np.flatnonzero(chosen), sections.voice.heard
        self._histories = Histories(speakers, clips.labels, self._there, rows, most)
        self._features = torch.from_numpy(clips.features)
        self._negatives = torch.from_numpy(clips.negatives)

    def batch(self, rows: Rows) -> VoiceBatch:
        """Return examples of the clips rows (B,)."""
        clips, voice, generator = self._clips, self._sections.voice, self._generator
        versions = _versions(self._there[rows], generator)
        drawn, kinds = self._histories.draw(rows, versions, self._sections.histories, generator)
        # Ordinary speech is neutral by either network: the gate is not trained on it.
        kinds = np.where(clips.is_ordinary[rows], OTHER, kinds)
        x = self._features[rows, versions]  # (B, D)
        heard = self._features[drawn, versions[:, None]]  # (B, H, D); of NONE: the last clip
        is_heard = torch.from_numpy(drawn != NONE)
        heard = torch.where(is_heard[..., None], heard, 0.0)
        target = one_hot(torch.from_numpy(clips.labels[rows]), len(LABELS)).float()
        if voice.mixup:
            share = float(generator.beta(voice.mixup, voice.mixup))
            other = torch.from_numpy(generator.permutation(len(rows)))
            share = min(share, 1 - share)
            x, target = x.lerp(x[other], share), target.lerp(target[other], share)
            both = (is_heard & is_heard[other])[..., None]
            heard = torch.where(both, heard.lerp(heard[other], share), heard)
        count = round(voice.negatives * len(rows))
        negatives = torch.from_numpy(generator.integers(len(self._negatives), size=count))
        insert_negatives(x, target, self._negatives[negatives])
        return VoiceBatch(x, heard, is_heard, smoothed(target, voice.label_smoothing), kinds)


def voice_loss(model: VoiceNetwork, batch: VoiceBatch) -> Tensor:
    """Return the loss: of the whole network, of each of its two parts, and of the gate."""
    device = device_of(model)
    judged = model.judge(*(each.to(device) for each in batch[:3]))
    target = batch.target.to(device)

    def where(condition: NDArray[np.bool_]) -> Tensor:
        return torch.from_numpy(condition).to(device).float()

    varied = where(batch.kinds == MIXED)
    gate = binary_cross_entropy_with_logits(judged.gate, varied, reduction="none")
    relative = cross_entropy(judged.relative.log_softmax(1), target)
    return (
        cross_entropy(judged.log_probabilities, target).mean()
        + cross_entropy(judged.absolute.log_softmax(1), target).mean()
        + _mean(relative, where(batch.kinds != SINGLE))
        + _mean(gate, where(batch.kinds != OTHER))
    )


def fit_voice(
    clips: VoiceClips,
    chosen: NDArray[np.bool_],
    dev: NDArray[np.bool_],
    sections: VoiceRecipe,
    seed: int,
    out: Path,
) -> VoiceNetwork:
    """Train on the clips `chosen` (N,); the epoch has the highest likelihood on `dev` (N,)."""
    voice = sections.voice
    config = replace(sections.trainer, seed=seed)
    set_seeds(seed)
    weights = balance(clips, chosen, voice.ordinary)
    model = VoiceNetwork(sections.network, clips.features.shape[2])
    clean = clips.features[:, 0]
    acted = chosen & ~clips.is_ordinary  # only these speakers have several emotions
    model.learn_scale(clean[acted], clips.labels[acted], clips.speakers[acted], weights[acted])
    generator = np.random.default_rng(seed)
    sampler = VoiceSampler(clips, chosen, sections, generator)
    heldout = clips.of(dev)
    conditions = _conditions(heldout, voice.heard)

    def batches(epoch: int) -> Sequence[Rows]:
        rows = generator.choice(len(weights), int(chosen.sum()), p=weights)
        return np.array_split(rows, max(1, len(rows) // config.batch_size))

    def evaluate(model: VoiceNetwork) -> dict[str, float]:
        rows = np.arange(len(heldout.labels))
        likelihoods = [
            answers(model, heldout.features[:, 0], heard)[rows, heldout.labels]
            for heard, _ in conditions.values()
        ]
        return {"log_likelihood": float(np.mean(likelihoods))}

    fit(
        model,
        config,
        batches=batches,
        loss=lambda model, rows: voice_loss(model, sampler.batch(rows)),
        evaluate=evaluate,
        choose="log_likelihood",
        out=out,
        say=partial(print, flush=True),
        stateful=[generator],
        settings={
            "voice": asdict(voice),
            "network": asdict(sections.network),
            "histories": asdict(sections.histories),
            "clips": int(chosen.sum()),
        },
        keep_finished=True,
    )
    return model


def _versions(there: NDArray[np.bool_], generator: np.random.Generator) -> Rows:
    """Draw one of the existing versions (B, V) of each clip: (B,)."""
    chance = generator.random(there.shape) * there
    chosen: Rows = chance.argmax(axis=1)
    return chosen


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum().clamp_min(1)


# --- evaluation ---


@torch.inference_mode()
def answers(
    model: torch.nn.Module,
    features: NDArray[np.float32],
    heard: Rows,
    rows: Rows | None = None,
    batch_size: int = 512,
) -> Log:
    """Return log-probabilities (M, 7) of the clips rows (M,) with histories heard (M, H).

    features: (N, D). rows None: all clips, in their order.
    """
    model.eval()
    every, logs = torch.from_numpy(features), []
    rows = np.arange(len(heard)) if rows is None else rows
    device = device_of(model)
    for begin in range(0, len(heard), batch_size):
        before = torch.from_numpy(heard[begin : begin + batch_size])
        is_heard = before != NONE
        inputs = (
            every[torch.from_numpy(rows[begin : begin + batch_size])],
            torch.where(is_heard[..., None], every[before], 0.0),
            is_heard,
        )
        logs.append(model(*(each.to(device) for each in inputs)).cpu().numpy())
    return np.concatenate(logs)


def predicted_labels(model: torch.nn.Module, clips: VoiceClips, most: int) -> Predicted:
    """Return the predictions for acted clips in a random order per speaker, for `erc evaluate`."""
    acted = clips.of(~clips.is_ordinary)
    heard, _ = streams(acted.speakers, most, STREAMS)
    return Predicted(answers(model, acted.features[:, 0], heard), acted.labels)


def _conditions(clips: VoiceClips, most: int) -> dict[str, tuple[Rows, Rows]]:
    """Return histories and lengths by condition: two orders, one emotion per speaker, none."""
    count = len(clips.labels)
    nothing = np.full((count, most), NONE, np.int64), np.zeros(count, np.int64)
    return {
        "all": streams(clips.speakers, most, STREAMS),
        "again": streams(clips.speakers, most, STREAMS + 1),
        "one_emotion": streams(clips.speakers, most, STREAMS, clips.labels),
        "first": nothing,
    }


def measure(model: torch.nn.Module, clips: VoiceClips, most: int) -> dict[str, Any]:
    """Return unweighted recalls in `test`, and recalls by class.

    four: clips with a label of FOUR, among these; seven: all clips, among all labels. all: in a
    random order per speaker; after_six: from the sixth utterance on; first: without history;
    one_emotion: after six utterances of one emotion. changed: after_six with room, noise and
    telephone versions. false_alarms: share of ordinary speech for which a label other than neutral
    has more than half of the probability.
    """
    ordinary, clips = clips.of(clips.is_ordinary), clips.of(~clips.is_ordinary)
    predicted = {
        name: (answers(model, clips.features[:, 0], heard), counts)
        for name, (heard, counts) in _conditions(clips, most).items()
    }
    late = {name: counts >= AFTER - 1 for name, (_, counts) in predicted.items()}
    everything = np.ones(len(clips.labels), bool)
    conditions = {
        "all": (predicted["all"][0], clips.labels, everything),
        "first": (predicted["first"][0], clips.labels, everything),
        "after_six": (predicted["all"][0], clips.labels, late["all"]),
        "one_emotion": (predicted["one_emotion"][0], clips.labels, late["one_emotion"]),
    }
    if clips.features.shape[1] > 1:
        changed = clips.of(np.isfinite(clips.features[:, 1, 0]))
        heard, counts = streams(changed.speakers, most, STREAMS)
        if (counts >= AFTER - 1).any():
            log = answers(model, changed.features[:, 1], heard)
            conditions["changed"] = (log, changed.labels, counts >= AFTER - 1)
    test: dict[str, float] = {}
    recalls: dict[str, dict[str, dict[str, float]]] = {"four": {}, "seven": {}}
    for name, (log, labels, chosen) in conditions.items():
        for among, words in (("four", FOUR), ("seven", LABELS)):
            by_class = recalled(log[chosen], labels[chosen], words)
            recalls[among][name] = by_class
            if by_class:
                test[f"{among}_{name}"] = float(np.mean(list(by_class.values())))
    log, labels, chosen = conditions["after_six"]
    if chosen.any():
        test["calibration_error"] = metrics.calibration_error(labels[chosen], np.exp(log[chosen]))
    if len(ordinary.labels):
        heard, _ = streams(ordinary.speakers, most, STREAMS)
        emotions = np.delete(answers(model, ordinary.features[:, 0], heard), NEUTRAL, axis=1)
        test["false_alarms"] = float((emotions.max(axis=1) > np.log(0.5)).mean())
    return {"test": test, "recall": recalls, "clips": len(clips.labels)}


def prior_of(model: torch.nn.Module, clips: VoiceClips, most: int) -> float:
    """Return the largest correction of neutral with a share of false alarms of at most ALARMS.

    0 if `clips` has no ordinary speech.
    """
    ordinary = clips.of(clips.is_ordinary)
    if not len(ordinary.labels):
        return 0.0
    heard, _ = streams(ordinary.speakers, most, STREAMS)
    log = answers(model, ordinary.features[:, 0], heard).astype(np.float64)
    best = 0.0
    for prior in PRIORS.tolist():
        lowered = np.exp(log - prior * (np.arange(len(LABELS)) == NEUTRAL))
        emotions = np.delete(lowered / lowered.sum(1, keepdims=True), NEUTRAL, axis=1)
        if (emotions.max(axis=1) > 0.5).mean() <= ALARMS:
            best = prior
    return round(best, 2)


def recalled(log: Log, labels: Rows, words: Sequence[str]) -> dict[str, float]:
    """Return the recall of each label that occurs, decided among `words`."""
    among = np.array([LABELS.index(word) for word in words])
    chosen = np.isin(labels, among)
    predicted = among[log[chosen][:, among].argmax(axis=1)]
    truth = labels[chosen]
    return {
        LABELS[label]: float((predicted[truth == label] == label).mean())
        for label in among.tolist()
        if (truth == label).any()
    }


def embed_unheard(
    clips: VoiceClips,
    chosen: NDArray[np.bool_],
    sections: VoiceRecipe,
    out: Path,
    prior: float = 0.0,
) -> tuple[dict[str, Any], dict[str, Embedded]]:
    """Embed all clips with networks that were not trained on their speakers.

    Returns the mean metrics over the folds of speakers, and the embeddings of the clips `chosen`
    (N,) in every condition, as "train", for the fusion. prior: as in `VoiceEnsemble`.
    """
    folds = speaker_folds(clips, FOLDS)
    conditions = _conditions(clips, sections.voice.heard)
    logs = {name: np.zeros((len(folds), len(LABELS)), np.float32) for name in conditions}
    reports = []
    for number in range(FOLDS):
        test, dev = folds == number, folds == (number + 1) % FOLDS
        dev &= speaker_folds(clips, 2 * FOLDS) % 2 == 0
        seed = sections.voice.seeds[0]
        fitted = fit_voice(clips, ~test & ~dev, dev, sections, seed, out / f"fold-{number}")
        model = VoiceEnsemble([fitted], prior)
        rows = np.flatnonzero(test)
        for name, (heard, _) in conditions.items():
            logs[name][rows] = answers(model, clips.features[:, 0], heard[rows], rows)
        reports.append(measure(model, clips.of(test), sections.voice.heard))
    names = set.intersection(*(set(one["test"]) for one in reports))
    mean = {n: statistics.fmean(one["test"][n] for one in reports) for n in sorted(names)}
    embedded = Embedded(
        np.concatenate([log[chosen] for log in logs.values()]),
        np.tile(clips.labels[chosen], len(logs)),
    )
    return {"test": mean, "folds": [one["test"] for one in reports]}, {"train": embedded}
