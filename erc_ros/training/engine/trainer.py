"""The training loop of all models: AdamW or Adam, warm-up, selection of the best epoch on dev.

The loop is independent of the data. The caller provides the model, `batches(epoch)` (the epoch's
batches in order), `loss(model, batch)`, and `evaluate(model)` (dev metrics).

OUT/best.safetensors   weights of the best epoch so far
OUT/training.json      settings and history, once it is finished
OUT/unfinished.pt      checkpoint after the best epoch so far and once a minute, from which an
interrupted training continues
OUT/tensorboard/       if `tensorboard` is set

A batch of row numbers that is too large for the GPU's memory is halved repeatedly, and the
gradients of the parts are summed: a step still uses the whole batch.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from erc_ros.inference.bundle import sha256_of
from erc_ros.training.engine import checkpoint
from erc_ros.training.engine.checkpoint import Stateful
from erc_ros.training.engine.distributed import OneProcess, launch
from erc_ros.training.engine.recipe import (
    WAY_OUT,
    CheckpointError,
    TooLargeError,
    check_same,
)
from erc_ros.training.engine.runs import UNFINISHED, write_json, write_with

Batch = TypeVar("Batch")
Model = TypeVar("Model", bound=nn.Module)
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
DEVICES = ("cpu", "cuda")
OPTIMIZERS: Mapping[str, type[torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
}
SCHEDULES = ("linear", "constant")
MIN_SECONDS_BETWEEN_CHECKPOINTS = 60.0
"""Between those of epochs that are not the best so far; a killed training repeats about a minute.
"""
WEIGHTS, RECORD = "best.safetensors", "training.json"
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrainerConfig:
    """Settings of a training; the section `trainer` of a recipe."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.01
    """Weight decay: decoupled (adamw), or an L2 penalty in the gradient (adam)."""
    optimizer: str = "adamw"
    schedule: str = "linear"
    """linear: the rate rises in the warm-up and then falls linearly to 0; constant: always the
    same."""
    warm_up: float = 0.1
    """Share of all steps with a rising learning rate, from 0."""
    patience: int = 0
    """Stop after this number of epochs without a better dev metric; 0: never."""
    clip: float = 1.0
    """Maximum gradient norm."""
    seed: int = 0
    precision: str = "fp32"
    """bf16 and fp16 mean autocast: weights and optimizer state stay fp32. fp16 needs a GPU."""
    device: str = "cpu"
    processes: int = 1
    """Number of GPUs. Batches are distributed, so that a step uses `processes` batches."""
    tensorboard: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "processes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must be at least 1")
        if not 0 < self.learning_rate < 1:
            raise ValueError(f"learning_rate is {self.learning_rate}, must be in (0, 1)")
        if not 0 <= self.warm_up < 1:
            raise ValueError(f"warm_up is {self.warm_up}, must be a share in [0, 1)")
        for name in ("weight_decay", "patience", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, must not be negative")
        if not self.clip > 0:
            raise ValueError(f"clip is {self.clip}, must be positive")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision is {self.precision!r}, must be one of {list(PRECISIONS)}")
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer is {self.optimizer!r}, must be one of {list(OPTIMIZERS)}")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule is {self.schedule!r}, must be one of {SCHEDULES}")
        if self.device not in DEVICES:
            raise ValueError(f"device is {self.device!r}, must be one of {DEVICES}")
        if self.precision == "fp16" and self.device == "cpu":
            raise ValueError("precision fp16 needs device cuda; on a cpu take bf16")


@dataclass(frozen=True, slots=True)
class Fit:
    """Result: the selected epoch (from 1), its dev metrics, and those of every epoch."""

    best_epoch: int
    best: dict[str, float]
    history: tuple[dict[str, float], ...]
    seconds: float
    checkpoint: Path


class AfterStep(Protocol):
    """Called after every optimizer step: the model, and epochs since the training began (1.25)."""

    def __call__(self, model: nn.Module, epochs: float, /) -> None: ...


def set_seeds(seed: int) -> None:
    """Seed Python, numpy and torch, so that a run is reproducible on the same machine."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def device_of(model: nn.Module) -> torch.device:
    """Return the device of the model, for new tensors of a loss or an evaluation."""
    return next(model.parameters()).device


def autocast(model: nn.Module, precision: str) -> torch.autocast:
    """Return the autocast context for the model's device."""
    enabled = precision != "fp32"
    dtype = PRECISIONS[precision] if enabled else None
    return torch.autocast(device_of(model).type, dtype, enabled=enabled)


