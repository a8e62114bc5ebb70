"""`erc table RECIPE...`: compare the figures of each system's paper with those measured here.

The paper's figures are in config/systems/figures/KIND.yaml: a list of tables, in which every row
has the stage (or the row of the fusion) that reproduces it, and the paper's figures for a corpus in
percent:

    - title: Table 3, feature extraction
      metrics: [accuracy, weighted_f1]
      rows:
        - {name: T, run: text, meld: [62.79, 62.99]}
        - {name: MAGT, run: fusion/MAGT T+A_KD+V, meld: [66.36, 65.32]}

Missing measurements are marked, with the required data and command.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from erc_ros.metrics.table import markdown, percent
from erc_ros.resources import recipe_file
from erc_ros.training.comparison.train import MODES, TableRow, run_folder, spread_out
from erc_ros.training.datasets.corpora import find
from erc_ros.training.engine import table as runs_table
from erc_ros.training.engine.recipe import Recipe, RecipeError, read_recipe
from erc_ros.training.engine.runs import METRICS, RunError, read_metrics, seed_folders
from erc_ros.training.systems.magtkd import GRID
from erc_ros.training.systems.stages import SystemConfig
from erc_ros.values.tables import build

FIGURES = "figures"
FAMILY = ("-clips", "-faces", "-features")
"""Suffixes of corpus names that denote the modalities, not the corpus."""


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """name: as in the paper. run: a stage, or fusion/ROW. figures: corpus -> one per metric."""

    name: str
    run: str
    figures: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """One table of a paper.

    metrics: of metrics.json, such as accuracy or f1.joy. here: further metrics of our runs.
    """

    title: str
    metrics: tuple[str, ...]
    rows: tuple[PublishedRow, ...]
    here: tuple[str, ...] = ()


def read_figures(file: Path) -> list[PublishedTable]:
    """Read the figures of a paper; empty without a file.

    Raises:
        RunError: the file is not a list of tables, or a row has more figures than metrics.
    """
    if not file.is_file():
        return []
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        return [_table(values, f"{file}[{number}]") for number, values in enumerate(content)]
    except (yaml.YAMLError, TypeError, AttributeError, ValueError) as error:
        raise RunError(f"{file} is not a list of a paper's tables: {error}") from error


def _table(values: Mapping[str, Any], where: str) -> PublishedTable:
    metrics = [str(metric) for metric in values["metrics"]]
    rows = []
    for row in values["rows"]:
        figures = {key: list(map(float, row[key])) for key in row if key not in ("name", "run")}
        if wrong := [corpus for corpus, numbers in figures.items() if len(numbers) != len(metrics)]:
            raise ValueError(f"{where}: {row['name']} must have {len(metrics)} figures for {wrong}")
        rows.append({"name": row["name"], "run": row["run"], "figures": figures})
    return build(
        PublishedTable,
        {
            "title": values["title"],
            "metrics": metrics,
            "rows": rows,
            "here": list(values.get("here", [])),
        },
        where,
    )


def tables(file: Path, run: Path) -> str:
    """Return Markdown: the tables of a recipe's paper, and stages without a row in them.

    Args:
        file: the recipe.
        run: the folder of its run, which may be missing.

    Raises:
        RecipeError, RunError: the recipe, the figures or the run cannot be used.
    """
    place = recipe_file(file)
    recipe = read_recipe(place, run)
    if "stages" not in recipe.sections:
        raise RecipeError(f"{file} is of kind {recipe.kind!r}, which has no stages: give its run")
    corpus = recipe.section("system", SystemConfig).corpus
    published = read_figures(place.parent / FIGURES / f"{recipe.kind}.yaml")
    named = {row.run for table in published for row in table.rows}
    named_stages = {
        *named,
        *(run.partition("/")[0] for run in named),
    }  # a teacher's stage has one row
    further = tuple(
        PublishedRow(name, name) for name in _runs_of(recipe) if name not in named_stages
    )
    if further:
        published.append(PublishedTable("Not in the paper", ("accuracy", "weighted_f1"), further))
    lines = [f"# {recipe.kind} on {corpus}: {file}"]
    for table in published:
        if not _is_of(table, _family(corpus)):
            continue
        lines += ["", f"## {table.title}", "", *_lines(table, recipe, corpus, file)]
    return "\n".join(lines) + "\n"


def _runs_of(recipe: Recipe) -> Iterator[str]:
    """Yield the stages with metrics, and the rows of the fusion."""
    for name, stage in recipe.sections["stages"].items():
        if name == GRID:  # a figure
            continue
        if "rows" in stage:
            rows = spread_out(stage["rows"])
            yield from (f"{name}/{row.get('name', row['head'])}" for row in rows)
        elif "trainer" in stage:
            yield name


def _family(corpus: str) -> str:
    for ending in FAMILY:
        corpus = corpus.removesuffix(ending)
    return corpus


def _is_of(table: PublishedTable, corpus: str) -> bool:
    """Return whether a table concerns a corpus; per-class figures need a corpus with the class."""
    has_figures = any(corpus in row.figures for row in table.rows)
    return has_figures or not any("." in metric for metric in table.metrics)


def _lines(table: PublishedTable, recipe: Recipe, corpus: str, file: Path) -> list[str]:
    family = _family(corpus)
    rows = []
    known = list(_runs_of(recipe))
    shown = (*table.metrics, *table.here)
    for row in table.rows:
        published = _of_paper(row, family, len(table.metrics))
        measured = list(_measured(row.run, shown, recipe.out))
        for number, (mode, cells) in enumerate(measured):
            rows.append(
                [f"{row.name}{mode}", *(published if not number else [""] * len(published)), *cells]
            )
        if not measured:
            command = f"erc train {file} --data CORPORA"
            media = find(corpus).media
            needs = f" (needs {media})" if media else ""
            here = f"not measured here{needs}: `{command}`"
            if row.run not in known:
                here = "not in this recipe"
            rows.append([row.name, *published, here, *[""] * len(shown)])
    names = [name.replace("_", " ").replace(".", " ") for name in shown]
    paper = [f"paper, {name}" for name in names[: len(table.metrics)]]
    head = ["", *paper, *(f"here, {name}" for name in names), "utterances without"]
    return markdown(head, rows)


def _of_paper(row: PublishedRow, corpus: str, count: int) -> list[str]:
    """Return a row's figures for a corpus, or else those of another one with its name."""
    if corpus in row.figures:
        return [f"{figure:.2f}" for figure in row.figures[corpus]]
    if other := next(iter(row.figures), ""):
        return [f"{figure:.2f} ({other})" for figure in row.figures[other]]
    return ["-"] * count


