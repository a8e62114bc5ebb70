"""emotion2vec (Ma et al. 2023), the acoustic features of LPGNet, from its published checkpoint.

    erc convert-emotion2vec emotion2vec_base.pt models/emotion2vec

reads the checkpoint without running code in it and writes a folder that recipes use as a model.
The network is a reimplementation: convolutions over the waveform, five convolutions for relative
positions, attention with a bias that decreases with distance (symmetric ALiBi), post-norm blocks;
the first four are called its context encoder. The embedding is the mean over the frames.

It is tested with a synthetic checkpoint with the published names; the real one is not available.
"""

from __future__ import annotations

import argparse
import math
import pickle
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, scaled_dot_product_attention

from erc_ros.training.encoders import own_network, pretrained
from erc_ros.training.encoders.audio.pretrained import (
    SpeechEncoderConfig,
    receptive_field,
    waveform,
)
from erc_ros.training.encoders.sample import Sample, unusable_sound
from erc_ros.values.utterance import SAMPLE_RATE

KIND = "emotion2vec"
AUDIO = "modality_encoders.AUDIO."
STRIDES = {10: 5, 3: 2, 2: 2}
"""Kernel -> stride of the published convolutions; checkpoints do not contain it."""


@dataclass(frozen=True, slots=True)
class Emotion2vecSizes:
    """Sizes of a checkpoint. kernels: of the convolutions over the waveform."""

    channels: int
    kernels: tuple[int, ...]
    width: int
    heads: int
    context: int
    blocks: int
    positions: int
    position_kernel: int
    position_groups: int
    extra_tokens: int

    @property
    def convolutions(self) -> list[tuple[int, int]]:
        """Kernel and stride of each."""
        return [(kernel, STRIDES[kernel]) for kernel in self.kernels]


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Compute a block: states (B, T, d), attention bias (1, h, T, T) -> (B, T, d)."""
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        seen = scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        x = self.norm1(x + self.proj(seen.transpose(1, 2).flatten(2)))
        result: Tensor = self.norm2(x + self.fc2(gelu(self.fc1(x))))
        return result


class Emotion2vec(nn.Module):
    """waveform (B, n), normalized -> frames (B, T, d)."""

    def __init__(self, sizes: Emotion2vecSizes) -> None:
        super().__init__()
        c, d = sizes.channels, sizes.width
        inputs = [1, *[c] * (len(sizes.kernels) - 1)]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(i, c, kernel, stride, bias=False)
            for i, (kernel, stride) in zip(inputs, sizes.convolutions, strict=True)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(c) for _ in sizes.kernels)
        self.project_norm, self.project = nn.LayerNorm(c), nn.Linear(c, d)
        kernel = sizes.position_kernel
        self.positions = nn.ModuleList(
            nn.Conv1d(d, d, kernel, padding=kernel // 2, groups=sizes.position_groups)
            for _ in range(sizes.positions)
        )
        self.extra = nn.Parameter(torch.zeros(1, sizes.extra_tokens, d))
        self.scale = nn.Parameter(torch.ones(sizes.heads))
        self.context_norm = nn.LayerNorm(d)
        self.blocks = nn.ModuleList(
            _Block(d, sizes.heads) for _ in range(sizes.context + sizes.blocks)
        )
        self.register_buffer("slopes", torch.tensor(slopes(sizes.heads)), persistent=False)

    def forward(self, sound: Tensor) -> Tensor:
        """(B, n) -> (B, T, d)."""
        x = sound[:, None]  # (B, 1, n)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = gelu(norm(convolution(x).transpose(1, 2))).transpose(1, 2)  # (B, c, T)
        x = self.project(self.project_norm(x.transpose(1, 2)))  # (B, T, d)
        place = x.transpose(1, 2)
        for convolution in self.positions:
            here = convolution(place)[..., : x.shape[1]].transpose(1, 2)
            place = gelu(layer_norm(here, (self.project.out_features,))).transpose(1, 2)
        x = x + place.transpose(1, 2)
        bias = self._distances(x)
        count = self.extra.shape[1]
        x = torch.cat([self.extra.expand(x.shape[0], -1, -1), x], dim=1)  # (B, extra + T, d)
        bias = nn.functional.pad(bias, (count, 0, count, 0))  # distance 0 to extra tokens
        x = self.context_norm(x)
        for block in self.blocks:
            x = block(x, bias)
        frames: Tensor = x[:, count:]
        return frames

    def _distances(self, x: Tensor) -> Tensor:
        """Return the attention bias (1, h, T, T), which decreases with distance."""
        frame = torch.arange(x.shape[1], device=x.device)
        far = -(frame[:, None] - frame).abs().to(x.dtype)  # (T, T)
        slope = self.slopes * self.scale.clamp_min(0)  # type: ignore[operator]
        return (slope[:, None, None] * far)[None]


def slopes(heads: int) -> list[float]:
    """Return ALiBi's slopes (Press et al. 2022): powers of 2^(-8/n), interleaved for other n."""
    if math.log2(heads).is_integer():
        return [2.0 ** (-8.0 * (number + 1) / heads) for number in range(heads)]
    below = 2 ** int(math.log2(heads))
    return slopes(below) + slopes(2 * below)[0::2][: heads - below]


