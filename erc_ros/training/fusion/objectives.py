"""Training objectives of the papers' fusion models: the loss of a batch, with its teacher.

| objective | paper | teacher |
|---|---|---|
| `cross_entropy` | Concat, and every model without its paper's objective | - |
| `own` | `FusionModel.loss` of a model that overrides it | - |
| `magtkd` | MAGTKD, second stage, eq. 25 | the text branch |
| `summer` | SUMMER, interactive distillation, eq. 10 | the same model on text alone, frozen |
| `lpgnet` | LPGNet, self-distillation, eq. 22 | the fused prediction |
| `ddvlm` | DDVLM, sections 3.4 and 3.5 | moving average of the model, and the text branch |
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from erc_ros.training import losses
from erc_ros.training.ema import Ema
from erc_ros.training.heads.base import TEXT, Details, FusionModel
from erc_ros.training.heads.registry import head_class


@dataclass(frozen=True, slots=True)
class CrossEntropyObjective:
    """Cross-entropy with the labels."""

    TEACHER: ClassVar[bool] = False
    """Whether a trained teacher is needed."""


@dataclass(frozen=True, slots=True)
class OwnObjective:
    """The loss of the model's class."""

    TEACHER: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class MagtkdObjective:
    """The paper's weights for MELD; for IEMOCAP 0.7 and 0.8. Both 0: cross-entropy."""

    TEACHER: ClassVar[bool] = False
    alpha: float = 0.01
    beta: float = 0.09
    normalized: bool = True
    """Similarities are cosines; False: dot products, as printed in eq. 10-12."""


@dataclass(frozen=True, slots=True)
class SummerObjective:
    """SUMMER's weights k1, k2, k3: distillation, cross-entropy and label smoothing."""

    TEACHER: ClassVar[bool] = True
    weights: tuple[float, float, float] = (0.4, 0.3, 0.3)
    align: str = "student"
    """The classifier of the student's loss in eq. 8: its own (`student`), or the teacher's, applied
    to its intermediate features as in eq. 7 (`teacher`). The paper's text permits both."""

    def __post_init__(self) -> None:
        if self.align not in ("student", "teacher"):
            raise ValueError(f"align is {self.align!r}, must be 'student' or 'teacher'")


@dataclass(frozen=True, slots=True)
class LpgnetObjective:
    """LPGNet's weights of the task, of the students' cross-entropy and of their KL."""

    TEACHER: ClassVar[bool] = False
    weights: tuple[float, float, float] = (1.5, 1.0, 0.3)


@dataclass(frozen=True, slots=True)
class DdvlmObjective:
    """DDVLM's: cross-entropy, moving average of the teacher, and distillation of the text."""

    TEACHER: ClassVar[bool] = False
    hard: float = 0.7
    """Share of the cross-entropy; 1: no self-distillation."""
    decay: float = 0.99
    cross_modal: tuple[float, float] = (1.0, 1.0)
    """Weights of the response and the feature loss; both 0: no cross-modal distillation."""


ObjectiveConfig = (
    CrossEntropyObjective
    | OwnObjective
    | MagtkdObjective
    | SummerObjective
    | LpgnetObjective
    | DdvlmObjective
)
OBJECTIVES: dict[str, type[ObjectiveConfig]] = {
    "cross_entropy": CrossEntropyObjective,
    "own": OwnObjective,
    "magtkd": MagtkdObjective,
    "summer": SummerObjective,
    "lpgnet": LpgnetObjective,
    "ddvlm": DdvlmObjective,
}


def objective_of(head: str) -> str:
    """Return the name of the objective of a model's paper or class."""
    if head in OBJECTIVES:
        return head
    return "cross_entropy" if head_class(head).loss is FusionModel.loss else "own"


