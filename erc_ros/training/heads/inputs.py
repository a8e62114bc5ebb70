"""First and last layers that several fusion models share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from erc_ros.training.heads.base import FusionModelConfig


def input_norm(size: int) -> nn.Module:
    """Layer normalization of an embedding; identity for the one number of an absent modality.

    Over one number, layer normalization gives its bias only, and ONNX Runtime 1.23 refuses it.
    """
    return nn.LayerNorm(size) if size > 1 else nn.Identity()


class Embed(nn.Module):
    """Embeddings of different sizes to one width; a learned vector stands in for a missing one."""

    def __init__(self, config: FusionModelConfig, sizes: tuple[int, ...] | None = None) -> None:
        super().__init__()
        sizes = sizes or config.embeddings
        self.project = nn.ModuleList(
            nn.Sequential(
                input_norm(size), nn.Dropout(config.input_dropout), nn.Linear(size, config.width)
            )
            for size in sizes
        )
        self.missing = nn.Parameter(torch.randn(len(sizes), config.width) * 0.02)

    def forward(self, embeddings: tuple[Tensor, ...], seen: Tensor) -> list[Tensor]:
        """M x (B, U, d_m), seen (B, U, M) bool -> M x (B, U, d)."""
        return [
            torch.where(seen[..., m : m + 1], project(embeddings[m]), self.missing[m])
            for m, project in enumerate(self.project)
        ]


def sinusoids(valid: Tensor, d: int) -> Tensor:
    """(B, U) bool -> (B, U, d), d even: sine and cosine of the place among the valid."""
    place = torch.cumsum(valid.long(), dim=1).float() - 1.0  # (B, U)
    frequencies = 10000.0 ** (-torch.arange(0, d, 2, device=valid.device) / d)  # (d/2,)
    angle = place[..., None] * frequencies  # (B, U, d/2)
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(2)  # (B, U, d)


def shares(scores: Tensor, seen: Tensor) -> Tensor:
    """Softmax over the modalities seen: scores, seen (B, U, 3) -> (B, U, 3); none seen: zeros."""
    weights = scores.masked_fill(~seen, -1e9).softmax(dim=-1)
    return weights.masked_fill(~seen, 0.0)