def convert(checkpoint: Path, folder: Path) -> Emotion2vecSizes:
    """Write a published checkpoint as a folder of safetensors.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not a checkpoint, contains code, or lacks weights; names the first.
    """
    if not checkpoint.is_file():
        raise FileNotFoundError(f"{checkpoint} does not exist: download emotion2vec_base.pt first")
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError) as error:
        raise ValueError(
            f"{checkpoint} cannot be read without running code in it: {str(error)[:80]}"
        ) from error
    state = content.get("model", content) if isinstance(content, Mapping) else {}
    state = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    try:
        sizes = _sizes(state)
        weights = {ours: state[its].float() for ours, its in names(sizes).items()}
    except KeyError as error:
        raise ValueError(f"{checkpoint} is not emotion2vec: it lacks {error.args[0]}") from error
    weights["scale"] = weights["scale"].reshape(-1)
    network = Emotion2vec(sizes)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{checkpoint}: {str(error).splitlines()[-1].strip()}") from error
    own_network.save(network, folder, KIND, sizes)
    return sizes


def names(sizes: Emotion2vecSizes) -> dict[str, str]:
    """Return our names of the weights -> the published names."""
    mapping = {"extra": f"{AUDIO}extra_tokens", "scale": f"{AUDIO}alibi_scale"}
    for n in range(len(sizes.kernels)):
        layer = f"{AUDIO}local_encoder.conv_layers.{n}"
        mapping[f"convolutions.{n}.weight"] = f"{layer}.0.weight"
        mapping |= _pair(f"norms.{n}", f"{layer}.2.1")
    mapping |= _pair("project_norm", f"{AUDIO}project_features.1")
    mapping |= _pair("project", f"{AUDIO}project_features.2")
    for n in range(sizes.positions):
        mapping |= _pair(f"positions.{n}", f"{AUDIO}relative_positional_encoder.{n + 1}.0")
    mapping |= _pair("context_norm", f"{AUDIO}context_encoder.norm")
    places = [f"{AUDIO}context_encoder.blocks.{n}" for n in range(sizes.context)]
    places += [f"blocks.{n}" for n in range(sizes.blocks)]
    for n, place in enumerate(places):
        for ours, its in (("qkv", "attn.qkv"), ("proj", "attn.proj"), ("norm1", "norm1"),
                          ("norm2", "norm2"), ("fc1", "mlp.fc1"), ("fc2", "mlp.fc2")):  # fmt: skip
            mapping |= _pair(f"blocks.{n}.{ours}", f"{place}.{its}")
    return mapping


def _pair(ours: str, its: str) -> dict[str, str]:
    return {f"{ours}.{end}": f"{its}.{end}" for end in ("weight", "bias")}


