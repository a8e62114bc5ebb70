"""Exponential moving average (EMA) of a model, and DDVLM's self-distillation from it (3.4)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from erc_ros.training.losses import softened_kl


class Ema:
    """Moving average: theta_teacher <- decay * theta_teacher + (1 - decay) * theta_student.

    `update` is called after every optimizer step.

    `model` is the teacher: a copy of the student at the beginning, in eval mode, never trained.
    """

    def __init__(self, student: nn.Module, decay: float = 0.99) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay is {decay}, must be in [0, 1)")
        self.decay = decay
        self.model = copy.deepcopy(student).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, student: nn.Module) -> None:
        """Update the average, also its device. Integers (counters) are copied.

        Raises:
            ValueError: the weights' names differ from those of the initial student.
        """
        its = _tensors(student)
        mine = _tensors(self.model.to(next(iter(its.values())).device))
        if mine.keys() != its.keys():
            raise ValueError(f"not the same model: {sorted(mine.keys() ^ its.keys())[:4]}")
        for name, value in its.items():
            if value.is_floating_point():
                mine[name].lerp_(value.to(mine[name]), 1 - self.decay)
            else:
                mine[name].copy_(value)


@dataclass(frozen=True, slots=True)
class SelfDistillationConfig:
    """Settings of `EmaDistillation`; the defaults are DDVLM's (table 2)."""

    decay: float = 0.99
    weight: float = 0.3
    """Weight of the moving average's predictions; the labels have 1 - weight."""
    temperature: float = 2.0
    warm_epochs: float = 1.0
    """Epochs with the labels only."""


class EmaDistillation:
    """Self-distillation with the student's moving average as teacher (DDVLM, section 3.4).

    For the first `warm_epochs` the loss is `hard`; then
    (1 - weight) * hard + weight * tau^2 KL(teacher || student). The defaults are the paper's.

        distilled = EmaDistillation(model)

        def loss(model, batch):
            logits = model(batch.ids, batch.mask, batch.asked_at)  # (N, C)
            hard = cross_entropy(logits, batch.target)
            return distilled(
                hard, logits, lambda teacher: teacher(batch.ids, batch.mask, batch.asked_at)
            )

        fit(model, ..., loss=loss, after_step=distilled.after_step, stateful=[distilled])
    """

    def __init__(
        self,
        model: nn.Module,
        decay: float = 0.99,
        weight: float = 0.3,
        temperature: float = 2.0,
        warm_epochs: float = 1.0,
    ) -> None:
        if not 0 < weight <= 1:
            raise ValueError(f"weight is {weight}, must be in (0, 1]")
        if not temperature > 0:
            raise ValueError(f"temperature is {temperature}, must be positive")
        if warm_epochs < 0:
            raise ValueError(f"warm_epochs is {warm_epochs}, must not be negative")
        self.ema = Ema(model, decay)
        self.weight, self.temperature, self.warm_epochs = weight, temperature, warm_epochs
        self._epochs = 0.0  # since the start of the training, such as 1.25

    def __call__(self, hard: Tensor, student: Tensor, ask: Callable[[Any], Tensor]) -> Tensor:
        """Return the loss of a batch.

        Args:
            hard: scalar, the cross-entropy with the labels.
            student: its logits (N, C).
            ask: teacher -> its logits (N, C) of the same batch; not called in `warm_epochs`.
        """
        if self._epochs < self.warm_epochs:
            return hard
        with torch.no_grad():
            teacher = ask(self.ema.model.to(student.device))  # (N, C)
        soft = softened_kl(student.float(), teacher.float(), self.temperature)
        return (1 - self.weight) * hard + self.weight * soft

    def after_step(self, model: nn.Module, epochs: float) -> None:
        """Update the teacher after every optimizer step (a hook of `trainer.fit`)."""
        self.ema.update(model)
        self._epochs = epochs

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {"teacher": self.ema.model.state_dict(), "epochs": self._epochs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        self.ema.model.load_state_dict(state["teacher"])
        self._epochs = float(state["epochs"])


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return weights and buffers by name; shared ones once, or they would be updated twice."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}
