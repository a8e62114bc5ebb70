"""Train the fusion head on simulated trimodal dialogues (`simulation`), as the robot will use it.

Training sees stretches of at most `context` utterances; evaluation does what the recogniser does:
one window of the last utterances for every utterance, its last row is the answer. The dev split
chooses the epoch, the correction of the class prior, the head (`choose_head`) and its seed; test is
looked at once a seed. Seeds that are there with the same settings are not trained again.

Dev also says what every head does while senses are missing or broken (`fusion.conditions`), which
decides between the heads by the rule of docs/results/trust.md.

Results: OUT/<head>/seed-N/ and OUT/best/ with fusion.onnx, metrics.json, best.safetensors; for
`erc evaluate OUT` each seed has logits.npz as well.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch import nn

from erc_ros.metrics import classification as metrics
from erc_ros.training.datasets.utterances import LABELS
from erc_ros.training.encoders.text.evaluation import best_prior_correction
from erc_ros.training.encoders.text.mixture import ordered
from erc_ros.training.engine.history import record
from erc_ros.training.engine.recipe import Recipe, RecipeError
from erc_ros.training.engine.runs import (
    BEST,
    FINAL,
    MEASURED,
    METRICS,
    choose_best,
    copy_files,
    finished,
    plain,
    read_json,
    read_metrics,
    save_answers,
    write_metrics,
)
from erc_ros.training.engine.trainer import Fit, TrainerConfig, save_weights, set_seeds
from erc_ros.training.fusion.conditions import (
    Result,
    Sense,
    as_they_are,
    choose,
    mean_results,
    measure_conditions,
    worst,
)
from erc_ros.training.fusion.contract import check_head
from erc_ros.training.fusion.dialogues import (
    EVERYTHING,
    Dialogues,
    predict_windows,
    stretches,
)
from erc_ros.training.fusion.objectives import (
    OBJECTIVES,
    CrossEntropyObjective,
    Objective,
    ObjectiveConfig,
    objective_of,
)
from erc_ros.training.fusion.pooling import SenseClips, fit_pooling
from erc_ros.training.fusion.simulated import (
    EncoderFolders,
    describe,
    more_text,
    read_dialogues,
    sense_clips,
)
from erc_ros.training.fusion.simulation import DRAWS, Matched, ModalityDropout, Weakness
from erc_ros.training.fusion.train import HeadSizes, train_head
from erc_ros.training.heads.base import MODALITIES, TEXT, FusionModel
from erc_ros.training.heads.pooling import Pooling
from erc_ros.training.heads.registry import head_class, make_head, title_of
from erc_ros.training.onnx import export_fusion

CHOSEN_CLIPS = "clips.safetensors"
"""In OUT/best: which clip each utterance got, "<modality>.<split>" (N,)."""
FILES = ("fusion.onnx", "best.safetensors")
ONLY_TEXT = tuple(m == TEXT for m in range(3))


@dataclass(frozen=True, slots=True)
class FusionConfig:
    """What is fused; the section `fusion` of a recipe. Paths are relative to where `erc` runs."""

    heads: tuple[str, ...] = ("pooling",)
    """Candidates, the simplest first; each is trained with its paper's objective."""
    seeds: tuple[int, ...] = (0, 1, 2)
    context: int = 16
    """Utterances that the model sees, the current one included."""
    text: str = "runs/text/best"
    """Folders of the trained encoders."""
    audio: str = "runs/audio/best"
    visual: str = "runs/face/best"
    text_also: tuple[str, ...] = ()
    """Of pooling: corpora that its text classifier learns from in addition to the dialogues."""

    @property
    def folders(self) -> EncoderFolders:
        return EncoderFolders(self.text, self.audio, self.visual)

    def __post_init__(self) -> None:
        if not self.seeds or self.context < 1:
            raise ValueError("seeds must not be empty and context must be at least 1")
        if not self.heads:
            raise ValueError("heads must not be empty")
        for head in self.heads:
            head_class(head)
        ordered(self.text_also)


def check_heads(heads: Sequence[str], network: HeadSizes) -> None:
    """Refuse fusion models of other packages that do not keep to their contract.

    Raises:
        RecipeError: names the model and the clause.
    """
    try:
        for head in heads:
            check_head(head, asdict(network))
    except ValueError as error:
        raise RecipeError(str(error)) from error