def _sizes(state: Mapping[str, Tensor]) -> Emotion2vecSizes:
    def count(pattern: str, first: int = 0) -> int:
        number = first
        while pattern.format(number) in state:
            number += 1
        return number - first

    convolution = f"{AUDIO}local_encoder.conv_layers.{{}}.0.weight"
    position = f"{AUDIO}relative_positional_encoder.{{}}.0.weight"
    kernels = tuple(int(state[convolution.format(n)].shape[2]) for n in range(count(convolution)))
    if not kernels or set(kernels) - set(STRIDES):
        raise KeyError(convolution.format(0))
    place = state[position.format(1)]
    return Emotion2vecSizes(
        channels=int(state[convolution.format(0)].shape[0]),
        kernels=kernels,
        width=int(place.shape[0]),
        heads=int(state[f"{AUDIO}alibi_scale"].numel()),
        context=count(f"{AUDIO}context_encoder.blocks.{{}}.attn.qkv.weight"),
        blocks=count("blocks.{}.attn.qkv.weight"),
        positions=count(position, 1),
        position_kernel=int(place.shape[2]),
        position_groups=int(place.shape[0] // place.shape[1]),
        extra_tokens=int(state[f"{AUDIO}extra_tokens"].shape[1]),
    )


class Emotion2vecEncoder:
    """Encoder of audio -> mean of the frames (N, d); see `pretrained.Trainable`.

    Processes clips one by one: padding would change the position convolutions.

    Raises:
        FileNotFoundError, ValueError: the folder was not written by `convert`.
    """

    modality = "audio"
    batch_size = 1
    rate = SAMPLE_RATE

    def __init__(self, config: SpeechEncoderConfig) -> None:
        folder = Path(config.model)
        self.config = config
        self.sizes = own_network.read_sizes(folder, KIND, Emotion2vecSizes)
        self.model: nn.Module = Emotion2vec(self.sizes)
        own_network.load(self.model, folder)
        self.dimension = self.sizes.width
        self.shortest = receptive_field(self.sizes.convolutions)
        self.name = f"{KIND}-{pretrained.digest(folder, max_seconds=config.max_seconds)}"

    def refuses(self, sample: Sample) -> str:
        """Refuse audio that is missing, not finite, or shorter than one frame."""
        return unusable_sound(sample, self.shortest)

    def size(self, sample: Sample) -> int:
        """Return the duration of the audio that is encoded, ms."""
        assert sample.sound is not None
        seconds = len(sample.sound) / sample.sample_rate
        return round(1000 * min(seconds, self.config.max_seconds))

    def collate(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        """Return sound (N, n) with mean 0 and variance 1 per clip, zero-padded; count (N,)."""
        limit = round(self.config.max_seconds * SAMPLE_RATE)
        sounds = [torch.from_numpy(waveform(sample, SAMPLE_RATE)[-limit:]) for sample in samples]
        normal = [layer_norm(sound, sound.shape) for sound in sounds]
        return {
            "sound": nn.utils.rnn.pad_sequence(normal, batch_first=True),
            "count": torch.tensor([len(sound) for sound in sounds]),
        }

    def sequence(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return frames (N, T, d) and their mask (N, T) bool for inputs of `collate`."""
        clips = self._frames(inputs)
        there = [
            torch.ones(len(frames), dtype=torch.bool, device=frames.device) for frames in clips
        ]
        pad = nn.utils.rnn.pad_sequence
        return pad(clips, batch_first=True), pad(there, batch_first=True)

    def embed(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return embeddings (N, d) for inputs of `collate`."""
        return torch.stack([frames.mean(dim=0) for frames in self._frames(inputs)])

    def _frames(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """Return the frames (T, d) of each clip."""
        rows = zip(inputs["sound"], inputs["count"].tolist(), strict=True)
        return [self.model(row[None, :count])[0] for row, count in rows]

    def encode(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """Return embeddings (N, d); see `pretrained.encode`."""
        return pretrained.encode(self, samples)

    def save(self, folder: Path) -> None:
        """Write a folder in the format of `convert`."""
        own_network.save(self.model, folder, KIND, self.sizes)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 for a file that is not such a checkpoint."""
    parser = argparse.ArgumentParser(
        prog="erc convert-emotion2vec", description="Convert a checkpoint to a model folder."
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(argv)
    try:
        sizes = convert(options.checkpoint, options.folder)
    except (ValueError, FileNotFoundError) as error:
        print(f"erc convert-emotion2vec: {error}", file=sys.stderr)
        return 1
    layers = sizes.context + sizes.blocks
    print(f"{options.folder}: {layers} blocks of {sizes.width}, {sizes.heads} heads")
    return 0
