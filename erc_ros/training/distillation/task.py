"""Knowledge distillation: train one student on labels and on a teacher's stored predictions.

An accurate modality teaches a less accurate one (MAGTKD's first stage; DDVLM, section 3.5). The
student gets its own modality only. Its loss has three terms: cross-entropy, the correlation with
the teacher's predictions, and the similarities between samples in the teacher's features.
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
        1.0, "weight of the Pearson correlation of predictions (MAGTKD eq. 9)", "", (0, 1e6)
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
        """Return the scalar loss. Logits (N, C), features (N, d) of equal size; labels (N,)."""
        loss = cross_entropy(student.logits, labels)  # MAGTKD eq. 13
        if self.response:
            relation = pearson_relation(student.logits, teacher.logits, self.response_tau)
            loss = loss + self.response * relation  # eq. 6-9
        if self.feature:
            similarity = similarity_kl(
                student.features,
                teacher.features,
                self.feature_tau,
                self.jensen_shannon,
                self.normalized,
            )
            loss = loss + self.feature * similarity  # eq. 10-12
        return loss  # eq. 14


@dataclass(frozen=True, slots=True)
class DistillationConfig:
    """How the epoch is selected."""

    epoch: str = "dev"
    """The epoch that is tested: the best on `dev`, or the `last` if dev cannot select one."""
    metric: str = "weighted_f1"
    """The metric that selects the epoch and is shown in the table; one of `metrics.report`."""

    def __post_init__(self) -> None:
        if self.epoch not in ("dev", "last"):
            raise ValueError(f"epoch is {self.epoch!r}, must be 'dev' or 'last'")
        if self.metric not in metrics.SCORES:
            raise ValueError(f"metric is {self.metric!r}, must be one of {list(metrics.SCORES)}")


@dataclass(frozen=True, eq=False)
class Outputs:
    """Outputs of a teacher or a student for N utterances: logits (N, C), features (N, d)."""

    logits: Tensor
    features: Tensor


class ModelInputs(Protocol):
    """Makes a student's inputs for some utterances of a split, by the names in its `forward`."""

    def __len__(self) -> int: ...

    def __call__(self, rows: Indices, generator: np.random.Generator | None) -> dict[str, Tensor]:
        """Return inputs of some rows. generator: for random augmentation; None: no augmentation."""


@dataclass(frozen=True, eq=False)
class StoredInputs:
    """Stored features (N, size) as inputs."""

    features: Floats

    def __len__(self) -> int:
        return len(self.features)

    def __call__(self, rows: Indices, generator: np.random.Generator | None) -> dict[str, Tensor]:
        """Return `features` (n, size)."""
        return {"features": torch.from_numpy(self.features[rows])}


@runtime_checkable
class SizedInputs(Protocol):
    """Inputs of different lengths; a batch has inputs of similar length."""

    sizes: Indices
    """(N,) length of each input."""


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
            raise ValueError(f"{len(self.labels)} utterances, but {len(self.logits)} predictions")
        for name in ("logits", "features"):
            bad = np.flatnonzero(~np.isfinite(getattr(self, name)).all(axis=1))
            if len(bad):
                raise ValueError(f"the teacher's {name} of row {bad[0]} are not finite")


@dataclass(frozen=True, eq=False)
class DistillationTask:
    """The training data and the network of one student.

    network: makes its encoder, inputs -> (N, width), with new weights. splits: train and dev.
    """

    modality: str
    network: Callable[[], nn.Module]
    width: int
    labels: tuple[str, ...]
    splits: Mapping[str, TaskSplit]


class Student(nn.Module):
    """An encoder with a classifier; for the loss, its features are projected to the teacher's size.

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
        # All encoders of the papers have size 768; other sizes need a projection to a common space.
        self.project = nn.Linear(width, teacher) if width != teacher else nn.Identity()

    def forward(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return embedding (N, width) and logits (N, C)."""
        embedding = self.encoder(**inputs)
        return embedding, self.head(self.dropout(embedding))

    def outputs(self, inputs: Mapping[str, Tensor]) -> Outputs:
        """Return the outputs for the loss, with features of the teacher's size."""
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
    """Train one student on the train split and select the epoch on dev; test is not used.

    Args:
        dropout: before the classifier.
        average: self-distillation from the student's moving average (DDVLM, section 3.4).
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
        outputs = student.outputs(inputs)
        hard = loss(outputs, teacher, labels)
        if own_teacher is None:
            return hard
        return own_teacher(hard, outputs.logits, lambda average: average(inputs)[1])

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
    """Return an epoch's batches of rows; inputs with sizes are grouped by similar size."""
    order = generator.permutation(len(inputs))
    count = max(1, len(order) // size)
    if not isinstance(inputs, SizedInputs):
        return np.array_split(order, count)
    block = 32 * size  # sorted block by block, so that batches differ from epoch to epoch
    pieces = [order[start : start + block] for start in range(0, len(order), block)]
    ordered = [piece[np.argsort(inputs.sizes[piece], kind="stable")] for piece in pieces]
    batches = np.array_split(np.concatenate(ordered), count)
    return [batches[number] for number in generator.permutation(count)]


def predict(
    student: nn.Module, inputs: ModelInputs, batch_size: int = 256
) -> tuple[Floats, Floats]:
    """Return embeddings (N, width) and probabilities (N, C) of a whole split."""
    order = np.arange(len(inputs))
    if isinstance(inputs, SizedInputs):
        order = np.argsort(inputs.sizes, kind="stable")
    return prediction.predict(student, student, lambda rows: inputs(rows, None), order, batch_size)
