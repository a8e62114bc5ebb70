"""The baseline of MAGTKD (figure 3): a layer per modality, put side by side, one classifier.

It has no context and no speakers: an utterance's answer depends on that utterance alone, and
`causal` changes nothing. What the paper leaves open: the shared module is one linear layer with
GELU and a shortcut; a missing modality is zeros in its place.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from erc_ros.training.fusion.inputs import Details, HeadConfig, blank, visible


@dataclass(frozen=True, slots=True)
class ConcatConfig(HeadConfig):
    """Nothing but the sizes; the paper's width is 768."""


class Concat(nn.Module):
    """Linear, norm, dropout per modality; a module shared by the three; a linear classifier."""

    def __init__(self, config: ConcatConfig) -> None:
        super().__init__()
        self.config, d = config, config.width
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

    def forward(
        self,
        text: Tensor,
        audio: Tensor,
        visual: Tensor,
        modalities: Tensor,
        speakers: Tensor,
        valid: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """As `Magt.forward`. The weights are equal for all modalities seen: nothing weighs them."""
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
        """The same inputs; with what the losses need."""
        seen = visible(modalities, valid, speakers)  # (B, U, 3)
        h = []
        for m, x in enumerate((text, audio, visual)):
            here = seen[..., m : m + 1]  # (B, U, 1)
            x = self.project[m](blank(x, here))  # (B, U, d)
            h.append(blank(x + self.shared(x), here))  # (B, U, d)
        logits = self.classifier(torch.cat(h, dim=-1))  # (B, U, C)
        unimodal = [classify(x) for classify, x in zip(self.unimodal, h, strict=True)]
        weights = seen.float() / seen.sum(dim=-1, keepdim=True).clamp_min(1)
        return Details(logits, weights, torch.stack(unimodal, dim=2), torch.stack(h, dim=2))
