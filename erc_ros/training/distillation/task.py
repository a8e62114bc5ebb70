"""`erc distill RECIPE`: a strong modality teaches a weak one (MAGTKD's first stage; DDVLM, 3.5).

The teacher's answers are computed once and stored; the student sees its own modality only and
learns from three things: the labels, how the teacher's predictions relate to each other, and whom
the teacher finds alike. Every student is trained twice, with and without the teacher, as MAGTKD's
Table 3 compares them.

    OUT/<modality>/<plain|distilled>/seed-<N>/   best.safetensors, training.json, metrics.json,
                                                 logits.npz, embeddings.safetensors (all splits),
                                                 and of the robot's own networks the ONNX part
    OUT/table.md, OUT/results.json

Where the students' inputs come from is in `distillation_sources`.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from erc_ros.metrics import classification as metrics
from erc_ros.training.encoders import parts
from erc_ros.training.engine.recipe import Recipe, RecipeError
from erc_ros.training.engine.trainer import TrainerConfig, device_of, fit, set_seeds
from erc_ros.training.losses import pearson_relation, similarity_kl

SPLITS = ("train", "dev", "test")
PLAIN, DISTILLED = "plain", "distilled"
Rows = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class DistillationLoss:
    """The section `loss`: MAGTKD eq. 14 as it stands; DDVLM: response_tau 4, jensen_shannon 0.2."""

    response: float = 1.0
    """Weight of the Pearson relation of the predictions (MAGTKD eq. 9). 0 and 0: no teacher."""
    response_tau: float = 2.0
    feature: float = 1.0
    """Weight of the similarities within the batch (MAGTKD eq. 12)."""
    feature_tau: float = 1.0
    jensen_shannon: float = 0.0
    """Weight of the Jensen-Shannon divergence beside the KL, within the feature loss."""

    def __post_init__(self) -> None:
        for name in ("response", "feature", "jensen_shannon"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, must not be negative")
        for name in ("response_tau", "feature_tau"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}, must be positive")

    def __call__(self, student: Answer, teacher: Answer, labels: Tensor) -> Tensor:
        """Scalar. Logits (N, C), features (N, d) of one size; labels (N,)."""
        loss = cross_entropy(student.logits, labels)  # MAGTKD eq. 13
        if self.response:
            relation = pearson_relation(student.logits, teacher.logits, self.response_tau)
            loss = loss + self.response * relation  # eq. 6-9
        if self.feature:
            alike = similarity_kl(
                student.features, teacher.features, self.feature_tau, self.jensen_shannon
            )
            loss = loss + self.feature * alike  # eq. 10-12
        return loss  # eq. 14


@dataclass(frozen=True, slots=True)
class DistillationConfig:
    """The section `distillation`."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    epoch: str = "dev"
    """Which one is tested: the best on `dev`, or the `last` where dev cannot choose."""
    metric: str = "weighted_f1"
    """Chosen by, and compared in the table; one of `metrics.report`."""

    def __post_init__(self) -> None:
        if not self.seeds:
            raise ValueError("seeds must not be empty")
        if self.epoch not in ("dev", "last"):
            raise ValueError(f"epoch is {self.epoch!r}, must be 'dev' or 'last'")
        if self.metric not in metrics.SCORES:
            raise ValueError(f"metric is {self.metric!r}, must be one of {list(metrics.SCORES)}")


@dataclass(frozen=True, eq=False)
class Answer:
    """What a teacher or a student says about N utterances: logits (N, C), features (N, d)."""

    logits: Tensor
    features: Tensor


class Inputs(Protocol):
    """A student's inputs for some utterances of a split, by the names in its `forward`."""

    def __len__(self) -> int: ...

    def __call__(self, rows: Rows, generator: np.random.Generator | None) -> dict[str, Tensor]:
        """generator: draws what varies in training; None: as they are."""


@dataclass(frozen=True, eq=False)
class Lessons:
    """One split for one student: N utterances and what the teacher says about M.

    labels (N,) int64. logits (M, C), features (M, d) float32. In a real corpus M is N and row i is
    about utterance i; in a simulated one an utterance gets a row of the same label.
    """

    inputs: Inputs
    labels: Rows
    logits: Floats
    features: Floats
    simulated: bool = False

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.labels) or len(self.logits) != len(self.features):
            raise ValueError(
                f"{len(self.inputs)} inputs for {len(self.labels)} labels, {len(self.logits)}"
                f" logits for {len(self.features)} features"
            )
        if not self.simulated and len(self.logits) != len(self.labels):
            raise ValueError(f"{len(self.labels)} utterances, but {len(self.logits)} answers")
        for name in ("logits", "features"):
            bad = np.flatnonzero(~np.isfinite(getattr(self, name)).all(axis=1))
            if len(bad):
                raise ValueError(f"the teacher's {name} of row {bad[0]} are not finite")

    def partners(self, rows: Rows, labels_of_teacher: Rows, generator: np.random.Generator) -> Rows:
        """A row of the teacher for each of `rows`; labels_of_teacher (M,)."""
        if not self.simulated:
            return rows
        chosen = [
            generator.choice(np.flatnonzero(labels_of_teacher == label))
            for label in self.labels[rows]
        ]
        return np.array(chosen, np.int64)


