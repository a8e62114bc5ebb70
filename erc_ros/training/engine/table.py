"""`erc table RUN... --metric weighted_f1`: compare finished runs in a Markdown table.

Reads OUT/seed-N/metrics.json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from erc_ros.metrics.table import markdown, percent
from erc_ros.training.engine.runs import MEASURED, METRICS, RunError, read_metrics, seed_folders


def score(content: Mapping[str, Any], split: str, metric: str) -> float | None:
    """Return a figure of a seed's metrics.json (`<split>_report` or `<split>`); None if absent."""
    for place in (f"{split}_report", split):
        report = content.get(place)
        if isinstance(report, Mapping) and isinstance(report.get(metric), (int, float)):
            return float(report[metric])
    return None


def row(run: Path, metric: str) -> dict[str, list[float]]:
    """Return split -> the metric of each seed; an empty list for a split without it.

    Raises:
        RunError: no finished seed, a damaged file, or the metric is in neither split.
    """
    values: dict[str, list[float]] = {split: [] for split in MEASURED}
    known: set[str] = set()
    for folder in seed_folders(run, METRICS):
        content = read_metrics(folder)
        for split in MEASURED:
            value = score(content, split, metric)
            if value is not None:
                values[split].append(value)
            for place in (f"{split}_report", split):
                if isinstance(report := content.get(place), Mapping):
                    known |= {name for name, each in report.items() if isinstance(each, float)}
    if not any(values.values()):
        raise RunError(f"{run} has no {metric!r}; it has {sorted(known)}")
    return values


def table(runs: Sequence[Path], metric: str) -> str:
    """Return Markdown: runs by name; percent, mean ± standard deviation over seeds."""
    names = [run.resolve().name for run in runs]
    rows = []
    for run, name in zip(runs, names, strict=True):
        summary = row(run, metric)
        title = name if names.count(name) == 1 else str(run)
        cells = [percent(values) if values else "-" for values in summary.values()]
        rows.append([title, str(max(map(len, summary.values()))), *cells])
    return "\n".join(markdown(["run", "seeds", f"dev {metric}", f"test {metric}"], rows)) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 if a folder is not a finished run."""
    parser = argparse.ArgumentParser(
        prog="erc table",
        description="Finished runs side by side: dev and test, mean ± deviation over seeds.",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder with seed-N/")
    parser.add_argument("--metric", default="weighted_f1", help="one of metrics.json")
    options = parser.parse_args(argv)
    try:
        print(table(options.runs, options.metric), end="")
    except RunError as error:
        print(f"erc table: {error}", file=sys.stderr)
        return 1
    return 0
