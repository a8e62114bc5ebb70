"""First and last layers that several fusion models share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from erc_ros.training.heads.base import FusionModelConfig


def input_norm(size: int) -> nn.Module:
    """Return a layer normalization; identity for size 1, which means an absent modality.

    For size 1, layer normalization returns its bias only, and ONNX Runtime 1.23 refuses it.
    """
    return nn.LayerNorm(size) if size > 1 else nn.Identity()


class Embed(nn.Module):
    """Project embeddings of all sizes to one width; a learned vector replaces a missing one."""

    def __init__(self, config: FusionModelConfig, sizes: tuple[int, ...] | None = None) -> None:
        super().__init__()
        sizes = sizes or config.embeddings
        self.project = nn.ModuleList(
            nn.Sequential(
                input_norm(size) if config.input_norm else nn.Identity(),
                nn.Dropout(config.input_dropout),
                nn.Linear(size, config.width),
            )
            for size in sizes
        )
        self.missing = nn.Parameter(torch.randn(len(sizes), config.width) * 0.02)

    def forward(self, embeddings: tuple[Tensor, ...], seen: Tensor) -> list[Tensor]:
        """Project M x (B, U, d_m) to M x (B, U, d); seen (B, U, M) bool."""
        return [
            torch.where(seen[..., m : m + 1], project(embeddings[m]), self.missing[m])
            for m, project in enumerate(self.project)
        ]


def sinusoids(valid: Tensor, d: int) -> Tensor:
    """Return sinusoidal position encodings (B, U, d), d even, for valid (B, U) bool."""
    place = torch.cumsum(valid.long(), dim=1).float() - 1.0  # (B, U)
    frequencies = 10000.0 ** (-torch.arange(0, d, 2, device=valid.device) / d)  # (d/2,)
    angle = place[..., None] * frequencies  # (B, U, d/2)
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(2)  # (B, U, d)


def shares(scores: Tensor, seen: Tensor) -> Tensor:
    """Return the softmax of scores over available modalities, both (B, U, 3); zeros without any."""
    weights = scores.masked_fill(~seen, -1e9).softmax(dim=-1)
    return weights.masked_fill(~seen, 0.0)
