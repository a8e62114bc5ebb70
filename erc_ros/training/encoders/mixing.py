"""Targets that the trainings of voice and face share: mixed examples, negatives, smoothing."""

from __future__ import annotations

import torch
from torch import Tensor


def mixup_share(alpha: float, generator: torch.Generator) -> float:
    """Draw a share from Beta(alpha, alpha), at most 0.5 (mixup, Zhang et al. 2018)."""
    draws = torch._sample_dirichlet(torch.full((1, 2), alpha), generator=generator)
    return float(draws.min())


def insert_negatives(inputs: Tensor, target: Tensor, negatives: Tensor) -> None:
    """Replace the first examples by negatives, for which every label is equally probable; in place.

    Args:
        inputs: (B, ...).
        target: (B, C) probabilities of the labels.
        negatives: (K, ...) inputs without a face or voice; K <= B.
    """
    inputs[: len(negatives)] = negatives
    target[: len(negatives)] = 1 / target.shape[1]


def smoothed(target: Tensor, share: float) -> Tensor:
    """Mix probabilities (B, C) with the uniform distribution (label smoothing)."""
    return target * (1 - share) + share / target.shape[1]


def cross_entropy(log_probabilities: Tensor, target: Tensor) -> Tensor:
    """Return the cross-entropy (B,) with targets that are probabilities; both (B, C)."""
    return -(target * log_probabilities).sum(dim=1)