def _measured(run: str, metrics: Sequence[str], out: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield (mode, cells) of every finished run of that name.

    There is a cell for each metric, and one for the number of excluded test utterances.
    """
    stage, _, row = run.partition("/")
    folders = {"": out / "stages" / stage}
    if row:
        like = TableRow("concat", name=row)
        places = {mode: run_folder(like, mode, 0, out / "stages" / stage).parent for mode in MODES}
        folders = {f", {mode}": place for mode, place in places.items()}
    for mode, folder in folders.items():
        try:
            runs = [read_metrics(seed) for seed in seed_folders(folder, METRICS)]
            seeds = [run["test_report"] for run in runs]
            without = str(max(int(run.get("left_out", {}).get("test", 0)) for run in runs))
        except (RunError, KeyError):
            continue
        count = f" ({len(seeds)} seeds)" if len(seeds) > 1 else " (1 seed)"
        yield mode + count, [*(_cell(seeds, metric) for metric in metrics), without]


def _cell(reports: Sequence[Mapping[str, Any]], metric: str) -> str:
    values = []
    for report in reports:
        value: Any = report
        for part in metric.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if isinstance(value, (int, float)):
            values.append(float(value))
    return percent(values) if len(values) == len(reports) else "-"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 if a recipe, its figures or a run cannot be used."""
    given = list(sys.argv[1:] if argv is None else argv)
    if not any(name.endswith((".yaml", ".yml")) for name in _runs_among(given)):
        return runs_table.main(given)
    parser = argparse.ArgumentParser(
        prog="erc table", description="The papers' tables, with our figures in additional columns."
    )
    parser.add_argument("recipes", nargs="+", type=Path, metavar="RECIPE")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of their runs")
    options = parser.parse_args(given)
    try:
        texts = [tables(file, options.runs / file.stem) for file in options.recipes]
    except (ValueError, FileNotFoundError) as error:
        print(f"erc table: {error}", file=sys.stderr)
        return 1
    print("\n".join(texts), end="")
    return 0


def _runs_among(arguments: Sequence[str]) -> Iterator[str]:
    """Yield the positional arguments."""
    before = ""
    for argument in arguments:
        if not argument.startswith("-") and before not in ("--metric", "--runs"):
            yield argument
        before = argument
