"""`erc distill RECIPE`: a strong modality teaches a weak one (MAGTKD's first stage; DDVLM, 3.5).

The teacher's outputs are computed once and stored. Every student is trained twice, with and without
the teacher, as MAGTKD's Table 3 compares them.

    OUT/<modality>/<plain|distilled>/seed-<N>/   best.safetensors, training.json, metrics.json,
                                                 logits.npz, embeddings.safetensors (all splits),
                                                 and of the robot's own networks the ONNX part
    OUT/table.md, OUT/results.json
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from erc_ros.metrics import classification as metrics
from erc_ros.metrics.table import markdown, with_deviation
from erc_ros.training.distillation.sources import SECTIONS, read_tasks
from erc_ros.training.distillation.task import (
    DistillationConfig,
    DistillationLoss,
    DistillationTask,
    train_student,
)
from erc_ros.training.engine.recipe import Recipe, RecipeError
from erc_ros.training.engine.runs import METRICS, SPLITS, read_json, write_json
from erc_ros.training.engine.trainer import TrainerConfig

PLAIN, DISTILLED = "plain", "distilled"


def train(recipe: Recipe) -> None:
    """All students of the recipe, plain and distilled, for all seeds (or the one given).

    Raises:
        RecipeError, FileNotFoundError: the recipe, the teacher or the data are not usable.
    """
    recipe.refuse_other_sections({"distillation", "loss", "trainer", *SECTIONS})
    config = recipe.section("distillation", DistillationConfig)
    loss = recipe.section("loss", DistillationLoss)
    trainer = recipe.section("trainer", TrainerConfig)
    results: dict[str, Any] = {}
    try:
        tasks = read_tasks(recipe)
    except ValueError as error:
        raise error if isinstance(error, RecipeError) else RecipeError(str(error)) from error
    for task in tasks:
        print(f"{task.modality}: {_described(task)}", flush=True)
        for name, how in ((PLAIN, replace(loss, response=0.0, feature=0.0)), (DISTILLED, loss)):
            for seed in recipe.seeds(config.seeds):
                out = recipe.out / task.modality / name / f"seed-{seed}"
                seeded = replace(trainer, seed=seed)
                train_student(task, config, how, seeded, out)
        results[task.modality] = collect(task, config, recipe.out / task.modality)
    write_json(recipe.out / "results.json", results)
    table = as_table(results, config)
    (recipe.out / "table.md").write_text(table, "utf-8")
    print(table)


def collect(task: DistillationTask, config: DistillationConfig, out: Path) -> dict[str, Any]:
    """Mean and spread over every seed that is there, and the difference seed by seed."""
    runs = {
        name: {
            int(file.parent.name.removeprefix("seed-")): read_json(file)
            for file in (out / name).glob(f"seed-*/{METRICS}")
        }
        for name in (PLAIN, DISTILLED)
    }
    scores = {n: {s: r["test"][config.metric] for s, r in of.items()} for n, of in runs.items()}
    both = sorted(scores[PLAIN].keys() & scores[DISTILLED].keys())
    teacher = task.splits["test"]
    found: dict[str, Any] = {
        "simulated": teacher.simulated,
        "seeds": both,
        "utterances": {split: len(task.splits[split].labels) for split in SPLITS},
        "left_out": dict(task.left_out),
        "difference": _spread([scores[DISTILLED][s] - scores[PLAIN][s] for s in both]),
    }
    for name, of in runs.items():
        found[name] = {
            split: _spread([run[split][config.metric] for run in of.values()])
            for split in ("dev", "test")
        }
        if not teacher.simulated:
            found[name]["agreement"] = _spread([run["agreement"] for run in of.values()])
    if not teacher.simulated:
        report = metrics.report(teacher.labels, metrics.softmax(teacher.logits), task.labels)
        found["teacher"] = report[config.metric]
    return found


def _spread(values: Sequence[float]) -> dict[str, float]:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": statistics.fmean(values), "deviation": deviation}


def as_table(results: Mapping[str, Any], config: DistillationConfig) -> str:
    """Markdown: a row for every student."""
    epoch = "epoch chosen on dev" if config.epoch == "dev" else "the last epoch"
    rows = []
    for modality, found in results.items():
        name = f"{modality} (simulated pairs)" if found["simulated"] else modality
        teacher = f"{found['teacher']:.4f}" if "teacher" in found else "-"
        figures = [found[PLAIN]["test"], found[DISTILLED]["test"], found["difference"]]
        cells = [with_deviation(each["mean"], each["deviation"], 4) for each in figures]
        rows.append([name, str(len(found["seeds"])), teacher, *cells])
    head = ["student", "seeds", "teacher", "without teacher", "distilled", "difference"]
    first = f"Test, {config.metric}, mean ± deviation over seeds; {epoch}."
    return "\n".join([first, "", *markdown(head, rows)]) + "\n"


def _described(task: DistillationTask) -> str:
    sizes = ", ".join(f"{split} {len(task.splits[split].labels)}" for split in SPLITS)
    left = ", ".join(f"{split} {number}" for split, number in task.left_out.items() if number)
    return sizes + (f"; left out {left}" if left else "")
