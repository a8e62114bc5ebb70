"""Check the stages of a recipe before training; estimate time and disk space.

All stages are checked before the first training: models on this machine, optional packages, files,
devices, and disk space. Durations are estimated from the numbers of weights and inputs, and from
the measured speed of this CPU, with a typical error of a factor of two. On a GPU, layers and steps
count if they take longer.
"""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from erc_ros.training.comparison.train import RIDGE, variants
from erc_ros.training.encoders.features import asks_for_features
from erc_ros.training.encoders.pretrained import local_folder
from erc_ros.training.encoders.robot import network_kind
from erc_ros.training.engine.distributed import placement
from erc_ros.training.engine.trainer import PRECISIONS, TrainerConfig
from erc_ros.training.heads.registry import make_head

ASSUMED = {"train": 9989, "dev": 1109, "test": 2610}
"""Assumed number of utterances of a corpus that is not on this machine: that of MELD."""
TOKENS = {"TextEncoderConfig": 128, "SpeechEncoderConfig": 150, "VideoEncoderConfig": 1568}
"""Tokens per utterance: a prompt, 3 s of audio, 8 images of 14 x 14 patches."""
GPU_SPEED = 3.0e13
"""Multiplications and additions per second of a GPU of 24 GB in bfloat16."""
GPU_STEP_SECONDS = 0.0053
"""Least time per layer of a training step on a GPU. Small batches wait for the start of kernels:
RoBERTa-large, batches of 4, on an H200: 0.128 s for 24 layers (docs/results/training_cost.md)."""
REACHED = 0.5
"""Share of the speed of a matrix product that a training on a CPU reaches."""
DECODING_SECONDS = 0.36
"""CPU time to decode a 3 s clip of 720p, for training and for features, s."""
DECODED_BYTES = 8 * 224 * 224 * 3
"""Disk space per clip while its stage runs: the frames for the encoder."""
DESCRIBING_SECONDS = 2.0
SMALL_NETWORK = 1_000_000
ASSUMED_WIDTH = 768
GB = 1e9


@dataclass(frozen=True, slots=True)
class Plan:
    """Plan of one stage: number of trainings, estimated hours and gigabytes, missing items."""

    name: str
    trainings: int
    hours: float
    gigabytes: float
    missing: tuple[str, ...] = ()

    def line(self) -> str:
        """Description of the plan."""
        if not self.trainings:
            return f"{self.name}: done"
        return (
            f"{self.name}: {self.trainings} runs, about {duration(self.hours)},"
            f" {self.gigabytes:.1f} GB"
        )


def duration(hours: float) -> str:
    """Format hours as minutes, hours or days."""
    if hours < 1:
        return f"{max(1, round(60 * hours))} min"
    return f"{hours:.0f} h" if hours < 72 else f"{hours / 24:.0f} days"


def plan(name: str, section: Any, seeds: int, utterances: Mapping[str, int], labels: int) -> Plan:
    """Plan a stage for a number of seeds (1 for a stage without seeds).

    Args:
        utterances: number of utterances of each split.
        labels: number of labels.
    """
    missing = [*_missing_models(section), *_missing_files(section), *_missing_devices(section)]
    if seeds == 0:
        return Plan(name, 0, 0.0, 0.0)
    stage = getattr(section, "fusion", section)  # a teacher is a fusion with one row
    if hasattr(stage, "table_rows"):
        return _fusion(name, stage, seeds, utterances, missing, labels)
    everything = sum(utterances.values())
    hours, gigabytes = everything / 3600 / 100, everything * ASSUMED_WIDTH * 4 / GB
    encoder, trainer = getattr(section, "encoder", None), getattr(section, "trainer", None)
    if getattr(section, "describer", None) is not None:
        hours = everything * DESCRIBING_SECONDS / 3600
    if encoder is not None:
        hours, of_encoder = _encoder(encoder, trainer, section, utterances)
        gigabytes += of_encoder
    elif isinstance(trainer, TrainerConfig):
        examples = utterances["train"] * trainer.epochs
        hours = _hours(SMALL_NETWORK * examples * 6, trainer.device, trainer.precision)
    return Plan(name, seeds, hours * seeds, gigabytes * seeds, tuple(missing))


def _encoder(
    encoder: Any, trainer: TrainerConfig | None, section: Any, utterances: Mapping[str, int]
) -> tuple[float, float]:
    """Estimate hours and gigabytes of a seed."""
    weights, embeddings = _weights(encoder.model)
    kind = type(encoder).__name__
    tokens = min(TOKENS.get(kind, 1), getattr(encoder, "max_tokens", 1 << 30))
    everything = sum(utterances.values())
    passes = everything  # features of all splits
    operations = 2.0 * everything
    if trainer is not None:
        operations += trainer.epochs * (6 * utterances["train"] + 2 * utterances["dev"])
        passes += everything
    device = trainer.device if trainer is not None else getattr(section, "device", "cpu")
    precision = trainer.precision if trainer is not None else "fp32"
    hours = _hours(operations * (weights - embeddings) * tokens, device, precision)
    if device == "cuda" and trainer is not None:
        steps = trainer.epochs * math.ceil(utterances["train"] / trainer.batch_size)
        hours = max(hours, steps * _layers(encoder.model) * GPU_STEP_SECONDS / 3600)
    if kind == "VideoEncoderConfig":
        hours += passes * DECODING_SECONDS / 3600
    # Weights of the best epoch, saved encoder, and, during training, the optimizer's state.
    size = weights * 4 * (2 + 3 * (trainer is not None))
    if kind == "VideoEncoderConfig":
        size += everything * DECODED_BYTES
    return hours, size / GB


