"""A fusion model: each utterance next to the mean of the conversation so far."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from erc_ros.training.heads.base import Details, FusionModel, FusionModelConfig, Inputs


@dataclass(frozen=True, slots=True)
class ConversationMeanConfig(FusionModelConfig):
    """The common sizes of fusion models, and the number of layers."""

    layers: int = 1
    """Number of hidden layers of the classifier."""


class ConversationMean(FusionModel):
    """A projection per modality and a classifier of the utterance and the mean of earlier ones."""

    CONFIG = ConversationMeanConfig

    def __init__(self, config: ConversationMeanConfig) -> None:
        super().__init__(config)
        d = config.width
        self.project = nn.ModuleList(
            nn.Sequential(nn.Dropout(config.input_dropout), nn.Linear(size, d), nn.Tanh())
            for size in config.embeddings
        )
        hidden: list[nn.Module] = []
        for _ in range(config.layers):
            hidden += [nn.Linear(2 * d if not hidden else d, d), nn.ReLU()]
        self.classifier = nn.Sequential(
            *hidden, nn.Dropout(config.dropout), nn.Linear(d if hidden else 2 * d, config.labels)
        )
        self.unimodal = nn.ModuleList(nn.Linear(d, config.labels) for _ in range(3))

    def fuse(self, inputs: Inputs) -> Details:
        """Fuse the modalities; padding is excluded from the mean."""
        seen = inputs.seen.float()  # (B, U, 3)
        parts = [
            project(x) * seen[..., m : m + 1]
            for m, (project, x) in enumerate(zip(self.project, inputs.embeddings, strict=True))
        ]  # 3 x (B, U, d)
        weights = seen / seen.sum(-1, keepdim=True).clamp_min(1)  # (B, U, 3)
        now = (torch.stack(parts, -1) * weights[..., None, :]).sum(-1)  # (B, U, d)
        logits = self.classifier(torch.cat([now, self.mean(now, seen)], -1))  # (B, U, C)
        each = [classify(x) for classify, x in zip(self.unimodal, parts, strict=True)]
        return Details(logits, weights, torch.stack(each, 2), torch.stack(parts, 2))

    def loss(self, details: Details, seen: Tensor, labels: Tensor) -> Tensor:
        """Return the cross-entropy of the fusion, and of each modality's own classifier."""
        known = labels >= 0  # (B, U)
        total = cross_entropy(details.logits[known], labels[known])
        for m in range(3):
            here = known & seen[..., m]
            if here.any():
                total = total + cross_entropy(details.unimodal[..., m, :][here], labels[here]) / 3
        return total

    def mean(self, now: Tensor, seen: Tensor) -> Tensor:
        """Return the mean (B, U, d) of the utterances up to each one, or of the conversation."""
        is_valid = seen.amax(-1, keepdim=True)  # (B, U, 1); 0 for padding and missing input
        total, count = now * is_valid, is_valid
        if self.config.causal:
            total, count = total.cumsum(1), count.cumsum(1)
        else:
            total, count = total.sum(1, keepdim=True), count.sum(1, keepdim=True)
        return (total / count.clamp_min(1)).expand_as(now)
