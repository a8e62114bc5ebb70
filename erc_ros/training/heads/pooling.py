"""Late fusion: every sense has its own say, and each may be broken.

With some probability a sense says nothing of the truth: its picture is of somebody else, its sound
is of a radio, its encoder is out of its depth, or people do not show what they feel. So what it
adds is not its evidence, p(c | m) / p(c), but a mixture of that and of no evidence, which is 1:

    p(c | t, a, v) = p(c | t) * product over a, v of (e_m + (1 - e_m) p(c | m) / p(c)) / constant

A sense that says nothing changes nothing; one that is sure of the wrong thing can make an emotion
at most 1 / e_m times less likely. (Without e_m it is the product of experts: Hinton 2002.) Without
text a share of the prior takes its place (all of it would call nearly everything neutral), and the
senses are doubted less, as nothing else is there to go by. There is no context and there are no
speakers: an utterance's answer depends on that utterance alone, and `causal` changes nothing.
`fusion.pooling` fits it: there is nothing to train by gradient descent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from erc_ros.training.heads.base import TEXT, Details, Head, HeadConfig, Inputs


def doubted(evidence: Tensor, broken: Tensor) -> Tensor:
    """What is left of log p(c | m) / p(c) where a sense may be broken, with that probability."""
    return torch.where(broken > 0, (broken + (1 - broken) * evidence.exp()).log(), evidence)


@dataclass(frozen=True, slots=True)
class PoolingConfig(HeadConfig):
    """Nothing but the sizes of what goes in and comes out; `width` and dropout mean nothing."""


class Pooling(Head):
    """A linear classifier for each sense, and how often each is taken to be broken."""

    CONFIG = PoolingConfig
    INDEPENDENT = True
    READS_CONTEXT = False

    def __init__(self, config: PoolingConfig) -> None:
        super().__init__(config)
        self.classifiers = nn.ModuleList(
            nn.Linear(size, config.labels) for size in config.embeddings
        )
        self.prior: Tensor
        self.broken: Tensor
        self.share: Tensor
        self.register_buffer("prior", torch.full((config.labels,), -math.log(config.labels)))
        # (2, 3): e_m beside the text, and without it; that of the text is 0
        self.register_buffer("broken", torch.tensor([[0.0, 0.8, 0.8], [0.0, 0.3, 0.3]]))
        self.register_buffer("share", torch.tensor(1.0))  # of the prior, without text

    def fuse(self, inputs: Inputs) -> Details:
        """The weights: text 1, a sense the chance that it is not broken, as shares."""
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
