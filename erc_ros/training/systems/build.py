"""Build a bundle from the corpora by one command: `erc train config/edge.yaml`.

A recipe of kind `build` names steps, each an `erc` command with its output file. They run in order.
A step is not repeated if its output exists and the step, its recipe and all earlier steps are
unchanged; an interrupted training continues. An output that exists before the first run, such as a
copied one, is used without change, and reported.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from erc_ros.resources import recipe_file
from erc_ros.training.engine.recipe import Recipe, RecipeError
from erc_ros.training.engine.runs import read_json, write_json

RECORD = "steps.json"
ERC = (
    sys.executable,
    "-m",
    "erc_ros.cli",
)  # each in a separate process, to free its memory


@dataclass(frozen=True, slots=True)
class Step:
    """One command.

    erc: its arguments, such as [train, config/training/text.yaml, --out, runs/text]. makes: a file
    that exists when it is done. hours: its duration on two cores.
    """

    name: str
    erc: tuple[str, ...]
    makes: str
    hours: float = 0.0

    def __post_init__(self) -> None:
        if not self.erc or self.hours < 0:
            raise ValueError(f"step {self.name}: erc must not be empty, nor hours negative")


@dataclass(frozen=True, slots=True)
class BuildConfig:
    """The section `build` of a recipe."""

    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        names = [step.name for step in self.steps]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"steps must be some, each of another name, not {names}")


def train(recipe: Recipe) -> None:
    """Run `erc train config/edge.yaml`.

    Raises:
        RecipeError: the recipe cannot be used, or a step failed; names it.
    """
    recipe.refuse_other_sections({"build"})
    data = [] if recipe.given_data is None else ["--data", str(recipe.given_data)]
    run_steps(
        recipe.section("build", BuildConfig).steps,
        recipe.out,
        lambda words: subprocess.run([*ERC, *words, *data], check=False).returncode,
        partial(print, flush=True),
    )


def run_steps(
    steps: Sequence[Step],
    out: Path,
    run: Callable[[Sequence[str]], int],
    say: Callable[[str], None],
) -> None:
    """Run the steps that are not done; `say` first receives the estimated duration.

    Args:
        out: folder with the record of finished steps.
        run: an `erc` command -> its exit status.

    Raises:
        RecipeError: a step failed, or did not make its output.
    """
    record = out / RECORD
    known = read_json(record) if record.is_file() else {}
    digests, before = {}, ""
    for step in steps:
        before = digests[step.name] = _digest(step, before)
    todo = [step for step in steps if not _is_done(step, digests[step.name], known)]
    hours = sum(step.hours for step in todo)
    say(f"{len(todo)} of {len(steps)} steps to do, about {hours:.1f} hours on two cores")
    for step in steps:
        digest = digests[step.name]
        if step not in todo:
            taken = "" if step.name in known else ", used without change"
            say(f"{step.name}: {step.makes} exists{taken}")
        else:
            say(f"{step.name}: erc {' '.join(step.erc)}")
            begin = time.monotonic()
            if status := run(step.erc):
                raise RecipeError(f"step {step.name} ended with status {status}; see above")
            if not Path(step.makes).is_file():
                raise RecipeError(f"step {step.name} did not make {step.makes}")
            say(f"{step.name}: done in {(time.monotonic() - begin) / 60:.1f} minutes")
        known[step.name] = digest
        write_json(record, known)


def _is_done(step: Step, digest: str, known: dict[str, str]) -> bool:
    return Path(step.makes).is_file() and known.get(step.name, digest) == digest


def _digest(step: Step, before: str) -> str:
    """Return a hash of everything that determines a step's output."""
    recipes = [recipe_file(word).read_text("utf-8") for word in step.erc if word.endswith(".yaml")]
    content = json.dumps([step.erc, recipes, before])
    return hashlib.sha256(content.encode()).hexdigest()[:16]
