"""A model's exponential moving average, the teacher of DDVLM's self-distillation (section 3.4)."""

from __future__ import annotations

import copy

import torch
from torch import nn


class Ema:
    """theta_teacher <- decay * theta_teacher + (1 - decay) * theta_student, after every step.

    `model` is the teacher: a copy of the student at the beginning, in eval mode, never trained.
    """

    def __init__(self, student: nn.Module, decay: float = 0.99) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay is {decay}, must be in [0, 1)")
        self.decay = decay
        self.model = copy.deepcopy(student).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, student: nn.Module) -> None:
        """Follow the student. Buffers that are whole numbers (counters) are copied.

        Raises:
            ValueError: the student has other weights than the one that this began with.
        """
        mine, its = self.model.state_dict(), student.state_dict()
        if mine.keys() != its.keys():
            raise ValueError(f"not the same model: {sorted(mine.keys() ^ its.keys())[:4]}")
        for name, value in its.items():
            if value.is_floating_point():
                mine[name].lerp_(value.to(mine[name]), 1 - self.decay)
            else:
                mine[name].copy_(value)