def train(recipe: Recipe) -> None:
    """`erc train config/training/fusion.yaml`: all seeds (or the one given), choice and export.

    Raises:
        RecipeError, FileNotFoundError: the recipe or the trained encoders are not usable.
    """
    recipe.refuse_other_sections({"fusion", "network", "simulation", "dropout", "trainer"})
    config = recipe.section("fusion", FusionConfig)
    trainer = recipe.section("trainer", TrainerConfig)
    network = recipe.section("network", HeadSizes)
    dropout = recipe.section("dropout", ModalityDropout)
    check_heads(config.heads, network)
    splits, simulated = read_dialogues(config.folders, recipe.section("simulation", Weakness))
    record(
        recipe.out,
        corpora=config.text_also,
        teachers=[config.text, config.audio, config.visual],
    )
    describe(simulated)
    senses = sense_clips(config.folders, simulated)
    measure_on_dev = partial(dev_conditions, splits["dev"], senses, simulated, config.context)
    more = None
    if config.text_also and "pooling" in config.heads:
        more = more_text(Path(config.text), config.text_also, recipe.data)
    best = {}
    for head in config.heads:
        for seed in recipe.seeds(config.seeds):
            seeded = replace(trainer, seed=seed)
            out = recipe.out / title_of(head) / f"seed-{seed}"
            train_seed(
                splits,
                simulated,
                config,
                head,
                seeded,
                network,
                dropout,
                out,
                measure_on_dev,
                senses,
                more,
            )
        best[head] = choose_best(recipe.out / title_of(head), FILES)
    chosen = choose_head(best, recipe.out)
    drawn = {
        f"{name}.{split}": rows
        for name, matched in simulated.items()
        for split, rows in matched.chosen.items()
    }
    save_file(drawn, recipe.out / BEST / CHOSEN_CLIPS)
    print(json.dumps({"head": chosen["head"], "dev of the heads": chosen["heads"]}, indent=2))
    print(json.dumps({"best seed": chosen["seed"], **chosen["all_seeds"]}, indent=2))


def choose_head(best: Mapping[str, Mapping[str, Any]], out: Path) -> dict[str, Any]:
    """Copy the best head to OUT/best; its metrics get what all heads reached.

    The best by `conditions.choose`, on the mean of the seeds' results on dev. best: head -> its
    metrics.json, `choose_best` of its seeds; the simplest head first. Where OUT/best has a file
    FINAL, something was built on the head there: it stays.
    """
    tables = {}
    for head in best:
        files = sorted((out / title_of(head)).glob(f"seed-*/{METRICS}"))
        tables[head] = mean_results([read_json(file)["dev_conditions"] for file in files])
    head, folder = choose(tables, list(best)), out / BEST
    folder.mkdir(exist_ok=True)
    if (folder / FINAL).exists():
        return read_metrics(folder)
    copy_files(out / title_of(head) / BEST, folder, FILES)
    heads = {
        name: {
            "text": found[0].f1,
            "as they are": as_they_are(found),
            "worst": worst(found).difference,
            "in": worst(found).condition.name,
        }
        for name, found in tables.items()
    }
    chosen = {**best[head], "heads": heads}
    write_metrics(chosen, folder)
    return chosen


def dev_conditions(
    dev: Dialogues,
    senses: Mapping[str, SenseClips],
    simulated: Mapping[str, Matched],
    context: int,
    model: nn.Module,
) -> list[Result]:
    """What a head answers on dev in every condition."""
    draws = 2  # they take long
    if isinstance(model, Pooling):
        context, draws = 1, DRAWS  # it sees no more
    drawn = {
        name: Sense(clips.dev.embeddings, clips.dev.labels, simulated[name].dev_draws[:draws])
        for name, clips in senses.items()
    }

    def predict(data: Dialogues, seen: Sequence[bool]) -> NDArray[np.float32]:
        return predict_windows(model, data, context, seen)

    return measure_conditions(predict, dev, drawn["audio"], drawn["visual"])


