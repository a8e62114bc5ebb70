"""How good is a network of the bundle, as an ONNX file? The same measure for float32 and int8.

Every test runs the file as the robot does (one input at a time, one thread) over dev and test and
scores it with the encoder's own classification head.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from erc_ros.dialogue.utterance import SAMPLE_RATE
from erc_ros.encoders.audio import MAX_SECONDS, frame_count, log_mel, normalise
from erc_ros.encoders.text import TextPrompt, Turn
from erc_ros.inference.backend import Network
from erc_ros.training import metrics
from erc_ros.training.audio import BUNDLE_FOLD, folds
from erc_ros.training.datasets import emodb, ferplus, ravdess
from erc_ros.training.datasets.meld import read_meld
from erc_ros.training.datasets.speech import together

Inputs = Mapping[str, NDArray[Any]]
Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class PartTest:
    """What is measured of an encoder.

    inputs: per split (calibration, dev, test) one mapping an example. labels: of dev and test.
    head: weight (C, E) and bias (C,) of the encoder's classifier. score: (labels, predicted,
    classes) -> number, called `metric`.
    """

    inputs: dict[str, Sequence[Inputs]]
    labels: dict[str, NDArray[np.int64]]
    head: tuple[Array, Array]
    score: Callable[[Any, Any, int], float]
    metric: str


@dataclass(frozen=True, slots=True)
class Measured:
    """One file of a part: its size, its scores, and its speed on this machine."""

    precision: str
    bytes: int
    dev: float
    test: float
    milliseconds: float = float("nan")  # median, one example, one thread


def measure_part(test: PartTest, file: Path, precision: str) -> tuple[Measured, dict[str, Array]]:
    """Run a file over dev and test; also returns the embeddings (N, E) per split."""
    network = Network(file)
    embeddings, scores = {}, {}
    for split in ("dev", "test"):
        rows = [network(inputs)["embedding"][0] for inputs in test.inputs[split]]
        embeddings[split] = np.stack(rows)
        weight, bias = test.head
        predicted = (embeddings[split] @ weight.T + bias).argmax(axis=1)
        scores[split] = test.score(test.labels[split], predicted, len(bias))
    measured = Measured(precision, file.stat().st_size, scores["dev"], scores["test"])
    return measured, embeddings


def side_by_side(files: Sequence[Path], inputs: Sequence[Inputs]) -> list[float]:
    """The median ms of one example for each file, run in turn so that other load hits all alike."""
    networks = [Network(file) for file in files]
    durations: list[list[int]] = [[] for _ in files]
    for each in inputs:
        for network, taken in zip(networks, durations, strict=True):
            begin = time.perf_counter_ns()
            network(each)
            taken.append(time.perf_counter_ns() - begin)
    return [float(np.median(taken)) / 1e6 for taken in durations]


def text_test(run: Path, data: Path, max_tokens: int) -> PartTest:
    """MELD's prompts; weighted F1."""
    prompt = TextPrompt.from_file(run / "tokenizer.json", max_tokens)
    inputs: dict[str, list[Inputs]] = {}
    labels: dict[str, NDArray[np.int64]] = {}
    for split in ("dev", "test"):
        conversations = read_meld(data, split).conversations
        inputs[split] = []
        for conversation in conversations:
            turns = [Turn(u.speaker, u.text) for u in conversation.utterances]
            for number in range(len(turns)):
                made = prompt(turns[: number + 1])
                inputs[split].append(
                    {
                        "input_ids": made.input_ids,
                        "attention_mask": made.attention_mask,
                        "mask_index": made.mask_index,
                    }
                )
        labels[split] = np.array([u.label for c in conversations for u in c.utterances])
    head = load_file(run / "head.safetensors")
    head_arrays = (head["weight"], head["bias"])
    return PartTest(dict(inputs), labels, head_arrays, metrics.weighted_f1, "weighted F1")


def audio_test(run: Path, data: Path) -> PartTest:
    """Clips of the speakers that the bundle's encoder never heard; unweighted recall."""
    corpus = together([ravdess.load(data / "ravdess_speech_16k"), emodb.load(data / "emodb")])
    split = folds(corpus.clips)[BUNDLE_FOLD]
    limit = frame_count(round(MAX_SECONDS * SAMPLE_RATE))
    inputs: dict[str, list[Inputs]] = {}
    labels: dict[str, NDArray[np.int64]] = {}
    chosen = {"calibration": split.train[::8], "dev": split.dev, "test": split.test}
    for name, indices in chosen.items():
        clips = [corpus.clips[index] for index in indices]
        labels[name] = np.array([clip.label for clip in clips], np.int64)
        inputs[name] = []
        for clip in clips:
            features = normalise(log_mel(clip.samples)[-limit:])
            frames = np.array([len(features)], np.int64)
            inputs[name].append({"features": features[None], "frames": frames})
    seed = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["seed"]
    weights = run.parent / f"seed-{seed}" / f"fold-{BUNDLE_FOLD}" / "best.safetensors"
    head = _head(weights)
    return PartTest(dict(inputs), labels, head, metrics.unweighted_recall, "unweighted recall")


def face_test(run: Path, data: Path) -> PartTest:
    """FER+ pictures; accuracy over its eight classes."""
    faces = ferplus.load(data / "fer2013plus")
    inputs: dict[str, list[Inputs]] = {}
    labels: dict[str, NDArray[np.int64]] = {}
    rows = np.random.default_rng(0).permutation(len(faces.train.pictures))[:300]
    chosen = {
        "calibration": (faces.train.pictures[rows], faces.train.labels[rows]),
        "dev": (faces.valid.pictures, faces.valid.labels),
        "test": (faces.test.pictures, faces.test.labels),
    }
    for name, (pictures, truth) in chosen.items():
        scaled = pictures.astype(np.float32) / np.float32(255)
        inputs[name] = [{"faces": picture[None, None]} for picture in scaled]
        labels[name] = truth
    head = _head(run / "best.safetensors")
    return PartTest(dict(inputs), labels, head, metrics.accuracy, "accuracy")


def _head(file: Path) -> tuple[Array, Array]:
    weights = load_file(file)
    return weights["head.1.weight"], weights["head.1.bias"]
