"""The robot's face network: a small residual CNN on 48x48 gray faces."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from erc_ros.training.datasets.corpora import FACES, find
from erc_ros.values.settings import check, setting

LABELS = len(find(FACES).labels)
EMBEDDING = 128


@dataclass(frozen=True, slots=True)
class FaceNetworkConfig:
    """Sizes; the section `network` of a face recipe."""

    stem: int = setting(32, "channels at 24x24", "", (1, 10_000))
    widths: tuple[int, ...] = (32, 64, 128, 256)
    """Channels of the stages at 24x24, 12x12, 6x6, 3x3."""
    blocks: tuple[int, ...] = (1, 2, 2, 1)
    """Residual blocks in each stage."""
    dropout: float = setting(0.3, "before the classifier", "", (0, 0.99))

    def __post_init__(self) -> None:
        check(self)
        if not self.widths or len(self.widths) != len(self.blocks):
            raise ValueError(
                f"widths {self.widths} and blocks {self.blocks} must be of equal length"
            )
        if min(*self.widths, *self.blocks) < 1:
            raise ValueError("widths and blocks must be at least 1")


def _convolution(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False), nn.BatchNorm2d(outputs)
    )


class Block(nn.Module):
    """Residual block of two convolutions, (B, in, H, W) -> (B, out, H/stride, W/stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = _convolution(inputs, outputs, stride=stride)
        self.second = _convolution(outputs, outputs)
        # Initialized as the identity, which is faster and more stable at a high learning rate.
        nn.init.zeros_(self.second[1].weight)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            shrink = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
            self.shortcut = nn.Sequential(shrink, _convolution(inputs, outputs, size=1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.second(torch.relu(self.first(x))) + self.shortcut(x))


class FaceNetwork(nn.Module):
    """faces (N, 1, 48, 48) in [0, 1] -> embedding (N, 128); `head` gives the 8 logits."""

    def __init__(self, config: FaceNetworkConfig) -> None:
        super().__init__()
        self.stem = _convolution(1, config.stem, stride=2)
        blocks, inputs = [], config.stem
        for stage, (width, count) in enumerate(zip(config.widths, config.blocks, strict=True)):
            for number in range(count):
                blocks.append(Block(inputs, width, stride=2 if stage and number == 0 else 1))
                inputs = width
        self.blocks = nn.Sequential(*blocks)
        self.project = nn.Linear(inputs, EMBEDDING)
        self.head = nn.Sequential(
            nn.Dropout(config.dropout), nn.Linear(EMBEDDING, len(find(FACES).labels))
        )

    def forward(self, faces: Tensor) -> Tensor:
        # Standardize each face against differences in light and exposure.
        mean = faces.mean(dim=(2, 3), keepdim=True)
        centred = faces - mean
        deviation = (centred * centred).mean(dim=(2, 3), keepdim=True).sqrt()
        x = centred / (deviation + 0.02)  # (N, 1, 48, 48); a blank image stays 0
        x = self.blocks(torch.relu(self.stem(x)))  # (N, width, 3, 3)
        return torch.relu(self.project(x.mean(dim=(2, 3))))  # (N, 128)
