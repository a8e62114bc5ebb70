"""Train the fusion model on simulated trimodal dialogues (`simulation`), as the robot will use it.

Training sees segments of at most `context` utterances; evaluation does what the emotion recognizer
does: one window of the last utterances for every utterance, whose last row is the prediction. The
dev split chooses the epoch, the correction of the class prior, the fusion model (`choose_head`) and
its seed; test is measured once per seed. Seeds that are finished with the same settings are kept.

Dev also measures every fusion model while modalities are missing or broken (`fusion.conditions`),
which decides between the models by the rule of docs/results/trust.md.

Results: OUT/<model>/seed-N/ and OUT/best/ with fusion.onnx, metrics.json, best.safetensors; for
`erc evaluate OUT` each seed has logits.npz as well.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Mapping, Sequence
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

from erc_ros.inference.manifest import modality_set
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
    Predicted,
    choose_best,
    copy_files,
    finished,
    plain,
    read_json,
    read_metrics,
    write_metrics,
    write_run,
)
from erc_ros.training.engine.trainer import Fit, TrainerConfig, save_weights, set_seeds
from erc_ros.training.fusion.conditions import (
    Result,
    SimulatedModality,
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
    segments,
)
from erc_ros.training.fusion.late_fusion import ModalityClips, fit_late_fusion
from erc_ros.training.fusion.objectives import (
    OBJECTIVES,
    CrossEntropyObjective,
    Objective,
    ObjectiveConfig,
    objective_of,
)
from erc_ros.training.fusion.simulated import (
    EncoderFolders,
    describe,
    modality_clips,
    more_text,
    read_dialogues,
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


@dataclass(frozen=True, eq=False)
class FusionSetup:
    """What all fusion models and seeds of a recipe have in common.

    clips: of audio and visual. more_text: embeddings (N, E) and labels (N,) of other corpora.
    """

    config: FusionConfig
    network: HeadSizes
    dropout: ModalityDropout
    trainer: TrainerConfig
    splits: Mapping[str, Dialogues]
    simulated: Mapping[str, Matched]
    clips: Mapping[str, ModalityClips]
    more_text: tuple[NDArray[np.float32], NDArray[np.int64]] | None = None

    def settings(self, seed: int) -> dict[str, Any]:
        """What decides the result of a seed."""
        train = self.splits["train"]
        return plain(
            {
                "network": asdict(self.network),
                "dropout": asdict(self.dropout),
                "trainer": {**asdict(self.trainer), "seed": seed},
                "context": self.config.context,
                "text_also": list(self.config.text_also),
                "simulation": {name: each.mismatch for name, each in self.simulated.items()},
                "embeddings": {m: float(np.abs(getattr(train, m)).sum()) for m in MODALITIES},
            }
        )

    def new_model(self, name: str) -> FusionModel:
        """A fusion model with new weights."""
        sizes = {"embeddings": self.splits["train"].sizes, "labels": len(LABELS)}
        return make_head(name, {**asdict(self.network), **sizes})

    def dev_conditions(self, model: nn.Module) -> list[Result]:
        """Results on dev in every condition, over fewer draws where a model reads context."""
        reads_context = not isinstance(model, Pooling)
        context, draws = (self.config.context, 2) if reads_context else (1, DRAWS)
        drawn = {
            name: SimulatedModality(
                clips.dev.embeddings, clips.dev.labels, self.simulated[name].dev_draws[:draws]
            )
            for name, clips in self.clips.items()
        }

        def predict(data: Dialogues, seen: Sequence[bool]) -> NDArray[np.float32]:
            return predict_windows(model, data, context, seen)

        return measure_conditions(predict, self.splits["dev"], drawn["audio"], drawn["visual"])


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
    network = recipe.section("network", HeadSizes)
    dropout = recipe.section("dropout", ModalityDropout)
    trainer = recipe.section("trainer", TrainerConfig)
    check_heads(config.heads, network)
    splits, simulated = read_dialogues(config.folders, recipe.section("simulation", Weakness))
    record(
        recipe.out,
        corpora=config.text_also,
        teachers=[config.text, config.audio, config.visual],
    )
    describe(simulated)
    clips = modality_clips(config.folders, simulated)
    setup = FusionSetup(config, network, dropout, trainer, splits, simulated, clips)
    if config.text_also and any(head_class(head) is Pooling for head in config.heads):
        text = more_text(Path(config.text), config.text_also, recipe.data)
        setup = replace(setup, more_text=text)
    best = {}
    for head in config.heads:
        folder = recipe.out / title_of(head)
        for seed in recipe.seeds(config.seeds):
            train_seed(setup, head, seed, folder / f"seed-{seed}")
        best[head] = choose_best(folder, FILES)
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
            "text": results[0].f1,
            "as they are": as_they_are(results),
            "worst": worst(results).difference,
            "in": worst(results).condition.name,
        }
        for name, results in tables.items()
    }
    chosen = {**best[head], "heads": heads}
    write_metrics(chosen, folder)
    return chosen


def train_seed(setup: FusionSetup, name: str, seed: int, out: Path) -> None:
    """Train one seed of a fusion model, test it once and export it; nothing if that is done."""
    settings = setup.settings(seed)
    if finished(out / METRICS, settings):
        print(f"{out} is there")
        return
    seeded = replace(setup, trainer=replace(setup.trainer, seed=seed))
    train = _fit_late_fusion if head_class(name) is Pooling else _fit_by_gradient
    model, training = train(seeded, name, out)
    save_weights(model, out / "best.safetensors")
    export_fusion(model, out / "fusion.onnx")
    predict = partial(predict_windows, model)
    predicted = {
        split: Predicted(predict(data, context=setup.config.context), data.labels, data.first)
        for split, data in setup.splits.items()
        if split in MEASURED
    }
    content = {
        "head": name,
        "seed": seed,
        "settings": settings,
        **training,
        "dev_conditions": [asdict(each) for each in setup.dev_conditions(model)],
        "parameters": sum(p.numel() for p in model.parameters()),
        "simulation": {
            name: {"mismatch": m.mismatch, "dev_weighted_f1": m.dev_f1}
            for name, m in setup.simulated.items()
        },
        **subsets(predict, setup.splits, setup.config.context),
    }
    write_run(out, LABELS, predicted, content)


def _fit_late_fusion(
    setup: FusionSetup, name: str, out: Path
) -> tuple[FusionModel, dict[str, Any]]:
    """Closed form and a search on dev; the model, and how long it took."""
    model, begin = setup.new_model(name), time.monotonic()
    assert isinstance(model, Pooling)
    train, dev = setup.splits["train"], setup.splits["dev"]
    fit_late_fusion(model, train, dev, setup.clips, setup.dev_conditions, more_text=setup.more_text)
    out.mkdir(parents=True, exist_ok=True)
    return model, {"seconds": time.monotonic() - begin, "prior_correction": 0.0}


def _fit_by_gradient(
    setup: FusionSetup, name: str, out: Path
) -> tuple[FusionModel, dict[str, Any]]:
    """Gradient descent with the objective of the model's paper, after its teacher if it has one."""
    objective = OBJECTIVES[objective_of(name)]()
    teacher = None
    if objective.TEACHER:
        alone = CrossEntropyObjective()
        teacher, _ = _trained(setup, name, alone, None, ONLY_TEXT, out / "teacher")
    model, fitted = _trained(setup, name, objective, teacher, EVERYTHING, out)
    return model, {
        "best_epoch": fitted.best_epoch,
        "seconds": fitted.seconds,
        "prior_correction": correct_prior(model, setup.splits, setup.config.context),
    }


