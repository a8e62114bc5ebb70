"""Calibrated late fusion: one linear classifier per modality, each with a probability of failure.

With some probability e_m a modality carries no information: the image shows another person, the
audio is of a radio, or the person does not show the emotion. So its evidence p(c | m) / p(c) is
mixed with no evidence, which is 1:

    p(c | t, a, v) = p(c | t) * product over a, v of (e_m + (1 - e_m) p(c | m) / p(c)) / constant

An uninformative modality changes nothing; a confident error makes an emotion at most 1 / e_m times
less likely. Without e_m this is the product of experts (Hinton 2002). Without text a share of the
prior replaces it, and e_m is lower. The model has no context and no speakers: a result depends on
one utterance alone, and `causal` changes nothing. `fusion.late_fusion` fits it in closed form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from erc_ros.training.heads.base import TEXT, Details, FusionModel, FusionModelConfig, Inputs


def doubted(evidence: Tensor, broken: Tensor) -> Tensor:
    """Return log-evidence log p(c | m) / p(c) of a modality with failure probability `broken`."""
    return torch.where(broken > 0, (broken + (1 - broken) * evidence.exp()).log(), evidence)


@dataclass(frozen=True, slots=True)
class LateFusionConfig(FusionModelConfig):
    """Sizes of inputs and outputs; `width` and dropout have no effect."""


class LateFusion(FusionModel):
    """A linear classifier for each modality, and its probability of failure."""

    CONFIG = LateFusionConfig
    INDEPENDENT = True
    READS_CONTEXT = False

    def __init__(self, config: LateFusionConfig) -> None:
        super().__init__(config)
        self.classifiers = nn.ModuleList(
            nn.Linear(size, config.labels) for size in config.embeddings
        )
        self.prior: Tensor
        self.broken: Tensor
        self.share: Tensor
        self.register_buffer("prior", torch.full((config.labels,), -math.log(config.labels)))
        # (2, 3): e_m with text, and without; e_m of the text is 0
        self.register_buffer("broken", torch.tensor([[0.0, 0.8, 0.8], [0.0, 0.3, 0.3]]))
        self.register_buffer("share", torch.tensor(1.0))  # of the prior, without text

    def fuse(self, inputs: Inputs) -> Details:
        """Compute the fusion; weights: text 1, others 1 - e_m, normalized."""
        seen = inputs.seen  # (B, U, 3)
        logits = [
            classify(x) for classify, x in zip(self.classifiers, inputs.embeddings, strict=True)
        ]
        own = torch.stack(logits, dim=2).log_softmax(dim=-1)  # (B, U, 3, C)
        evidence = own - self.prior  # (B, U, 3, C): log p(c | m) / p(c)
        has_text = seen[..., TEXT : TEXT + 1]  # (B, U, 1)
        e = torch.where(has_text, self.broken[0], self.broken[1])  # (B, U, 3)
        adjusted = doubted(evidence, e[..., None])  # (B, U, 3, C)
        share = torch.where(has_text, torch.ones_like(self.share), self.share)  # (B, U, 1)
        pooled = share * self.prior + (adjusted * seen[..., None]).sum(dim=2)  # (B, U, C)
        shares = (1 - e) * seen
        shares = shares / shares.sum(dim=-1, keepdim=True).clamp_min(1e-6)  # (B, U, 3)
        return Details(pooled, shares, own, own)
