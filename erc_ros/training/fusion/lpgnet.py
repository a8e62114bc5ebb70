"""LPGNet: lightweight parallel interaction attention and dual gates (eq. 4-16, 18).

The paper has text and audio; here every ordered pair of the three modalities has its attention.
There is neither a position nor a speaker in it. What the paper leaves open: a causal model's global
branch is a running mean; its batch norm counts seen utterances only; a missing modality is never
looked at, and a learned vector stands in for it as the query.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from erc_ros.training.fusion.attention import Attention, attention_mask
from erc_ros.training.fusion.inputs import Details, Embed, HeadConfig, shares, visible


@dataclass(frozen=True, slots=True)
class LpgnetConfig(HeadConfig):
    """The paper's: width 768, dropout 0.1."""

    heads: int = 4

    def __post_init__(self) -> None:
        HeadConfig.__post_init__(self)
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of {self.heads} heads")


class Compress(nn.Module):
    """Global branch: mean over the utterances, 1x1 convolution, batch norm, LeakyReLU; eq. 6."""

    def __init__(self, d: int, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.convolution = nn.Linear(d, d, bias=False)  # what a kernel of 1 is
        self.norm = nn.BatchNorm1d(d)
        self.activation = nn.LeakyReLU()

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """x (B, U, d), seen (B, U, 1) bool -> (B, U, d): what was heard so far, or overall."""
        total = torch.cumsum(x.masked_fill(~seen, 0.0), dim=1)  # (B, U, d)
        count = torch.cumsum(seen.float(), dim=1)  # (B, U, 1)
        if not self.causal:
            total, count = total[:, -1:].expand_as(total), count[:, -1:].expand_as(count)
        h = self.convolution(total / count.clamp_min(1.0))  # (B, U, d)
        return self.activation(self._normalised(h, seen))

    def _normalised(self, h: Tensor, seen: Tensor) -> Tensor:
        rows = seen[..., 0]  # (B, U)
        if not self.training:
            return self.norm(h.flatten(0, 1)).view_as(h)
        result = torch.zeros_like(h)
        if int(rows.sum()) > 1:  # of a single one there is no variance
            result[rows] = self.norm(h[rows])
        return result


class Interaction(nn.Module):
    """One of the parallel attentions, with both refinements (section 3.3)."""

    def __init__(self, config: LpgnetConfig) -> None:
        super().__init__()
        d = config.width
        self.attention = Attention(d, config.heads, config.dropout)  # eq. 4, 5
        self.compress = Compress(d, config.causal)
        self.norm = nn.LayerNorm(d)
        self.feed_forward = nn.Sequential(
            nn.Linear(d, 2 * d), nn.GELU(), nn.Dropout(config.dropout), nn.Linear(2 * d, d)
        )

    def forward(self, query: Tensor, source: Tensor, mask: Tensor, seen: Tensor) -> Tensor:
        """query, source (B, U, d), mask (B, 1, U, U), seen (B, U, 1) of the query -> (B, U, d)."""
        attended = self.attention(query, source, mask)  # (B, U, d)
        h = self.norm(query + attended + self.compress(attended, seen))  # (B, U, d); eq. 7
        return h + self.feed_forward(h)  # (B, U, d); eq. 8


class Lpgnet(nn.Module):
    """Nine attentions side by side, a gate on each, a gate over the modalities, a classifier."""

    def __init__(self, config: LpgnetConfig) -> None:
        super().__init__()
        self.config, d = config, config.width
        self.embed = Embed(config)
        self.interactions = nn.ModuleList(
            nn.ModuleList(Interaction(config) for _ in range(3)) for _ in range(3)
        )
        self.gates = nn.ModuleList(
            nn.ModuleList(nn.Linear(d, d, bias=False) for _ in range(3)) for _ in range(3)
        )
        self.join = nn.ModuleList(nn.Linear(3 * d, d) for _ in range(3))
        self.score = nn.Linear(3 * d, 3)
        self.classifier = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(d, config.labels))
        self.unimodal = nn.ModuleList(nn.Linear(d, config.labels) for _ in range(3))

    def forward(
        self,
        text: Tensor,
        audio: Tensor,
        visual: Tensor,
        modalities: Tensor,
        speakers: Tensor,
        valid: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """As `Magt.forward`. The weights are those of the multimodal gate, eq. 13."""
        details = self.details(text, audio, visual, modalities, speakers, valid)
        return details.logits, details.weights

    def details(
        self,
        text: Tensor,
        audio: Tensor,
        visual: Tensor,
        modalities: Tensor,
        speakers: Tensor,
        valid: Tensor,
    ) -> Details:
        """The same inputs; with what the losses need: the students of the self-distillation."""
        seen = visible(modalities, valid, speakers)  # (B, U, 3)
        h = self.embed((text, audio, visual), seen)  # 3 x (B, U, d)
        masks = [attention_mask(seen[..., m], self.config.causal) for m in range(3)]
        refined = []
        for m, query in enumerate(h):
            here, looks = seen[..., m : m + 1], []
            for n, source in enumerate(h):
                look = self.interactions[m][n](query, source, masks[n], here)  # (B, U, d)
                looks.append(look * torch.sigmoid(self.gates[m][n](look)))  # eq. 9-11
            refined.append(self.join[m](torch.cat(looks, dim=-1)))  # (B, U, d); eq. 12
        weights = shares(self.score(torch.cat(refined, dim=-1)), seen)  # (B, U, 3); eq. 13
        features = torch.stack(refined, dim=2)  # (B, U, 3, d)
        fused = (features * weights[..., None]).sum(dim=2)  # (B, U, d); eq. 14
        unimodal = [classify(x) for classify, x in zip(self.unimodal, refined, strict=True)]
        logits = self.classifier(fused)  # (B, U, C); eq. 15, 16 without its softmax
        return Details(logits, weights, torch.stack(unimodal, dim=2), features)  # eq. 18
