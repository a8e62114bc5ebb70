"""The multi-modal anchor gated transformer of MAGTKD (section 3.4, eq. 15-23).

Differences and points that the paper does not specify: attention is causal by default (the paper
uses later utterances); speakers are indices within the conversation (in the paper, global
identities); a missing modality is masked as key, its gate is closed, and a learned vector replaces
it as query. The distillation of the second stage (eq. 24, 25: `losses.anchored_distillation`) needs
predictions of the audio and visual branches: each enriched anchor has a linear classifier.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from erc_ros.training.heads.attention import TransformerLayer, attention_masks
from erc_ros.training.heads.base import (
    AUDIO,
    TEXT,
    VISUAL,
    Details,
    FusionModel,
    FusionModelConfig,
    Inputs,
)
from erc_ros.training.heads.inputs import Embed, sinusoids


@dataclass(frozen=True, slots=True)
class MagtkdConfig(FusionModelConfig):
    """Settings; the paper's width is 768, with 8 heads and dropout 0.5."""

    PARTS: ClassVar[tuple[str, ...]] = ("anchors", "gates")
    """Audio and visual as anchors (without them, text attends to the embeddings); the gates."""

    heads: int = 4

    def __post_init__(self) -> None:
        FusionModelConfig.__post_init__(self)
        if self.width % 2 or self.width % self.heads:
            raise ValueError(
                f"width {self.width} must be even and a multiple of {self.heads} heads"
            )


class Anchor(nn.Module):
    """Gated attention from one modality, the anchor, to all three, including itself."""

    def __init__(self, config: MagtkdConfig) -> None:
        super().__init__()
        d = config.width
        self.layers = nn.ModuleList(
            TransformerLayer(d, config.heads, config.dropout) for _ in range(3)
        )
        self.gates = nn.ModuleList(nn.Linear(d, d) for _ in range(3 * config.has("gates")))
        self.output = nn.Linear(3 * d, d)

    def forward(
        self, anchor: Tensor, sources: list[Tensor], masks: list[Tensor], seen: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Enrich anchor (B, U, d); sources and masks per modality, seen (B, U, 3) bool.

        Returns the enriched anchor (B, U, d) and the mean of each gate (B, U, 3), 0..1.
        """
        looks, opened = [], []
        for n, layer in enumerate(self.layers):
            h = layer(anchor, sources[n], masks[n])  # (B, U, d); eq. 19 (n = m) and 20
            alpha = torch.sigmoid(self.gates[n](h)) if self.gates else torch.ones_like(h)  # eq. 21
            alpha = alpha.masked_fill(~seen[..., n : n + 1], 0.0)  # (B, U, d)
            looks.append(h * alpha)  # (B, U, d); eq. 22
            opened.append(alpha.mean(dim=-1))  # (B, U)
        return self.output(torch.cat(looks, dim=-1)), torch.stack(opened, dim=-1)


class Magtkd(FusionModel):
    """Audio and visual as anchors, then text as anchor over these two, then the classifier."""

    CONFIG = MagtkdConfig

    def __init__(self, config: MagtkdConfig) -> None:
        super().__init__(config)
        d = config.width
        self.embed = Embed(config)
        self.speaker = nn.Embedding(config.speakers, d)
        nn.init.normal_(self.speaker.weight, std=0.02)
        anchors = 3 if config.has("anchors") else 1
        self.anchors = nn.ModuleList(Anchor(config) for _ in range(anchors))  # text is the first
        self.classifier = nn.Sequential(
            nn.LayerNorm(d), nn.Dropout(config.dropout), nn.Linear(d, config.labels)
        )
        self.students = nn.ModuleList(nn.Linear(d, config.labels) for _ in (AUDIO, VISUAL))

    def fuse(self, inputs: Inputs) -> Details:
        """Compute the fusion; weights: means of the text anchor's gates, normalized."""
        seen = inputs.seen
        extra = sinusoids(inputs.valid, self.config.width)  # (B, U, d); eq. 15, 16
        extra = extra + self.speaker(inputs.speakers)  # (B, U, d); eq. 17
        h = [x + extra for x in self.embed(inputs.embeddings, seen)]  # 3 x (B, U, d); eq. 18
        masks = attention_masks(seen, self.config.causal, self.config.reach)  # 3 x (B, 1, U, U)
        enriched = list(h)
        for m in range(1, len(self.anchors)):  # audio, visual
            enriched[m] = self.anchors[m](h[m], h, masks, seen)[0]  # (B, U, d)
        t, opened = self.anchors[TEXT](h[TEXT], enriched, masks, seen)  # (B, U, d), (B, U, 3)
        logits = self.classifier(t)  # (B, U, C); eq. 23 without its argmax
        weights = opened / opened.sum(dim=-1, keepdim=True).clamp_min(1e-6)  # (B, U, 3)
        a, v = enriched[AUDIO], enriched[VISUAL]
        unimodal = [logits, self.students[0](a), self.students[1](v)]
        return Details(logits, weights, torch.stack(unimodal, 2), torch.stack([t, a, v], 2))
