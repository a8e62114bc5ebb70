"""The speech network: convolutions over log-mel features and attentive pooling over time.

Trained on acted speech of 34 people (RAVDESS, EmoDB). Five folds of speakers: every speaker is in
the test part exactly once, never with the model that was trained on or chosen by that speaker. The
model of the first fold is the one that goes into the bundle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from erc_ros.encoders.audio import MAX_SECONDS, MEL_BANDS, frame_count, log_mel, normalise
from erc_ros.metrics import classification as metrics
from erc_ros.training.datasets.corpora import ACTED
from erc_ros.training.datasets.held_out import (
    BUNDLE_FOLD,
    FOLDS,
    SpeakerFold,
    acted_speech,
    folds,
    speakers_of,
)
from erc_ros.training.datasets.speech import Clip, SpeechCorpus
from erc_ros.training.datasets.utterances import LABELS
from erc_ros.training.encoders.audio.model import AudioNetwork, AudioNetworkConfig, pad
from erc_ros.training.encoders.augmentation import SpeechAugmentation, augment_speech, hide_parts
from erc_ros.training.engine import prediction
from erc_ros.training.engine.embeddings import FILE, Embedded, save_embeddings
from erc_ros.training.engine.history import record
from erc_ros.training.engine.recipe import Recipe
from erc_ros.training.engine.runs import (
    choose_best,
    log_probabilities,
    save_answers,
    write_metrics,
)
from erc_ros.training.engine.trainer import TrainerConfig, device_of, fit, set_seeds
from erc_ros.training.onnx import export_audio
from erc_ros.values.utterance import SAMPLE_RATE

LABEL_SMOOTHING = 0.1
FEATURE_SEED = 1234  # the changed versions of the clips are the same for every seed

Features = NDArray[np.float16]


def train(recipe: Recipe) -> None:
    """`erc train config/training/audio_log_mel.yaml`: one seed, all folds, the first one exported.

    The epoch is chosen by unweighted recall over the dev speakers of the fold; every fold's test
    speakers are looked at once, at the end.

    Raises:
        RecipeError, FileNotFoundError: the recipe or the data is not usable.
    """
    recipe.refuse_other_sections({"trainer", "network", "augmentation"})
    config = recipe.section("trainer", TrainerConfig)
    network = recipe.section("network", AudioNetworkConfig)
    augmentation = recipe.section("augmentation", SpeechAugmentation)
    corpus = acted_speech(recipe.data)
    print(f"{len(corpus.clips)} clips, left out {json.dumps(corpus.skipped)}", flush=True)
    record(recipe.out, corpora=ACTED)
    versions = all_versions(corpus.clips, augmentation)
    out = recipe.out / f"seed-{config.seed}"
    labels = np.array([clip.label for clip in corpus.clips], np.int64)
    probabilities = np.zeros((len(labels), len(LABELS)), np.float32)
    chosen_by: dict[str, list[Any]] = {"dev": [], "dev_labels": []}
    result: dict[str, Any] = {}
    for number, split in enumerate(folds(corpus.clips)):
        print(f"fold {number + 1} of {FOLDS}", flush=True)
        folder = out / f"fold-{number}"
        model, dev = fit_speech(versions, labels, split, config, network, augmentation, folder)
        clean = [versions[index][0] for index in split.test]
        probabilities[split.test] = predict(model, clean)[1]
        clean = [versions[index][0] for index in split.dev]
        chosen_by["dev"].append(log_probabilities(predict(model, clean)[1]))
        chosen_by["dev_labels"].append(labels[split.dev])
        if number == BUNDLE_FOLD:
            result = finish(model, versions, labels, split, out)
            result |= {"seed": config.seed, "dev": dev}
            result["part_test"] = metrics.report(
                labels[split.test], probabilities[split.test], LABELS
            )
            result["held_out"] = {
                part: sorted(speakers_of(corpus.clips, getattr(split, part)))
                for part in ("dev", "test")
            }
    result |= score(corpus, labels, probabilities)
    save_answers(
        out,
        LABELS,
        test=log_probabilities(probabilities),
        test_labels=labels,
        # dev: the utterances of all folds that chose an epoch
        **{name: np.concatenate(of_folds) for name, of_folds in chosen_by.items()},
    )
    write_metrics(result, out)
    best = choose_best(recipe.out, ["audio.onnx", FILE])
    print(json.dumps({"best seed": best["seed"], **best["all_seeds"]}, indent=2))


def all_versions(clips: Sequence[Clip], how: SpeechAugmentation) -> list[list[Features]]:
    """Per clip the features (T, 64) of the clean version, then of the changed ones."""
    generator = np.random.default_rng(FEATURE_SEED)
    limit = frame_count(round(MAX_SECONDS * SAMPLE_RATE))
    result = []
    for clip in clips:
        sounds = [clip.samples]
        sounds += [augment_speech(clip.samples, how, generator) for _ in range(how.variants - 1)]
        result.append([normalise(log_mel(sound)[-limit:]).astype(np.float16) for sound in sounds])
    return result


def fit_speech(
    versions: Sequence[Sequence[Features]],
    labels: NDArray[np.int64],
    split: SpeakerFold,
    config: TrainerConfig,
    network: AudioNetworkConfig,
    augmentation: SpeechAugmentation,
    out: Path,
) -> tuple[AudioNetwork, float]:
    """Train on split.train; returns the model of the epoch best on split.dev, and its recall."""
    set_seeds(config.seed)
    model = AudioNetwork(network)
    # A quarter faster on the CPU.
    model.front.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = np.random.default_rng(config.seed)
    # Rare labels count more, as the measure is the mean of the labels' recalls.
    counts = np.bincount(labels[split.train], minlength=len(LABELS))
    present = counts > 0
    weights = torch.zeros(len(LABELS))
    weights[torch.from_numpy(present)] = torch.from_numpy(
        (counts.sum() / present.sum() / counts[present]).astype(np.float32)
    )
    dev = [versions[index][0] for index in split.dev]

    def batches(epoch: int) -> Sequence[NDArray[np.int64]]:
        order = generator.permutation(split.train)
        count = max(1, len(order) // config.batch_size)
        return [order[part::count] for part in range(count)]

    def loss(model: AudioNetwork, batch: NDArray[np.int64]) -> Tensor:
        examples = []
        for index in batch.tolist():
            version = versions[index][int(generator.integers(len(versions[index])))]
            examples.append(hide_parts(version.astype(np.float32), augmentation, generator))
        device = device_of(model)
        features, frames = (tensor.to(device) for tensor in pad(examples))
        logits = model.head(model(features, frames)).float()
        truth = torch.from_numpy(labels[batch]).to(device)
        weight = weights.to(device)
        return cross_entropy(logits, truth, weight=weight, label_smoothing=LABEL_SMOOTHING)

    def evaluate(model: AudioNetwork) -> dict[str, float]:
        predicted = predict(model, dev)[1].argmax(axis=1)
        recall = metrics.unweighted_recall(labels[split.dev], predicted, len(LABELS))
        return {"unweighted_recall": recall}

    fitted = fit(
        model,
        config,
        batches=batches,
        loss=loss,
        evaluate=evaluate,
        choose="unweighted_recall",
        out=out,
        say=lambda line: print(line, flush=True),
        stateful=[generator],
        settings={"network": asdict(network), "augmentation": asdict(augmentation)},
    )
    return model, fitted.best["unweighted_recall"]


def finish(
    model: AudioNetwork,
    versions: Sequence[Sequence[Features]],
    labels: NDArray[np.int64],
    split: SpeakerFold,
    out: Path,
) -> dict[str, Any]:
    """Export and embed the clean clips of train, dev ("valid") and test."""
    difference = export_audio(model, out / "audio.onnx", MEL_BANDS)
    embedded = {}
    for name, chosen in (("train", split.train), ("valid", split.dev), ("test", split.test)):
        embeddings = predict(model, [versions[index][0] for index in chosen])[0]
        embedded[name] = Embedded(embeddings, labels[chosen])
    save_embeddings(embedded, out / FILE)
    return {
        "onnx_difference": difference,
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def score(
    corpus: SpeechCorpus, labels: NDArray[np.int64], probabilities: NDArray[np.float32]
) -> dict[str, Any]:
    """Over all clips, each predicted by the model that never heard its speaker."""
    names = np.array([clip.corpus for clip in corpus.clips])
    reports = {"together": metrics.report(labels, probabilities, LABELS)}
    for name in sorted(set(names)):
        reports[name] = metrics.report(labels[names == name], probabilities[names == name], LABELS)
    return {
        "test": {f"uar_{name}": report["unweighted_recall"] for name, report in reports.items()}
        | {"accuracy_together": reports["together"]["accuracy"]},
        "reports": reports,
        "left_out": dict(corpus.skipped),
        "counted": f"{FOLDS} folds of speakers, every clip predicted once by a model that was"
        " neither trained on nor chosen by its speaker; the part in the bundle is that of fold 0",
    }


def predict(
    model: AudioNetwork, clips: Sequence[Features], batch_size: int = 64
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Features (T, 64) of N clips -> embeddings (N, 128) and probabilities (N, 7)."""

    def forward(inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        embedding = model(**inputs)
        return embedding, model.head(embedding)

    def inputs(chosen: NDArray[np.int64]) -> dict[str, Tensor]:
        features, frames = pad([clips[index].astype(np.float32) for index in chosen])
        return {"features": features, "frames": frames}

    # Clips of like length together: padding costs time and changes nothing.
    order = np.argsort([len(clip) for clip in clips], kind="stable")
    return prediction.predict(model, forward, inputs, order, batch_size)
