"""Evaluate an encoder of the bundle, as an ONNX file, on its own task with its own classifier.

The file runs as on the robot: one input at a time, one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from erc_ros.encoders.text import Turn
from erc_ros.inference.text_encoders import CachedTextEncoder
from erc_ros.metrics import classification as metrics
from erc_ros.networks.network import Network
from erc_ros.training.datasets import corpora
from erc_ros.training.datasets.utterances import LABELS, Conversation
from erc_ros.training.manifest import attention_shape, open_prompt

NetworkInputs = Mapping[str, NDArray[Any]]
Array = NDArray[Any]
Embed = Callable[[Path, str], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class EncoderTest:
    """The evaluation of one encoder.

    embed: (ONNX file, split) -> embeddings (N, E) of dev or test. labels: (N,) of dev and test.
    head: weight (C, E) and bias (C,) of the encoder's classifier. score: (labels, predicted,
    classes) -> value of `metric`.
    """

    embed: Embed
    labels: dict[str, NDArray[np.int64]]
    head: tuple[Array, Array]
    score: Callable[[Any, Any, int], float]
    metric: str


@dataclass(frozen=True, eq=False)
class Measured:
    """Scores of a part on its own task; embeddings (N, E) of dev and test."""

    metric: str
    dev: float
    test: float
    embeddings: dict[str, NDArray[np.float32]]


def measure_encoder(test: EncoderTest, file: Path) -> Measured:
    """Evaluate a file on dev and test."""
    weight, bias = test.head
    embeddings = {split: test.embed(file, split) for split in ("dev", "test")}
    scores = {
        split: test.score(test.labels[split], (rows @ weight.T + bias).argmax(axis=1), len(bias))
        for split, rows in embeddings.items()
    }
    return Measured(test.metric, scores["dev"], scores["test"], embeddings)


def text_test(run: Path, data: Path, max_tokens: int = 0) -> EncoderTest:
    """Return the evaluation on MELD: weighted F1. max_tokens: 0: as in training."""
    prompt = open_prompt(run, max_tokens)
    dialogues = {
        split: corpora.read(corpora.DIALOGUES, data, split).conversations
        for split in ("dev", "test")
    }

    def embed(file: Path, split: str) -> NDArray[np.float32]:
        reader = CachedTextEncoder(Network(file), prompt, attention_shape(file))
        return np.concatenate([read(reader, c) for c in dialogues[split]])

    labels = {
        split: np.array([u.label for c in conversations for u in c.utterances], np.int64)
        for split, conversations in dialogues.items()
    }
    head = load_file(run / "head.safetensors")
    return EncoderTest(
        embed, labels, (head["weight"], head["bias"]), metrics.weighted_f1, "weighted F1"
    )


def read(reader: CachedTextEncoder, conversation: Conversation) -> NDArray[np.float32]:
    """Return the embeddings (n, E) of a conversation's utterances, in their order."""
    return reader.conversation(Turn(u.speaker, u.text) for u in conversation.utterances)


def audio_test(run: Path, data: Path) -> EncoderTest:
    """Return the evaluation on clips of held-out speakers (`voice_train`): unweighted recall.

    The part has no head: its embedding is its prediction. `data` is not read.
    """
    from erc_ros.training.encoders.audio.voice_train import EXAMPLES, load_examples

    examples = load_examples(run / EXAMPLES)
    parts = {"dev": examples["valid"], "test": examples["test"]}
    inputs: dict[str, Sequence[NetworkInputs]] = {n: part.inputs() for n, part in parts.items()}
    labels = {name: part.labels for name, part in parts.items()}
    head = np.eye(len(LABELS)), np.zeros(len(LABELS))
    return EncoderTest(
        one_by_one(inputs), labels, head, metrics.unweighted_recall, "unweighted recall"
    )


def face_test(run: Path, data: Path) -> EncoderTest:
    """Return the evaluation on FER+: accuracy over its eight classes."""
    faces = corpora.images(corpora.FACES, data)
    inputs: dict[str, list[NetworkInputs]] = {}
    labels: dict[str, NDArray[np.int64]] = {}
    for name, part in (("dev", faces.valid), ("test", faces.test)):
        scaled = part.pictures.astype(np.float32) / np.float32(255)
        inputs[name] = [{"faces": picture[None, None]} for picture in scaled]
        labels[name] = part.labels
    head = _head(run / "best.safetensors")
    return EncoderTest(one_by_one(inputs), labels, head, metrics.accuracy, "accuracy")


def one_by_one(inputs: Mapping[str, Sequence[NetworkInputs]]) -> Embed:
    """Return a function that embeds independent inputs."""

    def embed(file: Path, split: str) -> NDArray[np.float32]:
        network = Network(file)
        return np.concatenate([network(dict(each))["embedding"] for each in inputs[split]])

    return embed


def _head(file: Path) -> tuple[Array, Array]:
    weights = load_file(file)
    return weights["head.1.weight"], weights["head.1.bias"]
