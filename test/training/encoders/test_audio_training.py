"""The log-mel network of speech, and noise and rooms for training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

onnx = pytest.importorskip("onnx", reason="needs the extra [train]")
torch = pytest.importorskip("torch", reason="needs the extra [train]")

from erc_ros.encoders.audio import audio_input  # noqa: E402
from erc_ros.networks.network import Network  # noqa: E402
from erc_ros.training.encoders.audio.model import AudioNetwork, AudioNetworkConfig, pad  # noqa: E402
from erc_ros.training.encoders.augmentation import (  # noqa: E402
    add_noise,
    reverberate,
)
from erc_ros.training.onnx import export_audio  # noqa: E402
from erc_ros.values.utterance import SAMPLE_RATE  # noqa: E402

TINY = AudioNetworkConfig(widths=(4, 4, 4), hidden=8, dilations=(1,), dropout=0.0)


def network(config: AudioNetworkConfig = TINY) -> AudioNetwork:
    """Evaluation mode, with batch statistics that are not the trivial ones."""
    torch.manual_seed(0)
    model = AudioNetwork(config)
    model.train()
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(8, 60, 64) * 2 + 1, torch.full((8,), 60))
        for parameter in model.parameters():  # as batch normalisation's shift after training
            parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


def sound(seconds: float = 1.0, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.uniform(-0.3, 0.3, round(seconds * SAMPLE_RATE)).astype(np.float32)


@given(st.integers(1, 90), st.integers(0, 70), st.floats(-50, 50))
@settings(max_examples=20, deadline=None)
def test_padding_has_no_influence(frames: int, padding: int, value: float) -> None:
    model = network()
    features = torch.randn(1, frames, 64, generator=torch.Generator().manual_seed(frames))
    filling = torch.full((1, padding, 64), value)
    count = torch.tensor([frames])
    with torch.inference_mode():
        alone = model(features, count)
        padded = model(torch.cat([features, filling], dim=1), count)
    assert alone.isfinite().all()
    torch.testing.assert_close(alone, padded, atol=1e-5, rtol=1e-4)


def test_silence_gives_a_finite_embedding() -> None:
    features = torch.from_numpy(audio_input(np.zeros(SAMPLE_RATE, np.int16)))[None]
    assert network()(features, torch.tensor([features.shape[1]])).isfinite().all()


def test_the_export_equals_torch_for_any_batch_and_length(tmp_path: Path) -> None:
    model = network(AudioNetworkConfig())
    file = tmp_path / "audio.onnx"
    export_audio(model, file, 64)
    exported = Network(file)
    for lengths in ([1], [7], [598], [3, 120, 64]):
        batch = [np.random.default_rng(n).standard_normal((n, 64)).astype("f4") for n in lengths]
        features, frames = pad(batch)
        inputs = {"features": features.numpy(), "frames": frames.numpy()}
        got = exported(inputs)["embedding"]
        with torch.inference_mode():
            expected = model(features, frames).numpy()
        assert got.shape == (len(lengths), 128)
        np.testing.assert_allclose(got, expected, atol=1e-4)
    part = onnx.load(str(file))
    assert part.ir_version <= 9  # old runtimes load it
    assert [entry.version for entry in part.opset_import if entry.domain in ("", "ai.onnx")] == [17]


def test_the_network_can_learn_a_batch_by_heart() -> None:
    torch.manual_seed(0)
    model = AudioNetwork(TINY)
    features, frames = torch.randn(14, 20, 64), torch.full((14,), 20)
    truth = torch.arange(14) % 7
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(model.head(model(features, frames)), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2


def test_noise_has_the_wanted_level() -> None:
    clean = sound()
    noise = add_noise(clean, 10.0, np.random.default_rng(0)) - clean
    assert 10 * np.log10(np.mean(clean**2) / np.mean(noise**2)) == pytest.approx(10, abs=0.1)


def test_a_room_answers_after_the_sound_never_before() -> None:
    click = np.zeros(SAMPLE_RATE, np.float32)
    click[4000] = 1
    wet = reverberate(click, 0.5, np.random.default_rng(0))
    assert np.abs(wet[:4000]).max() < 1e-6
    early, late = (np.mean(wet[4000 + at : 4000 + at + 1600] ** 2) for at in (200, 6000))
    assert early > 100 * late > 0
