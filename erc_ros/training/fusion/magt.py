"""The multi-modal anchor gated transformer of MAGTKD (section 3.4, eq. 15-22).

What the paper leaves open, and what this does: attention is causal by default (the paper's sees the
future); speakers are indices within the conversation (the paper's are global identities); a missing
modality is never looked at, its gate is closed, and a learned vector stands in for it as the query.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from erc_ros.training.fusion.attention import TransformerLayer, attention_mask

TEXT, AUDIO, VISUAL = range(3)


@dataclass(frozen=True, slots=True)
class MagtConfig:
    """Sizes; the section `network` of a fusion recipe."""

    width: int = 128
    """The paper's is 768; embeddings of 384 and 128 need no more than this."""
    heads: int = 4
    dropout: float = 0.3
    input_dropout: float = 0.3
    """On the embeddings: the text encoder knows its training data too well, others do not."""
    causal: bool = True
    embeddings: tuple[int, ...] = (384, 128, 128)
    """Sizes of the text, audio and visual embeddings."""
    labels: int = 7
    speakers: int = 10
    """0 unknown, 1..9."""

    def __post_init__(self) -> None:
        if len(self.embeddings) != 3:
            raise ValueError(f"embeddings {self.embeddings} must be text, audio and visual")
        if self.width % 2 or self.width % self.heads:
            raise ValueError(
                f"width {self.width} must be even and a multiple of {self.heads} heads"
            )
        for name in ("dropout", "input_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must be in [0, 1)")


class Anchor(nn.Module):
    """One modality looks at all three (itself included); every look passes a gate."""

    def __init__(self, config: MagtConfig) -> None:
        super().__init__()
        d = config.width
        self.layers = nn.ModuleList(
            TransformerLayer(d, config.heads, config.dropout) for _ in range(3)
        )
        self.gates = nn.ModuleList(nn.Linear(d, d) for _ in range(3))
        self.output = nn.Linear(3 * d, d)

    def forward(
        self, anchor: Tensor, sources: list[Tensor], masks: list[Tensor], seen: Tensor
    ) -> tuple[Tensor, Tensor]:
        """anchor (B, U, d), sources and masks per modality, seen (B, U, 3) bool.

        Returns the enriched anchor (B, U, d) and how far each gate was open (B, U, 3), 0..1.
        """
        looks, opened = [], []
        for n, (layer, gate) in enumerate(zip(self.layers, self.gates, strict=True)):
            h = layer(anchor, sources[n], masks[n])  # (B, U, d); eq. 19 (n = m) and 20
            alpha = torch.sigmoid(gate(h))  # (B, U, d); eq. 21
            alpha = alpha.masked_fill(~seen[..., n : n + 1], 0.0)
            looks.append(h * alpha)  # (B, U, d); eq. 22
            opened.append(alpha.mean(dim=-1))  # (B, U)
        return self.output(torch.cat(looks, dim=-1)), torch.stack(opened, dim=-1)


class Magt(nn.Module):
    """Audio and visual as anchors first, then text over the enriched two, then the classifier."""

    def __init__(self, config: MagtConfig) -> None:
        super().__init__()
        d = config.width
        self.config = config
        self.project = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(size), nn.Dropout(config.input_dropout), nn.Linear(size, d))
            for size in config.embeddings
        )
        self.missing = nn.Parameter(torch.randn(3, d) * 0.02)
        self.speaker = nn.Embedding(config.speakers, d)
        nn.init.normal_(self.speaker.weight, std=0.02)
        frequencies = 10000.0 ** (-torch.arange(0, d, 2) / d)
        self.register_buffer("frequencies", frequencies, persistent=False)  # (d/2,)
        self.anchors = nn.ModuleList(Anchor(config) for _ in range(3))
        self.classifier = nn.Sequential(
            nn.LayerNorm(d), nn.Dropout(config.dropout), nn.Linear(d, config.labels)
        )

    def forward(
        self,
        text: Tensor,
        audio: Tensor,
        visual: Tensor,
        modalities: Tensor,
        speakers: Tensor,
        valid: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Embeddings (B, U, .), modalities (B, U, 3), valid (B, U) bool, speakers (B, U) long.

        Returns logits (B, U, C), and the modality weights (B, U, 3): how far the text anchor's
        gates are open for each modality, as shares (sum 1); 0 for a missing one, all 0 if all are
        missing.
        """
        seen = modalities & valid[..., None]  # (B, U, 3)
        extra = self._position(valid) + self.speaker(speakers)  # (B, U, d)
        h = [
            self._embed(m, x, seen[..., m]) + extra  # (B, U, d); eq. 18
            for m, x in enumerate((text, audio, visual))
        ]
        masks = [attention_mask(seen[..., m], self.config.causal) for m in range(3)]
        enriched = [h[TEXT]]
        for m in (AUDIO, VISUAL):
            enriched.append(self.anchors[m](h[m], h, masks, seen)[0])
        t, opened = self.anchors[TEXT](h[TEXT], enriched, masks, seen)
        weights = opened / opened.sum(dim=-1, keepdim=True).clamp_min(1e-6)
        return self.classifier(t), weights  # eq. 23 without its argmax

    def _embed(self, m: int, x: Tensor, seen: Tensor) -> Tensor:
        # Zero first: what stands in place of a missing embedding, even NaN, must not come through.
        x = x.masked_fill(~seen[..., None], 0.0)
        return torch.where(seen[..., None], self.project[m](x), self.missing[m])

    def _position(self, valid: Tensor) -> Tensor:
        """(B, U) bool -> (B, U, d): sine and cosine of the place among the valid; eq. 15, 16."""
        place = torch.cumsum(valid.long(), dim=1).float() - 1.0  # (B, U)
        angle = place[..., None] * self.frequencies  # (B, U, d/2)
        return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(2)  # (B, U, d)
