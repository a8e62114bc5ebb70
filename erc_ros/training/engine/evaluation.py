"""`erc evaluate RUN...` (or `erc evaluate-run`): metrics of finished runs with intervals.

Reads OUT/seed-N/logits.npz: `dev` and `test` (N, C) float, `dev_labels` and `test_labels` (N,)
int, optionally `dev_conversations` and `test_conversations` (N,) int, and `names` (C,) of the
labels (else those of metrics.json). No model is run and no corpus is needed.

Writes OUT/evaluation.{json,md} and images next to it: confusion and reliability of each split,
training curves. If a training has several models, OUT/<model>/ are evaluated one by one.
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erc_ros.metrics import classification as metrics
from erc_ros.metrics.classification import Interval
from erc_ros.metrics.table import deviation, percent
from erc_ros.training.engine.runs import (
    ANSWERS,
    MEASURED,
    METRICS,
    UNFINISHED,
    RunError,
    read_json,
    run_folders,
    seed_folders,
    write_json,
)


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions of the S seeds of a run for a split: probabilities (S, N, C).

    labels (N,) int64; conversations (N,) int64, or None if unknown.
    """

    probabilities: NDArray[np.float64]
    labels: NDArray[np.int64]
    conversations: NDArray[np.int64] | None


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run. seeds: names of their folders. histories, choose: as in training.json."""

    folder: Path
    seeds: tuple[str, ...]
    names: tuple[str, ...]
    splits: Mapping[str, Predictions]
    histories: Mapping[str, Sequence[Mapping[str, float]]]
    choose: str


def read_run(folder: Path) -> Run:
    """Read the results of a training.

    Raises:
        RunError: not finished, damaged, without labels, or seeds with different test data.
    """
    seeds = seed_folders(folder, ANSWERS)
    for seed in seeds:
        if (seed / UNFINISHED).exists():
            raise RunError(f"{seed} is not finished: run its training again to continue it")
    arrays = [_read_arrays(seed / ANSWERS) for seed in seeds]
    splits = {split: _join(split, arrays, seeds) for split in MEASURED}
    records = {seed.name: _record(seed / "training.json") for seed in seeds}
    chosen = {record.get("choose", "") for record in records.values()} if records else set()
    return Run(
        folder,
        tuple(seed.name for seed in seeds),
        _names(seeds[0], arrays[0], splits["test"].probabilities.shape[-1]),
        splits,
        {name: record["history"] for name, record in records.items() if "history" in record},
        chosen.pop() if len(chosen) == 1 else "",
    )


def _read_arrays(file: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(file, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise RunError(f"{file} cannot be read ({error}): train that seed again") from error
    for split in MEASURED:
        if missing := {split, f"{split}_labels"} - set(arrays):
            raise RunError(f"{file} lacks {sorted(missing)}: train that seed again")
        logits, labels = arrays[split], arrays[f"{split}_labels"]
        if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
            raise RunError(f"{file}: {split} is {logits.shape} for {labels.shape} labels")
        if not np.isfinite(logits).all():
            rows = np.flatnonzero(~np.isfinite(logits).all(axis=1))
            raise RunError(f"{file}: {split} predictions are not numbers, first {rows[:5]}")
    return arrays


def _join(split: str, arrays: Sequence[Mapping[str, Any]], seeds: Sequence[Path]) -> Predictions:
    first = arrays[0]
    for seed, each in zip(seeds, arrays, strict=True):
        same = each[split].shape == first[split].shape
        if not same or not np.array_equal(each[f"{split}_labels"], first[f"{split}_labels"]):
            raise RunError(f"{seed} was measured on another {split} than {seeds[0]}")
    return Predictions(
        np.stack([metrics.softmax(each[split]) for each in arrays]),
        first[f"{split}_labels"].astype(np.int64),
        first.get(f"{split}_conversations"),
    )


def _names(seed: Path, arrays: Mapping[str, NDArray[Any]], classes: int) -> tuple[str, ...]:
    """Return label names: from logits.npz, else the F1 in metrics.json, else numbers."""
    if "names" in arrays:
        names = tuple(str(name) for name in arrays["names"])
    else:
        report = _record(seed / METRICS).get("test")
        per_class = report.get("f1") if isinstance(report, dict) else None
        names = tuple(per_class) if isinstance(per_class, dict) else ()
    if names and len(names) != classes:
        raise RunError(f"{seed} has {classes} outputs and {len(names)} labels: {names}")
    return names or tuple(f"class {number}" for number in range(classes))


def _record(file: Path) -> dict[str, Any]:
    """Read a JSON file; {} if it does not exist."""
    return read_json(file) if file.is_file() else {}


def evaluate(run: Run, resamples: int = 1000) -> dict[str, Any]:
    """Return every figure of both splits, ready for JSON."""
    result: dict[str, Any] = {"run": run.folder.name, "seeds": list(run.seeds)}
    for split, answers in run.splits.items():
        per_seed = [metrics.report(answers.labels, p, run.names) for p in answers.probabilities]
        drawn = metrics.intervals(
            answers.labels, answers.probabilities, run.names, answers.conversations, resamples
        )
        whole = answers.conversations
        scores = (*metrics.SCORES, "calibration_error")
        result[split] = {
            "n": len(answers.labels),
            "resampled": "utterances" if whole is None else "conversations",
            "resamples": resamples,
            "scores": {
                name: _figure([each[name] for each in per_seed], drawn[name]) for name in scores
            },
            "f1": {
                name: _figure([each["f1"][name] for each in per_seed], drawn[f"f1 {name}"])
                | {"support": int((answers.labels == index).sum())}
                for index, name in enumerate(run.names)
            },
            "confusion": np.sum([each["confusion"] for each in per_seed], axis=0).tolist(),
        }
    return result


def _figure(values: Sequence[float], interval: Interval) -> dict[str, Any]:
    bounds = (interval.low, interval.high)
    return {
        "mean": float(np.mean(values)),
        "std": deviation(values),
        "interval": None if np.isnan(bounds).any() else list(bounds),
        "values": list(values),
    }


def describe(result: Mapping[str, Any]) -> str:
    """Format an evaluation as Markdown."""
    lines = [f"# {result['run']}", "", f"{', '.join(result['seeds'])}; percent, mean ± deviation."]
    for split in MEASURED:
        of_split = result[split]
        lines += [
            "",
            f"| {split}, {of_split['n']} utterances | | 95 % ({_bootstrap(of_split)}) |",
            "|---|---|---|",
            *(_row(name.replace("_", " "), each) for name, each in of_split["scores"].items()),
            *(_row(f"F1 {n} ({each['support']})", each) for n, each in of_split["f1"].items()),
        ]
    return "\n".join(lines) + "\n"


def _bootstrap(of_split: Mapping[str, Any]) -> str:
    if of_split["scores"]["accuracy"]["interval"] is None:
        return f"none: fewer than {metrics.MIN_CONVERSATIONS} {of_split['resampled']}"
    return f"{of_split['resamples']} bootstraps over {of_split['resampled']}"


def _row(name: str, figure: Mapping[str, Any]) -> str:
    interval = figure["interval"]
    bounds = "-" if interval is None else f"{100 * interval[0]:.2f} to {100 * interval[1]:.2f}"
    return f"| {name} | {percent(figure['values'])} | {bounds} |"


def write(run: Run, result: Mapping[str, Any]) -> list[Path]:
    """Write the evaluation and its images into the run's folder; return the files."""
    from erc_ros.metrics.pictures import draw_confusion, draw_curves, draw_reliability

    figures = {}
    for split, answers in run.splits.items():
        figures[f"confusion-{split}"] = draw_confusion(
            np.asarray(result[split]["confusion"]), run.names
        )
        together = answers.probabilities.reshape(-1, len(run.names))
        labels = np.tile(answers.labels, len(run.seeds))
        figures[f"reliability-{split}"] = draw_reliability(metrics.reliability(labels, together))
    if run.histories and run.choose:
        figures["training"] = draw_curves(run.histories, run.choose)
    files = [run.folder / "evaluation.json", run.folder / "evaluation.md"]
    write_json(files[0], result)
    files[1].write_text(describe(result), encoding="utf-8")
    for name, figure in figures.items():
        files.append(run.folder / f"{name}.png")
        figure.savefig(files[-1])
    return files


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 if a folder is not a finished run."""
    parser = argparse.ArgumentParser(
        prog="erc evaluate-run",
        description="Every metric of finished runs on dev and test, with bootstrap intervals and"
        " diagrams, from the stored predictions of the trainings.",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder with seed-N/")
    parser.add_argument("--resamples", type=int, default=1000, help="samples of the bootstrap")
    options = parser.parse_args(argv)
    if options.resamples < 1:
        parser.error(f"--resamples is {options.resamples}, must be at least 1")
    try:
        for folder in chain.from_iterable(map(run_folders, options.runs)):
            run = read_run(folder)
            result = evaluate(run, options.resamples)
            files = write(run, result)
            print(describe(result))
            print("\n".join(f"  {file}" for file in files) + "\n")
    except RunError as error:
        print(f"erc evaluate: {error}", file=sys.stderr)
        return 1
    return 0
