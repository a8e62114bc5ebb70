"""The converter of emotion2vec on a checkpoint with the published names and small sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")

from erc_ros.cli import main  # noqa: E402
from erc_ros.training.encoders.audio.emotion2vec import Emotion2vec, convert, slopes  # noqa: E402
from erc_ros.training.encoders.audio.pretrained import SpeechEncoderConfig  # noqa: E402
from erc_ros.training.encoders.pretrained import SequenceEncoder  # noqa: E402
from erc_ros.training.encoders.sample import Sample  # noqa: E402
from erc_ros.training.encoders.trainable import make_encoder  # noqa: E402

D, C, HEADS, EXTRA = 24, 8, 3, 2


def published() -> dict[str, torch.Tensor]:
    """Random weights under the names of emotion2vec_base.pt; what is not used is there, too."""
    generator = torch.Generator().manual_seed(0)
    state = {"decoder.proj.weight": torch.zeros(2), "_ema": torch.zeros(1)}

    def add(name: str, *shape: int, bias: bool = True) -> None:
        state[f"{name}.weight"] = 0.2 * torch.randn(*shape, generator=generator)
        if bias:
            state[f"{name}.bias"] = 0.2 * torch.randn(shape[0], generator=generator)

    audio = "modality_encoders.AUDIO"
    for number, kernel in enumerate((10, 3, 3, 3, 3, 2, 2)):
        layer = f"{audio}.local_encoder.conv_layers.{number}"
        add(f"{layer}.0", C, C if number else 1, kernel, bias=False)
        add(f"{layer}.2.1", C)
    add(f"{audio}.project_features.1", C)
    add(f"{audio}.project_features.2", D, C)
    for number in range(5):
        add(f"{audio}.relative_positional_encoder.{number + 1}.0", D, D // 4, 19)
    state[f"{audio}.extra_tokens"] = torch.randn(1, EXTRA, D, generator=generator)
    state[f"{audio}.alibi_scale"] = torch.tensor([1.5, 0.5, -1.0]).reshape(1, 1, HEADS, 1, 1)
    add(f"{audio}.context_encoder.norm", D)
    for place in (f"{audio}.context_encoder.blocks.0", "blocks.0", "blocks.1"):
        add(f"{place}.norm1", D)
        add(f"{place}.norm2", D)
        add(f"{place}.attn.qkv", 3 * D, D)
        add(f"{place}.attn.proj", D, D)
        add(f"{place}.mlp.fc1", 4 * D, D)
        add(f"{place}.mlp.fc2", D, 4 * D)
    return state


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    file = tmp_path / "emotion2vec_base.pt"
    torch.save({"model": published(), "args": None}, file)
    return file


def test_every_weight_arrives_and_sizes_are_those_of_the_checkpoint(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert-emotion2vec", str(checkpoint), str(tmp_path / "model")]) == 0
    assert "3 blocks of 24, 3 heads" in capsys.readouterr().out
    encoder = make_encoder(SpeechEncoderConfig(str(tmp_path / "model")))
    state, its = encoder.model.state_dict(), published()
    assert torch.equal(state["blocks.2.qkv.weight"], its["blocks.1.attn.qkv.weight"])
    first = "modality_encoders.AUDIO.context_encoder.blocks.0.mlp.fc2.bias"
    assert torch.equal(state["blocks.0.fc2.bias"], its[first])
    assert state["scale"].tolist() == [1.5, 0.5, -1.0]


def test_an_utterance_is_the_mean_of_its_frames_whatever_is_beside_it(
    checkpoint: Path, tmp_path: Path
) -> None:
    convert(checkpoint, tmp_path / "model")
    encoder = make_encoder(SpeechEncoderConfig(str(tmp_path / "model")))
    rng = np.random.default_rng(0)
    long, short = (rng.standard_normal(n).astype(np.float32) / 10 for n in (16_000, 4000))
    samples = [Sample("long", sound=long), Sample("short", sound=short)]
    together = encoder.encode(samples)
    np.testing.assert_allclose(together[1], encoder.encode(samples[1:])[0], atol=1e-5)
    louder = encoder.encode([Sample("short", sound=3 * short)])
    np.testing.assert_allclose(louder[0], together[1], atol=1e-3)
    sound = torch.from_numpy(long)
    normal = (sound - sound.mean()) / sound.var(unbiased=False).sqrt()
    with torch.inference_mode():
        frames = encoder.model(normal[None])
    assert frames.shape == (1, 49, D), "50 Hz"
    np.testing.assert_allclose(frames.mean(dim=1)[0], together[0], atol=1e-3)
    assert isinstance(encoder, SequenceEncoder)
    with torch.inference_mode():
        states, there = encoder.sequence(encoder.collate(samples))
    assert states.shape == (2, 49, D) and there.sum(dim=1).tolist() == [49, 12]
    np.testing.assert_allclose(states[1, :12].mean(dim=0), together[1], atol=1e-5)
    assert encoder.refuses(Sample("none", sound=long[:300])) == "sound shorter than a frame"


def test_attention_falls_with_distance_and_not_to_extra_tokens(
    checkpoint: Path, tmp_path: Path
) -> None:
    sizes = convert(checkpoint, tmp_path / "model")
    network = Emotion2vec(sizes)
    bias = network._distances(torch.zeros(1, 5, D))
    assert bias.shape == (1, HEADS, 5, 5)
    np.testing.assert_allclose(bias[0, 0, 0].detach(), -slopes(HEADS)[0] * np.arange(5), atol=1e-6)
    assert torch.equal(bias, bias.transpose(2, 3))
    assert slopes(8) == [2.0**-n for n in range(1, 9)] and len(slopes(12)) == 12


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("code in a checkpoint",))


def test_what_is_no_such_checkpoint_is_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(file: Path) -> str:
        assert main(["convert-emotion2vec", str(file), str(tmp_path / "model")]) == 1
        assert not (tmp_path / "model").exists()
        said = capsys.readouterr()
        assert "code in a checkpoint" not in said.out
        return said.err

    assert "nowhere.pt" in refused(tmp_path / "nowhere.pt")
    missing = published()
    del missing["blocks.0.mlp.fc1.bias"]
    torch.save({"model": missing}, checkpoint)
    assert "lacks blocks.0.mlp.fc1.bias" in refused(checkpoint)
    torch.save({"model": Evil()}, checkpoint)
    assert "without running code in it" in refused(checkpoint)
    torch.save({"model": {}}, checkpoint)
    assert "not emotion2vec: it lacks" in refused(checkpoint)
