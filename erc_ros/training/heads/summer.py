"""SUMMER: sparse dynamic mixture of experts, hierarchical cross-modal fusion (eq. 1-6).

Not specified in the paper: a causal model's experts are GRUs, those of an offline one BiGRUs with
half the width per direction; an expert processes only the utterances with its modality; the output
is the sum of the three branches weighted by a learned score. The paper's alpha = 2 never drops an
expert: n numbers are at most sqrt(n - 1) standard deviations from their mean, and n is 4 here.
Therefore alpha has to be tuned; if it would drop all experts, all are kept. The interactive
distillation is `losses.interactive`; its teacher is this model, trained on text alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from erc_ros.training.heads.attention import Attention, attention_masks
from erc_ros.training.heads.base import Details, FusionModel, FusionModelConfig, Inputs
from erc_ros.training.heads.context import moves
from erc_ros.training.heads.inputs import Embed, shares, sinusoids


@dataclass(frozen=True, slots=True)
class SummerConfig(FusionModelConfig):
    """Settings; in the paper width 1024, 4 heads, 6 layers, alpha 2, temperature 0.5."""

    PARTS: ClassVar[tuple[str, ...]] = ("experts", "fusion")
    """SDMoE; HCMF (without it, each branch is one modality)."""

    heads: int = 4
    layers: int = 1
    """Layers of each branch of the cross-modal fusion."""
    experts: int = 4
    """Number of experts per modality."""
    alpha: float = 1.0
    """An expert is kept if its weight is within `alpha` standard deviations of the mean."""
    temperature: float = 0.5
    """Temperature of the Gumbel softmax over the kept experts, in training."""

    def __post_init__(self) -> None:
        FusionModelConfig.__post_init__(self)
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


class Experts(nn.Module):
    """Sparse dynamic mixture of experts, n for each modality (section III-D).

    An expert is a GRU over the available utterances; offline, one in each direction.
    """

    def __init__(self, config: SummerConfig) -> None:
        super().__init__()
        d, n = config.width, config.experts
        size = d if config.causal else d // 2
        self.alpha, self.temperature = config.alpha, config.temperature
        self.gates = nn.ModuleList(nn.Linear(d, n) for _ in range(3))
        self.directions = nn.ModuleList(
            nn.ModuleList(nn.GRU(d, size, batch_first=True) for _ in range(3 * n))
            for _ in range(1 if config.causal else 2)
        )

    def forward(self, x: list[Tensor], orders: list[list[Tensor]]) -> list[Tensor]:
        """Return (B, U, d) of each modality; x (B, U, d) and orders (`moves`) of each.

        Zeros where the modality is missing.
        """
        h = []
        for k, grus in enumerate(self.directions):
            order = torch.stack([o[k] for o in orders])  # (3, B, U, U)
            y = order @ torch.stack(x)  # (3, B, U, d): available ones first, then zeros
            y = run(grus, y).unflatten(0, (3, -1))  # (3, n, B, U, d or d/2)
            h.append(order.transpose(2, 3)[:, None] @ y)  # back to the original order
        experts = torch.cat(h, dim=-1)  # (3, n, B, U, d)
        mixed = []
        for gate, of_one, e in zip(self.gates, x, experts, strict=True):
            g = self.shares(gate(of_one)).permute(2, 0, 1)[..., None]  # (n, B, U, 1)
            mixed.append((e * g).sum(dim=0))  # (B, U, d); eq. 3
        return mixed

    def shares(self, w: Tensor) -> Tensor:
        """Return the shares of the experts for weights (B, U, n): sum 1, 0 for dropped ones."""
        mean = w.mean(dim=-1, keepdim=True)  # (B, U, 1)
        deviation = (w - mean).square().mean(dim=-1, keepdim=True).sqrt()
        # Tolerance: rounding must not drop an expert that is exactly at the limit.
        kept = (w - mean).abs() <= self.alpha * deviation + 1e-6  # (B, U, n)
        kept = kept | ~kept.any(dim=-1, keepdim=True)
        if self.training:
            noise = -torch.log(-torch.log(torch.rand_like(w).clamp(1e-6, 1 - 1e-6)))
            w = (w + noise) / self.temperature
        return w.masked_fill(~kept, -1e9).softmax(dim=-1)  # (B, U, n); eq. 2


def run(grus: nn.ModuleList, x: Tensor) -> Tensor:
    """Run GRUs of equal size, the same number for each x: (m, B, U, d) -> (len(grus), B, U, k).

    In training all GRUs are computed as a batch: a dozen small ones in sequence, with their
    backward passes, would take most of the time. The exported model has separate GRUs.
    """
    each = len(grus) // len(x)
    if not torch.is_grad_enabled() or torch.jit.is_tracing():
        return torch.stack([gru(x[number // each])[0] for number, gru in enumerate(grus)])
    weights = [gru.all_weights[0] for gru in grus]
    w, r, b, c = (torch.stack(same) for same in zip(*weights, strict=True))  # (n, 3k, d) ...
    x = x.repeat_interleave(each, dim=0)  # (n, B, U, d)
    given = x @ w.transpose(1, 2)[:, None] + b[:, None, None]  # (n, B, U, 3k)
    h = given.new_zeros(len(grus), x.shape[1], r.shape[-1])  # (n, B, k)
    states = []
    for now in given.unbind(dim=2):  # (n, B, 3k)
        past = torch.baddbmm(c[:, None], h, r.transpose(1, 2))  # (n, B, 3k)
        (i, i_new), (p, p_new) = (t.tensor_split([2 * h.shape[-1]], dim=-1) for t in (now, past))
        reset, keep = torch.sigmoid(i + p).chunk(2, dim=-1)  # (n, B, k) each
        h = torch.lerp(torch.tanh(i_new + reset * p_new), h, keep)  # (n, B, k)
        states.append(h)
    return torch.stack(states, dim=2)  # (n, B, U, k)


class Temperature(nn.Module):
    """A learned factor of the queries, which scales the scores of an attention."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class DynamicAttention(Attention):
    """Attention softmax(Q K' / sqrt(d_k) * sigma) V with a learned sigma; eq. 4."""

    def __init__(self, d: int, heads: int, dropout: float) -> None:
        super().__init__(d, heads, dropout)
        self.query = nn.Sequential(self.query, Temperature())


