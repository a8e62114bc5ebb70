"""LPGNet: lightweight parallel interaction attention and dual gates (eq. 4-16, 18).

The paper has text and audio and thus four attentions; here every ordered pair of `modalities` has
one. Positions and speakers are not used. Not specified in the paper: a causal model's global branch
is a running mean; its batch norm uses available utterances only (offline: each conversation once);
a missing modality is masked as key, and a learned vector replaces it as query.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from erc_ros.training.heads.attention import Attention, attention_masks
from erc_ros.training.heads.base import MODALITIES, Details, FusionModel, FusionModelConfig, Inputs
from erc_ros.training.heads.inputs import Embed, shares


@dataclass(frozen=True, slots=True)
class LpgnetConfig(FusionModelConfig):
    """Settings; the paper's width is 768, its dropout 0.1."""

    PARTS: ClassVar[tuple[str, ...]] = ("intra", "inter", "global", "feed_forward", "gates")
    """Attention within and between modalities, global branch, feed-forward, both gates (without
    gates, available modalities have equal weights)."""

    heads: int = 4
    modalities: tuple[str, ...] = MODALITIES
    """Modalities of the model. With text and audio, as in the paper, it has four attentions and no
    parameters for a third modality."""

    def __post_init__(self) -> None:
        FusionModelConfig.__post_init__(self)
        known = [name for name in MODALITIES if name in self.modalities]
        if not known or list(self.modalities) != known:
            raise ValueError(f"modalities is {self.modalities}, must be some of {MODALITIES}")
        if not self.has("intra") and not self.has("inter"):
            raise ValueError("without intra and inter there is no attention; remove one only")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of {self.heads} heads")


class Compress(nn.Module):
    """Global branch: mean over the utterances, 1x1 convolution, batch norm, LeakyReLU; eq. 6."""

    def __init__(self, d: int, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.convolution = nn.Linear(d, d, bias=False)  # equal to a kernel of 1
        self.norm = nn.BatchNorm1d(d)
        self.activation = nn.LeakyReLU()

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """Return the mean over earlier (causal) or all utterances; x (B, U, d), seen (B, U, 1)."""
        total = torch.cumsum(x.masked_fill(~seen, 0.0), dim=1)  # (B, U, d)
        count = torch.cumsum(seen.float(), dim=1)  # (B, U, 1)
        if self.causal:
            h = self.convolution(total / count.clamp_min(1.0))  # (B, U, d)
            return self.activation(self._normalised(h, seen))
        # Normalize one mean per conversation: repeated ones would weight long conversations more.
        h = self.convolution(total[:, -1:] / count[:, -1:].clamp_min(1.0))  # (B, 1, d)
        has_any = seen.any(dim=1, keepdim=True)  # (B, 1, 1)
        return self.activation(self._normalised(h, has_any)).expand_as(x)

    def _normalised(self, h: Tensor, seen: Tensor) -> Tensor:
        rows = seen[..., 0]  # (B, U)
        if not self.training:
            return self.norm(h.flatten(0, 1)).view_as(h)
        result = torch.zeros_like(h)
        if int(rows.sum()) > 1:  # a single one has no variance
            result[rows] = self.norm(h[rows])
        return result


class Interaction(nn.Module):
    """A parallel attention with both refinements (section 3.3)."""

    def __init__(self, config: LpgnetConfig) -> None:
        super().__init__()
        d = config.width
        self.attention = Attention(d, config.heads, config.dropout)  # eq. 4, 5
        self.compress = Compress(d, config.causal) if config.has("global") else None
        self.norm = nn.LayerNorm(d)
        self.feed_forward = (
            nn.Sequential(
                nn.Linear(d, 2 * d), nn.GELU(), nn.Dropout(config.dropout), nn.Linear(2 * d, d)
            )
            if config.has("feed_forward")
            else None
        )

    def forward(self, query: Tensor, source: Tensor, mask: Tensor, seen: Tensor) -> Tensor:
        """Return (B, U, d); query, source (B, U, d), mask (B, 1, U, U), seen (B, U, 1): query's."""
        attended = self.attention(query, source, mask)  # (B, U, d); eq. 4, 5
        h = query + attended  # (B, U, d)
        if self.compress is not None:
            h = h + self.compress(attended, seen)  # (B, U, d); eq. 6
        h = self.norm(h)  # (B, U, d); eq. 7
        return h if self.feed_forward is None else h + self.feed_forward(h)  # (B, U, d); eq. 8


class Lpgnet(FusionModel):
    """Parallel attentions with a gate each, a gate over the modalities, a classifier."""

    CONFIG = LpgnetConfig

    def __init__(self, config: LpgnetConfig) -> None:
        super().__init__(config)
        d = config.width
        self.used = [MODALITIES.index(name) for name in config.modalities]
        sizes = tuple(config.embeddings[m] for m in self.used)
        self.embed = Embed(config, sizes)
        self.sources = [
            [n for n in range(len(sizes)) if config.has("intra" if n == m else "inter")]
            for m in range(len(sizes))
        ]  # source modalities of each
        self.interactions = nn.ModuleList(
            nn.ModuleList(Interaction(config) for _ in sources) for sources in self.sources
        )
        gates = config.has("gates")
        self.gates = nn.ModuleList(
            nn.ModuleList(nn.Linear(d, d, bias=False) for _ in sources if gates)
            for sources in self.sources
        )
        self.join = nn.ModuleList(nn.Linear(len(sources) * d, d) for sources in self.sources)
        self.score = nn.Linear(len(sizes) * d, len(sizes)) if gates else None
        self.classifier = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(d, config.labels))
        self.unimodal = nn.ModuleList(nn.Linear(d, config.labels) for _ in sizes)

    def fuse(self, inputs: Inputs) -> Details:
        """Compute the fusion; weights: multimodal gate; every modality is a student (eq. 18)."""
        seen = torch.stack([inputs.seen[..., m] for m in self.used], dim=-1)  # (B, U, M)
        h = self.embed(tuple(inputs.embeddings[m] for m in self.used), seen)  # M x (B, U, d)
        masks = attention_masks(seen, self.config.causal, self.config.reach)  # M x (B, 1, U, U)
        refined = []
        for m, query in enumerate(h):
            looks = []
            for k, n in enumerate(self.sources[m]):
                here = seen[..., m : m + 1]  # (B, U, 1)
                look = self.interactions[m][k](query, h[n], masks[n], here)  # (B, U, d); eq. 3-8
                if self.score is not None:
                    look = look * torch.sigmoid(self.gates[m][k](look))  # (B, U, d); eq. 9-11
                looks.append(look)
            refined.append(self.join[m](torch.cat(looks, dim=-1)))  # (B, U, d); eq. 12
        scores = torch.zeros_like(seen, dtype=h[0].dtype)  # (B, U, M)
        if self.score is not None:
            scores = self.score(torch.cat(refined, dim=-1))
        weights = shares(scores, seen)  # (B, U, M); eq. 13
        features = torch.stack(refined, dim=2)  # (B, U, M, d)
        fused = (features * weights[..., None]).sum(dim=2)  # (B, U, d); eq. 14
        unimodal = [classify(x) for classify, x in zip(self.unimodal, refined, strict=True)]
        logits = self.classifier(fused)  # (B, U, C); eq. 15, 16 without its softmax
        return Details(
            logits,
            self._of_all(weights[..., None])[..., 0],
            self._of_all(torch.stack(unimodal, dim=2)),
            self._of_all(features),
        )

    def _of_all(self, x: Tensor) -> Tensor:
        """Expand (B, U, M, k) of the model's modalities to (B, U, 3, k), 0 for the others."""
        nothing = torch.zeros_like(x[..., 0, :])
        parts = [
            x[..., self.used.index(m), :] if m in self.used else nothing
            for m in range(len(MODALITIES))
        ]
        return torch.stack(parts, dim=-2)