class Objective:
    """The loss of one training, with its teacher. `after_step` is a hook of `trainer.fit`."""

    def __init__(
        self, config: ObjectiveConfig, student: FusionModel, teacher: FusionModel | None = None
    ) -> None:
        """Create an objective.

        Args:
            config: its type and weights.
            student: the model to train.
            teacher: for SUMMER: the same model, trained on text alone.

        Raises:
            ValueError: a teacher is missing, or of another width.
        """
        self.config = config
        self.epochs = 0.0  # epochs since the training began, such as 1.25
        if config.TEACHER and teacher is None:
            raise ValueError(f"{type(config).__name__} needs a teacher: train one on text alone")
        if teacher is not None and teacher.config.width != student.config.width:
            raise ValueError(
                f"the teacher's width is {teacher.config.width}, the student's"
                f" {student.config.width}: its classifier must fit the student's features"
            )
        self._teacher = None
        if teacher is not None:
            self._teacher = copy.deepcopy(teacher).eval().requires_grad_(False)
        self._ema: Ema | None = None
        if isinstance(config, DdvlmObjective) and config.hard < 1:
            self._ema = Ema(student, config.decay)

    def after_step(self, student: nn.Module, epochs: float) -> None:
        """Update the moving average after each optimizer step."""
        self.epochs = epochs
        if self._ema is not None:
            self._ema.update(student)

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        average = {} if self._ema is None else self._ema.model.state_dict()
        return {"epochs": self.epochs, "average": average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        self.epochs = float(state["epochs"])
        if self._ema is not None:
            self._ema.model.load_state_dict(state["average"])

    def __call__(self, student: FusionModel, batch: Mapping[str, Tensor], labels: Tensor) -> Tensor:
        """Return the loss of a batch, a scalar.

        batch: the inputs of the model. labels (B, U), -100 without a label.

        Raises:
            ValueError: no utterance of the batch has a label.
        """
        known = labels >= 0  # (B, U)
        if not known.any():
            raise ValueError("no utterance of the batch has a label; skip such batches")
        details, seen = student.details(**batch), batch["modalities"]
        config = self.config
        if isinstance(config, OwnObjective):
            return student.loss(details, seen, labels)
        if isinstance(config, MagtkdObjective):
            return losses.anchored_distillation(
                details, seen, labels, config.alpha, config.beta, normalized=config.normalized
            )
        if isinstance(config, LpgnetObjective):
            return losses.self_distillation(details, seen, labels, config.weights)
        if isinstance(config, SummerObjective):
            return self._interactive(details, batch, labels, config)
        if isinstance(config, DdvlmObjective):
            teacher = None
            if self._ema is not None and self.epochs >= 1:  # in the first epoch: labels only
                with torch.no_grad():
                    average: Any = self._ema.model.to(labels.device)
                    teacher = average.details(**batch)
            return losses.residual_distillation(
                details, teacher, seen, labels, config.hard, config.cross_modal
            )
        return cross_entropy(details.logits[known], labels[known])

    def _interactive(
        self, student: Details, batch: Mapping[str, Tensor], labels: Tensor, config: SummerObjective
    ) -> Tensor:
        """Compute SUMMER's loss: the teacher's classifier is applied to every available branch.

        Utterances without text, the teacher's input, are excluded from the distillation.
        """
        assert self._teacher is not None  # checked in __init__
        frozen: Any = self._teacher.to(labels.device)
        only_text = batch["modalities"] & (
            torch.arange(3, device=labels.device) == TEXT
        )  # (B, U, 3)
        with torch.no_grad():
            taught = frozen.details(**{**batch, "modalities": only_text}).logits
        known = labels >= 0  # (B, U)
        here = batch["modalities"] & (known & only_text[..., 0])[..., None]  # (B, U, 3)
        through = frozen.classifier(student.features)[here]  # (M, C)
        teacher = taught[..., None, :].expand_as(student.unimodal)[here]  # (M, C)
        aligned = None
        if config.align == "teacher":
            truth = labels[..., None].expand(here.shape)[here]  # (M,)
            aligned = cross_entropy(through, truth) if len(through) else through.sum()
        return losses.interactive(
            student.logits[known], through, teacher, labels[known], config.weights, aligned
        )
