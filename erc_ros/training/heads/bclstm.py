"""A bidirectional LSTM over the utterances: the baseline of the published features (bc-LSTM).

Poria et al. (ACL 2017) with one level: concatenated modalities, one LSTM in each direction, a
linear classifier. A causal model has the forward direction only.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from erc_ros.training.heads.base import Details, FusionModel, FusionModelConfig, Inputs
from erc_ros.training.heads.context import moves
from erc_ros.training.heads.inputs import Embed, shares


@dataclass(frozen=True, slots=True)
class BcLstmConfig(FusionModelConfig):
    """Sizes only; width is that of each direction."""


class BcLstm(FusionModel):
    """Concatenated embeddings, LSTMs, a linear classifier."""

    CONFIG = BcLstmConfig

    def __init__(self, config: BcLstmConfig) -> None:
        super().__init__(config)
        d = config.width
        self.embed = Embed(config)
        self.lstms = nn.ModuleList(
            nn.LSTM(3 * d, d, batch_first=True) for _ in range(1 if config.causal else 2)
        )
        self.classifier = nn.Sequential(
            nn.Dropout(config.dropout), nn.Linear(len(self.lstms) * d, config.labels)
        )
        self.unimodal = nn.ModuleList(nn.Linear(d, config.labels) for _ in range(3))

    def fuse(self, inputs: Inputs) -> Details:
        """Compute the fusion; modality weights are equal for all available modalities."""
        seen = inputs.seen
        h = self.embed(inputs.embeddings, seen)  # 3 x (B, U, d)
        x = torch.cat(h, dim=-1)  # (B, U, 3d)
        states = []
        for lstm, order in zip(
            self.lstms, moves(inputs.valid, self.config.causal), strict=True
        ):  # order (B, U, U) moves valid utterances to the front
            states.append(order.transpose(1, 2) @ lstm(order @ x)[0])  # (B, U, d)
        logits = self.classifier(torch.cat(states, dim=-1))  # (B, U, C)
        unimodal = [classify(x) for classify, x in zip(self.unimodal, h, strict=True)]
        weights = shares(torch.zeros_like(seen, dtype=logits.dtype), seen)  # (B, U, 3)
        return Details(logits, weights, torch.stack(unimodal, dim=2), torch.stack(h, dim=2))
