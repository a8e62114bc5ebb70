"""What the fusion heads share: their sizes, their inputs, and what they tell the losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

MODALITIES = ("text", "audio", "visual")
TEXT, AUDIO, VISUAL = range(3)


@dataclass(frozen=True, slots=True)
class HeadConfig:
    """Sizes that every head has."""

    width: int = 128
    """Embeddings of 384 and 128 need no more than this; the papers use 768 and 1024."""
    dropout: float = 0.3
    input_dropout: float = 0.3
    """On the embeddings: the encoders know their training data too well, others do not."""
    causal: bool = True
    embeddings: tuple[int, ...] = (384, 128, 128)
    """Sizes of the text, audio and visual embeddings."""
    labels: int = 7
    speakers: int = 10
    """0 unknown, 1..9."""

    def __post_init__(self) -> None:
        if len(self.embeddings) != 3:
            raise ValueError(f"embeddings {self.embeddings} must be text, audio and visual")
        for name in ("width", "labels", "speakers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must be at least 1")
        for name in ("dropout", "input_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must be in [0, 1)")


class Details(NamedTuple):
    """What a head's `details` returns for its losses; `forward` returns the first two."""

    logits: Tensor
    """(B, U, C)"""
    weights: Tensor
    """(B, U, 3): shares of the modalities, sum 1; 0 for a missing one, all 0 if all are."""
    unimodal: Tensor
    """(B, U, 3, C): logits of each modality's own classifier."""
    features: Tensor
    """(B, U, 3, d): what those classifiers saw."""


class Embed(nn.Module):
    """Embeddings of different sizes to one width; a learned vector stands in for a missing one."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.project = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(size), nn.Dropout(config.input_dropout), nn.Linear(size, config.width)
            )
            for size in config.embeddings
        )
        self.missing = nn.Parameter(torch.randn(3, config.width) * 0.02)

    def forward(self, embeddings: tuple[Tensor, ...], seen: Tensor) -> list[Tensor]:
        """Three (B, U, d_m), seen (B, U, 3) bool -> three (B, U, d)."""
        h = []
        for m, project in enumerate(self.project):
            here = seen[..., m : m + 1]  # (B, U, 1)
            h.append(torch.where(here, project(blank(embeddings[m], here)), self.missing[m]))
        return h


def blank(x: Tensor, seen: Tensor) -> Tensor:
    """Zero where not seen (B, U, 1): what stands there, even NaN, must not come through."""
    return x.masked_fill(~seen, 0.0)


def visible(modalities: Tensor, valid: Tensor, speakers: Tensor) -> Tensor:
    """What is seen, (B, U, 3) bool, for a head that does not use the speakers.

    It reads them all the same (no index is negative): an ONNX graph loses inputs that nothing
    reads, and every head takes the same six.
    """
    return modalities & (valid & (speakers >= 0))[..., None]


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
