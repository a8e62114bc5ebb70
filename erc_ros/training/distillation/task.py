"""A distillation task: one student, its inputs, and what the teacher says about them.

A strong modality teaches a weak one (MAGTKD's first stage; DDVLM, section 3.5). The student sees
its own modality only and learns from three things: the labels, how the teacher's predictions relate
to each other, and which samples the teacher finds alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from erc_ros.metrics import classification as metrics
from erc_ros.training.ema import EmaDistillation, SelfDistillationConfig
from erc_ros.training.engine import prediction
from erc_ros.training.engine.prediction import Floats, Indices
from erc_ros.training.engine.trainer import Fit, TrainerConfig, device_of, fit, set_seeds
from erc_ros.training.losses import pearson_relation, similarity_kl
from erc_ros.values.settings import check, setting


@dataclass(frozen=True, slots=True)
class DistillationLoss:
    """MAGTKD eq. 14 as printed; DDVLM: response_tau 4, jensen_shannon 0.2."""

    response: float = setting(
        1.0, "weight of the Pearson relation of predictions (MAGTKD eq. 9)", "", (0, 1e6)
    )
    response_tau: float = setting(2.0, "its temperature", "", (1e-3, 1e3))
    feature: float = setting(
        1.0, "weight of the similarities within the batch (MAGTKD eq. 12)", "", (0, 1e6)
    )
    feature_tau: float = setting(1.0, "its temperature", "", (1e-3, 1e3))
    jensen_shannon: float = setting(
        0.0, "weight of the Jensen-Shannon divergence in the feature loss", "", (0, 1e6)
    )
    normalized: bool = setting(
        True, "similarities are cosines; false: dot products, as MAGTKD eq. 10-12 are printed"
    )

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, student: Outputs, teacher: Outputs, labels: Tensor) -> Tensor:
        """Scalar. Logits (N, C), features (N, d) of one size; labels (N,)."""
        loss = cross_entropy(student.logits, labels)  # MAGTKD eq. 13
        if self.response:
            relation = pearson_relation(student.logits, teacher.logits, self.response_tau)
            loss = loss + self.response * relation  # eq. 6-9
        if self.feature:
            alike = similarity_kl(
                student.features,
                teacher.features,
                self.feature_tau,
                self.jensen_shannon,
                self.normalized,
            )
            loss = loss + self.feature * alike  # eq. 10-12
        return loss  # eq. 14


@dataclass(frozen=True, slots=True)
class DistillationConfig:
    """How the epoch is chosen."""

    epoch: str = "dev"
    """Which one is tested: the best on `dev`, or the `last` where dev cannot choose."""
    metric: str = "weighted_f1"
    """Chosen by, and compared in the table; one of `metrics.report`."""

    def __post_init__(self) -> None:
        if self.epoch not in ("dev", "last"):
            raise ValueError(f"epoch is {self.epoch!r}, must be 'dev' or 'last'")
        if self.metric not in metrics.SCORES:
            raise ValueError(f"metric is {self.metric!r}, must be one of {list(metrics.SCORES)}")


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a teacher or a student says about N utterances: logits (N, C), features (N, d)."""

    logits: Tensor
    features: Tensor


class ModelInputs(Protocol):
    """A student's inputs for some utterances of a split, by the names in its `forward`."""

    def __len__(self) -> int: ...

    def __call__(self, rows: Indices, generator: np.random.Generator | None) -> dict[str, Tensor]:
        """generator: draws what varies in training; None: as they are."""


@dataclass(frozen=True, eq=False)
class StoredInputs:
    """Features (N, size) as they are."""

    features: Floats

    def __len__(self) -> int:
        return len(self.features)

    def __call__(self, rows: Indices, generator: np.random.Generator | None) -> dict[str, Tensor]:
        """features (n, size)."""
        return {"features": torch.from_numpy(self.features[rows])}


@runtime_checkable
class SizedInputs(Protocol):
    """Inputs of different lengths, which share a batch with those of about their own."""

    sizes: Indices
    """(N,) what the cost of each grows with."""


@dataclass(frozen=True, eq=False)
class TaskSplit:
    """One split of a task: N utterances and the teacher's predictions of them.

    labels (N,) int64. logits (N, C), features (N, d) float32.
    """

    inputs: ModelInputs
    labels: Indices
    logits: Floats
    features: Floats

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.labels) or len(self.logits) != len(self.features):
            raise ValueError(
                f"{len(self.inputs)} inputs for {len(self.labels)} labels, {len(self.logits)}"
                f" logits for {len(self.features)} features"
            )
        if len(self.logits) != len(self.labels):
            raise ValueError(f"{len(self.labels)} utterances, but {len(self.logits)} answers")
        for name in ("logits", "features"):
            bad = np.flatnonzero(~np.isfinite(getattr(self, name)).all(axis=1))
            if len(bad):
                raise ValueError(f"the teacher's {name} of row {bad[0]} are not finite")