def _trained(
    setup: FusionSetup,
    name: str,
    objective: ObjectiveConfig,
    teacher: FusionModel | None,
    seen: Sequence[bool],
    out: Path,
) -> tuple[FusionModel, Fit]:
    trainer, context = setup.trainer, setup.config.context
    set_seeds(trainer.seed)
    model = setup.new_model(name)
    settings = setup.settings(trainer.seed)
    fitted = train_head(
        model,
        Objective(objective, model, teacher),
        setup.splits["train"],
        trainer,
        setup.dropout,
        batches=partial(_batches, setup.splits["train"].first, context, trainer),
        evaluate=partial(_dev_f1, setup.splits["dev"], context, seen),
        choose="weighted_f1",
        out=out,
        settings={key: value for key, value in settings.items() if key != "trainer"},
        seen=seen,
        say=partial(print, flush=True),
    )
    return model, fitted


def _batches(
    first: NDArray[np.int64], context: int, trainer: TrainerConfig, epoch: int
) -> list[NDArray[np.int64]]:
    rng = random.Random(trainer.seed * 1000 + epoch)
    return segments(first, context, trainer.batch_size, rng)


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


def subsets(predict: Any, splits: Mapping[str, Dialogues], context: int) -> dict[str, Any]:
    """Weighted F1 on dev and test from every set of modalities.

    predict: (dialogues, context, modalities) -> logits (N, C). Returns `test` and `dev_subsets`:
    set of modalities -> weighted F1.
    """
    f1: dict[str, dict[str, float]] = {split: {} for split in MEASURED}
    for split, seen in product(MEASURED, product((True, False), repeat=3)):
        if any(seen):
            data = splits[split]
            predicted = predict(data, context, seen).argmax(1)
            f1[split][modality_set(seen)] = metrics.weighted_f1(data.labels, predicted, len(LABELS))
    return {"test": f1["test"], "dev_subsets": f1["dev"]}
