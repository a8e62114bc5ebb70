"""`erc train RECIPE.yaml`: run the training that a recipe describes."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import MutableMapping, Sequence
from pathlib import Path

from erc_ros.training.engine.history import record
from erc_ros.training.engine.recipe import RecipeError, keep, read_recipe

# kind -> "module:function" that takes a Recipe; imported on use, as their libraries differ.
KINDS = {
    "text": "erc_ros.training.encoders.text.train:train",
    "voice": "erc_ros.training.encoders.audio.voice_train:train",
    "face": "erc_ros.training.encoders.visual.train:train",
    "fusion": "erc_ros.training.systems.edge:train",
    "build": "erc_ros.training.systems.build:train",
    "bundle": "erc_ros.training.export.bundle_assembly:train",
    "text-bundle": "erc_ros.training.export.text_bundle:train",
    "simulated": "erc_ros.training.comparison.simulated:train",
    "meld-dev-sound": "erc_ros.training.comparison.real:train_sound",
    "ravdess-faces": "erc_ros.training.comparison.real:train_faces",
    "stored": "erc_ros.training.comparison.stored:train",
    "magtkd": "erc_ros.training.systems.magtkd:train",
    "summer": "erc_ros.training.systems.summer:train",
    "lpgnet": "erc_ros.training.systems.lpgnet:train",
    "ddvlm": "erc_ros.training.systems.ddvlm:train",
    "texts": "erc_ros.training.systems.texts:train",
    "causal": "erc_ros.training.systems.texts:train",
}
SYSTEMS = ("magtkd", "summer", "lpgnet", "ddvlm", "texts", "causal")
"""Kinds that are trained in stages."""

LEAVING_OUT = ("text", "voice")
"""Kinds that accept `Recipe.leave_out`."""


def launched_processes(environment: MutableMapping[str, str]) -> int:
    """Return the number of processes of torchrun or accelerate in the first one; 0 in the others.

    Only the training itself runs in several processes, which the first one starts
    (`trainer.processes`); the launcher's other processes exit. Removes the launcher's environment
    variables, so that they are not mistaken for those of the training's processes.

    Raises:
        RecipeError: they are on several machines.
    """
    count = int(environment.get("WORLD_SIZE", "1"))
    if count == 1:
        return 1
    if int(environment.get("LOCAL_WORLD_SIZE", str(count))) != count:
        raise RecipeError(f"{count} processes on several machines; erc train uses one: --nnodes 1")
    if int(environment.get("RANK", "0")):
        return 0
    ours = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    others = ("LOCAL_", "GROUP_", "ROLE_", "TORCHELASTIC_", "ACCELERATE_")
    for name in [key for key in environment if key in ours or key.startswith(others)]:
        del environment[name]
    return count


def main(argv: Sequence[str] | None = None) -> int:
    """Train; return 0, or 2 if the recipe or the data cannot be used."""
    parser = argparse.ArgumentParser(prog="erc train", description=__doc__)
    parser.add_argument(
        "recipe", type=Path, help="YAML file, or a recipe of the package such as systems/magtkd"
    )
    parser.add_argument("--seed", type=int, help="seed; default: the recipe's")
    parser.add_argument(
        "--hold-out",
        "--leave-out",
        dest="leave_out",
        metavar="CORPUS",
        default="",
        help="train without this corpus and evaluate on it (--leave-out: former name)",
    )
    parser.add_argument("--out", type=Path, help="folder for results; default runs/<recipe's name>")
    parser.add_argument("--data", type=Path, help="folder of the data sets; default $ERC_DATA")
    parser.add_argument("--until", metavar="STAGE", help="the last stage of a system to be trained")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="report what the stages of a system would do, how long it takes, and what is missing",
    )
    arguments = parser.parse_args(argv)
    name = arguments.recipe.stem
    if arguments.leave_out:
        name += f"-without-{arguments.leave_out}"
    out = arguments.out or Path("runs") / name
    try:
        launched = launched_processes(os.environ)
        if launched == 0:
            return 0
        recipe = read_recipe(
            arguments.recipe,
            out,
            arguments.data,
            arguments.seed,
            leave_out=arguments.leave_out,
            until=arguments.until,
            dry_run=arguments.dry_run,
        ).in_processes(launched)
        if recipe.leave_out and recipe.kind not in LEAVING_OUT:
            raise RecipeError(
                f"a {recipe.kind} training has no corpora to choose from: --hold-out is for"
                f" {', '.join(LEAVING_OUT)}"
            )
        if recipe.kind not in KINDS:
            raise RecipeError(
                f"{arguments.recipe}: unknown kind {recipe.kind!r}; known are {', '.join(KINDS)}"
            )
        if recipe.until is not None and recipe.kind not in SYSTEMS:
            raise RecipeError(
                f"--until is for {', '.join(SYSTEMS)}, which have stages; {recipe.kind} has none"
            )
        if recipe.dry_run and recipe.kind not in SYSTEMS:
            raise RecipeError(f"--dry-run is for {', '.join(SYSTEMS)}; {recipe.kind} has no stages")
        if not recipe.dry_run:
            keep(recipe)
            record(recipe.out, commands=[_given(arguments)])
        module, function = KINDS[recipe.kind].split(":")
        getattr(importlib.import_module(module), function)(recipe)
    except (RecipeError, FileNotFoundError) as error:
        print(f"erc train: {error}", file=sys.stderr)
        return 2
    return 0


def _given(arguments: argparse.Namespace) -> str:
    """Return the command without --data, which differs between machines."""
    seed = "" if arguments.seed is None else f" --seed {arguments.seed}"
    seed += f" --hold-out {arguments.leave_out}" if arguments.leave_out else ""
    out = "" if arguments.out is None else f" --out {arguments.out}"
    until = "" if arguments.until is None else f" --until {arguments.until}"
    return f"erc train {arguments.recipe}{seed}{out}{until}"


if __name__ == "__main__":
    raise SystemExit(main())