@dataclass(frozen=True, eq=False)
class DistillationTask:
    """One student modality: what it learns from.

    network: makes its encoder, inputs -> (N, width), with fresh weights. splits: train and dev.
    """

    modality: str
    network: Callable[[], nn.Module]
    width: int
    labels: tuple[str, ...]
    splits: Mapping[str, TaskSplit]


class Student(nn.Module):
    """An encoder with a classifier; in training, its features also come in the teacher's size.

    Raises:
        ValueError: a size below 1.
    """

    def __init__(
        self, encoder: nn.Module, width: int, teacher: int, labels: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if min(width, teacher, labels) < 1:
            raise ValueError(f"sizes {width}, {teacher} and {labels} must be at least 1")
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, labels)
        # The papers' encoders all give 768; where sizes differ, similarities need a common space.
        self.project = nn.Linear(width, teacher) if width != teacher else nn.Identity()

    def forward(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """-> embedding (N, width), logits (N, C)."""
        embedding = self.encoder(**inputs)
        return embedding, self.head(self.dropout(embedding))

    def outputs(self, inputs: Mapping[str, Tensor]) -> Outputs:
        """For the loss: features of the teacher's size."""
        embedding, logits = self(inputs)
        return Outputs(logits.float(), self.project(embedding).float())


def fit_student(
    task: DistillationTask,
    config: DistillationConfig,
    loss: DistillationLoss,
    trainer: TrainerConfig,
    out: Path,
    dropout: float = 0.0,
    average: SelfDistillationConfig | None = None,
) -> tuple[Student, Fit]:
    """Train one student on the train split, chosen on dev; test is not looked at.

    Args:
        dropout: before its classifier.
        average: it also learns from its own moving average (DDVLM, section 3.4).
    """
    set_seeds(trainer.seed)
    train_split, dev = task.splits["train"], task.splits["dev"]
    size = train_split.features.shape[1]
    student = Student(task.network(), task.width, size, len(task.labels), dropout)
    own_teacher = EmaDistillation(student, **asdict(average)) if average else None
    generator = np.random.default_rng(trainer.seed)
    logits, features = torch.from_numpy(train_split.logits), torch.from_numpy(train_split.features)
    current = 0

    def batches(epoch: int) -> Sequence[Indices]:
        nonlocal current
        current = epoch
        return shuffled_batches(train_split.inputs, trainer.batch_size, generator)

    def loss_of(student: Student, rows: Indices) -> Tensor:
        device = device_of(student)
        inputs = {k: v.to(device) for k, v in train_split.inputs(rows, generator).items()}
        teacher = Outputs(logits[rows].to(device), features[rows].to(device))
        labels = torch.from_numpy(train_split.labels[rows]).to(device)
        said = student.outputs(inputs)
        hard = loss(said, teacher, labels)
        if own_teacher is None:
            return hard
        return own_teacher(hard, said.logits, lambda average: average(inputs)[1])

    def evaluate(student: Student) -> dict[str, float]:
        probabilities = predict(student, dev.inputs, trainer.batch_size)[1]
        report = metrics.report(dev.labels, probabilities, task.labels)
        return {config.metric: report[config.metric], "epoch": float(current + 1)}

    def say(line: str) -> None:
        if line.startswith("step"):
            print(f"{out}: {line}", flush=True)

    fitted = fit(
        student,
        trainer,
        batches=batches,
        loss=loss_of,
        evaluate=evaluate,
        choose=config.metric if config.epoch == "dev" else "epoch",
        out=out,
        say=say,
        after_step=own_teacher.after_step if own_teacher else None,
        stateful=[generator, own_teacher] if own_teacher else [generator],
        keep_finished=True,
        settings={"loss": asdict(loss), "distillation": asdict(config)},
    )
    print(f"{out}: epoch {fitted.best_epoch}, dev {fitted.best[config.metric]:.4f}", flush=True)
    return student, fitted


def shuffled_batches(
    inputs: ModelInputs, size: int, generator: np.random.Generator
) -> Sequence[Indices]:
    """An epoch's batches of rows; where inputs have sizes, those of like size together."""
    order = generator.permutation(len(inputs))
    count = max(1, len(order) // size)
    if not isinstance(inputs, SizedInputs):
        return np.array_split(order, count)
    stretch = 32 * size  # sorted piece by piece, so that batches differ from epoch to epoch
    pieces = [order[start : start + stretch] for start in range(0, len(order), stretch)]
    ordered = [piece[np.argsort(inputs.sizes[piece], kind="stable")] for piece in pieces]
    batches = np.array_split(np.concatenate(ordered), count)
    return [batches[number] for number in generator.permutation(count)]


def predict(
    student: nn.Module, inputs: ModelInputs, batch_size: int = 256
) -> tuple[Floats, Floats]:
    """Embeddings (N, width) and probabilities (N, C) of a whole split."""
    order = np.arange(len(inputs))
    if isinstance(inputs, SizedInputs):
        order = np.argsort(inputs.sizes, kind="stable")
    return prediction.predict(student, student, lambda rows: inputs(rows, None), order, batch_size)
