"""Masked attention over the utterances of a conversation, shared by the fusion models.

Written out instead of `scaled_dot_product_attention`: what may not be looked at then has a weight
of exactly 0, a row that may look at nothing gets zeros instead of NaN, and ONNX takes it as it is.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def attention_mask(keys: Tensor, causal: bool, reach: int = 0) -> Tensor:
    """Which utterance may look at which: keys (B, U) bool -> (B, 1, U, U) bool, True = may look.

    Row = the utterance that looks, column = the one looked at. reach: how many utterances before
    and after it; 0: all.
    """
    order = torch.cumsum(torch.ones_like(keys, dtype=torch.long), dim=1)  # (B, U), 1, 2, ..., U
    later = order[:, None, :] - order[:, :, None]  # (B, U, U), negative: earlier
    mask = keys[:, None, :] & (later <= 0 if causal else torch.ones_like(later, dtype=torch.bool))
    if reach:
        mask = mask & (later.abs() <= reach)
    return mask[:, None]


def attention_masks(seen: Tensor, causal: bool, reach: int = 0) -> list[Tensor]:
    """`attention_mask` of each modality: seen (B, U, 3) bool -> 3 x (B, 1, U, U) bool."""
    return [attention_mask(seen[..., m], causal, reach) for m in range(seen.shape[-1])]


class Attention(nn.Module):
    """Scaled dot-product attention with `heads` heads; d must be a multiple of them."""

    def __init__(self, d: int, heads: int, dropout: float) -> None:
        super().__init__()
        if d % heads:
            raise ValueError(f"width {d} is no multiple of {heads} heads")
        self.heads = heads
        self.query = nn.Linear(d, d)
        self.key_value = nn.Linear(d, 2 * d)
        self.output = nn.Linear(d, d)
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, source: Tensor, mask: Tensor) -> Tensor:
        """query (B, U, d), source (B, U, d), mask (B, 1, U, U) -> (B, U, d)."""
        q = self._split(self.query(query))  # (B, h, U, d/h)
        k, v = map(self._split, self.key_value(source).chunk(2, dim=-1))  # (B, h, U, d/h) each
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])  # (B, h, U, U)
        weights = scores.masked_fill(~mask, -1e9).softmax(dim=-1)
        # Where everything is masked, softmax is uniform: nothing was looked at, so nothing is seen.
        weights = self.dropout(weights.masked_fill(~mask, 0.0))
        return self.output((weights @ v).transpose(1, 2).flatten(2))  # (B, U, d)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, U, d) -> (B, h, U, d/h)


class TransformerLayer(nn.Module):
    """Attention and feed-forward, each with a shortcut and a normalization behind it."""

    def __init__(self, d: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(d, heads, dropout)
        self.feed_forward = nn.Sequential(
            nn.Linear(d, 2 * d), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * d, d)
        )
        self.dropout = nn.Dropout(dropout)
        self.norms = nn.ModuleList([nn.LayerNorm(d), nn.LayerNorm(d)])

    def forward(self, query: Tensor, source: Tensor, mask: Tensor) -> Tensor:
        """query (B, U, d), source (B, U, d), mask (B, 1, U, U) -> (B, U, d)."""
        h = self.norms[0](query + self.dropout(self.attention(query, source, mask)))
        return self.norms[1](h + self.dropout(self.feed_forward(h)))