@dataclass(frozen=True, eq=False)
class Course:
    """Everything for one student modality.

    network: makes its encoder, inputs -> (N, width), with fresh weights. splits: `SPLITS`.
    teacher_labels: of the train split's answers, for simulated pairs. left_out: utterances without
    this modality or without the teacher's, per split. export: writes the encoder as a bundle's
    part into a folder; None: it is none.
    """

    modality: str
    network: Any
    width: int
    labels: tuple[str, ...]
    splits: Mapping[str, Lessons]
    teacher_labels: Rows
    left_out: Mapping[str, int]
    export: Callable[[nn.Module, Path], None] | None = None


class Student(nn.Module):
    """An encoder with a classifier; in training, its features also come in the teacher's size.

    Raises:
        ValueError: a size below 1.
    """

    def __init__(self, encoder: nn.Module, width: int, teacher: int, labels: int) -> None:
        super().__init__()
        if min(width, teacher, labels) < 1:
            raise ValueError(f"sizes {width}, {teacher} and {labels} must be at least 1")
        self.encoder = encoder
        self.head = nn.Linear(width, labels)
        # The papers' encoders all give 768; where sizes differ, similarities need a common space.
        self.project = nn.Linear(width, teacher) if width != teacher else nn.Identity()

    def forward(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """-> embedding (N, width), logits (N, C)."""
        embedding = self.encoder(**inputs)
        return embedding, self.head(embedding)

    def answer(self, inputs: Mapping[str, Tensor]) -> Answer:
        """For the loss: features of the teacher's size."""
        embedding, logits = self(inputs)
        return Answer(logits.float(), self.project(embedding).float())


def train(recipe: Recipe) -> None:
    """All students of the recipe, plain and distilled, for all seeds (or the one given).

    Raises:
        RecipeError, FileNotFoundError: the recipe, the teacher or the data are not usable.
    """
    from erc_ros.training.distillation.sources import SECTIONS, courses

    recipe.refuse_other_sections({"distillation", "loss", "trainer", *SECTIONS})
    config = recipe.section("distillation", DistillationConfig)
    loss = recipe.section("loss", DistillationLoss)
    trainer = recipe.section("trainer", TrainerConfig)
    seeds = config.seeds if recipe.seed is None else (recipe.seed,)
    results: dict[str, Any] = {}
    try:
        studied = courses(recipe)
    except ValueError as error:
        raise error if isinstance(error, RecipeError) else RecipeError(str(error)) from error
    for course in studied:
        print(f"{course.modality}: {_described(course)}", flush=True)
        for name, how in ((PLAIN, replace(loss, response=0.0, feature=0.0)), (DISTILLED, loss)):
            for seed in seeds:
                out = recipe.out / course.modality / name / f"seed-{seed}"
                seeded = replace(trainer, seed=seed)
                teach(course, config, how, seeded, out)
        results[course.modality] = collect(course, config, recipe.out / course.modality)
    (recipe.out / "results.json").write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    table = as_table(results, config)
    (recipe.out / "table.md").write_text(table, "utf-8")
    print(table)


def teach(
    course: Course,
    config: DistillationConfig,
    loss: DistillationLoss,
    trainer: TrainerConfig,
    out: Path,
) -> Student:
    """Train one student; writes everything in `out`, test looked at once."""
    set_seeds(trainer.seed)
    train_split, dev = course.splits["train"], course.splits["dev"]
    size = train_split.features.shape[1]
    student = Student(course.network(), course.width, size, len(course.labels))
    generator = np.random.default_rng(trainer.seed)
    logits, features = torch.from_numpy(train_split.logits), torch.from_numpy(train_split.features)
    current = 0

    def batches(epoch: int) -> Sequence[Rows]:
        nonlocal current
        current = epoch
        order = generator.permutation(len(train_split.labels))
        return np.array_split(order, max(1, len(order) // trainer.batch_size))

    def loss_of(student: nn.Module, rows: Rows) -> Tensor:
        device = device_of(student)
        inputs = {k: v.to(device) for k, v in train_split.inputs(rows, generator).items()}
        partners = train_split.partners(rows, course.teacher_labels, generator)
        teacher = Answer(logits[partners].to(device), features[partners].to(device))
        labels = torch.from_numpy(train_split.labels[rows]).to(device)
        return loss(student.answer(inputs), teacher, labels)

    def evaluate(student: nn.Module) -> dict[str, float]:
        probabilities = answers(student, dev.inputs, trainer.batch_size)[1]
        report = metrics.report(dev.labels, probabilities, course.labels)
        return {config.metric: report[config.metric], "epoch": float(current + 1)}

    fitted = fit(
        student,
        trainer,
        batches=batches,
        loss=loss_of,
        evaluate=evaluate,
        choose=config.metric if config.epoch == "dev" else "epoch",
        out=out,
        say=lambda line: line.startswith("step") and print(f"{out}: {line}", flush=True),
        stateful=[generator],
        keep_finished=True,
        settings={"loss": asdict(loss), "distillation": asdict(replace(config, seeds=(0,)))},
    )
    print(f"{out}: epoch {fitted.best_epoch}, dev {fitted.best[config.metric]:.4f}", flush=True)
    finish(student, course, trainer, out)
    return student


def finish(student: Student, course: Course, trainer: TrainerConfig, out: Path) -> None:
    """Answers of all splits, and metrics.json."""
    arrays: dict[str, Any] = {}
    measured: dict[str, Any] = {"names": np.array(course.labels)}
    found: dict[str, Any] = {"seed": trainer.seed}
    for split in SPLITS:
        lessons = course.splits[split]
        embedding, probabilities = answers(student, lessons.inputs, trainer.batch_size)
        arrays[f"{split}.embeddings"], arrays[f"{split}.labels"] = embedding, lessons.labels
        arrays[f"{split}.logits"] = np.log(np.maximum(probabilities, 1e-12))
        if split != "train":
            measured[split], measured[f"{split}_labels"] = arrays[f"{split}.logits"], lessons.labels
            found[split] = metrics.report(lessons.labels, probabilities, course.labels)
        if split == "test" and not lessons.simulated:
            same = probabilities.argmax(axis=1) == lessons.logits.argmax(axis=1)
            found["agreement"] = float(same.mean())
    save_file(arrays, out / "embeddings.safetensors")
    np.savez(out / "logits.npz", **measured)  # for `erc evaluate`
    if course.export is not None:
        course.export(student.encoder, out)
    parts.write_metrics(found, out)


@torch.inference_mode()
def answers(student: nn.Module, inputs: Inputs, batch_size: int = 256) -> tuple[Floats, Floats]:
    """Embeddings (N, width) and probabilities (N, C) of a whole split."""
    student.eval()
    device = device_of(student)
    embeddings, probabilities = [], []
    for start in range(0, len(inputs), batch_size):
        rows = np.arange(start, min(start + batch_size, len(inputs)))
        batch = {name: tensor.to(device) for name, tensor in inputs(rows, None).items()}
        embedding, logits = student(batch)
        embeddings.append(embedding.float().cpu().numpy())
        probabilities.append(logits.float().softmax(dim=1).cpu().numpy())
    return np.concatenate(embeddings), np.concatenate(probabilities)


def collect(course: Course, config: DistillationConfig, out: Path) -> dict[str, Any]:
    """Mean and spread over every seed that is there, and the difference seed by seed."""
    runs = {
        name: {
            int(file.parent.name.removeprefix("seed-")): json.loads(file.read_text("utf-8"))
            for file in (out / name).glob("seed-*/metrics.json")
        }
        for name in (PLAIN, DISTILLED)
    }
    scores = {n: {s: r["test"][config.metric] for s, r in of.items()} for n, of in runs.items()}
    both = sorted(scores[PLAIN].keys() & scores[DISTILLED].keys())
    teacher = course.splits["test"]
    found: dict[str, Any] = {
        "simulated": teacher.simulated,
        "seeds": both,
        "utterances": {split: len(course.splits[split].labels) for split in SPLITS},
        "left_out": dict(course.left_out),
        "difference": _spread([scores[DISTILLED][s] - scores[PLAIN][s] for s in both]),
    }
    for name, of in runs.items():
        found[name] = {
            split: _spread([run[split][config.metric] for run in of.values()])
            for split in ("dev", "test")
        }
        if not teacher.simulated:
            found[name]["agreement"] = _spread([run["agreement"] for run in of.values()])
    if not teacher.simulated:
        report = metrics.report(teacher.labels, _softmax(teacher.logits), course.labels)
        found["teacher"] = report[config.metric]
    return found


def _spread(values: Sequence[float]) -> dict[str, float]:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": statistics.fmean(values), "deviation": deviation}


def _softmax(logits: Floats) -> Floats:
    return torch.from_numpy(logits).softmax(dim=1).numpy()


def as_table(results: Mapping[str, Any], config: DistillationConfig) -> str:
    """Markdown: a row for every student."""
    lines = [
        f"Test, {config.metric}, mean ± deviation over seeds; epoch chosen on {config.epoch}."
        if config.epoch == "dev"
        else f"Test, {config.metric}, mean ± deviation over seeds; the last epoch.",
        "",
        "| student | seeds | teacher | without teacher | distilled | difference |",
        "|---|---|---|---|---|---|",
    ]
    for modality, found in results.items():
        name = f"{modality} (simulated pairs)" if found["simulated"] else modality
        teacher = f"{found['teacher']:.4f}" if "teacher" in found else "-"
        cells = [_cell(found[n]["test"]) for n in (PLAIN, DISTILLED)] + [_cell(found["difference"])]
        lines.append(f"| {name} | {len(found['seeds'])} | {teacher} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(spread: Mapping[str, float]) -> str:
    return f"{spread['mean']:.4f} ± {spread['deviation']:.4f}"


def _described(course: Course) -> str:
    sizes = ", ".join(f"{split} {len(course.splits[split].labels)}" for split in SPLITS)
    left = ", ".join(f"{split} {number}" for split, number in course.left_out.items() if number)
    return sizes + (f"; left out {left}" if left else "")
