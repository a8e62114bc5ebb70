"""The gate: the acceptance test of a quantized bundle against its float32 version.

Both are compared on the same inputs, prediction by prediction. The criterion is the drop of
weighted F1 on dev, of the whole bundle (with audio and faces that may be simulated) and of text
alone (which is real). If it is too large, the part whose float32 version reduces it most is named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from erc_ros.metrics.classification import weighted_f1
from erc_ros.metrics.significance import paired_bootstrap
from erc_ros.networks.network import Network
from erc_ros.training.quantization.task import ENCODERS, Run, Task, owners_of

Floats = NDArray[np.float32]
Choice = Mapping[str, Path]
"""Part -> file."""


class RefusedError(RuntimeError):
    """A quantized bundle loses more than allowed; the message states the loss and the part."""


@dataclass(frozen=True, slots=True)
class GateComparison:
    """Quantized against float32 on the same utterances; weighted F1 and drop in points (0..100).

    low, high: 95 % interval of the drop, bootstrap over conversations. agreement: share of equal
    predictions. largest, mean: absolute difference of the logits.
    """

    before: float
    after: float
    drop: float
    low: float
    high: float
    agreement: float
    largest: float
    mean: float


def compare(
    labels: NDArray[np.int64], owners: NDArray[np.int64], before: Floats, after: Floats
) -> GateComparison:
    """Compare logits (N, C) of float32 (before) and quantized networks (after).

    Args:
        labels: (N,) reference labels.
        owners: (N,) the conversation of each utterance.

    Raises:
        ValueError: shapes that differ, or logits that are not finite.
    """
    if before.shape != after.shape or len(before) != len(labels):
        raise ValueError(f"logits {before.shape} and {after.shape} of {len(labels)} utterances")
    if not np.isfinite(before).all() or not np.isfinite(after).all():
        raise ValueError("logits are not finite: one of the networks is broken")
    classes, difference = before.shape[1], np.abs(before - after)
    was, now = before.argmax(axis=1), after.argmax(axis=1)
    drop = paired_bootstrap(labels, was[None], now[None], owners, classes)
    return GateComparison(
        before=100 * weighted_f1(labels, was, classes),
        after=100 * weighted_f1(labels, now, classes),
        drop=100 * drop.value,
        low=100 * drop.low,
        high=100 * drop.high,
        agreement=float((was == now).mean()),
        largest=float(difference.max()),
        mean=float(difference.mean()),
    )


class Bench:
    """Evaluates any choice of files; each encoder file runs once per split.

    Args:
        form: file -> the file that is run for it (`engine_graphs`).
        opened: opens a file for running.
    """

    def __init__(
        self,
        task: Task,
        form: Callable[[Path], Path] = lambda file: file,
        opened: Callable[[Path], Run] = Network,
    ) -> None:
        self.task = task
        self._form = form
        self._opened = opened
        self.floats: Choice = {part: task.file(part) for part in task.parts}
        self._embeddings: dict[tuple[str, Path, str], Floats] = {}
        self._logits: dict[tuple[object, ...], Floats] = {}

    def logits(
        self, choice: Choice, split: str, seen: Sequence[bool] = (True, True, True)
    ) -> Floats:
        """Return logits (N, C) with these files, from these modalities."""
        key = (*(choice[part] for part in self.task.parts), split, tuple(seen))
        if key not in self._logits:
            embeddings = {
                part: self._embedded(part, choice[part], split) for part in self.task.encoders
            }
            fusion = self._opened(choice["fusion"])
            self._logits[key] = self.task.logits(fusion, embeddings, split, seen)
        return self._logits[key]

    def compare(
        self, choice: Choice, split: str, seen: Sequence[bool] = (True, True, True)
    ) -> GateComparison:
        """Compare a choice with float32, from these modalities."""
        material = self.task.material[split]
        before = self.logits(self.floats, split, seen)
        formed = {part: self._form(choice[part]) for part in self.task.parts}
        after = self.logits(formed, split, seen)
        labels, owners = material.labels, owners_of(material.conversations)
        known = labels >= 0  # the others have no label
        return compare(labels[known], owners[known], before[known], after[known])

    def _embedded(self, part: str, file: Path, split: str) -> Floats:
        key = (part, file, split)
        if key not in self._embeddings:
            self._embeddings[key] = self.task.embed(part, self._opened(file), split)
        return self._embeddings[key]


TEXT_ALONE = (True, False, False)


@dataclass(frozen=True, slots=True)
class PartResult:
    """One quantized part on dev.

    only: the whole bundle with only this part quantized. without: the whole bundle with this part
    in float32 and the others quantized. alone: from this modality only (None for the fusion).
    """

    only: GateComparison
    without: GateComparison
    alone: GateComparison | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Results on dev: the whole bundle, with all modalities and text alone; every quantized part.

    text_without: from text alone, with a part in float32 and the others quantized.
    """

    total: GateComparison
    text: GateComparison
    parts: Mapping[str, PartResult]
    text_without: Mapping[str, GateComparison]

    def refuse(self, max_drop: float) -> None:
        """Raise RefusedError unless the bundle passes.

        Raises:
            RefusedError: it loses more than `max_drop` points.
        """
        without = {part: result.without for part, result in self.parts.items()}
        if self.total.drop > max_drop:
            raise RefusedError(_refusal("", self.total, without, max_drop))
        if self.text.drop > max_drop:
            raise RefusedError(_refusal(" from text alone", self.text, self.text_without, max_drop))


def passes(bench: Bench, choice: Choice, max_drop: float) -> bool:
    """Return whether a choice passes the gate."""
    if bench.compare(choice, "dev").drop > max_drop:
        return False
    return bench.compare(choice, "dev", TEXT_ALONE).drop <= max_drop


def judge(bench: Bench, quantized: Choice) -> Verdict:
    """Measure a choice of quantized files (only the parts that are quantized) on dev."""
    compared = partial(bench.compare, split="dev")
    everything = {**bench.floats, **quantized}
    parts, text_without = {}, {}
    for part, file in quantized.items():
        one, others = {**bench.floats, part: file}, {**everything, part: bench.floats[part]}
        alone = None
        if part in ENCODERS:
            alone = compared(one, seen=[part == encoder for encoder in ENCODERS])
        parts[part] = PartResult(only=compared(one), without=compared(others), alone=alone)
        if part in ("text", "fusion"):  # the parts that process text
            text_without[part] = compared(others, seen=TEXT_ALONE)
    return Verdict(compared(everything), compared(everything, seen=TEXT_ALONE), parts, text_without)


def _refusal(
    how: str, comparison: GateComparison, without: Mapping[str, GateComparison], max_drop: float
) -> str:
    worst = min(without, key=lambda part: without[part].drop)
    return (
        f"weighted F1 on dev{how} falls by {comparison.drop:.2f} points "
        f"({comparison.before:.2f} -> {comparison.after:.2f}), allowed are {max_drop:g}. "
        f"With the part {worst} in float32 the drop is {without[worst].drop:.2f}, the smallest. "
        "Nothing was written; try another --scheme, --scheme auto, or --part for the others"
    )