def fit(
    model: Model,
    config: TrainerConfig,
    *,
    batches: Callable[[int], Sequence[Batch]],
    loss: Callable[[Model, Batch], Tensor],
    evaluate: Callable[[Model], Mapping[str, float]],
    choose: str,
    out: Path,
    parameters: Iterable[Tensor] | Iterable[dict[str, Any]] | None = None,
    say: Callable[[str], None] = print,
    after_step: AfterStep | None = None,
    stateful: Sequence[Stateful] = (),
    settings: Mapping[str, Any] | None = None,
    keep_finished: bool = False,
) -> Fit:
    """Train `model` in place; it then has the weights of the best epoch.

    Call `set_seeds` before the model is created, so that its initial weights depend on the seed.
    An interrupted training continues from its checkpoint. On one device it ends with the same
    weights as an uninterrupted one, if `stateful` has everything that changes during training.

    Args:
        batches: epoch (from 0) -> that epoch's batches, shuffled by the caller with config.seed.
            Any iterable with a length is accepted: a DataLoader has only some batches in
            memory. Tensors in them, also in tuples and mappings, are moved to the device.
        loss: scalar, the mean over the batch; called in train mode under autocast. If memory is
            short, it gets parts of a batch that is an array of row numbers.
        evaluate: dev metrics; called in eval mode without gradients, under autocast.
        choose: the metric to maximize; the first of equal epochs is selected.
        out: folder for best.safetensors (weights) and training.json (config and history).
        parameters: AdamW parameter groups, each optionally with an `lr`; default: all at
            learning_rate, with weight decay on matrices only.
        say: receives lines of progress.
        after_step: see `AfterStep`; such as the update of a moving average.
        stateful: random generators of the caller (Python's, numpy's, torch's) and objects with
            `state_dict` and `load_state_dict`; their state is part of the checkpoint.
        settings: further settings that determine the result, for JSON; a checkpoint with other
            settings is refused.
        keep_finished: use a finished training in `out` instead of training again, unless its
            weights were changed afterwards, such as by a correction of the prior.

    Raises:
        FloatingPointError: the loss or the metric `choose` is not finite.
        KeyError: `evaluate` does not return the metric `choose`.
        ValueError: an epoch without batches, or a device that does not exist.
        CheckpointError: `out` has a training with other settings, or a damaged one.
        TooLargeError: the GPU's memory is too small for a batch that cannot be halved.
        RuntimeError: one of several processes failed.
    """
    out.mkdir(parents=True, exist_ok=True)
    task = _Task(
        model,
        config,
        batches,
        loss,
        evaluate,
        choose,
        out,
        list(parameters) if parameters is not None else decayed(model, config.weight_decay),
        say,
        after_step,
        stateful,
        settings or {},
    )
    home = device_of(model)
    if not (keep_finished and _is_finished(task)):
        launch(partial(_train, task), config.processes, config.device)
    load_weights(model.to(home), out / WEIGHTS)
    model.eval()
    record = json.loads((out / RECORD).read_text(encoding="utf-8"))
    history, best = tuple(record["history"]), record["best_epoch"]
    return Fit(best, history[best - 1], history, record["seconds"], out / WEIGHTS)


@dataclass(frozen=True, eq=False)
class _Task:
    """The arguments of `fit`."""

    model: nn.Module
    config: TrainerConfig
    batches: Callable[[int], Sequence[Any]]
    loss: Callable[[Any, Any], Tensor]
    evaluate: Callable[[Any], Mapping[str, float]]
    choose: str
    out: Path
    parameters: list[Any]
    say: Callable[[str], None]
    after_step: AfterStep | None
    stateful: Sequence[Stateful]
    settings: Mapping[str, Any]

    def all_settings(self, batches: int) -> dict[str, Any]:
        """Return the settings that must be equal for a training to continue from a checkpoint."""
        trainer = asdict(self.config)
        del trainer["tensorboard"]
        known = {"trainer": trainer, "choose": self.choose, "batches_per_epoch": batches}
        return known | dict(self.settings)


def _is_finished(task: _Task) -> bool:
    record, weights = task.out / RECORD, task.out / WEIGHTS
    if (task.out / UNFINISHED).exists() or not (record.is_file() and weights.is_file()):
        return False
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{record} is not JSON ({error}): {WAY_OUT}") from error
    if content.get("sha256") != sha256_of(weights):
        return False
    check_same(content["settings"], task.all_settings(len(task.batches(0))), record)
    task.say(f"already trained: {weights}")
    return True