class FrameLpgnet(nn.Module):
    """LPGNet (Frame): the same network over the tokens and frames of one utterance.

    Its n-th token and n-th frame take the place of the n-th utterance of a conversation. The
    prediction is the mean over these positions, which the paper does not specify.

    Raises:
        ValueError: the configuration is causal; an utterance is read as a whole.
    """

    def __init__(self, config: LpgnetConfig) -> None:
        super().__init__()
        if config.causal:
            raise ValueError("an utterance is read as a whole, so causal must be False")
        self.config = config
        self.head = Lpgnet(config)

    def forward(self, sequences: Mapping[str, tuple[Tensor, Tensor]]) -> Details:
        """Return outputs as of N conversations of one utterance each.

        sequences: modality -> tokens or frames (N, L, d_m) and their mask (N, L) bool; L differs
        between modalities.
        """
        longest = max(states.shape[1] for states, _ in sequences.values())
        count = len(next(iter(sequences.values()))[0])
        some = next(self.head.parameters())
        embeddings, seen = [], []
        for size, name in zip(self.config.embeddings, MODALITIES, strict=True):
            states, there = sequences.get(
                name, (some.new_zeros(count, 0, size), some.new_zeros(count, 0, dtype=torch.bool))
            )
            behind = longest - states.shape[1]
            embeddings.append(pad(states, (0, 0, 0, behind)))  # (N, L, d_m)
            seen.append(pad(there, (0, behind)))  # (N, L)
        here = torch.stack(seen, dim=-1)  # (N, L, 3)
        valid = here.any(dim=-1)  # (N, L)
        unknown = torch.zeros_like(valid, dtype=torch.long)
        details = self.head.details(*embeddings, here, unknown, valid)
        return Details(
            _mean(details.logits, valid),
            _mean(details.weights, valid),
            _mean(details.unimodal, here),
            _mean(details.features, here),
        )


def _mean(x: Tensor, there: Tensor) -> Tensor:
    """Return the masked mean (N, 1, ..., k): x (N, L, ..., k), there (N, L, ...)."""
    weights = there[..., None].to(x.dtype)
    total = (x * weights).sum(dim=1, keepdim=True)
    return total / weights.sum(dim=1, keepdim=True).clamp_min(1.0)
