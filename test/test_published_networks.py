"""Published networks: read safely, exported, made small; and what was written anew of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from data_folder import DATA, ROOT, need
from torch import Tensor, nn

from erc_ros.dialogue.speakers.embedding import SpeakerEmbedding
from erc_ros.dialogue.speakers.segmentation import Segmentation
from scripts.networks import segmentation as segmentation_export
from scripts.networks import speaker as speaker_export
from scripts.networks.published import Weights
from scripts.networks.segmentation_network import (
    FIELD,
    HOP,
    LOWEST,
    RATE,
    TAPS,
    SegmentationModule,
    network_of,
    sinc_filters,
)


def weights_of(weights: Weights) -> Path:
    try:
        return weights.installed()
    except FileNotFoundError as error:
        pytest.skip(str(error))


def test_a_package_that_is_missing_is_named_with_the_way_out() -> None:
    nowhere = Weights("no-such-package", "1.0", "weights.pt", "0" * 64)
    with pytest.raises(FileNotFoundError, match=r"no-such-package.*weights\.txt"):
        nowhere.read()
    other = Weights("torch", "0.0.1", "weights.pt", "0" * 64)
    with pytest.raises(FileNotFoundError, match=r"torch.*0\.0\.1"):
        other.read()


@pytest.mark.parametrize("module", [speaker_export, segmentation_export])
def test_weights_of_somebody_else_are_refused(module: SimpleNamespace, tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="sha256"):
        module.WEIGHTS.read(tmp_path / "weights.pt")


# --- segmentation ---


def test_filters_pass_their_band() -> None:
    low, width = torch.full((40, 1), 950.0), torch.full((40, 1), 450.0)
    taps = torch.arange(-(TAPS // 2), 0)
    angles = 2 * torch.pi * taps[None] / RATE
    taper = 0.54 + 0.46 * torch.cos(2 * torch.pi * taps / TAPS)
    filters = sinc_filters(low, width, angles, taper)
    assert filters.shape == (80, 1, TAPS)
    gain = torch.fft.rfft(filters[:, 0], RATE, dim=1).abs()  # a bin is 1 Hz
    inside, outside = gain[:, 1_050:1_450], torch.cat([gain[:, :800], gain[:, 1_700:]], dim=1)
    assert LOWEST + 950.0 == 1_000.0
    assert inside.min() > 10 * outside.max()
    torch.testing.assert_close(filters[:40], filters[:40].flip(2))  # cosines
    torch.testing.assert_close(filters[40:], -filters[40:].flip(2))  # sines


@pytest.mark.parametrize("frames", [2, 3, 50])
def test_a_frame_each_hop_from_one_field_on(frames: int) -> None:
    network = SegmentationModule().eval()
    least = FIELD + (frames - 1) * HOP
    assert network(torch.zeros(1, 1, least)).shape == (1, frames, 7)
    assert network(torch.zeros(1, 1, least + HOP - 1)).shape == (1, frames, 7)


def test_an_exported_segmentation_network_is_as_in_torch_and_becomes_smaller(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    network = SegmentationModule().eval()
    segmentation_export.export(network, tmp_path)
    whole = Segmentation(tmp_path)
    sound = np.random.default_rng(0).normal(0, 0.1, 2 * RATE).astype(np.float32)
    with torch.inference_mode():
        classes = network(torch.from_numpy(sound)[None, None])[0].exp().numpy()
    expected = np.stack([classes[:, [1, 4, 5]], classes[:, [2, 4, 6]], classes[:, [3, 5, 6]]])
    np.testing.assert_allclose(whole.run(sound), expected.sum(axis=2).T, atol=1e-4)
    segmentation_export.shrink(tmp_path)
    small = Segmentation(tmp_path)  # its manifest fits
    assert 3 * (tmp_path / small.manifest.file).stat().st_size < 6_000_000
    assert np.abs(small.run(sound) - whole.run(sound)).mean() < 0.01


def test_the_shipped_segmentation_network_is_pyannotes() -> None:
    state = segmentation_export.WEIGHTS.read(weights_of(segmentation_export.WEIGHTS))
    network, shipped = (
        network_of(state["state_dict"]),
        Segmentation(ROOT / "erc_ros" / "models/segmentation"),
    )
    sound = np.random.default_rng(0).normal(0, 0.1, 5 * RATE).astype(np.float32)
    with torch.inference_mode():
        classes = network(torch.from_numpy(sound)[None, None])[0].exp().numpy()
    voices = np.array([[k in c for k in range(3)] for c in shipped.manifest.classes], np.float32)
    assert np.abs(shipped.run(sound) - classes @ voices).mean() < 0.01


# --- CAM++ ---


@pytest.mark.parametrize("steps", [7, 100, 101, 250])
def test_masks_are_those_of_every_steps_mean_and_segments_mean(steps: int) -> None:
    torch.manual_seed(0)
    parts = {
        "linear_local": nn.Conv1d(8, 4, 3, padding=1),
        "linear1": nn.Conv1d(8, 4, 1),
        "linear2": nn.Conv1d(4, 4, 1),
    }
    layer = speaker_export.Pooled(SimpleNamespace(**parts))
    x = torch.randn(2, 8, steps)
    starts = range(0, steps, 100)
    layer.spread = torch.zeros(len(starts), steps)
    means = []
    for row, start in enumerate(starts):
        layer.spread[row, start : start + 100] = 1
        segment = x[:, :, start : start + 100]
        means.append(segment.mean(2, keepdim=True).expand_as(segment))
    context = x.mean(2, keepdim=True) + torch.cat(means, dim=2)  # as published: for every step
    mask = parts["linear2"](parts["linear1"](context).relu()).sigmoid()
    torch.testing.assert_close(layer(x), parts["linear_local"](x) * mask)


class Line(nn.Module):
    """Any network of the right shape."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv1d(80, 64, 5, padding=2), nn.ReLU())
        self.dense = nn.Linear(64, speaker_export.SIZE)

    def forward(self, features: Tensor) -> Tensor:
        return self.dense(self.layers(features.transpose(1, 2)).mean(2))


