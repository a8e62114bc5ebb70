"""Masked attention over the utterances of a conversation, shared by the fusion models.

Implemented without `scaled_dot_product_attention`: masked positions have a weight of exactly 0, a
row without any visible position gets zeros instead of NaN, and it can be exported to ONNX.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def attention_mask(keys: Tensor, causal: bool, reach: int = 0) -> Tensor:
    """Return the attention mask (B, 1, U, U) bool for keys (B, U) bool; True: visible.

    Row: query utterance, column: key utterance. reach: number of visible utterances before and
    after the query; 0: all.
    """
    order = torch.cumsum(torch.ones_like(keys, dtype=torch.long), dim=1)  # (B, U), 1, 2, ..., U
    later = order[:, None, :] - order[:, :, None]  # (B, U, U), negative: earlier
    mask = keys[:, None, :] & (later <= 0 if causal else torch.ones_like(later, dtype=torch.bool))
    if reach:
        mask = mask & (later.abs() <= reach)
    return mask[:, None]


def attention_masks(seen: Tensor, causal: bool, reach: int = 0) -> list[Tensor]:
    """Return `attention_mask` of each modality: seen (B, U, 3) bool -> 3 x (B, 1, U, U) bool."""
    return [attention_mask(seen[..., m], causal, reach) for m in range(seen.shape[-1])]


class Attention(nn.Module):
    """Scaled dot-product attention with `heads` heads; d must be a multiple of them."""

    def __init__(self, d: int, heads: int, dropout: float) -> None:
        super().__init__()
        if d % heads:
            raise ValueError(f"width {d} is not a multiple of {heads} heads")
        self.heads = heads
        self.query = nn.Linear(d, d)
        self.key_value = nn.Linear(d, 2 * d)
        self.output = nn.Linear(d, d)
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, source: Tensor, mask: Tensor) -> Tensor:
        """Return (B, U, d); query, source (B, U, d), mask (B, 1, U, U)."""
        q = self._split(self.query(query))  # (B, h, U, d/h)
        k, v = map(self._split, self.key_value(source).chunk(2, dim=-1))  # (B, h, U, d/h) each
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])  # (B, h, U, U)
        weights = scores.masked_fill(~mask, -1e9).softmax(dim=-1)
        # Where everything is masked, softmax is uniform: set these weights to 0.
        weights = self.dropout(weights.masked_fill(~mask, 0.0))
        return self.output((weights @ v).transpose(1, 2).flatten(2))  # (B, U, d)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, U, d) -> (B, h, U, d/h)


class TransformerLayer(nn.Module):
    """Attention and feed-forward, each with a residual connection and post-normalization."""

    def __init__(self, d: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(d, heads, dropout)
        self.feed_forward = nn.Sequential(
            nn.Linear(d, 2 * d), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * d, d)
        )
        self.dropout = nn.Dropout(dropout)
        self.norms = nn.ModuleList([nn.LayerNorm(d), nn.LayerNorm(d)])

    def forward(self, query: Tensor, source: Tensor, mask: Tensor) -> Tensor:
        """Return (B, U, d); query, source (B, U, d), mask (B, 1, U, U)."""
        h = self.norms[0](query + self.dropout(self.attention(query, source, mask)))
        return self.norms[1](h + self.dropout(self.feed_forward(h)))
