"""Train a system in named stages; later stages use the output folders of earlier ones.

    OUT/recipe.yaml                the recipe
    OUT/stages/text/stage.json     settings, input stages, finished seeds
    OUT/stages/text/seed-0/ ...    results: a run as in `engine.runs`
    OUT/stages/audio.unfinished/   the current stage; an interrupted run continues there

A stage's folder is renamed when the stage is complete. With the same settings it is not run again;
other settings are an error that names the differences; if an input stage was run again, the stage
is run again as well.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from erc_ros.training.engine.distributed import aside, placement
from erc_ros.training.engine.recipe import (
    Recipe,
    RecipeError,
    TooLargeError,
    build,
    check_same,
)
from erc_ros.training.engine.runs import METRICS, finished, plain, read_json, write_json
from erc_ros.training.engine.trainer import TrainerConfig
from erc_ros.training.systems.material import Material, read_material

RECORD, UNFINISHED = "stage.json", ".unfinished"
SECTIONS = {"system", "stages"}
FULL_NUMBERS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FULL = (*map(os.strerror, FULL_NUMBERS), "inline_container.cc", "iostream error")
"""Parts of the messages of the OS, safetensors and torch for a full disk."""


@dataclass(frozen=True, slots=True)
class SystemConfig:
    """The section `system` of a recipe."""

    corpus: str
    """A name for `datasets.corpora.find`: meld-clips, iemocap-4, ..."""
    seeds: tuple[int, ...] = (0, 1, 2)
    limit: int = 0
    """Maximum number of conversations of each split, for a trial; 0: all."""
    train_limit: int = 0
    """Maximum number of conversations of the train split; 0: all."""
    epoch: str = "dev"
    """Epoch of the encoders' stages: the best on `dev`, or the `last` if dev cannot select one."""

    def __post_init__(self) -> None:
        if self.epoch not in ("dev", "last"):
            raise ValueError(f"epoch is {self.epoch!r}, must be 'dev' or 'last'")
        if not self.seeds or min(self.seeds) < 0 or min(self.limit, self.train_limit) < 0:
            raise ValueError(
                "seeds must be some numbers from 0; limit and train_limit must not be negative"
            )


@dataclass(frozen=True, eq=False)
class Work:
    """Inputs of a stage.

    folder: output folder, with the files of an interrupted attempt. seeds: seeds to train. inputs:
    folders of the finished input stages. epoch: see `SystemConfig`.
    """

    folder: Path
    seeds: tuple[int, ...]
    material: Material
    inputs: Mapping[str, Path]
    epoch: str = "dev"

    def read(self, stage: str, seed: int) -> Path:
        """Return the folder of an input stage; for this seed, if it has one for each seed."""
        of_seed = self.inputs[stage] / f"seed-{seed}"
        return of_seed if of_seed.is_dir() else self.inputs[stage]

    def features(self, stage: str, modality: str, seed: int) -> Path | None:
        """Return the folder of a stage's features of a modality, or None if it has none."""
        if stage not in self.inputs:
            return None
        folder = self.read(stage, seed)
        shared = folder / modality  # for a stage with several modalities
        folders = [
            place / "features" for place in (shared, folder) if (place / "features").is_dir()
        ]
        return folders[0] if folders else None

    def begin(self, stage: Any, seed: int) -> tuple[Path, TrainerConfig, dict[str, Any]] | None:
        """Return folder, trainer and settings of a seed to train; None if it is finished.

        stage: a stage's configuration, with a `trainer`.
        """
        folder = self.folder / f"seed-{seed}"
        trainer: TrainerConfig = replace(stage.trainer, seed=seed)
        settings = plain(asdict(replace(stage, trainer=trainer)))
        if finished(folder / METRICS, settings):
            print(f"{folder} is finished", flush=True)
            return None
        folder.mkdir(parents=True, exist_ok=True)
        return folder, trainer, settings


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a paper.

    config: the dataclass of its section `stages.NAME`. run: runs the stage. needs: required input
    stages. needs_one: stages of which one is required. reads: optional input stages. seeded:
    whether every seed has a separate result.
    """

    name: str
    config: type[Any]
    run: Callable[[Any, Work], None]
    needs: tuple[str, ...] = ()
    needs_one: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    seeded: bool = True


@dataclass(frozen=True, slots=True)
class Record:
    """Content of stage.json. inputs: hashes of the input stages."""

    settings: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    finished: bool = False
    seconds: float = 0.0

    @property
    def digest(self) -> str:
        """Return a hash of everything that determines the stage's results."""
        decisive = json.dumps([self.settings, dict(self.inputs)], sort_keys=True)
        return hashlib.sha256(decisive.encode()).hexdigest()[:16]


