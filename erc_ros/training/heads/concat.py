"""The baseline of MAGTKD (figure 3): a layer per modality, concatenation, one classifier.

It uses neither context nor speakers, so that `causal` has no effect. Not specified in the paper:
the shared module is one linear layer with GELU and a residual connection; a missing modality is
replaced by zeros.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from erc_ros.training.heads.base import Details, FusionModel, FusionModelConfig, Inputs, blank


@dataclass(frozen=True, slots=True)
class ConcatConfig(FusionModelConfig):
    """Sizes only; the paper's width is 768."""


class Concat(FusionModel):
    """Linear, norm, dropout per modality; a module shared by the three; a linear classifier."""

    CONFIG = ConcatConfig
    READS_CONTEXT = False

    def __init__(self, config: ConcatConfig) -> None:
        super().__init__(config)
        d = config.width
        self.project = nn.ModuleList(
            nn.Sequential(
                nn.Dropout(config.input_dropout),
                nn.Linear(size, d),
                nn.LayerNorm(d),
                nn.Dropout(config.dropout),
            )
            for size in config.embeddings
        )
        self.shared = nn.Sequential(nn.Linear(d, d), nn.GELU())
        self.classifier = nn.Linear(3 * d, config.labels)
        self.unimodal = nn.ModuleList(nn.Linear(d, config.labels) for _ in range(3))

    def fuse(self, inputs: Inputs) -> Details:
        """Compute the fusion; modality weights are equal for all available modalities."""
        seen, h = inputs.seen, []
        for m, x in enumerate(inputs.embeddings):
            x = self.project[m](x)  # (B, U, d)
            h.append(blank(x + self.shared(x), seen[..., m : m + 1]))  # (B, U, d)
        logits = self.classifier(torch.cat(h, dim=-1))  # (B, U, C)
        unimodal = [classify(x) for classify, x in zip(self.unimodal, h, strict=True)]
        weights = seen.float() / seen.sum(dim=-1, keepdim=True).clamp_min(1)  # (B, U, 3)
        return Details(logits, weights, torch.stack(unimodal, dim=2), torch.stack(h, dim=2))
