"""The robot's audio network, from log-mel features to an embedding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from erc_ros.encoders.audio import MEL_BANDS
from erc_ros.training.datasets.utterances import LABELS
from erc_ros.values.settings import check, setting

EMBEDDING = 128


@dataclass(frozen=True, slots=True)
class AudioNetworkConfig:
    """Sizes; the section `network` of an audio recipe."""

    widths: tuple[int, ...] = (16, 32, 48, 64)
    """Channels of each convolution; each halves the bands, the first two also the frames."""
    hidden: int = setting(128, "channels of the convolutions over time", "", (1, 10_000))
    dilations: tuple[int, ...] = (1, 2)
    """Dilations of the convolutions over time, in steps of 40 ms."""
    dropout: float = setting(0.3, "between convolutions, before the classifier", "", (0, 0.99))

    def __post_init__(self) -> None:
        check(self)
        if not 2 <= len(self.widths) <= 6:
            raise ValueError(f"widths {self.widths} must be 2 to 6 convolutions")
        if min(*self.widths, *self.dilations) < 1:
            raise ValueError("widths and dilations must be at least 1")


class AudioNetwork(nn.Module):
    """features (B, T, 64), frames (B,) -> embedding (B, 128); `head` gives logits of the 7 labels.

    After every convolution the frames beyond an utterance's end are set to 0, as in the implicit
    padding of an utterance without a batch, so that padding does not change the result.
    """

    def __init__(self, config: AudioNetworkConfig) -> None:
        super().__init__()
        self.front = nn.ModuleList()
        self.strides = [2 if number < 2 else 1 for number in range(len(config.widths))]
        inputs, bands = 1, MEL_BANDS
        for width, stride in zip(config.widths, self.strides, strict=True):
            convolution = nn.Conv2d(inputs, width, 3, (stride, 2), 1, bias=False)
            self.front.append(nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU()))
            inputs, bands = width, (bands + 1) // 2
        self.fold = nn.Sequential(
            nn.Conv1d(inputs * bands, config.hidden, 1, bias=False), nn.BatchNorm1d(config.hidden)
        )
        self.over_time = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(config.hidden, config.hidden, 3, 1, d, dilation=d, bias=False),
                nn.BatchNorm1d(config.hidden),
            )
            for d in config.dilations
        )
        self.dropout = nn.Dropout(config.dropout)
        self.attention = nn.Sequential(
            nn.Conv1d(config.hidden, config.hidden // 2, 1),
            nn.Tanh(),
            nn.Conv1d(config.hidden // 2, 1, 1),
        )
        self.project = nn.Linear(2 * config.hidden, EMBEDDING)
        self.head = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(EMBEDDING, len(LABELS)))

    def forward(self, features: Tensor, frames: Tensor) -> Tensor:
        x = features[:, None]  # (B, 1, T, 64)
        x = x * _within(x, frames)[:, None, :, None]
        for layer, stride in zip(self.front, self.strides, strict=True):
            x = layer(x)  # (B, C, T', bands)
            frames = (frames + stride - 1) // stride
            x = x * _within(x, frames)[:, None, :, None]
        x = x.transpose(2, 3).flatten(1, 2)  # (B, C * bands, T/4)
        valid = _within(x.transpose(1, 2)[:, None], frames)[:, None]  # (B, 1, T/4)
        x = torch.relu(self.fold(x)) * valid  # (B, hidden, T/4)
        for layer in self.over_time:
            x = x + self.dropout(torch.relu(layer(x))) * valid
        scores = self.attention(x).float() + (valid - 1) * 1e4  # (B, 1, T/4)
        weights = scores.softmax(dim=2)
        mean = (x * weights).sum(dim=2)  # (B, hidden)
        variance = (x * x * weights).sum(dim=2) - mean * mean
        pooled = torch.cat([mean, variance.clamp_min(1e-5).sqrt()], dim=1)  # (B, 2 * hidden)
        return torch.relu(self.project(pooled))  # (B, 128)


def _within(x: Tensor, frames: Tensor) -> Tensor:
    """Return a mask (B, T) float, 1 where x (B, C, T, ...) is within the utterance."""
    positions = torch.arange(x.shape[2], device=x.device)
    return (positions < frames[:, None]).to(x.dtype)


def pad(examples: Sequence[NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
    """Pad features (T_i, 64) with zeros to (B, T, 64); also return frames (B,) int64."""
    frames = torch.tensor([len(example) for example in examples])
    features = torch.zeros(len(examples), int(frames.max()), MEL_BANDS)
    for row, example in zip(features, examples, strict=True):
        row[: len(example)] = torch.from_numpy(example)
    return features, frames
