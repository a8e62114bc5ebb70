"""The folder of a run: write and read the results of a training.

    RUN/seed-0/   best.safetensors, training.json (see `trainer`), metrics.json, logits.npz, ...
    RUN/seed-1/   ...
    RUN/best/     copy of the seed that is best on dev; its metrics.json has all seeds

A training of several models or modalities has such a folder for each of them.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erc_ros.metrics import classification
from erc_ros.values.files import write_whole

METRICS, ANSWERS, BEST = "metrics.json", "logits.npz", "best"
UNFINISHED = "unfinished.pt"
READING = "reading.json"
"""File next to encoder/ with the settings for its use."""
SPLITS = ("train", "dev", "test")
MEASURED = ("dev", "test")


class RunError(ValueError):
    """The folder is not a finished run; the message states what is missing."""


def write_with(file: Path, write: Callable[[Path], Any]) -> None:
    """Replace `file` atomically by a file that `write` fills."""
    new = file.with_name(file.name + ".new")
    write(new)
    os.replace(new, file)


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping as JSON, atomically."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_whole(file, text)


def read_json(file: Path) -> dict[str, Any]:
    """Read a file of `write_json`.

    Raises:
        FileNotFoundError: there is no such file.
        RunError: it is damaged.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{file} is not JSON ({error}): train that seed again") from error
    if not isinstance(content, dict):
        raise RunError(f"{file} must be a table, not {type(content).__name__}")
    return content


def write_metrics(metrics: Mapping[str, Any], folder: Path) -> None:
    """Write metrics.json; `choose_best` needs `seed`, `dev` (higher is better) and `test`."""
    write_json(folder / METRICS, metrics)


def read_metrics(folder: Path) -> dict[str, Any]:
    """Read metrics.json; raises FileNotFoundError or RunError, as `read_json`."""
    return read_json(folder / METRICS)


def finished(file: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the result in `file` if its `settings` are equal to these; else None."""
    if not file.is_file():
        return None
    result = read_json(file)
    return result if result.get("settings") == plain(settings) else None


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as after JSON: tuples become lists, keys become strings."""
    content: dict[str, Any] = json.loads(json.dumps(settings))
    return content


@dataclass(frozen=True, eq=False)
class Predicted:
    """A split's logits (N, C), labels (N,) and, if known, conversations (N,)."""

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    conversations: NDArray[np.int64] | None = None


def write_run(
    folder: Path,
    names: Sequence[str],
    splits: Mapping[str, Predicted],
    content: Mapping[str, Any],
) -> dict[str, Any]:
    """Write logits.npz and metrics.json (scores and settings) of a finished run.

    Args:
        names: of the labels.
        splits: dev and test.
        content: seed, settings and other entries; also `dev` and `test` if these are not the
            weighted F1 of dev and the scores of test.

    Returns:
        The content of metrics.json.
    """
    arrays: dict[str, Any] = {"names": np.array(names)}
    reports = {}
    for split, predicted in splits.items():
        arrays[split], arrays[f"{split}_labels"] = predicted.logits, predicted.labels
        if predicted.conversations is not None:
            arrays[f"{split}_conversations"] = predicted.conversations
        probabilities = classification.softmax(predicted.logits)
        reports[split] = classification.report(predicted.labels, probabilities, names)
    np.savez(folder / ANSWERS, **arrays)
    metrics = {
        "dev": reports["dev"]["weighted_f1"],
        "test": {name: reports["test"][name] for name in classification.SCORES},
        **{f"{split}_report": report for split, report in reports.items()},
        **content,
    }
    write_metrics(metrics, folder)
    return metrics


def log_probabilities(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logarithms of probabilities, which are clipped to at least 1e-12."""
    result: NDArray[np.float32] = np.log(np.maximum(probabilities, 1e-12))
    return result


def choose_best(run: Path, files: Sequence[str]) -> dict[str, Any]:
    """Copy `files` of the seed that is best on dev to RUN/best.

    Its metrics.json there gets mean and deviation over all seeds.

    Raises:
        FileNotFoundError: no finished seed in `run`.
    """
    seeds = [read_json(file) for file in sorted(run.glob(f"seed-*/{METRICS}"))]
    if not seeds:
        raise FileNotFoundError(f"{run} has no seed-*/{METRICS}")
    folder = run / BEST
    folder.mkdir(exist_ok=True)
    best = max(seeds, key=lambda metrics: float(metrics["dev"]))
    copy_files(run / f"seed-{best['seed']}", folder, files)
    summary = {
        "seeds": {str(m["seed"]): {"dev": m["dev"], "test": m["test"]} for m in seeds},
        "mean": _each(seeds, statistics.fmean),
        "deviation": _each(seeds, lambda x: statistics.stdev(x) if len(x) > 1 else 0.0),
    }
    chosen = {**best, "all_seeds": summary}
    write_metrics(chosen, folder)
    return chosen


def copy_files(source: Path, target: Path, names: Sequence[str]) -> None:
    """Copy files by name."""
    for name in names:
        shutil.copyfile(source / name, target / name)


def _each(
    seeds: Sequence[Mapping[str, Any]], reduce: Callable[[list[float]], float]
) -> dict[str, float]:
    return {name: reduce([m["test"][name] for m in seeds]) for name in seeds[0]["test"]}


def seed_folders(run: Path, file: str) -> list[Path]:
    """Return the folders seed-N that have `file`, by number; or the folder itself.

    Raises:
        RunError: no folder has the file.
    """
    if (run / file).is_file():
        return [run]
    folders = [path.parent for path in run.glob(f"seed-*/{file}")]
    if not folders:
        raise RunError(
            f"{run} has no {file} and no seed-*/{file}: give the folder of a finished training"
        )
    return sorted(folders, key=lambda path: (len(path.name), path.name))


def run_folders(folder: Path) -> list[Path]:
    """Return the runs in a folder: those of several models, or the folder itself."""
    heads = {file.parents[1] for file in folder.glob(f"*/seed-*/{ANSWERS}")}
    return sorted(heads) if heads and not list(folder.glob("seed-*")) else [folder]
