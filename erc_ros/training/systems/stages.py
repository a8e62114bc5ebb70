"""A system is trained in named stages; each leaves a folder that the later ones read.

    OUT/recipe.yaml                what was asked for
    OUT/stages/text/stage.json     settings, what it read, for which seeds it is finished
    OUT/stages/text/seed-0/ ...    what it made: a run as in `engine.runs`
    OUT/stages/audio.unfinished/   the stage at work; a killed run goes on there

A stage is renamed into its place when all of it is there. With the same settings it is not run
again; with others it is refused by the name of what differs; and where a stage that it read was
made again, so is it.
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
from pathlib import Path
from typing import Any

import torch

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
"""How the system, safetensors and torch say that a file cannot be written."""


@dataclass(frozen=True, slots=True)
class SystemConfig:
    """The section `system` of a recipe."""

    corpus: str
    """One of `datasets.corpora`: meld-clips, iemocap-4, ..."""
    seeds: tuple[int, ...] = (0, 1, 2)
    limit: int = 0
    """For a trial: so many conversations of each split, the first ones; 0: all."""
    train_limit: int = 0
    """Learn from so many conversations of the train split only, the first ones; 0: all."""
    epoch: str = "dev"
    """Of the encoders' stages: the best on `dev`, or the `last` where dev cannot choose."""

    def __post_init__(self) -> None:
        if self.epoch not in ("dev", "last"):
            raise ValueError(f"epoch is {self.epoch!r}, must be 'dev' or 'last'")
        if not self.seeds or min(self.seeds) < 0 or min(self.limit, self.train_limit) < 0:
            raise ValueError(
                "seeds must be some numbers from 0; limit and train_limit must not be negative"
            )


@dataclass(frozen=True, eq=False)
class Work:
    """What a stage is given.

    folder: to write into, what an earlier attempt left is still there. seeds: to be done. inputs:
    the folders of the finished stages that it reads. epoch: which one of an encoder is taken.
    """

    folder: Path
    seeds: tuple[int, ...]
    material: Material
    inputs: Mapping[str, Path]
    epoch: str = "dev"

    def read(self, stage: str, seed: int) -> Path:
        """The folder of a stage that this one reads; of this seed, if there is one for each."""
        of_seed = self.inputs[stage] / f"seed-{seed}"
        return of_seed if of_seed.is_dir() else self.inputs[stage]

    def features(self, stage: str, modality: str, seed: int) -> Path | None:
        """The folder of a stage's features of a modality, one store a split; None: it has none."""
        if stage not in self.inputs:
            return None
        folder = self.read(stage, seed)
        shared = folder / modality  # of a stage that leaves several modalities
        found = [place / "features" for place in (shared, folder) if (place / "features").is_dir()]
        return found[0] if found else None

    def begin(self, stage: Any, seed: int) -> tuple[Path, TrainerConfig, dict[str, Any]] | None:
        """Folder, trainer and settings of a seed that is to be trained; None: it is there.

        stage: a stage's configuration, with a `trainer`.
        """
        folder = self.folder / f"seed-{seed}"
        trainer: TrainerConfig = replace(stage.trainer, seed=seed)
        settings = plain(asdict(replace(stage, trainer=trainer)))
        if finished(folder / METRICS, settings):
            print(f"{folder} is there", flush=True)
            return None
        folder.mkdir(parents=True, exist_ok=True)
        return folder, trainer, settings


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a paper.

    config: the dataclass of its section `stages.NAME`. run: does the work. needs: the stages
    without which it cannot be. needs_one: one of these as well. reads: further ones that it reads
    if the recipe names them. seeded: whether every seed has a result of its own.
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
    """stage.json. inputs: the digests of the stages that were read."""

    settings: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    finished: bool = False
    seconds: float = 0.0

    @property
    def digest(self) -> str:
        """Of everything that decides what the stage made for a seed."""
        decisive = json.dumps([self.settings, dict(self.inputs)], sort_keys=True)
        return hashlib.sha256(decisive.encode()).hexdigest()[:16]


