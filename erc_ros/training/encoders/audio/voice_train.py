"""The voice part: trained on every speech corpus, measured on corpora that it never heard.

    erc train config/training/audio.yaml                        the part for the bundle
    erc train config/training/audio.yaml --leave-out nemo       what it knows outside its corpora

Acted clips become conversations by drawing, for each, which clips of the same speaker were heard
before it (`voice_histories`). Several seeds answer together, by the mean of their probabilities.
The epoch is chosen by likelihood on dev speakers; test is looked at once.

The part's embedding is the log-probability of each label: all that the fusion has to know, and the
same from a network that heard the speaker in training and from one that did not. So the embeddings
on which a fusion is trained (`embeddings.safetensors`) are of speakers whom their network never
heard, all of them.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

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
from erc_ros.training.engine.embeddings import FILE, Embedded, save_embeddings
from erc_ros.training.engine.history import record
from erc_ros.training.engine.recipe import Recipe, RecipeError
from erc_ros.training.engine.runs import BEST, write_metrics
from erc_ros.training.engine.trainer import TrainerConfig, device_of, fit, save_weights, set_seeds
from erc_ros.training.onnx import export_voice

FOUR = ("neutral", "sadness", "joy", "anger")  # what all four corpora have
FOLDS = 5  # of speakers, for the embeddings that the fusion learns from
HELD_OUT = 10  # a share of 1 / 10 of the speakers is not heard by the part of the bundle either
EXAMPLES = "examples.safetensors"
NEUTRAL = LABELS.index("neutral")
ALARMS = 0.006  # share of false alarms on ordinary speech of dev speakers that `prior_of` allows
PRIORS = np.arange(0, 2.01, 0.05)
AFTER = 6  # utterances of a speaker, the current one included
STREAMS = 11  # seed of the order in which speakers say their clips, when they are measured

Log = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class VoiceConfig:
    """What is learnt from; the section `voice` of a recipe."""

    corpora: tuple[str, ...] = VOICES
    speaker_network: str = "speaker-campplus"
    """A folder, or a name in models/. The bundle refers to it by this name."""
    heard: int = 24
    """Utterances of the same speaker before the current one that count, at most."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """They answer together."""
    mixup: float = 0.4
    """Of Beta(mixup, mixup), by which pairs of examples are mixed; 0: none."""
    label_smoothing: float = 0.1
    nobody: float = 0.03
    """Share of a batch that is replaced by sounds without a voice; their target is all labels."""
    ordinary: float = 0.0
    """Share of the examples that are ordinary speech (`datasets.ordinary_speech`), all neutral."""

    def __post_init__(self) -> None:
        if not self.corpora or not self.seeds or self.heard < 1:
            raise ValueError("corpora and seeds must not be empty, heard must be at least 1")
        if self.mixup < 0 or not 0 <= self.label_smoothing < 1 or not 0 <= self.nobody < 1:
            raise ValueError("mixup must not be negative; label_smoothing and nobody are shares")
        if not 0 <= self.ordinary < 1:
            raise ValueError(f"ordinary is {self.ordinary}, must be a share below 1")


@dataclass(frozen=True, slots=True)
class VoiceRecipe:
    """All sections of a voice recipe."""

    voice: VoiceConfig
    network: VoiceNetworkConfig
    histories: HistorySampling
    trainer: TrainerConfig


def train(recipe: Recipe) -> None:
    """`erc train config/training/audio.yaml`, with or without `--leave-out`.

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
            f"corpus {recipe.leave_out!r} cannot be left out: the recipe has {list(voice.corpora)}"
        )
    try:
        corpus = corpora.clips(voice.corpora, recipe.data)
    except ValueError as error:
        raise RecipeError(str(error)) from error
    if voice.ordinary:
        corpus = with_ordinary_speech(corpus, recipe.data)
    print(f"{len(corpus.clips)} clips, left out {json.dumps(corpus.skipped)}", flush=True)
    # Beside the run, so that leaving a corpus out does not listen to everything again.
    kept = recipe.out.parent / voice_features.FILE
    say = partial(print, flush=True)
    channels = recipe.section("channels", ChannelAugmentation)
    clips = voice_clips(corpus.clips, channels, voice.speaker_network, kept, say)
    ordinary = [corpora.ORDINARY] if clips.is_ordinary.any() else []
    acted = [name for name in voice.corpora if name != recipe.leave_out]
    record(recipe.out, corpora=[*acted, *ordinary])
    if recipe.leave_out:
        result = leave_out(clips, recipe.leave_out, sections, recipe.out)
    else:
        result = make_part(clips, sections, recipe.out)
    result["skipped"] = dict(corpus.skipped)
    (recipe.out / BEST).mkdir(parents=True, exist_ok=True)
    write_metrics(result, recipe.out / BEST)
    print(json.dumps(result["test"], indent=2))