def _train(task: _Task, process: OneProcess) -> None:
    """Train to the end; the first process writes best.safetensors and training.json."""
    batches = _some(task.batches(0), 0)
    training = _Training(task, process, len(batches))
    unfinished = task.out / UNFINISHED
    if unfinished.exists():
        training.resume(unfinished)
    elif process.rank:
        torch.manual_seed(task.config.seed * 1000 + process.rank)  # a dropout seed per process
    epoch = training.epochs
    saved = -math.inf
    while not training.over():
        batches = _some(task.batches(epoch), epoch) if epoch else batches
        training.train(batches)
        improved = training.evaluate()
        # A better epoch is always saved, so that checkpoint and best weights are consistent.
        due = process.first(improved or time.monotonic() - saved >= MIN_SECONDS_BETWEEN_CHECKPOINTS)
        content = training.state() if due else None
        if process.rank == 0 and content is not None:
            # In this order: the weights of the best epoch exist before a checkpoint names it.
            checkpoint.save(unfinished, content)
            saved = time.monotonic()
            if improved:
                save_weights(task.model, task.out / WEIGHTS)
        epoch += 1
    if process.rank == 0:
        training.write_record()
        unfinished.unlink(missing_ok=True)
    training.log.close()


def _some(batches: Sequence[Batch], epoch: int) -> Sequence[Batch]:
    if not len(batches):
        raise ValueError(
            f"epoch {epoch + 1} has no batches: is the training split empty, or were all of its"
            " utterances excluded?"
        )
    return batches


class _Loss(nn.Module):
    """The loss as a module, as distributed training wraps a single `forward`."""

    def __init__(self, model: nn.Module, loss: Callable[[Any, Any], Tensor]) -> None:
        super().__init__()
        self.model, self._loss = model, loss

    def forward(self, batch: Any) -> Tensor:
        return self._loss(self.model, batch)


