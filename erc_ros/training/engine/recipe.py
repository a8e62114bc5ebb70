"""Recipes: the configuration files of `erc train`. One YAML file determines a result.

    kind: text
    trainer: {epochs: 3, batch_size: 32, learning_rate: 1.0e-4}
    ...                       # further sections and values belong to the kind

Every section becomes a frozen dataclass. Unknown keys and wrong types are errors, so that a typing
error does not change the training unnoticed.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from erc_ros.resources import recipe_file
from erc_ros.training.datasets.folder import data_folder
from erc_ros.training.engine.runs import RunError
from erc_ros.values import tables

T = TypeVar("T")
KEPT = "recipe.yaml"  # copy of the recipe next to the results
WAY_OUT = "delete the folder to train again, or choose another one with --out"


class RecipeError(ValueError):
    """The recipe or a value in it is wrong; the message names it and the remedy."""


class CheckpointError(RecipeError):
    """The folder has a damaged file or another training; the message states the remedy."""


class TooLargeError(RecipeError):
    """The GPU's memory is too small for the smallest possible step.

    Args:
        what: the data of the step, such as "a batch of 8".
        single: whether it is one example, so that a smaller batch_size does not help.
    """

    def __init__(self, what: str, single: bool = False) -> None:
        way_out = "the length of the inputs, or take a smaller model" if single else "batch_size"
        super().__init__(f"the memory does not hold {what}: lower {way_out}")
        self.what, self.single = what, single


@dataclass(frozen=True, slots=True)
class Recipe:
    """One training to run: the recipe's sections, folders and command-line options.

    sections: everything in the file but `kind`. given_data: the folder of the data sets, as given
    on the command line. seed: from the command line, replaces the recipe's. leave_out: a corpus
    that is held out from this training for evaluation; "": no corpus. until: the stage after which
    a training in stages stops; None: the last. dry_run: only report what would be done.
    """

    kind: str
    sections: Mapping[str, Any]
    out: Path
    given_data: Path | None = None
    seed: int | None = None
    leave_out: str = ""
    until: str | None = None
    dry_run: bool = False

    @property
    def data(self) -> Path:
        """The folder of the data sets.

        Raises:
            FileNotFoundError: it is set neither on the command line nor by $ERC_DATA.
        """
        return data_folder(self.given_data)

    def in_processes(self, count: int) -> Recipe:
        """Return the recipe with `count` processes in every section `trainer`; 1: unchanged."""
        sections = _with_processes(self.sections, count) if count > 1 else self.sections
        return dataclasses.replace(self, sections=sections)

    def section(self, name: str, cls: type[T]) -> T:
        """Return the section `name` as a `cls`; all defaults if the section is missing.

        A `seed` given on the command line replaces the field `seed` of a section that has one.

        Raises:
            RecipeError: an unknown or missing key, a wrong type, or a ValueError of `cls`.
        """
        values = self.sections.get(name) or {}
        if not isinstance(values, Mapping):
            raise RecipeError(f"section {name!r} must be a table of values, not {values!r}")
        fields = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        if self.seed is not None and "seed" in fields:
            values = {**values, "seed": self.seed}
        return build(cls, values, where=name)

    def seeds(self, configured: Sequence[int]) -> tuple[int, ...]:
        """Return the seeds to train: that of the command line, else those of the recipe."""
        return tuple(configured) if self.seed is None else (self.seed,)

    def refuse_other_sections(self, known: set[str]) -> None:
        """Raise RecipeError if the file has a section that is not used."""
        if unknown := set(self.sections) - known:
            raise RecipeError(
                f"a {self.kind} recipe has no section {sorted(unknown)}; it has {sorted(known)}"
            )


def _with_processes(values: Mapping[str, Any], count: int) -> dict[str, Any]:
    changed = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            own = {"processes": count} if key == "trainer" else {}
            value = {**_with_processes(value, count), **own}
        changed[key] = value
    return changed


def read_recipe(
    path: Path,
    out: Path,
    data: Path | None = None,
    seed: int | None = None,
    leave_out: str = "",
    until: str | None = None,
    dry_run: bool = False,
) -> Recipe:
    """Read a recipe: a file, or else a recipe of the package (`resources.recipe_file`).

    Raises:
        RecipeError: no such file, not YAML, or without `kind`.
    """
    path = recipe_file(path)
    try:
        content = tables.read_table(path)
    except FileNotFoundError as error:
        raise RecipeError(
            f"cannot read the recipe {path}: it does not exist; erc_ros/config/training and"
            " erc_ros/config/systems have some"
        ) from error
    except ValueError as error:
        raise RecipeError(str(error)) from error
    if not isinstance(content.get("kind"), str):
        raise RecipeError(f"{path} must be a table with a kind, such as `kind: text`")
    kind = content.pop("kind")
    return Recipe(kind, content, out, data, seed, leave_out, until, dry_run)


def read_kept(run: Path) -> Recipe:
    """Read the recipe in the folder of a training.

    Raises:
        RunError: there is no such folder, or it is of something else.
        RecipeError: the recipe is damaged.
    """
    if not (run / KEPT).is_file():
        reason = f"it has no {KEPT}" if run.is_dir() else "there is no such folder"
        raise RunError(
            f"{run} is not a finished training: {reason}; give the folder of erc train --out"
        )
    return read_recipe(run / KEPT, run, run)


def keep(recipe: Recipe) -> None:
    """Copy the recipe into the output folder, where `erc export` reads it.

    Raises:
        CheckpointError: the folder has an interrupted training of another recipe. (A recipe with
            other seeds is the same recipe.)
    """
    file = recipe.out / KEPT
    here = {"kind": recipe.kind, **recipe.sections}
    if file.is_file() and any(recipe.out.rglob("unfinished.pt")):
        before = read_recipe(file, recipe.out, recipe.given_data)
        there = {"kind": before.kind, **before.sections}
        check_same(_without_seeds(there), _without_seeds(here), file)
    recipe.out.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(here, sort_keys=False), encoding="utf-8")


def _without_seeds(sections: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {key: value for key, value in section.items() if key not in ("seed", "seeds")}
        if isinstance(section, Mapping)
        else section
        for name, section in sections.items()
    }


def check_same(there: Any, here: Mapping[str, Any], file: Path) -> None:
    """Compare the settings in `file` with those of this training, both JSON mappings.

    Raises:
        CheckpointError: names up to five settings that differ, with both values.
    """
    a, b = _flat(there), _flat(json.loads(json.dumps(here)))

    def value(values: Mapping[str, Any], key: str) -> str:
        return tables.shown(values[key]) if key in values else "not set"

    different = [
        f"{key} is {value(a, key)} there and {value(b, key)} here"
        for key in sorted(a.keys() | b.keys())
        if key not in a or key not in b or a[key] != b[key]
    ]
    if different:
        raise CheckpointError(
            f"{file} is of another training: {'; '.join(different[:5])}."
            f" Go back to its settings, {WAY_OUT}"
        )


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Flatten mappings, also in lists: {"a": {"b": 1}, "c": [{"d": 2}]} -> {"a.b": 1, "c.0.d": 2}.

    Other lists stay as they are.
    """
    if isinstance(values, list) and any(isinstance(value, Mapping) for value in values):
        values = dict(enumerate(values))
    if not isinstance(values, Mapping):
        return {prefix.rstrip("."): values}
    result: dict[str, Any] = {}
    for key, value in values.items():
        result |= _flat(value, f"{prefix}{key}.")
    return result


def build(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """Make a dataclass from a mapping, see `tables.build`.

    Raises:
        RecipeError: a value is wrong; names `where`, the key, and the permitted values.
    """
    try:
        return tables.build(cls, values, where)
    except ValueError as error:
        raise RecipeError(str(error)) from error