def with_ordinary_speech(corpus: SpeechCorpus, data: Path) -> SpeechCorpus:
    """The corpus and the ordinary speech in `data`; without it, a warning and the corpus alone."""
    try:
        return together([corpus, corpora.clips([corpora.ORDINARY], data)])
    except FileNotFoundError as error:
        print(
            f"warning: {error}; without it the voice part raises several times as many false"
            " alarms on ordinary speech (docs/reference/datasets.md lists the recordings)",
            flush=True,
        )
        return corpus


def leave_out(clips: VoiceClips, corpus: str, sections: VoiceRecipe, out: Path) -> dict[str, Any]:
    """Train on the other corpora; measure each seed and all together on this one."""
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
    together = measure(VoiceEnsemble(members, prior), unseen, sections.voice.heard)
    figures = list(each.values())
    deviation = {
        name: statistics.stdev(one["test"][name] for one in figures) if len(figures) > 1 else 0.0
        for name in together["test"]
    }
    return {
        "left_out": corpus,
        "seed": sections.voice.seeds[0],
        "prior": prior,
        **together,
        "seeds": {seed: one["test"] for seed, one in each.items()},
        "deviation": deviation,
    }


def make_part(clips: VoiceClips, sections: VoiceRecipe, out: Path) -> dict[str, Any]:
    """Export the part, and embed all speakers by networks that did not hear them."""
    voice, best = sections.voice, out / BEST
    best.mkdir(parents=True, exist_ok=True)
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
    # What the fusion is chosen and calibrated on stays acted speech: comparable between versions.
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
    return {
        "seed": voice.seeds[0],
        "dev": measure(part, clips.of(dev), voice.heard)["test"]["seven_all"],
        "test": unheard["test"],  # of all speakers, each by a network that never heard them
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
    """M inputs of the exported part, made of n clips of speakers whom it never heard.

    features (n, D); rows (M,): the clip of each; heard (M, H): clips before it, or NONE;
    labels (M,).
    """

    features: NDArray[np.float32]
    rows: Rows
    heard: Rows
    labels: Rows

    @classmethod
    def of(cls, clips: VoiceClips, most: int) -> PartExamples:
        """Every clip once in each condition."""
        heard = [listened for listened, _ in _conditions(clips, most).values()]
        rows = np.tile(np.arange(len(clips.labels)), len(heard))
        clean = np.ascontiguousarray(clips.features[:, 0])
        return cls(clean, rows, np.concatenate(heard), clips.labels[rows])

    def inputs(self) -> list[dict[str, NDArray[Any]]]:
        """One by one, as the recogniser asks."""
        found = []
        for row, before in zip(self.rows, self.heard, strict=True):
            is_heard = before != NONE
            heard = np.where(is_heard[:, None], self.features[before], np.float32(0))
            voice = self.features[row][None]
            found.append({"voice": voice, "heard": heard[None], "is_heard": is_heard[None]})
        return found


def save_examples(examples: Mapping[str, PartExamples], file: Path) -> None:
    """One file of safetensors."""
    arrays = {f"{n}.{k}": array for n, of in examples.items() for k, array in vars(of).items()}
    save_file(arrays, file)


def load_examples(file: Path) -> dict[str, PartExamples]:
    """What `save_examples` wrote: valid and test."""
    arrays, parts = load_file(file), ("features", "rows", "heard", "labels")
    return {
        name: PartExamples(*(arrays[f"{name}.{part}"] for part in parts))
        for name in ("valid", "test")
    }


# --- speakers ---


def speaker_folds(clips: VoiceClips, count: int) -> Rows:
    """(N,) in 0..count - 1: every fold has its share of each corpus and sex, whole speakers.

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
    """(N,) how often each clip is shown, sum 1.

    Every label of every acted corpus is shown equally often; ordinary speech is shown in the share
    `ordinary` of all examples, if there is any, each of its sources by the root of its size.
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


def fit_voice(
    clips: VoiceClips,
    chosen: NDArray[np.bool_],
    dev: NDArray[np.bool_],
    sections: VoiceRecipe,
    seed: int,
    out: Path,
) -> VoiceNetwork:
    """Train on the clips `chosen` (N,); the epoch that is likeliest for the speakers of `dev`."""
    voice = sections.voice
    config = replace(sections.trainer, seed=seed)
    set_seeds(seed)
    weights = balance(clips, chosen, voice.ordinary)
    model = VoiceNetwork(sections.network, clips.features.shape[2])
    clean = clips.features[:, 0]
    acted = chosen & ~clips.is_ordinary  # emotions differ within these speakers only
    model.learn_scale(clean[acted], clips.labels[acted], clips.speakers[acted], weights[acted])
    generator = np.random.default_rng(seed)
    there = np.isfinite(clips.features[:, :, 0])
    speakers = np.unique(clips.speakers, return_inverse=True)[1].astype(np.int64)
    histories = Histories(speakers, clips.labels, there, np.flatnonzero(chosen), voice.heard)
    features, nobody = torch.from_numpy(clips.features), torch.from_numpy(clips.nobody)
    heldout = clips.of(dev)
    listened = _conditions(heldout, voice.heard)

    def batches(epoch: int) -> Sequence[Rows]:
        rows = generator.choice(len(weights), int(chosen.sum()), p=weights)
        count = max(1, len(rows) // config.batch_size)
        return np.array_split(rows, count)

    def loss(model: VoiceNetwork, rows: Rows) -> Tensor:
        versions = _versions(there[rows], generator)
        drawn, kinds = histories.draw(rows, versions, sections.histories, generator)
        # Who never shows an emotion is neutral by either network: the gate is free.
        kinds = np.where(clips.is_ordinary[rows], OTHER, kinds)
        x = features[rows, versions]  # (B, D)
        heard = features[drawn, versions[:, None]]  # (B, H, D); of NONE: the last clip, masked
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
        if empty := round(voice.nobody * len(rows)):
            x[:empty] = nobody[torch.from_numpy(generator.integers(len(nobody), size=empty))]
            target[:empty] = 1 / len(LABELS)
        target = target * (1 - voice.label_smoothing) + voice.label_smoothing / len(LABELS)
        device = device_of(model)
        judged = model.judge(x.to(device), heard.to(device), is_heard.to(device))
        target = target.to(device)
        varied = torch.from_numpy(kinds == MIXED).to(device).float()
        known = torch.from_numpy(kinds != OTHER).to(device).float()
        compared = torch.from_numpy(kinds != SINGLE).to(device).float()
        gate = binary_cross_entropy_with_logits(judged.gate, varied, reduction="none")
        return (
            _cross_entropy(judged.log_probabilities, target).mean()
            + _cross_entropy(judged.absolute.log_softmax(1), target).mean()
            + _mean(_cross_entropy(judged.relative.log_softmax(1), target), compared)
            + _mean(gate, known)
        )

    def evaluate(model: VoiceNetwork) -> dict[str, float]:
        found = [
            answers(model, heldout.features[:, 0], heard)[
                np.arange(len(heldout.labels)), heldout.labels
            ]
            for heard, _ in listened.values()
        ]
        return {"log_likelihood": float(np.mean(found))}

    fit(
        model,
        config,
        batches=batches,
        loss=loss,
        evaluate=evaluate,
        choose="log_likelihood",
        out=out,
        say=lambda line: print(line, flush=True),
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
    """One of the versions that are there (B, V), each as likely: (B,)."""
    chance = generator.random(there.shape) * there
    chosen: Rows = chance.argmax(axis=1)
    return chosen


def _cross_entropy(log_probabilities: Tensor, target: Tensor) -> Tensor:
    return -(target * log_probabilities).sum(dim=1)


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum().clamp_min(1)


# --- measuring ---


@torch.inference_mode()
def answers(
    model: torch.nn.Module,
    features: NDArray[np.float32],
    heard: Rows,
    rows: Rows | None = None,
    batch_size: int = 512,
) -> Log:
    """Log-probabilities (M, 7) of the clips rows (M,), after others (M, H) of features (N, D).

    rows None: all of them, in their order.
    """
    model.eval()
    every, found = torch.from_numpy(features), []
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
        found.append(model(*(each.to(device) for each in inputs)).cpu().numpy())
    return np.concatenate(found)


def _conditions(clips: VoiceClips, most: int) -> dict[str, tuple[Rows, Rows]]:
    """Everything in random order, twice; one emotion a speaker; always the first."""
    count = len(clips.labels)
    nothing = np.full((count, most), NONE, np.int64), np.zeros(count, np.int64)
    return {
        "all": streams(clips.speakers, most, STREAMS),
        "again": streams(clips.speakers, most, STREAMS + 1),
        "one_emotion": streams(clips.speakers, most, STREAMS, clips.labels),
        "first": nothing,
    }


def measure(model: torch.nn.Module, clips: VoiceClips, most: int) -> dict[str, Any]:
    """Unweighted recalls in `test`, and by class.

    four: of clips with one of FOUR, decided among these; seven: all clips, among all labels. all:
    every clip in a random order of the speaker's; after_six: from the speaker's sixth utterance on;
    first: each as if it were the speaker's first; one_emotion: after six of a speaker who has no
    other emotion. changed: after_six through rooms, noise and telephones, where there are such
    versions. false_alarms: share of the clips of ordinary speech, in a random order of the
    speaker's, in which a label other than neutral has more than half of the probability.
    """
    ordinary, clips = clips.of(clips.is_ordinary), clips.of(~clips.is_ordinary)
    found = {
        name: (answers(model, clips.features[:, 0], heard), counts)
        for name, (heard, counts) in _conditions(clips, most).items()
    }
    late = {name: counts >= AFTER - 1 for name, (_, counts) in found.items()}
    everything = np.ones(len(clips.labels), bool)
    conditions = {
        "all": (found["all"][0], clips.labels, everything),
        "first": (found["first"][0], clips.labels, everything),
        "after_six": (found["all"][0], clips.labels, late["all"]),
        "one_emotion": (found["one_emotion"][0], clips.labels, late["one_emotion"]),
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
    """How much neutral may be lowered: the most that keeps false alarms at ALARMS on `clips`.

    0 where `clips` has no ordinary speech.
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
    """Recall of each label, when it is decided among `words`; those that are there."""
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
    """All clips by networks that did not hear their speakers; `prior` as in `VoiceEnsemble`.

    Returns how good they are, mean over the folds of speakers, and the embeddings of the clips
    `chosen` (N,) in every condition, as "train", for the fusion.
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
