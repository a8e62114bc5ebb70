"""A training step of every fusion head through our trainer, against a plain torch loop.

    python -m benchmarks.training_step [--steps 12] [--heads magt concat ...]

Each head has the width, heads and layers of its paper, embeddings of 768 and float32, and gets
batches of 8 dialogues of 1 to 18 utterances (MELD's mean is 9.6), one thread. Both loops train the
same model on the same batches with optimizers of their own, a step of the one after a step of the
other, so that other load hits both alike. The plain loop has the same operations and nothing else:
forward, cross-entropy, backward, clipping, AdamW, schedule.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.machine import Figure, description
from erc_ros.training.engine.trainer import (
    TrainerConfig,
    decayed,
    fit,
    learning_rate_share,
    set_seeds,
)
from erc_ros.training.heads.registry import HEADS

AIM = 1.3
PAPERS: dict[str, dict[str, Any]] = {
    "concat": {"width": 768},
    "magtkd": {"width": 768, "heads": 8},
    "summer": {"width": 1024, "heads": 4, "layers": 6},
    "lpgnet": {"width": 768},
    "ddvlm": {"width": 768},
}
SIZE, LABELS, DIALOGUES, LONGEST = 768, 7, 8, 18
WARM = 2  # steps that are not counted

Batch = tuple[dict[str, Tensor], Tensor]


def batch(rng: np.random.Generator) -> Batch:
    """Eight dialogues, padded: the inputs of a head and labels (B, U), -100 in the padding."""
    lengths = rng.integers(1, LONGEST + 1, DIALOGUES)
    longest = int(lengths.max())
    valid = torch.from_numpy(np.arange(longest) < lengths[:, None])  # (B, U)
    shape = (DIALOGUES, longest)
    inputs = {
        name: torch.from_numpy(rng.standard_normal((*shape, SIZE), np.float32))
        for name in ("text", "audio", "visual")
    }
    inputs["modalities"] = torch.from_numpy(rng.random((*shape, 3)) > 0.1)
    inputs["speakers"] = torch.from_numpy(rng.integers(0, 10, shape))
    inputs["valid"] = valid
    labels = torch.from_numpy(rng.integers(0, LABELS, shape)).masked_fill(~valid, -100)
    return inputs, labels


def loss(model: nn.Module, batch: Batch) -> Tensor:
    """The same for both."""
    inputs, labels = batch
    return cross_entropy(model(**inputs)[0].flatten(0, 1), labels.flatten())


def plain_step(model: nn.Module, config: TrainerConfig, steps: int) -> Callable[[Batch], None]:
    """A step as one would write it down."""
    optimizer = torch.optim.AdamW(decayed(model, config.weight_decay), config.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_share(step, steps, config.warm_up)
    )

    def step(batch: Batch) -> None:
        value = loss(model, batch)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
        schedule.step()

    return step


class Turns:
    """An epoch that makes a plain step before every step of the trainer, and times both."""

    def __init__(self, batches: list[Batch], plain: Callable[[Batch], None]) -> None:
        self.ours: list[float] = []
        self.theirs: list[float] = []
        self._batches, self._plain = batches, plain

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        for each in self._batches:
            begin = time.perf_counter()
            self._plain(each)
            middle = time.perf_counter()
            yield each  # the trainer works until it asks for the next
            self.theirs.append(middle - begin)
            self.ours.append(time.perf_counter() - middle)


def measure(name: str, steps: int) -> Figure:
    """Ours by theirs, medians over the steps of one run."""
    config_class, head = HEADS[name]
    config = TrainerConfig(epochs=1, batch_size=DIALOGUES, learning_rate=1e-4)
    set_seeds(0)
    model = head(config_class(embeddings=(SIZE,) * 3, labels=LABELS, **PAPERS[name]))
    rng = np.random.default_rng(0)
    # One more, as the time of the last one would include the end of the epoch.
    batches = [batch(rng) for _ in range(WARM + steps + 1)]
    turns = Turns(batches, plain_step(model, config, len(batches)))
    with tempfile.TemporaryDirectory() as folder:
        fit(
            model,
            config,
            batches=lambda epoch: turns,
            loss=loss,
            evaluate=lambda model: {"nothing": 0.0},
            choose="nothing",
            out=Path(folder),
            say=lambda line: None,
        )
    ours, theirs = (np.array(times[WARM : WARM + steps]) for times in (turns.ours, turns.theirs))
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    a, b = 1e3 * np.median(ours), 1e3 * np.median(theirs)
    pairs = np.quantile(ours / theirs, (0.25, 0.75))
    print(
        f"| {name} | {parameters:.1f} | {a:.1f} | {b:.1f} | {a / b:.3f} |"
        f" {pairs[0]:.3f} to {pairs[1]:.3f} |",
        flush=True,
    )
    return Figure(f"{name}: our step by a plain one", a / b, "", AIM)


def main() -> int:
    """See the module's text; the exit status is 1 where the aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--heads", nargs="+", choices=sorted(PAPERS), default=list(PAPERS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{description()}, torch {torch.__version__}\n")
    print("| head | million parameters | ours, ms | plain, ms | ratio | middle half of the pairs |")
    print("|---|---|---|---|---|---|", flush=True)
    figures = [measure(name, options.steps) for name in options.heads]
    print()
    print("\n".join(figure.line() for figure in figures))
    return 0 if all(figure.reached for figure in figures) else 1


if __name__ == "__main__":
    raise SystemExit(main())