def train_seed(
    splits: Mapping[str, Dialogues],
    simulated: Mapping[str, Matched],
    config: FusionConfig,
    name: str,
    trainer: TrainerConfig,
    network: HeadSizes,
    dropout: ModalityDropout,
    out: Path,
    measure_on_dev: Callable[[nn.Module], list[Result]],
    senses: Mapping[str, SenseClips],
    more_text: tuple[NDArray[np.float32], NDArray[np.int64]] | None = None,
) -> None:
    """Train one seed of a head, test it once, export it; writes metrics.json."""
    settings = {
        "network": asdict(network),
        "dropout": asdict(dropout),
        "trainer": asdict(trainer),
        "context": config.context,
        "text_also": list(config.text_also),
        "simulation": {modality: matched.mismatch for modality, matched in simulated.items()},
        "embeddings": {m: float(np.abs(getattr(splits["train"], m)).sum()) for m in MODALITIES},
    }
    settings = plain(settings)
    decisive = {name: value for name, value in settings.items() if name != "trainer"}
    if finished(out / METRICS, settings):
        print(f"{out} is there")
        return
    sizes = {**asdict(network), "embeddings": splits["train"].sizes, "labels": len(LABELS)}

    def trained(
        objective: ObjectiveConfig, teacher: FusionModel | None, seen: Sequence[bool], out: Path
    ) -> tuple[FusionModel, Fit]:
        set_seeds(trainer.seed)
        model = make_head(name, sizes)
        fitted = train_head(
            model,
            Objective(objective, model, teacher),
            splits["train"],
            trainer,
            dropout,
            batches=partial(_batches, splits["train"].first, config.context, trainer),
            evaluate=partial(_dev_f1, splits["dev"], config.context, seen),
            choose="weighted_f1",
            out=out,
            settings=decisive,
            seen=seen,
            say=partial(print, flush=True),
        )
        return model, fitted

    if name == "pooling":
        model = make_head(name, sizes)
        assert isinstance(model, Pooling)
        begin = time.monotonic()
        fit_pooling(
            model, splits["train"], splits["dev"], senses, measure_on_dev, more_text=more_text
        )
        out.mkdir(parents=True, exist_ok=True)
        training = {"seconds": time.monotonic() - begin, "prior_correction": 0.0}
    else:
        objective, teacher = OBJECTIVES[objective_of(name)](), None
        if objective.TEACHER:
            teacher, _ = trained(CrossEntropyObjective(), None, ONLY_TEXT, out / "teacher")
        model, fitted = trained(objective, teacher, EVERYTHING, out)
        correction = correct_prior(model, splits, config.context)
        training = {
            "best_epoch": fitted.best_epoch,
            "seconds": fitted.seconds,
            "prior_correction": correction,
        }
    save_weights(model, out / "best.safetensors")
    export_fusion(model, out / "fusion.onnx")
    answers: dict[str, NDArray[Any]] = {}
    for split in MEASURED:
        answers[split] = predict_windows(model, splits[split], config.context)
        answers[f"{split}_labels"] = splits[split].labels
        answers[f"{split}_conversations"] = splits[split].first
    save_answers(out, LABELS, **answers)
    result = {
        "head": name,
        "seed": trainer.seed,
        "settings": settings,
        **training,
        "dev_conditions": [asdict(each) for each in measure_on_dev(model)],
        "parameters": sum(p.numel() for p in model.parameters()),
        "simulation": {
            name: {"mismatch": m.mismatch, "dev_weighted_f1": m.dev_f1}
            for name, m in simulated.items()
        },
        **measure(partial(predict_windows, model), splits, config.context),
    }
    write_metrics(result, out)


def _batches(
    first: NDArray[np.int64], context: int, trainer: TrainerConfig, epoch: int
) -> list[NDArray[np.int64]]:
    rng = random.Random(trainer.seed * 1000 + epoch)
    return stretches(first, context, trainer.batch_size, rng)


def _dev_f1(
    dev: Dialogues, context: int, seen: Sequence[bool], model: nn.Module
) -> dict[str, float]:
    predicted = predict_windows(model, dev, context, seen).argmax(axis=1)
    return {"weighted_f1": metrics.weighted_f1(dev.labels, predicted, len(LABELS))}


def correct_prior(model: FusionModel, splits: Mapping[str, Dialogues], context: int) -> float:
    """Take a share tau of the class prior off the logits, as chosen on dev."""
    dev = splits["dev"]
    counts = np.bincount(splits["train"].labels, minlength=len(LABELS)) + 1.0
    prior = counts / counts.sum()
    tau = best_prior_correction(predict_windows(model, dev, context), dev.labels, prior)
    model.correction += torch.from_numpy((tau * np.log(prior)).astype(np.float32))
    return tau


def measure(predict: Any, splits: Mapping[str, Dialogues], context: int) -> dict[str, Any]:
    """Weighted F1 and accuracy on dev and test, with all modalities and with every subset.

    predict: (dialogues, context, modalities) -> logits (N, C). Returns `dev` (weighted F1 with
    all), `test` (name -> number) and the full reports.
    """
    f1: dict[str, dict[str, float]] = {"dev": {}, "test": {}}
    reports = {}
    for split in MEASURED:
        data = splits[split]
        for seen in product((True, False), repeat=3):
            if not any(seen):
                continue
            logits = predict(data, context, seen)
            name = "+".join(m for m, s in zip(MODALITIES, seen, strict=True) if s)
            f1[split][name] = metrics.weighted_f1(data.labels, logits.argmax(1), len(LABELS))
            if all(seen):
                reports[split] = metrics.report(data.labels, metrics.softmax(logits), LABELS)
    return {
        "dev": f1["dev"]["+".join(MODALITIES)],
        "test": f1["test"],
        "dev_subsets": f1["dev"],
        "dev_report": reports["dev"],
        "test_report": reports["test"],
    }