def run_stages(recipe: Recipe, stages: Sequence[Stage]) -> None:
    """Run the unfinished stages of a recipe in order, up to `recipe.until`.

    Raises:
        RecipeError: the recipe cannot be used, or a stage failed; states the remedy.
        FileNotFoundError: the corpus or a pretrained model is missing.
    """
    recipe.refuse_other_sections(SECTIONS)
    config = recipe.section("system", SystemConfig)
    chosen = chosen_stages(recipe, stages)
    material, absent = None, ""
    try:
        material = read_material(config.corpus, recipe.data, config.limit, config.train_limit)
        print("\n".join(material.lines()), flush=True)
    except FileNotFoundError as error:
        absent = f"corpus {config.corpus}: {error}"
    _check(recipe, chosen, config, material, absent)
    if recipe.dry_run or material is None:
        return
    processes = max(placement(section)[1] for _, section in chosen)
    for stage, section in chosen:
        seeds = recipe.seeds(config.seeds) if stage.seeded else ()
        # A stage with several processes starts them for itself.
        separate = processes if placement(section) == ("cuda", 1) else 1
        _run(stage, section, seeds, material, recipe.out / "stages", config.epoch, separate)
        if stage.name == recipe.until:
            print(f"stopped after {stage.name} (--until)", flush=True)
            return


def _check(
    recipe: Recipe,
    chosen: Sequence[tuple[Stage, Any]],
    config: SystemConfig,
    material: Material | None,
    absent: str,
) -> None:
    """Print the plan and check that nothing is missing.

    Raises:
        RecipeError: the corpus or an input of a stage is missing; names all of them.
    """
    from erc_ros.training.systems import preflight  # imports all stages

    plans = []
    utterances, labels = preflight.ASSUMED, 7
    if material is None:
        size = sum(utterances.values())
        print(f"{config.corpus} is missing: MELD's published {size} utterances are assumed")
    else:
        utterances = {name: len(split.keys) for name, split in material.splits.items()}
        labels = len(material.labels)
    for stage, section in chosen:
        seeds = set(recipe.seeds(config.seeds)) if stage.seeded else set()
        there = read_record(recipe.out / "stages" / stage.name)
        done = set(there.seeds) if there else set()
        todo = len(seeds - done) if stage.seeded else int(there is None)
        plans.append(preflight.plan(stage.name, section, todo, utterances, labels))
        if stage.name == recipe.until:
            break
    print("\n".join(preflight.report(plans)), flush=True)
    missing = [*filter(None, [absent]), *preflight.missing(plans, recipe.out)]
    if missing:
        raise RecipeError("\n".join(["nothing was trained; missing:", *missing]))


def chosen_stages(recipe: Recipe, stages: Sequence[Stage]) -> list[tuple[Stage, Any]]:
    """Return the stages of a recipe with their sections.

    Raises:
        RecipeError: a stage is unknown, out of order, lacks an input, or has a wrong section.
    """
    known = {stage.name: stage for stage in stages}
    named = recipe.sections.get("stages")
    if not isinstance(named, Mapping) or not named:
        raise RecipeError(f"stages must be a table of some of {', '.join(known)}, not {named!r}")
    if unknown := [name for name in named if name not in known]:
        raise RecipeError(
            f"stages: {recipe.kind} has no {', '.join(map(str, unknown))}; it has"
            f" {', '.join(known)}"
        )
    order = [name for name in known if name in named]
    if list(named) != order:
        raise RecipeError(
            f"stages are named in the order {', '.join(named)}; {recipe.kind} trains them in the"
            f" order {', '.join(order)}"
        )
    for name in order:
        if missing := [need for need in known[name].needs if need not in named]:
            raise RecipeError(
                f"stages.{name} needs stages.{missing[0]}: it is an input of this stage"
            )
        either = known[name].needs_one
        if either and not any(need in named for need in either):
            raise RecipeError(f"stages.{name} needs stages.{' or stages.'.join(either)}")
    if recipe.until is not None and recipe.until not in named:
        raise RecipeError(f"--until {recipe.until}: the recipe has {', '.join(order)}")
    return [
        (known[name], build(known[name].config, named[name] or {}, f"stages.{name}"))
        for name in order
    ]