class FusionLayer(nn.Module):
    """A layer of a branch: anchor attends to the second, then third modality; feed-forward."""

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
        """Return (B, U, d); h (B, U, d), the two other modalities and their attention masks."""
        for n, look in enumerate(self.looks):  # eq. 5, then eq. 6
            h = self.norms[n](h + self.dropout(look(h, others[n], masks[n])))  # (B, U, d)
        return self.norms[2](h + self.dropout(self.feed_forward(h)))


class Summer(FusionModel):
    """Experts for each modality, three branches with one anchor each, a weighted sum."""

    CONFIG = SummerConfig

    def __init__(self, config: SummerConfig) -> None:
        super().__init__(config)
        d = config.width
        self.embed = Embed(config)
        self.speaker = nn.Embedding(config.speakers, d)
        nn.init.normal_(self.speaker.weight, std=0.02)
        self.experts = Experts(config) if config.has("experts") else None
        layers = config.layers * config.has("fusion")
        self.branches = nn.ModuleList(
            nn.ModuleList(FusionLayer(config) for _ in range(layers)) for _ in range(3)
        )
        self.score = nn.Linear(d, 1)
        self.classifier = nn.Sequential(
            nn.LayerNorm(d), nn.Dropout(config.dropout), nn.Linear(d, config.labels)
        )

    def fuse(self, inputs: Inputs) -> Details:
        """Compute the fusion; weights: those of the sum of branches, which are the features."""
        seen, causal = inputs.seen, self.config.causal
        extra = self.speaker(inputs.speakers) + sinusoids(inputs.valid, self.config.width)
        h = [x + extra for x in self.embed(inputs.embeddings, seen)]  # 3 x (B, U, d); eq. 1
        if self.experts is not None:
            mixed = self.experts(h, [moves(seen[..., m], causal) for m in range(3)])  # eq. 2, 3
            h = [torch.where(seen[..., m : m + 1], mixed[m], h[m]) for m in range(3)]
        masks = attention_masks(seen, causal, self.config.reach)  # 3 x (B, 1, U, U)
        branches = []
        for m, layers in enumerate(self.branches):
            b, others = h[m], [n for n in range(3) if n != m]
            for layer in layers:
                b = layer(b, [h[n] for n in others], [masks[n] for n in others])  # eq. 4-6
            branches.append(b)  # (B, U, d)
        features = torch.stack(branches, dim=2)  # (B, U, 3, d)
        weights = shares(self.score(features).squeeze(-1), seen)  # (B, U, 3)
        fused = (features * weights[..., None]).sum(dim=2)  # (B, U, d)
        return Details(self.classifier(fused), weights, self.classifier(features), features)