def run_stages(recipe: Recipe, stages: Sequence[Stage]) -> None:
    """Run what is not finished of a recipe's stages, in order, up to `recipe.until`.

    Raises:
        RecipeError: the recipe is not usable, or a stage cannot go on; says which and the way out.
        FileNotFoundError: the corpus or a pretrained model is not there.
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
    for stage, section in chosen:
        seeds = recipe.seeds(config.seeds) if stage.seeded else ()
        _run(stage, section, seeds, material, recipe.out / "stages", config.epoch)
        if stage.name == recipe.until:
            print(f"stopped after {stage.name}, as asked for", flush=True)
            return


def _check(
    recipe: Recipe,
    chosen: Sequence[tuple[Stage, Any]],
    config: SystemConfig,
    material: Material | None,
    absent: str,
) -> None:
    """Print what will be done.

    Raises:
        RecipeError: the corpus or a stage lacks something; names all that is missing.
    """
    from erc_ros.training.systems import preflight  # which knows the stages' sections

    plans = []
    utterances, labels = preflight.ASSUMED, 7
    if material is not None:
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
        raise RecipeError("\n".join(["nothing was trained, as this is missing:", *missing]))


def chosen_stages(recipe: Recipe, stages: Sequence[Stage]) -> list[tuple[Stage, Any]]:
    """The stages that a recipe names, with their sections.

    Raises:
        RecipeError: unknown, out of order, without one that is needed, or a wrong section.
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
                f"stages.{name} needs stages.{missing[0]}: it learns from what that leaves"
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
    """What is known of a stage; None: nothing was begun there."""
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
            print(f"{stage.name}: what it read was made anew, and so it is", flush=True)
            shutil.rmtree(place)
        elif set(seeds) <= set(there.seeds):
            print(f"{stage.name}: is there", flush=True)
            return
        else:  # some seeds are there, others are asked for
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
        stage.run(section, Work(work, seeds, material, read, epoch))
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
    assert stage_record is not None  # a stage runs after those that it reads
    return stage_record.digest


def _explained(error: Exception, name: str, section: Any, stages: Path) -> RecipeError | None:
    """The error as one that names the stage, the reason and the way out; None: it does already."""
    text = str(error)
    again = "then give the same command again: what is finished stays"
    if isinstance(error, TooLargeError):
        lower = _lower(name, section, error.single)
        return RecipeError(f"stage {name}: the memory does not hold {error.what}: {lower}, {again}")
    if isinstance(error, RecipeError | FileNotFoundError):
        return None
    if any(sign in text for sign in FULL) or getattr(error, "errno", None) in FULL_NUMBERS:
        return RecipeError(f"stage {name}: no room to write in {stages}: make room, {again}")
    too_large = isinstance(error, MemoryError | torch.OutOfMemoryError)
    # Of one of several processes, there is the text alone.
    if too_large or any(sign in text for sign in ("allocate memory", TooLargeError.__name__)):
        return RecipeError(f"stage {name} ran out of memory: {_lower(name, section)}, {again}")
    if isinstance(error, ValueError | ArithmeticError):
        return RecipeError(f"stage {name}: {text}")
    return None


def _lower(name: str, section: Any, single: bool = False) -> str:
    """Which key to lower, and what it is now. single: one example at a time was tried already."""
    trainer = getattr(section, "trainer", None)
    if trainer is not None and trainer.batch_size > 1 and not single:
        now = trainer.batch_size
        return f"lower stages.{name}.trainer.batch_size, which is {now} (halve it)"
    encoder = getattr(section, "encoder", None)
    for key in ("max_seconds", "max_tokens", "batch_size"):
        if hasattr(encoder, key):
            return f"lower stages.{name}.encoder.{key}, which is {getattr(encoder, key)}"
    return f"take a smaller model in stages.{name}"