def read_record(folder: Path) -> Record | None:
    """Read the record of a stage; None if it was not started."""
    file = folder / RECORD
    if not file.is_file():
        return None
    return build(Record, read_json(file), str(file))


def _run(
    stage: Stage,
    section: Any,
    seeds: tuple[int, ...],
    material: Material,
    stages: Path,
    epoch: str,
    separate: int,
) -> None:
    place, work = stages / stage.name, stages / f"{stage.name}{UNFINISHED}"
    names = (*stage.needs, *stage.needs_one, *stage.reads)
    read = {name: stages / name for name in names}
    read = {name: folder for name, folder in read.items() if (folder / RECORD).is_file()}
    settings = plain({"stage": asdict(section), "corpus": material.settings})
    if epoch != "dev":
        settings["epoch"] = epoch
    inputs = {name: _digest(folder) for name, folder in read.items()}
    wanted = Record(settings, inputs)
    if there := read_record(place):
        check_same(there.settings, settings, place / RECORD)
        if there.inputs != inputs:
            print(
                f"{stage.name}: an input stage was run again, so this stage is run again",
                flush=True,
            )
            shutil.rmtree(place)
        elif set(seeds) <= set(there.seeds):
            print(f"{stage.name}: is finished", flush=True)
            return
        else:  # some seeds are finished, others are requested
            shutil.rmtree(work, ignore_errors=True)
            os.replace(place, work)
    begun = read_record(work)
    if begun is None or (begun.settings, begun.inputs) != (settings, inputs):
        shutil.rmtree(work, ignore_errors=True)
        begun = wanted
    work.mkdir(parents=True, exist_ok=True)
    write_json(work / RECORD, asdict(begun))
    print(f"{stage.name}: begins", flush=True)
    begin = time.monotonic()
    try:
        aside(partial(stage.run, section, Work(work, seeds, material, read, epoch)), separate)
        seconds = begun.seconds + time.monotonic() - begin
        done = tuple(sorted({*begun.seeds, *seeds}))
        write_json(work / RECORD, asdict(Record(settings, inputs, done, True, seconds)))
    except Exception as error:
        if explained := _explained(error, stage.name, section, stages):
            raise explained from error
        raise
    os.replace(work, place)
    print(f"{stage.name}: finished after {seconds:.0f} s", flush=True)


def _digest(folder: Path) -> str:
    stage_record = read_record(folder)
    assert stage_record is not None  # input stages run first
    return stage_record.digest


def _explained(error: Exception, name: str, section: Any, stages: Path) -> RecipeError | None:
    """Return an error that names stage, reason and remedy; None if the error already does."""
    text = str(error)
    again = "then run the same command again: finished results are kept"
    if isinstance(error, TooLargeError):
        lower = _lower(name, section, error.single)
        return RecipeError(f"stage {name}: the memory does not hold {error.what}: {lower}, {again}")
    if isinstance(error, RecipeError | FileNotFoundError):
        return None
    if any(sign in text for sign in FULL) or getattr(error, "errno", None) in FULL_NUMBERS:
        return RecipeError(f"stage {name}: no room to write in {stages}: make room, {again}")
    too_large = isinstance(error, MemoryError | torch.OutOfMemoryError)
    # The error of one of several processes is available as text only.
    if too_large or any(sign in text for sign in ("allocate memory", TooLargeError.__name__)):
        return RecipeError(f"stage {name} ran out of memory: {_lower(name, section)}, {again}")
    if isinstance(error, ValueError | ArithmeticError):
        return RecipeError(f"stage {name}: {text}")
    return None


def _lower(name: str, section: Any, single: bool = False) -> str:
    """Name the key to lower and its value. single: whether batches of one example failed."""
    trainer = getattr(section, "trainer", None)
    if trainer is not None and trainer.batch_size > 1 and not single:
        now = trainer.batch_size
        return f"lower stages.{name}.trainer.batch_size, which is {now} (halve it)"
    encoder = getattr(section, "encoder", None)
    for key in ("max_seconds", "max_tokens", "batch_size"):
        if hasattr(encoder, key):
            return f"lower stages.{name}.encoder.{key}, which is {getattr(encoder, key)}"
    return f"use a smaller model in stages.{name}"
