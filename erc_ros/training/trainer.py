"""One training loop for every model: AdamW, warm-up, the best epoch chosen on the dev split.

The loop knows nothing of the data. A caller brings four things: the model, `batches(epoch)` (the
epoch's batches, already in their order), `loss(model, batch)`, and `evaluate(model)` (dev metrics).
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

Batch = TypeVar("Batch")
PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True, slots=True)
class TrainerConfig:
    """How to train; the section `trainer` of a recipe."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.01
    warm_up: float = 0.1
    """Share of all steps in which the learning rate rises from 0; then it falls linearly to 0."""
    patience: int = 0
    """Stop after so many epochs without a better dev metric; 0: never."""
    clip: float = 1.0
    """Largest gradient norm."""
    seed: int = 0
    precision: str = "fp32"
    """bf16 means autocast: weights and optimizer state stay fp32."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
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
            raise ValueError(f"precision is {self.precision!r}, must be one of {PRECISIONS}")


@dataclass(frozen=True, slots=True)
class Fit:
    """What came out: the chosen epoch (from 1), its dev metrics, and those of every epoch."""

    best_epoch: int
    best: dict[str, float]
    history: tuple[dict[str, float], ...]
    seconds: float
    checkpoint: Path


def set_seeds(seed: int) -> None:
    """Python, numpy and torch, so that a run can be repeated on the same machine."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def autocast(model: nn.Module, precision: str) -> torch.autocast:
    """The context in which the model computes, on the device where it is."""
    device = next(model.parameters()).device.type
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")


def fit(
    model: nn.Module,
    config: TrainerConfig,
    *,
    batches: Callable[[int], Sequence[Batch]],
    loss: Callable[[nn.Module, Batch], Tensor],
    evaluate: Callable[[nn.Module], Mapping[str, float]],
    choose: str,
    out: Path,
    parameters: Iterable[Tensor] | Iterable[dict[str, Any]] | None = None,
    say: Callable[[str], None] = print,
) -> Fit:
    """Train `model` in place; afterwards it holds the weights of the best epoch.

    Call `set_seeds` before the model is made, so that its first weights follow the seed too.

    Args:
        batches: epoch (from 0) -> that epoch's batches, shuffled by the caller with config.seed.
        loss: scalar, the mean over the batch; called in train mode under autocast.
        evaluate: dev metrics; called in eval mode without gradients, under autocast.
        choose: the metric to maximise; of equal epochs the first wins.
        out: folder for best.safetensors (weights) and training.json (config and history).
        parameters: AdamW parameter groups, each with its own `lr` if it likes; default all at
            learning_rate, with weight decay on matrices only.
        say: gets one line of progress now and then.

    Raises:
        FloatingPointError: the loss is no longer finite.
        KeyError: `evaluate` does not return the metric `choose`.
    """
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / "best.safetensors"
    groups = list(parameters) if parameters is not None else decayed(model, config.weight_decay)
    optimizer = torch.optim.AdamW(groups, config.learning_rate, weight_decay=config.weight_decay)
    current = batches(0)
    total = config.epochs * len(current)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_share(step, total, config.warm_up)
    )
    progress = _Progress(total, say)
    history: list[dict[str, float]] = []
    best = -1
    for epoch in range(config.epochs):
        current = batches(epoch) if epoch else current
        mean_loss = _train_epoch(model, config, current, loss, optimizer, schedule, progress)
        model.eval()
        with torch.inference_mode(), autocast(model, config.precision):
            metrics = {"loss": mean_loss, **evaluate(model)}
        history.append(metrics)
        say(f"epoch {epoch + 1}/{config.epochs}: " + _format(metrics))
        if best < 0 or metrics[choose] > history[best][choose]:
            best = epoch
            save_weights(model, checkpoint)
        if config.patience and epoch - best >= config.patience:
            say(f"no better {choose} for {config.patience} epochs: stopped")
            break
    load_weights(model, checkpoint)
    model.eval()
    result = Fit(best + 1, history[best], tuple(history), progress.seconds, checkpoint)
    record = {"config": asdict(config), "choose": choose, "best_epoch": best + 1}
    record |= {"history": history, "seconds": round(result.seconds, 1)}
    (out / "training.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return result


def _train_epoch(
    model: nn.Module,
    config: TrainerConfig,
    batches: Sequence[Batch],
    loss: Callable[[nn.Module, Batch], Tensor],
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    progress: _Progress,
) -> float:
    model.train()
    sum_of_losses = 0.0
    for batch in batches:
        with autocast(model, config.precision):
            value = loss(model, batch)
        if not torch.isfinite(value):
            raise FloatingPointError(
                f"the loss became {value.item()} at step {progress.step}; lower learning_rate"
                f" ({config.learning_rate}) or use precision fp32"
            )
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
        schedule.step()
        sum_of_losses += value.item()
        progress.count(value.item())
    return sum_of_losses / max(1, len(batches))


def decayed(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """AdamW groups: weight decay on matrices and kernels, none on biases and normalisation."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


def learning_rate_share(step: int, total: int, warm_up: float) -> float:
    """Linear from 0 to 1 over the warm-up's share of the steps, then linear to 0."""
    rise = max(1, round(total * warm_up))
    if step < rise:
        return (step + 1) / rise
    return max(0.0, (total - step) / max(1, total - rise))


def save_weights(model: nn.Module, path: Path) -> None:
    """All weights and buffers as safetensors; shared tensors are written once per name."""
    save_file(
        {name: value.detach().clone().contiguous() for name, value in model.state_dict().items()},
        path,
    )


def load_weights(model: nn.Module, path: Path) -> None:
    """Read what `save_weights` wrote.

    Raises:
        RuntimeError: the file is of another model (names the missing and the surplus weights).
    """
    model.load_state_dict(load_file(path))


class _Progress:
    """A line now and then: step, loss, time left."""

    def __init__(self, total: int, say: Callable[[str], None], every: float = 20.0) -> None:
        self.step, self._total, self._say, self._every = 0, total, say, every
        self._start = self._last = time.monotonic()
        self._loss = float("nan")

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start

    def count(self, loss: float) -> None:
        self.step += 1
        self._loss = loss if self.step == 1 else 0.98 * self._loss + 0.02 * loss
        if time.monotonic() - self._last < self._every:
            return
        self._last = time.monotonic()
        left = self.seconds / self.step * (self._total - self.step)
        self._say(
            f"step {self.step}/{self._total}, loss {self._loss:.3f},"
            f" {left // 60:.0f} min {left % 60:02.0f} s left"
        )


def _format(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
