"""Encoders of Hugging Face as ONNX: the answers of torch for any batch and length."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

transformers = pytest.importorskip("transformers", reason="needs the extra [train]")

import tiny_models  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from erc_ros.encoders.text import Turn  # noqa: E402
from erc_ros.networks.network import Network  # noqa: E402
from erc_ros.networks.session import signature  # noqa: E402
from erc_ros.training.encoders import own_network  # noqa: E402
from erc_ros.training.encoders.audio.emotion2vec import (  # noqa: E402
    KIND,
    Emotion2vec,
    Emotion2vecSizes,
)
from erc_ros.training.encoders.audio.pretrained import (  # noqa: E402
    SpeechEncoder,
    SpeechEncoderConfig,
)
from erc_ros.training.encoders.sample import Sample  # noqa: E402
from erc_ros.training.encoders.text.pretrained import (  # noqa: E402
    PretrainedTextEncoder,
    TextEncoderConfig,
)
from erc_ros.training.encoders.trainable import make_encoder  # noqa: E402
from erc_ros.training.encoders.visual.pretrained import (  # noqa: E402
    VideoEncoder,
    VideoEncoderConfig,
)
from erc_ros.training.export.encoders import TOLERANCE, export_encoder  # noqa: E402

MODELS: dict[str, Callable[[Path], Path]] = {
    "roberta": tiny_models.roberta,
    "bert": tiny_models.bert,
    "deberta": tiny_models.deberta,
}


def text_encoder(folder: Path, model: str, prompt: str = "magtkd") -> PretrainedTextEncoder:
    return PretrainedTextEncoder(TextEncoderConfig(str(MODELS[model](folder)), prompt=prompt))


def said(*texts: str) -> Sample:
    return Sample("k", tuple(Turn(1 + n % 2, text) for n, text in enumerate(texts)))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("prompt", ["magtkd", "plain"])
def test_texts_are_read_as_by_torch_whatever_lies_beside_them(
    tmp_path: Path, model: str, prompt: str
) -> None:
    encoder = text_encoder(tmp_path / "model", model, prompt)
    assert export_encoder(encoder, tmp_path / "text.onnx") <= TOLERANCE
    network, taken = Network(tmp_path / "text.onnx"), signature(tmp_path / "text.onnx").inputs
    samples = [said("good day"), said("what a bad day", "is it", "the day is good"), said("a")]
    expected = encoder.encode(samples)

    def answers(chosen: list[Sample]) -> np.ndarray:
        inputs = {name: tensor.numpy() for name, tensor in encoder.collate(chosen).items()}
        return network({k: v for k, v in inputs.items() if k in taken})["embedding"]

    np.testing.assert_allclose(answers(samples), expected, atol=TOLERANCE)
    for row, sample in enumerate(samples):
        np.testing.assert_allclose(answers([sample])[0], expected[row], atol=TOLERANCE)


@pytest.mark.parametrize(
    ("kind", "normalisation"),
    [("Data2VecAudio", "layer"), ("Wav2Vec2", "layer"), ("Wav2Vec2", "group")],
)
@pytest.mark.parametrize("reading", ["mean", "first"])
def test_sounds_of_any_length_are_heard_as_by_torch(
    tmp_path: Path, kind: str, normalisation: str, reading: str
) -> None:
    folder = tiny_models.speech(tmp_path / "model", kind, normalisation)
    encoder = SpeechEncoder(SpeechEncoderConfig(str(folder), reading=reading))
    assert export_encoder(encoder, tmp_path / "audio.onnx") <= TOLERANCE
    network = Network(tmp_path / "audio.onnx")

    @settings(max_examples=8, deadline=None)
    @given(st.integers(encoder.shortest, 20_000), st.integers(0, 100))
    def heard(length: int, seed: int) -> None:
        sound = np.random.default_rng(seed).normal(size=length).astype(np.float32)
        normal = (sound - sound.mean()) / np.sqrt(sound.var() + 1e-7)
        embedding = network({"waveform": normal[None].astype(np.float32)})["embedding"]
        np.testing.assert_allclose(embedding, encoder.encode([Sample("k", sound=sound)]), atol=1e-3)

    heard()


def test_emotion2vec_hears_raw_audio_of_any_length_and_loudness(tmp_path: Path) -> None:
    kernels = (10, 3, 3, 3, 3, 2, 2)
    sizes = Emotion2vecSizes(8, kernels, 24, 3, 1, 1, 2, 19, 4, 2)
    torch.manual_seed(0)
    network = Emotion2vec(sizes)
    own_network.save(network, tmp_path / "model", KIND, sizes)
    encoder = make_encoder(SpeechEncoderConfig(str(tmp_path / "model"), max_seconds=1.0))
    assert export_encoder(encoder, tmp_path / "audio.onnx") <= TOLERANCE
    exported = Network(tmp_path / "audio.onnx")
    for length, loudness in ((400, 1.0), (5_000, 0.001), (16_000, 0.1)):
        sound = np.random.default_rng(length).normal(size=length).astype(np.float32) * loudness
        heard = exported({"waveform": sound[None]})["embedding"]
        np.testing.assert_allclose(heard, encoder.encode([Sample("k", sound=sound)]), atol=1e-3)


def test_a_projection_is_a_part_of_the_text_network(tmp_path: Path) -> None:
    config = TextEncoderConfig(str(MODELS["roberta"](tmp_path / "model")), size=12)
    torch.manual_seed(0)
    encoder = PretrainedTextEncoder(config)
    assert export_encoder(encoder, tmp_path / "text.onnx") <= TOLERANCE
    assert encoder.encode([said("good day")]).shape == (1, 12)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("Timesformer", {}),
        ("VideoMAE", {}),
        ("ViT", {}),
        ("ViT", {"reading": "classes"}),
        ("ResNet", {"reading": "mean", "size": 6}),
    ],
)
def test_clips_are_seen_as_by_torch(tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    make = tiny_models.video if kind in ("Timesformer", "VideoMAE") else tiny_models.image
    encoder = VideoEncoder(VideoEncoderConfig(str(make(tmp_path / "model", kind)), **options))
    assert export_encoder(encoder, tmp_path / "face.onnx") <= TOLERANCE
    network = Network(tmp_path / "face.onnx")
    draw = np.random.default_rng(0)
    for count in (1, 4):
        samples = [
            Sample(str(n), frames=draw.integers(0, 255, (8, 32, 32, 3), dtype=np.uint8))
            for n in range(count)
        ]
        pixels = encoder.collate(samples)["pixel_values"].numpy()
        embedding = network({"clip": pixels})["embedding"]
        np.testing.assert_allclose(embedding, encoder.encode(samples), atol=TOLERANCE)


def test_a_file_that_answers_differently_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = text_encoder(tmp_path / "model", "bert")
    kind = type(encoder.model)
    original = kind.forward

    def uncertain(self: torch.nn.Module, **inputs: torch.Tensor) -> object:
        states = original(self, **inputs)
        if not torch.jit.is_tracing():
            states.last_hidden_state = states.last_hidden_state + 0.01
        return states

    monkeypatch.setattr(kind, "forward", uncertain)
    with pytest.raises(ArithmeticError, match=r"torch.*0\.0"):
        export_encoder(encoder, tmp_path / "text.onnx")


def test_a_network_that_onnx_cannot_hold_is_named(tmp_path: Path) -> None:
    encoder = text_encoder(tmp_path / "model", "bert")
    encoder.model.embeddings.word_embeddings = None  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"BertModel.*ONNX"):
        export_encoder(encoder, tmp_path / "text.onnx")