class _Training:
    """The state of a training."""

    def __init__(self, task: _Task, process: OneProcess, batches: int) -> None:
        self._task, self._process, self._batches = task, process, batches
        config, self._model = task.config, task.model.to(process.device)
        self._loss = process.together(_Loss(self._model, task.loss))
        # On a CPU the fused step takes a tenth of the time, which is 20 % of a small encoder's.
        optimizer: Any = OPTIMIZERS[config.optimizer]
        self._optimizer: torch.optim.Optimizer = optimizer(
            task.parameters,
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True if process.device.type == "cpu" else None,
        )
        total = config.epochs * math.ceil(batches / process.count)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer,
            lambda step: (
                1.0
                if config.schedule == "constant"
                else learning_rate_share(step, total, config.warm_up)
            ),
        )
        scaled = config.precision == "fp16"
        self._scaler = torch.amp.GradScaler(process.device.type, enabled=scaled)
        self._history: list[dict[str, float]] = []
        self._best = -1
        self._mean_loss = float("nan")
        self._parts = 1  # number of parts of a batch
        self._say = task.say if process.rank == 0 else _silent
        self.log = _Log(task.out if config.tensorboard and process.rank == 0 else None)
        self._progress = _Progress(total, self._say)

    @property
    def epochs(self) -> int:
        """Number of finished epochs."""
        return len(self._history)

    def over(self) -> bool:
        config = self._task.config
        if config.patience and self.epochs - 1 - self._best >= config.patience:
            self._say(f"no better {self._task.choose} for {config.patience} epochs: stopped")
            return True
        return self.epochs >= config.epochs

    def train(self, batches: Sequence[Any]) -> None:
        """Train one epoch."""
        self._model.train()
        steps = math.ceil(len(batches) / self._process.count)
        total = 0.0
        for number, batch in enumerate(self._mine(batches, steps), 1):
            value = self._step(batch)
            if self._task.after_step is not None:
                self._task.after_step(self._model, self.epochs + number / steps)
            total += value
            self._progress.count(value)
            if self._progress.step % 20 == 0:
                rate = float(self._schedule.get_last_lr()[0])
                self.log.write(self._progress.step, {"loss": value, "learning_rate": rate})
        mean = torch.tensor(total / steps, dtype=torch.float64)
        self._mean_loss = self._process.mean(mean).item()

    def _mine(self, batches: Sequence[Any], steps: int) -> Iterator[Any]:
        """Yield this process's batches; the last step is filled up with the first ones."""
        rank, count = self._process.rank, self._process.count
        twice = itertools.chain(batches, batches)
        return itertools.islice(twice, rank, steps * count, count)

    def _step(self, batch: Any) -> float:
        while (outcome := self._gradients(batch)) is None:
            self._halve(batch)
        self._scaler.unscale_(self._optimizer)
        nn.utils.clip_grad_norm_(self._model.parameters(), self._task.config.clip)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._schedule.step()
        return outcome

    def _gradients(self, batch: Any) -> float | None:
        """Compute the gradients and return the loss; None: the memory is too small."""
        self._optimizer.zero_grad(set_to_none=True)
        parts = np.array_split(batch, min(self._parts, len(batch))) if self._parts > 1 else [batch]
        total = 0.0
        try:
            for part in parts:
                with autocast(self._model, self._task.config.precision):
                    value = self._loss(_to(part, self._process.device))
                if len(parts) > 1:
                    value = value * (len(part) / len(batch))
                batch_loss = float(value.item())
                if not math.isfinite(batch_loss):
                    raise FloatingPointError(
                        _not_finite(batch_loss, self._progress.step, self._task.config)
                    )
                self._scaler.scale(value).backward()
                total += batch_loss
        except torch.OutOfMemoryError:
            return None  # frees the exception and the tensors that it references
        return total

    def _halve(self, batch: Any) -> None:
        """Divide batches into twice as many parts.

        Raises:
            TooLargeError: the batch cannot be divided.
        """
        size = self._task.config.batch_size
        if self._process.count > 1:  # the other processes would wait for this one's gradients
            raise TooLargeError(f"a batch of {size} in each of {self._process.count} processes")
        if not isinstance(batch, np.ndarray):
            raise TooLargeError(f"a batch of {size}")
        if self._parts >= len(batch):
            raise TooLargeError("a single example", single=True)
        self._parts *= 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        _logger.warning(
            "the GPU's memory is too small for a batch of %d: it is divided into %d parts;"
            " a step still uses the whole batch, but batch norm, and losses that compare"
            " examples of a batch, use a part. trainer.batch_size: %d avoids this",
            len(batch),
            self._parts,
            max(1, size // self._parts),
        )

    def evaluate(self) -> bool:
        """Evaluate the epoch on dev; return whether it is the best so far."""
        task = self._task
        self._model.eval()
        with torch.inference_mode(), autocast(self._model, task.config.precision):
            scores = self._process.first(dict(task.evaluate(self._model)))
        metrics = {
            name: float(value) for name, value in {"loss": self._mean_loss, **scores}.items()
        }
        if task.choose not in metrics:
            raise KeyError(f"no {task.choose!r} to select by: evaluate returns {sorted(scores)}")
        if not math.isfinite(metrics[task.choose]):
            raise FloatingPointError(
                f"{task.choose} on dev is {metrics[task.choose]} after epoch {self.epochs + 1}:"
                " no epoch can be selected by it"
            )
        self._history.append(metrics)
        best = self._history[self._best][task.choose] if self._best >= 0 else -math.inf
        improved = metrics[task.choose] > best
        if improved:
            self._best = self.epochs - 1
        self._say(f"epoch {self.epochs}/{task.config.epochs}: " + _format(metrics))
        self.log.write(self._progress.step, {f"epoch/{name}": metrics[name] for name in metrics})
        return improved

    def state(self) -> dict[str, Any]:
        """Return the content of a checkpoint."""
        process = self._process
        return {
            "settings": json.dumps(self._task.all_settings(self._batches)),
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "scaler": self._scaler.state_dict(),
            "history": self._history,
            "best": self._best,
            "step": self._progress.step,
            "seconds": self._progress.seconds,
            "random": process.all(checkpoint.random_state(process.device)),
            "stateful": process.all(checkpoint.states(self._task.stateful)),
        }

    def resume(self, file: Path) -> None:
        """Continue from a checkpoint.

        Raises:
            CheckpointError: it is from another training or model, or damaged.
        """
        process = self._process
        content = checkpoint.load(file)
        try:
            here = self._task.all_settings(self._batches)
            check_same(json.loads(content["settings"]), here, file)
            self._check_model(content["model"], file)
            self._model.load_state_dict(content["model"])
            self._optimizer.load_state_dict(content["optimizer"])
            self._schedule.load_state_dict(content["schedule"])
            self._scaler.load_state_dict(content["scaler"])
            self._history, self._best = content["history"], content["best"]
            self._progress.go_on(content["step"], content["seconds"])
            checkpoint.set_states(self._task.stateful, content["stateful"][process.rank])
            checkpoint.set_random_state(content["random"][process.rank], process.device)
        except KeyError as error:
            raise CheckpointError(f"{file} lacks {error}: {WAY_OUT}") from error
        weights = self._task.out / WEIGHTS
        if self._best == self.epochs - 1 and process.rank == 0:
            save_weights(self._model, weights)
        elif not weights.is_file() and process.rank == 0:
            raise CheckpointError(f"{weights}, of epoch {self._best + 1}, is missing: {WAY_OUT}")
        self._say(f"continuing after epoch {self.epochs} of {file}")

    def _check_model(self, there: Mapping[str, Tensor], file: Path) -> None:
        check_same(
            {name: list(value.shape) for name, value in there.items()},
            {name: list(value.shape) for name, value in self._model.state_dict().items()},
            file,
        )

    def write_record(self) -> None:
        task = self._task
        record = {
            "config": asdict(task.config),
            "settings": task.all_settings(self._batches),
            "choose": task.choose,
            "best_epoch": self._best + 1,
            "history": self._history,
            "seconds": round(self._progress.seconds, 1),
            "batch_parts": self._parts,
            "sha256": sha256_of(task.out / WEIGHTS),
        }
        write_json(task.out / RECORD, record)


def _not_finite(value: float, step: int, config: TrainerConfig) -> str:
    if step == 0:
        return (
            f"the loss is {value} before any step: look for features that are NaN or infinite,"
            " and for batches without labels"
        )
    return (
        f"the loss became {value} at step {step}; lower learning_rate ({config.learning_rate}), use"
        " precision fp32, or look for features that are NaN or infinite"
    )


def _to(batch: Any, device: torch.device) -> Any:
    """Move the tensors of a batch, also in tuples, lists, mappings, dataclasses, to the device."""
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(_to(item, device) for item in batch))
    if isinstance(batch, (tuple, list)):
        return type(batch)(_to(item, device) for item in batch)
    if isinstance(batch, Mapping):
        return {key: _to(item, device) for key, item in batch.items()}
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        names = [field.name for field in dataclasses.fields(batch) if field.init]
        return dataclasses.replace(batch, **{n: _to(getattr(batch, n), device) for n in names})
    return batch


