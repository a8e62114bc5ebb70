from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bundles import tiny_tokenizer, write_tiny_bundle
from data_folder import need
from safetensors.numpy import save_file

from erc_ros.encoders.text import TextPrompt
from erc_ros.inference.text_encoders import CachedTextEncoder
from erc_ros.metrics import classification as metrics
from erc_ros.networks.network import Network
from erc_ros.training.datasets.utterances import Conversation, LabelledUtterance
from erc_ros.training.encoders.evaluation import (
    EncoderTest,
    measure_encoder,
    one_by_one,
    read,
    text_test,
)


def test_a_file_is_scored_with_the_head_it_was_trained_with(tmp_path: Path) -> None:
    file = write_tiny_bundle(tmp_path) / "face.onnx"
    rng = np.random.default_rng(0)
    inputs = [{"faces": rng.random((1, 1, 48, 48), np.float32)} for _ in range(20)]
    head = (rng.normal(size=(7, 128)).astype(np.float32), np.zeros(7, np.float32))
    labels = {"dev": np.zeros(20, np.int64), "test": np.zeros(10, np.int64)}
    both = one_by_one({"dev": inputs, "test": inputs[:10]})
    test = EncoderTest(both, labels, head, metrics.accuracy, "x")
    embeddings = measure_encoder(test, file).embeddings
    assert embeddings["dev"].shape == (20, 128)
    right = (embeddings["dev"] @ head[0].T).argmax(axis=1)
    test.labels["dev"][:], test.labels["test"][:] = right, (right[:10] + 1) % 7
    measured = measure_encoder(test, file)
    assert (measured.dev, measured.test) == (1.0, 0.0)


def test_an_utterance_is_read_after_those_before_it(tmp_path: Path) -> None:
    file = write_tiny_bundle(tmp_path) / "text.onnx"
    prompt = TextPrompt(tiny_tokenizer(), 96)
    said = [LabelledUtterance(text, 1, 0, n) for n, text in enumerate(["a", "b", "c"])]
    reader = CachedTextEncoder(Network(file), prompt, (1, 12, 32))
    together = read(reader, Conversation("x", tuple(said)))
    alone = read(reader, Conversation("y", tuple(said[2:])))
    assert together.shape == (3, 384) and not np.allclose(together[2], alone[0])
    first = read(reader, Conversation("z", tuple(said[:1])))
    np.testing.assert_allclose(together[0], first[0], atol=1e-5)


@pytest.mark.data
def test_meld_is_read_utterance_by_utterance(tmp_path: Path) -> None:
    data = need("meld_annotations")
    write_tiny_bundle(tmp_path)
    save_file(
        {"weight": np.zeros((7, 384), np.float32), "bias": np.zeros(7, np.float32)},
        tmp_path / "head.safetensors",
    )
    (tmp_path / "prompt.json").write_text('{"max_tokens": 96, "question": true}')
    text = text_test(tmp_path, data)
    assert text.embed(tmp_path / "text.onnx", "dev").shape == (1109, 384)
    assert len(text.labels["dev"]) == 1109 and len(text.labels["test"]) == 2610
