"""A recurrent layer over the conversation in front of a fusion: for embeddings without context.

The papers' text encoders read the dialogue in their prompt. Published features are of single
utterances; the layer gives each modality what the prompt would, as the first level of bc-LSTM
(Poria et al., ACL 2017) does: LSTMs over the utterances in which the modality was seen.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def moves(seen: Tensor, causal: bool) -> list[Tensor]:
    """Return matrices (B, U, U) that move the k-th available utterance to row k.

    seen: (B, U) bool. The second matrix (offline) has the reverse order.
    """
    count = torch.cumsum(seen.long(), dim=1)  # (B, U)
    row = torch.cumsum(torch.ones_like(count), dim=1)[..., None]  # (B, U, 1): 1, 2, ..., U
    places = [count] if causal else [count, count[:, -1:] - count + 1]
    return [((place[:, None, :] == row) & seen[:, None, :]).float() for place in places]


class Context(nn.Module):
    """LSTMs of one modality, one in each direction (causal: forward only), and a projection."""

    def __init__(self, size: int, width: int, dropout: float, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.dropout = nn.Dropout(dropout)
        self.lstms = nn.ModuleList(
            nn.LSTM(size, width, batch_first=True) for _ in range(1 if causal else 2)
        )
        self.output = nn.Linear(len(self.lstms) * width, size)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """x (B, U, d), seen (B, U) bool -> (B, U, d), zeros where not seen."""
        x = self.dropout(x)
        states = [
            order.transpose(1, 2) @ lstm(order @ x)[0]
            for lstm, order in zip(self.lstms, moves(seen, self.causal), strict=True)
        ]  # (B, U, width) each
        y: Tensor = self.output(torch.cat(states, dim=-1))
        return y.masked_fill(~seen[..., None], 0.0)
