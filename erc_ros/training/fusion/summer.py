"""SUMMER: sparse dynamic mixture of experts, hierarchical cross-modal fusion (eq. 1-6).

What the paper leaves open, and what this does: a causal model's experts are GRUs, an offline one's
BiGRUs of half the width per direction; an expert reads the utterances in which its modality was
seen and no others; the three branches meet in a sum weighted by a learned score. The paper's
alpha = 2 drops nobody: of n numbers none is farther than sqrt(n - 1) standard deviations from their
mean, and n is 4 here. So alpha is to be chosen; where it would drop all experts, all stay.
The interactive distillation is in `losses.interactive`; its teacher is this model on text alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from erc_ros.training.fusion.attention import Attention, attention_mask
from erc_ros.training.fusion.inputs import Details, Embed, HeadConfig, shares, sinusoids


@dataclass(frozen=True, slots=True)
class SummerConfig(HeadConfig):
    """The paper's: width 1024, 4 heads, 6 layers, alpha 2, temperature 0.5."""

    heads: int = 4
    layers: int = 1
    """Of each branch of the cross-modal fusion."""
    experts: int = 4
    """Per modality."""
    alpha: float = 1.0
    """An expert is kept if its weight is within so many standard deviations of the mean."""
    temperature: float = 0.5
    """Of the Gumbel softmax over the kept experts, in training."""

    def __post_init__(self) -> None:
        HeadConfig.__post_init__(self)
        if self.width % 2 or self.width % self.heads:
            raise ValueError(
                f"width {self.width} must be even and a multiple of {self.heads} heads"
            )
        for name in ("layers", "experts"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must be at least 1")
        for name in ("alpha", "temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}, must be positive")


class Expert(nn.Module):
    """A GRU over the utterances that were seen; offline one in each direction."""

    def __init__(self, d: int, causal: bool) -> None:
        super().__init__()
        size = d if causal else d // 2
        self.directions = nn.ModuleList(
            nn.GRU(d, size, batch_first=True) for _ in range(1 if causal else 2)
        )

    def forward(self, x: Tensor, orders: list[Tensor]) -> Tensor:
        """x (B, U, d), orders as of `moves` -> (B, U, d), zeros where not seen."""
        h = []
        for gru, order in zip(self.directions, orders, strict=True):
            y, _ = gru(order @ x)  # (B, U, d or d/2); the seen ones first, then nothing
            h.append(order.transpose(1, 2) @ y)  # back to where they came from
        return torch.cat(h, dim=-1)


def moves(seen: Tensor, causal: bool) -> list[Tensor]:
    """(B, U) bool -> permutations (B, U, U) for `Expert`: row k takes the k-th that was seen.

    The second one (offline) takes them from the end. Gaps and padding are left out on both sides.
    """
    count = torch.cumsum(seen.long(), dim=1)  # (B, U)
    row = torch.cumsum(torch.ones_like(count), dim=1)[..., None]  # (B, U, 1): 1, 2, ..., U
    places = [count] if causal else [count, count[:, -1:] - count + 1]
    return [((place[:, None, :] == row) & seen[:, None, :]).float() for place in places]


class Experts(nn.Module):
    """Sparse dynamic mixture of experts for one modality (section III-D)."""

    def __init__(self, config: SummerConfig) -> None:
        super().__init__()
        d = config.width
        self.alpha, self.temperature = config.alpha, config.temperature
        self.gate = nn.Linear(d, config.experts)
        self.experts = nn.ModuleList(Expert(d, config.causal) for _ in range(config.experts))

    def forward(self, x: Tensor, orders: list[Tensor]) -> Tensor:
        """x (B, U, d) -> (B, U, d)."""
        w = self.gate(x)  # (B, U, n)
        mean = w.mean(dim=-1, keepdim=True)  # (B, U, 1)
        deviation = (w - mean).square().mean(dim=-1, keepdim=True).sqrt()
        # A hair of tolerance: rounding must not drop an expert that is exactly at the limit.
        kept = (w - mean).abs() <= self.alpha * deviation + 1e-6  # (B, U, n)
        kept = kept | ~kept.any(dim=-1, keepdim=True)
        if self.training:
            noise = -torch.log(-torch.log(torch.rand_like(w).clamp(1e-6, 1 - 1e-6)))
            w = (w + noise) / self.temperature
        g = w.masked_fill(~kept, -1e9).softmax(dim=-1)  # (B, U, n); eq. 2
        e = torch.stack([expert(x, orders) for expert in self.experts], dim=-1)  # (B, U, d, n)
        return (e * g[..., None, :]).sum(dim=-1)  # (B, U, d); eq. 3


class Temperature(nn.Module):
    """A learned factor on the queries, and so on the scores of an attention."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class DynamicAttention(Attention):
    """softmax(Q K' / sqrt(d_k) * sigma) V with a learned sigma; eq. 4."""

    def __init__(self, d: int, heads: int, dropout: float) -> None:
        super().__init__(d, heads, dropout)
        self.query = nn.Sequential(self.query, Temperature())


class FusionLayer(nn.Module):
    """One layer of one branch: anchor to second modality, the result to the third, feed-forward."""

    def __init__(self, config: SummerConfig) -> None:
        super().__init__()
        d = config.width
        self.looks = nn.ModuleList(
            DynamicAttention(d, config.heads, config.dropout) for _ in range(2)
        )
        self.feed_forward = nn.Sequential(
            nn.Linear(d, 2 * d), nn.GELU(), nn.Dropout(config.dropout), nn.Linear(2 * d, d)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(d) for _ in range(3))

    def forward(self, h: Tensor, others: list[Tensor], masks: list[Tensor]) -> Tensor:
        """h (B, U, d), the two others and where they may be looked at -> (B, U, d)."""
        for n, look in enumerate(self.looks):  # eq. 5, then eq. 6
            h = self.norms[n](h + self.dropout(look(h, others[n], masks[n])))  # (B, U, d)
        return self.norms[2](h + self.dropout(self.feed_forward(h)))


class Summer(nn.Module):
    """Experts for each modality, three branches with one anchor each, a weighted sum."""

    def __init__(self, config: SummerConfig) -> None:
        super().__init__()
        self.config, d = config, config.width
        self.embed = Embed(config)
        self.speaker = nn.Embedding(config.speakers, d)
        nn.init.normal_(self.speaker.weight, std=0.02)
        self.experts = nn.ModuleList(Experts(config) for _ in range(3))
        self.branches = nn.ModuleList(
            nn.ModuleList(FusionLayer(config) for _ in range(config.layers)) for _ in range(3)
        )
        self.score = nn.Linear(d, 1)
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
        """As `Magt.forward`. The weights are those of the sum over the branches."""
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
        """The same inputs; with what the losses need: the branches are the features."""
        causal = self.config.causal
        seen = modalities & valid[..., None]  # (B, U, 3)
        extra = self.speaker(speakers) + sinusoids(valid, self.config.width)  # (B, U, d)
        h = []
        for m, x in enumerate(self.embed((text, audio, visual), seen)):
            x = x + extra  # (B, U, d); eq. 1
            mixed = self.experts[m](x, moves(seen[..., m], causal))  # (B, U, d); eq. 2, 3
            h.append(torch.where(seen[..., m : m + 1], mixed, x))
        masks = [attention_mask(seen[..., m], causal) for m in range(3)]
        branches = []
        for m, layers in enumerate(self.branches):
            b, others = h[m], [n for n in range(3) if n != m]
            for layer in layers:  # eq. 4-6
                b = layer(b, [h[n] for n in others], [masks[n] for n in others])  # (B, U, d)
            branches.append(b)
        features = torch.stack(branches, dim=2)  # (B, U, 3, d)
        weights = shares(self.score(features).squeeze(-1), seen)  # (B, U, 3)
        fused = (features * weights[..., None]).sum(dim=2)  # (B, U, d)
        return Details(self.classifier(fused), weights, self.classifier(features), features)