def _fusion(
    name: str,
    stage: Any,
    seeds: int,
    utterances: Mapping[str, int],
    missing: Sequence[str],
    labels: int,
) -> Plan:
    hours = gigabytes = 0.0
    count = 0
    for row, mode in variants(stage.table_rows, stage.modes):
        count += 1
        if row.head == RIDGE:
            continue
        values = {
            "width": stage.network.width,
            **row.options,
            "embeddings": (ASSUMED_WIDTH,) * 3,
            "labels": labels,
            "causal": mode != "offline",
        }
        with torch.device("meta"):
            weights = sum(p.numel() for p in make_head(row.head, values).parameters())
        epochs = int(row.trainer.get("epochs", stage.trainer.epochs))
        operations = weights * epochs * (6 * utterances["train"] + 2 * utterances["dev"])
        hours += _hours(operations, stage.trainer.device, stage.trainer.precision)
        gigabytes += weights * 4 * (2 if mode != "offline" else 1) / GB
    trainings = count * seeds
    return Plan(name, trainings, hours * seeds, gigabytes * seeds, tuple(missing))


def _hours(operations: float, device: str, precision: str) -> float:
    speed = GPU_SPEED if device == "cuda" else REACHED * matrix_speed(PRECISIONS[precision])
    return operations / speed / 3600


@cache
def matrix_speed(kind: torch.dtype) -> float:
    """Measure the multiplications and additions per second of this CPU in matrix products.

    It takes 0.1 s. CPUs differ by a factor of ten in bfloat16.
    """
    rows, weights = torch.ones(4096, 768, dtype=kind), torch.ones(768, 768, dtype=kind)
    rows @ weights  # the first product prepares threads and buffers
    count, begin = 0, time.perf_counter()
    while (seconds := time.perf_counter() - begin) < 0.1:
        rows @ weights
        count += 1
    return count * rows.numel() * weights.shape[1] / seconds


def _weights(model: str) -> tuple[int, int]:
    """Estimate the number of weights, and how many of them are embeddings of words and positions.

    Embeddings are read, not multiplied. A missing model is assumed to be small or RoBERTa.
    """
    if network_kind(model) or asks_for_features(model):
        return SMALL_NETWORK, 0
    try:
        folder = local_folder(model)
    except FileNotFoundError:
        return (355_000_000, 52_000_000) if "large" in model else (125_000_000, 39_000_000)
    sizes: Counter[bool] = Counter()
    for file in folder.glob("*.safetensors"):
        try:
            with safe_open(file, "pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118
                    size = math.prod(tensors.get_slice(name).get_shape())
                    sizes["embeddings." in name] += size
        except SafetensorError:  # the training will name the fault
            sizes[False] += file.stat().st_size // 4
    return sizes.total(), sizes[True]


def _layers(model: str) -> int:
    """Return the number of layers of a model, and BERT's where it is missing or has other parts."""
    if network_kind(model) or asks_for_features(model):
        return 1
    try:
        content = json.loads((local_folder(model) / "config.json").read_text(encoding="utf-8"))
        return int(content["num_hidden_layers"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return 24 if "large" in model else 12


def _missing_models(section: Any) -> Iterator[str]:
    """Yield the models of the section that are not on this machine."""
    models = [
        getattr(getattr(section, part, None), "model", "") for part in ("encoder", "describer")
    ]
    models.append(getattr(section, "model", ""))
    for model in filter(None, models):
        if network_kind(model) or asks_for_features(model):
            continue
        try:
            folder = local_folder(model)
            json.loads((folder / "config.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError) as error:
            yield str(error)
    if hasattr(section, "feature_set") and importlib.util.find_spec("opensmile") is None:
        yield (
            "openSMILE is not installed: in the source tree, pip install '.[opensmile]' (its"
            " license is for research)"
        )


def _missing_files(section: Any) -> Iterator[str]:
    if getattr(section, "file", "") and not Path(section.file).is_file():
        yield f"{section.file} (file of the descriptions) is missing"


def _missing_devices(section: Any) -> Iterator[str]:
    device, count = placement(section)
    available = torch.cuda.device_count()
    if device == "cuda" and available < count:
        yield (
            f"it needs {count} {'GPU' if count == 1 else 'GPUs'}, and this machine has {available}:"
            f" set the stage's device to cpu{', or processes to this number' if available else ''}"
        )


def report(plans: Sequence[Plan]) -> list[str]:
    """Return a readable summary of the plans."""
    hours, needed = sum(p.hours for p in plans), sum(p.gigabytes for p in plans)
    return [*(each.line() for each in plans), f"in all about {duration(hours)}, {needed:.1f} GB"]


def missing(plans: Sequence[Plan], out: Path) -> list[str]:
    """Return everything that is missing: models, files, packages, devices, disk space."""
    lines = [f"stage {each.name}: {line}" for each in plans for line in each.missing]
    place = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.is_dir())
    free, needed = shutil.disk_usage(place).free / GB, sum(p.gigabytes for p in plans)
    if needed > free:
        lines.append(f"{place} has {free:.1f} GB free, about {needed:.1f} GB are required")
    return lines