@pytest.mark.data
def test_a_speaker_network_becomes_small_and_says_the_same(tmp_path: Path) -> None:
    need("ami_diarization_30s")
    folder = tmp_path / "speaker-line"
    speaker_export.export(Line().eval(), folder)
    cosines = speaker_export.shrink(folder, DATA)
    assert cosines.min() > 0.9 and cosines.mean() > 0.98
    speaker = SpeakerEmbedding(folder)
    graph = onnx.load(str(folder / speaker.manifest.file)).graph
    floats = [t for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    assert max(np.prod(tensor.dims) for tensor in floats) <= speaker_export.SIZE  # scales, biases


def test_without_recordings_the_way_out_is_named(tmp_path: Path) -> None:
    speaker_export.export(Line().eval(), tmp_path / "speaker-line")
    with pytest.raises(FileNotFoundError, match="--float"):
        speaker_export.shrink(tmp_path / "speaker-line", tmp_path)


def test_the_shipped_speaker_network_is_campplus() -> None:
    pytest.importorskip(
        "speakerlab", reason="speakerlab is not installed: requirements/weights.txt"
    )
    from speakerlab.models.campplus.DTDNN import CAMPPlus

    published = CAMPPlus(feat_dim=speaker_export.MEL_BANDS, embedding_size=speaker_export.SIZE)
    path = weights_of(speaker_export.WEIGHTS)
    published.load_state_dict(speaker_export.WEIGHTS.read(path))
    published.eval()
    shipped = SpeakerEmbedding(ROOT / "erc_ros" / "models" / "speaker-campplus")
    ours = speaker_export.network(path)
    sound = np.random.default_rng(0).normal(0, 0.1, 5 * RATE).astype(np.float32)
    features = shipped.features(sound)
    centred = torch.from_numpy(features - features.mean(axis=0))[None]
    with torch.inference_mode():
        expected = published(centred)
        torch.testing.assert_close(ours(centred), expected, rtol=1e-4, atol=1e-4)
    unit = nn.functional.normalize(expected)[0].numpy()
    assert shipped.embed(features) @ unit > 0.95