def decayed(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return AdamW groups: weight decay only on matrices and kernels."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


def learning_rate_share(step: int, total: int, warm_up: float) -> float:
    """Return a factor that rises linearly to 1 in the warm-up's share of steps, then falls to 0."""
    rise = max(1, round(total * warm_up))
    if step < rise:
        return (step + 1) / rise
    return max(0.0, (total - step) / max(1, total - rise))


def save_weights(model: nn.Module, path: Path) -> None:
    """Write all weights and buffers as safetensors; shared tensors once per name."""
    weights = {
        name: value.detach().clone().contiguous() for name, value in model.state_dict().items()
    }
    write_with(path, lambda new: save_file(weights, new))


def load_weights(model: nn.Module, path: Path) -> None:
    """Read a file of `save_weights`.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it is truncated, or not safetensors.
        RuntimeError: the file is from another model (names the missing and the surplus weights).
    """
    try:
        weights = load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path} cannot be read ({error}): {WAY_OUT}") from error
    model.load_state_dict(weights)


class _Progress:
    """Prints step, loss and remaining time at intervals."""

    def __init__(self, total: int, say: Callable[[str], None], every: float = 20.0) -> None:
        self.step, self._total, self._say, self._every = 0, total, say, every
        self._start = self._last = time.monotonic()
        self._first, self._before = 0, 0.0  # step and seconds of an earlier run
        self._loss = float("nan")

    @property
    def seconds(self) -> float:
        return self._before + time.monotonic() - self._start

    def go_on(self, step: int, seconds: float) -> None:
        self.step = self._first = step
        self._before = seconds

    def count(self, loss: float) -> None:
        self.step += 1
        self._loss = loss if math.isnan(self._loss) else 0.98 * self._loss + 0.02 * loss
        now = time.monotonic()
        if now - self._last < self._every:
            return
        self._last = now
        each = (now - self._start) / (self.step - self._first)
        left = each * (self._total - self.step)
        self._say(
            f"step {self.step}/{self._total}, loss {self._loss:.3f},"
            f" {left // 60:.0f} min {left % 60:02.0f} s left"
        )


class _Log:
    """Writes curves for TensorBoard, if enabled."""

    def __init__(self, out: Path | None) -> None:
        self._out = out
        self._writer: Any = None

    def write(self, step: int, values: Mapping[str, float]) -> None:
        if self._out is None:
            return
        if self._writer is None:
            from tensorboardX import SummaryWriter

            # Entries of an interrupted run after its checkpoint are not shown.
            self._writer = SummaryWriter(str(self._out / "tensorboard"), purge_step=step)
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _silent(line: str) -> None:
    """Ignore a line; for all processes but the first."""


def _format(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
