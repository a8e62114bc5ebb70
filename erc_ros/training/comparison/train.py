"""Train fusion models on one corpus, each with the objective of its paper, and compare them.

Rows (model, modalities, objective, removed parts) x {offline, causal} x seeds. A model without
context is trained once, as it is always causal. Each run is tested once: with all modalities, with
each modality missing, and with each replaced by noise. Runs in OUT with the same settings are not
repeated, so that an interrupted comparison continues.

Results: OUT/<row>-<mode>/seed-N/result.json, OUT/table.md.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import RidgeClassifier
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn.functional import cross_entropy

from erc_ros.metrics import classification as metrics
from erc_ros.metrics.significance import paired_bootstrap
from erc_ros.metrics.table import markdown, percent
from erc_ros.training.engine.distributed import aside
from erc_ros.training.engine.recipe import Recipe, RecipeError, build
from erc_ros.training.engine.runs import (
    MEASURED,
    Predicted,
    finished,
    plain,
    write_json,
    write_run,
)
from erc_ros.training.engine.trainer import TrainerConfig, load_weights, set_seeds
from erc_ros.training.fusion.contract import check_head
from erc_ros.training.fusion.dialogues import (
    Dialogues,
    degraded,
    predict_conversations,
    shuffled,
    shuffled_utterances,
)
from erc_ros.training.fusion.objectives import (
    OBJECTIVES,
    Objective,
    ObjectiveConfig,
    objective_of,
)
from erc_ros.training.fusion.simulation import ModalityDropout
from erc_ros.training.fusion.train import HeadSizes, train_head
from erc_ros.training.heads.base import MODALITIES, FusionModel
from erc_ros.training.heads.registry import head_class, make_head, reads_context, title_of

RIDGE = "ridge"
"""Baseline, not a fusion model: a linear classifier (least squares) of joined embeddings."""
BATCHES = ("conversations", "utterances")
MODES = ("no context", "causal", "offline")
EPOCHS = {"dev": "weighted_f1", "last": "epoch", "degraded": "log_likelihood"}
"""Of `ComparisonConfig.epoch`: the dev metric whose highest value chooses."""
DEV_DRAWS = 10
"""Of degraded dev."""
COMPLETE = "complete"
CONDITIONS = (
    COMPLETE,
    *(f"no {name}" for name in MODALITIES),
    *(f"noise for {name}" for name in MODALITIES),
)
SECTIONS = {"comparison", "rows", "network", "dropout", "trainer"}


@dataclass(frozen=True, eq=False)
class ComparisonData:
    """The data of a comparison. note: remarks above the table."""

    title: str
    note: str
    labels: tuple[str, ...]
    splits: Mapping[str, Dialogues]

    @cached_property
    def digest(self) -> str:
        """Return a hash of all embeddings and labels; results with another one are outdated."""
        digest = hashlib.sha256()
        for data in self.splits.values():
            for values in (data.text, data.audio, data.visual, data.labels):
                digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class ComparisonConfig:
    """Settings of a comparison; the section `comparison` of a recipe."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    modes: tuple[str, ...] = ("offline", "causal")
    """For models with context; `no context`: every utterance is a separate conversation."""
    epoch: str = "dev"
    """Which one is tested: the best on `dev`; or, where the features were trained on labels of
    dev, the `last`, or that with the lowest cross-entropy on dev `degraded` by `dropout.replaced`.
    """
    resamples: int = 2000
    """Number of samples of the paired bootstrap."""

    def __post_init__(self) -> None:
        if not self.seeds or self.resamples < 1:
            raise ValueError("a comparison needs at least one seed and one resample")
        if not self.modes or set(self.modes) - set(MODES):
            raise ValueError(f"modes is {self.modes}; they are {MODES}")
        if self.epoch not in EPOCHS:
            raise ValueError(f"epoch is {self.epoch!r}, must be one of {list(EPOCHS)}")


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row of the table; an entry of the section `rows`."""

    head: str
    """See `heads.registry.head_class`; or `ridge`."""
    name: str = ""
    """Name in the table; default: that of the model."""
    group: str = ""
    """Rows of one group are one (ablation) table; its first row is the reference."""
    seen: tuple[str, ...] = MODALITIES
    """Modalities in training."""
    tested: tuple[str, ...] = ()
    """Modalities on dev and test; default: those of the training."""
    objective: str = ""
    """One of OBJECTIVES; default: that of the model's paper."""
    weights: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Weights of the objective; default: those of the paper."""
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Settings of the model in addition to or instead of the section `network`."""
    trainer: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Values that replace those of the section `trainer`, such as the learning rate of a paper."""
    batches: str = "conversations"
    """What `batch_size` counts: conversations, or utterances (fusion models without context)."""

    def __post_init__(self) -> None:
        if self.head != RIDGE:
            head_class(self.head)
        for names in (self.seen, self.tested or self.seen):
            if not names or set(names) - set(MODALITIES):
                raise ValueError(f"seen and tested must be some of {MODALITIES}, not {names}")
        if self.batches not in BATCHES:
            raise ValueError(f"batches is {self.batches!r}, must be one of {BATCHES}")
        if self.batches == "utterances" and self.reads_context:
            raise ValueError(f"{self.head} reads the conversation: its batches are conversations")
        if self.objective and self.objective not in OBJECTIVES:
            raise ValueError(f"no objective {self.objective!r}; there are {list(OBJECTIVES)}")

    @property
    def title(self) -> str:
        return self.name or title_of(self.head)

    @property
    def reads_context(self) -> bool:
        """Whether other utterances of the conversation change the result."""
        return self.head != RIDGE and reads_context(self.head, self.options)

    @property
    def trained_on(self) -> tuple[bool, ...]:
        return tuple(name in self.seen for name in MODALITIES)

    @property
    def tested_on(self) -> tuple[bool, ...]:
        return tuple(name in (self.tested or self.seen) for name in MODALITIES)

    @property
    def objective_config(self) -> ObjectiveConfig:
        """The objective with this row's weights."""
        cls: type[ObjectiveConfig] = OBJECTIVES[self.objective or objective_of(self.head)]
        return build(cls, self.weights, f"weights of {self.title}")


@dataclass(frozen=True, slots=True)
class Setup:
    """The settings that all runs of a comparison share."""

    config: ComparisonConfig
    network: HeadSizes
    dropout: ModalityDropout
    trainer: TrainerConfig
    begin: Callable[[FusionModel], None] | None = None
    """Called with a new model, to set initial weights."""


def setup_of(recipe: Recipe) -> Setup:
    """Read the sections of a recipe that concern all its rows.

    Raises:
        RecipeError: a section is not usable.
    """
    setup = Setup(
        recipe.section("comparison", ComparisonConfig),
        recipe.section("network", HeadSizes),
        recipe.section("dropout", ModalityDropout),
        recipe.section("trainer", TrainerConfig),
    )
    if setup.config.epoch == "degraded" and not any(setup.dropout.replaced):
        raise RecipeError("epoch: degraded needs the rates of `dropout: {replaced: ...}`")
    return setup


Results = dict[tuple[TableRow, str], list[dict[str, Any]]]


def compare(recipe: Recipe, corpus: ComparisonData) -> None:
    """Run a recipe (all seeds or one), and write the table.

    Raises:
        RecipeError: the recipe is not usable.
    """
    setup = setup_of(recipe)
    check_models(rows(recipe), setup.network)
    table_rows = list(variants(rows(recipe), setup.config.modes))
    finished_results: Results = {key: [] for key in table_rows}
    seeds = recipe.seeds(setup.config.seeds)
    for seed in seeds:
        for row, mode in table_rows:
            result = finished_run(row, mode, seed, corpus, setup, recipe.out)
            finished_results[row, mode].append(result)
            f1 = result["test"][COMPLETE]["weighted_f1"]
            print(
                f"{row.title}, {mode}, seed {seed}: dev {result['dev']:.4f}, test {f1:.4f},"
                f" {result['seconds']:.0f} s",
                flush=True,
            )
            if seed == seeds[0] or (row, mode) == table_rows[-1]:  # of the results so far
                there = {key: results for key, results in finished_results.items() if results}
                text = table(there, corpus, setup.config)
                (recipe.out / "table.md").write_text(text, encoding="utf-8")
    print(text)


def rows(recipe: Recipe) -> list[TableRow]:
    """Read the section `rows`.

    Raises:
        RecipeError: it is not a list of rows, or two of a group have the same name.
    """
    values = recipe.sections.get("rows")
    if not isinstance(values, list) or not all(isinstance(value, Mapping) for value in values):
        raise RecipeError("section 'rows' must be a list of tables such as `- {head: magtkd}`")
    spread = spread_out(values)
    table_rows = [build(TableRow, value, f"rows[{n}]") for n, value in enumerate(spread)]
    check_rows(table_rows, recipe.section("trainer", TrainerConfig))
    return table_rows


def spread_out(values: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Expand rows with `grid`, lists of weights, to a row for each combination.

    Raises:
        RecipeError: a grid is not a mapping of names to lists.
    """
    result: list[Mapping[str, Any]] = []
    for value in values:
        if "grid" not in value:
            result.append(value)
            continue
        grid = value["grid"]
        if (
            not isinstance(grid, Mapping)
            or not grid
            or not all(isinstance(choices, list) and choices for choices in grid.values())
        ):
            raise RecipeError(f"grid must have lists, such as {{alpha: [0.0, 0.1]}}, not {grid!r}")
        rest = {key: each for key, each in value.items() if key != "grid"}
        for chosen in product(*grid.values()):
            weights = dict(zip(grid, chosen, strict=True))
            values_text = ", ".join(f"{name} {number}" for name, number in weights.items())
            name = f"{value.get('name', value.get('head', ''))}, {values_text}"
            result.append(
                {**rest, "name": name, "weights": {**value.get("weights", {}), **weights}}
            )
    return result


def check_rows(rows: Sequence[TableRow], trainer: TrainerConfig) -> None:
    """Check rows before anything is trained.

    Raises:
        RecipeError: two of a group have the same name; unknown weights, options or trainer values.
    """
    for row in rows:
        if "seed" in row.trainer:
            raise RecipeError(f"trainer of {row.title} has a seed; give seeds in `comparison`")
        trainer_of(row, trainer)  # raises RecipeError for unknown values
    names = [(row.group, row.title) for row in rows]
    if twice := {name for name in names if names.count(name) > 1}:
        raise RecipeError(f"rows: {sorted(twice)} occur more than once; give them a `name`")
    for row in rows:
        if row.head != RIDGE:
            _ = row.objective_config  # raises RecipeError for unknown weights
            build(head_class(row.head).CONFIG, row.options, f"options of {row.title}")


def check_models(rows: Sequence[TableRow], network: HeadSizes) -> None:
    """Check that fusion models of other packages satisfy their contract.

    Raises:
        RecipeError: one does not; names the row and the clause.
    """
    for row in rows:
        if row.head != RIDGE:
            try:
                check_head(row.head, {**asdict(network), **row.options})
            except ValueError as error:
                raise RecipeError(f"{row.title}: {error}") from error


def trainer_of(row: TableRow, trainer: TrainerConfig) -> TrainerConfig:
    """Return the section `trainer` with the values of a row.

    Raises:
        RecipeError: the trainer does not have a value, or it is out of range.
    """
    return build(TrainerConfig, {**asdict(trainer), **row.trainer}, f"trainer of {row.title}")


def variants(rows: Sequence[TableRow], modes: Sequence[str]) -> Iterator[tuple[TableRow, str]]:
    """Yield every row in its modes, in the order of the table; one mode without context.

    Sorted by mode; in groups sorted by row, as the first one is the reference.
    """
    grouped = any(row.group for row in rows)
    order = product(rows, MODES) if grouped else ((row, mode) for mode in MODES for row in rows)
    for row, mode in order:
        if mode in modes if row.reads_context else mode == MODES[0]:
            yield row, mode


def finished_run(
    row: TableRow,
    mode: str,
    seed: int,
    corpus: ComparisonData,
    setup: Setup,
    out: Path,
    teacher: FusionModel | None = None,
) -> dict[str, Any]:
    """Return the result of a run; train only if there is no result with the same settings.

    teacher: for an objective that needs one; None: it is trained first, as a separate run.
    """
    settings = {
        "row": asdict(row),
        "mode": mode,
        "corpus": corpus.digest,
        "epoch": setup.config.epoch,
        "network": asdict(setup.network),
        "dropout": asdict(setup.dropout),
        "trainer": {**asdict(setup.trainer), **row.trainer, "seed": seed},
    }
    settings = plain(settings)
    folder = run_folder(row, mode, seed, out)
    file = folder / "result.json"
    if finished_result := finished(file, settings):
        return finished_result
    folder.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    if row.head == RIDGE:
        measured = ridge(row, seed, corpus, folder, settings)
    else:
        if row.objective_config.TEACHER and teacher is None:
            teacher = trained_teacher(row, mode, seed, corpus, setup, out)
        trainer = replace(trainer_of(row, setup.trainer), seed=seed)
        seeded = replace(setup, trainer=trainer)
        measured = run(row, mode, corpus, seeded, folder, teacher, settings)
    result = {"settings": settings, **measured}
    write_json(file, result)
    return result


def run_folder(row: TableRow, mode: str, seed: int, out: Path) -> Path:
    """Return OUT/<group>-<row>-<mode>/seed-N."""
    name = " ".join(filter(None, (row.group, row.title, mode)))
    return out / in_file_name(name) / f"seed-{seed}"


def in_file_name(name: str) -> str:
    """Return a name in small letters, digits, dots and hyphens: "Dialogue mean": dialogue-mean."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")


def trained_teacher(
    row: TableRow, mode: str, seed: int, corpus: ComparisonData, setup: Setup, out: Path
) -> FusionModel:
    """Train the row's model on text only, with cross-entropy only."""
    alone = replace(
        row,
        name=f"{row.title} teacher",
        seen=("text",),
        tested=(),
        objective="cross_entropy",
        weights={},
    )
    finished_run(alone, mode, seed, corpus, setup, out)
    teacher = new_head(alone, mode, corpus, setup.network)
    load_weights(teacher, run_folder(alone, mode, seed, out) / "best.safetensors")
    return teacher


def is_cut(row: TableRow, mode: str) -> bool:
    """Whether a model with context gets single utterances."""
    return mode == MODES[0] and row.reads_context


def cut(data: Dialogues) -> Dialogues:
    """Return every utterance as a separate conversation."""
    return replace(data, first=np.arange(len(data.first)))


def new_head(row: TableRow, mode: str, corpus: ComparisonData, network: HeadSizes) -> FusionModel:
    """Return the row's model with new weights."""
    fixed = {
        "causal": mode == "causal" or is_cut(row, mode),
        "embeddings": corpus.splits["train"].sizes,
        "labels": len(corpus.labels),
    }
    values = {**asdict(network), **fixed, **row.options}
    return make_head(row.head, values, f"options of {row.title}")


def run(
    row: TableRow,
    mode: str,
    corpus: ComparisonData,
    setup: Setup,
    out: Path,
    teacher: FusionModel | None,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Train one model and test it once."""
    trainer, splits, classes = setup.trainer, corpus.splits, len(corpus.labels)
    if is_cut(row, mode):  # keep the number of utterances per batch
        train = splits["train"]
        longer = round(len(train.first) / len(np.unique(train.first)))
        trainer = replace(trainer, batch_size=trainer.batch_size * max(1, longer))
        splits = {name: cut(data) for name, data in splits.items()}
        corpus = replace(corpus, splits=splits)
    set_seeds(trainer.seed)
    model = new_head(row, mode, corpus, setup.network)
    if setup.begin is not None:
        setup.begin(model)
    objective = Objective(row.objective_config, model, teacher)
    dev = splits["dev"]
    if setup.config.epoch == "degraded":  # the same draws for all rows and seeds
        dev = degraded(dev, setup.dropout.replaced, DEV_DRAWS)

    def batches(epoch: int) -> list[NDArray[np.int64]]:
        rng = random.Random(trainer.seed * 1000 + epoch)
        batched = shuffled_utterances if row.batches == "utterances" else shuffled
        return batched(splits["train"], trainer.batch_size, rng)

    def evaluate(model: nn.Module) -> dict[str, float]:
        logits = predict_conversations(model, dev, row.tested_on)
        loss = cross_entropy(torch.from_numpy(logits), torch.from_numpy(dev.labels))
        return {
            "weighted_f1": score(dev, logits.argmax(1), classes)["weighted_f1"],
            "epoch": objective.epochs,
            "log_likelihood": -loss.item(),
        }

    fitted = train_head(
        model,
        objective,
        splits["train"],
        trainer,
        setup.dropout,
        batches=batches,
        evaluate=evaluate,
        choose=EPOCHS[setup.config.epoch],
        out=out,
        settings=settings,
        seen=row.trained_on,
        say=lambda line: None,
    )

    def answer(data: Dialogues, seen: Sequence[bool]) -> NDArray[np.int64]:
        labels: NDArray[np.int64] = predict_conversations(model, data, seen).argmax(1)
        return labels

    def measure() -> dict[str, Any]:
        model.to(trainer.device)  # `fit` moves it back to its original device
        keep_predictions(model, row, corpus, out, {"seed": trainer.seed, "settings": settings})
        return tested(answer, row.tested_on, corpus, trainer.seed)

    measured = aside(measure, trainer.processes)
    return {
        "dev": fitted.best["weighted_f1"],
        "best_epoch": fitted.best_epoch,
        "seconds": fitted.seconds,
        "parameters": sum(p.numel() for p in model.parameters()),
        **measured,
    }


def keep_predictions(
    model: FusionModel, row: TableRow, corpus: ComparisonData, out: Path, content: Mapping[str, Any]
) -> None:
    """Write logits.npz and metrics.json of the model, for `erc evaluate` and `erc table`."""
    splits = {}
    for name in MEASURED:
        data = corpus.splits[name]
        labelled = data.labels >= 0
        logits = predict_conversations(model, data, row.tested_on)[labelled]
        splits[name] = Predicted(logits, data.labels[labelled], data.first[labelled])
    write_run(out, corpus.labels, splits, content)


def ridge(
    row: TableRow, seed: int, corpus: ComparisonData, out: Path, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Fit the linear baseline on joined, standardized features; a missing one is its mean."""
    data, dev = corpus.splits["train"], corpus.splits["dev"]
    scaler = {m: StandardScaler().fit(getattr(data, m)) for m in row.seen}

    def stacked(data: Dialogues, seen: Sequence[bool]) -> NDArray[np.float32]:
        there = np.ones((len(data.labels), 3), bool) if data.present is None else data.present
        here = dict(zip(MODALITIES, (there & np.array(seen)).T, strict=True))
        parts = [scaler[m].transform(getattr(data, m)) * here[m][:, None] for m in row.seen]
        return np.concatenate(parts, axis=1)

    known = data.labels >= 0
    model = RidgeClassifier(alpha=100.0)
    model.fit(stacked(data, row.trained_on)[known], data.labels[known])

    def answer(data: Dialogues, seen: Sequence[bool]) -> NDArray[np.int64]:
        predicted: NDArray[np.int64] = model.predict(stacked(data, seen))
        return predicted

    classes = len(corpus.labels)
    splits = {}
    for name in MEASURED:
        part = corpus.splits[name]
        labelled = part.labels >= 0
        scores = np.full((int(labelled.sum()), classes), -np.inf, np.float32)
        of_known = model.decision_function(stacked(part, row.tested_on)[labelled])
        if of_known.ndim == 1:  # two labels: the score of the second one
            of_known = np.stack([np.zeros_like(of_known), of_known], axis=1)
        scores[:, model.classes_] = of_known
        splits[name] = Predicted(scores, part.labels[labelled], part.first[labelled])
    write_run(out, corpus.labels, splits, {"seed": seed, "settings": settings})
    size = stacked(dev, row.tested_on).shape[1] + 1
    return {
        "dev": score(dev, answer(dev, row.tested_on), classes)["weighted_f1"],
        "best_epoch": 0,
        "seconds": 0.0,
        "parameters": size * (1 if classes == 2 else classes),
        **tested(answer, row.tested_on, corpus, seed),
    }


def tested(answer: Any, seen: Sequence[bool], corpus: ComparisonData, seed: int) -> dict[str, Any]:
    """Test in every condition. answer: (dialogues, modalities) -> predicted labels (N,)."""
    test, classes = corpus.splits["test"], len(corpus.labels)
    answers = {}
    for condition in CONDITIONS:
        data, left = disturbed(test, corpus.splits["train"], condition, seen, seed)
        if any(left):
            answers[condition] = answer(data, left)
    return {
        "test": {name: score(test, predicted, classes) for name, predicted in answers.items()},
        "predicted": answers[COMPLETE].tolist(),
    }


def score(data: Dialogues, answers: NDArray[np.int64], classes: int) -> dict[str, float]:
    """Return the scores over the utterances that have a label."""
    known = data.labels >= 0
    truth, predicted = data.labels[known], answers[known]
    return {
        "accuracy": metrics.accuracy(truth, predicted, classes),
        "weighted_f1": metrics.weighted_f1(truth, predicted, classes),
        "macro_f1": metrics.macro_f1(truth, predicted, classes),
    }


def disturbed(
    data: Dialogues, train: Dialogues, condition: str, shown: Sequence[bool], seed: int
) -> tuple[Dialogues, tuple[bool, ...]]:
    """Return the test split in one of CONDITIONS, with the modalities that are left (maybe none).

    Noise is normal with the mean and the deviation of each dimension in the train split.
    """
    seen = list(shown)
    for m, name in enumerate(MODALITIES):
        if not shown[m] and condition.endswith(name):
            return data, (False, False, False)
        if condition == f"no {name}":
            seen[m] = False
        if condition == f"noise for {name}":
            known = getattr(train, name)
            noise = np.random.default_rng([seed, m]).standard_normal(getattr(data, name).shape)
            noise = known.mean(axis=0) + noise * known.std(axis=0)
            data = replace(data, **{name: noise.astype(np.float32)})
    return data, tuple(seen)


def available_modalities(data: Dialogues) -> tuple[str, ...]:
    """Return the modalities that at least one utterance has."""
    if data.present is None:
        return MODALITIES
    return tuple(np.array(MODALITIES)[data.present.any(axis=0)].tolist())


def table(results: Results, corpus: ComparisonData, config: ComparisonConfig) -> str:
    """Return Markdown: one table, or one per group."""
    some = next(iter(results.values()))
    seeds = ", ".join(str(result["settings"]["trainer"]["seed"]) for result in some)
    test = corpus.splits["test"]
    by_dev = config.epoch == "dev"
    chosen = {
        "dev": "the best epoch on dev",
        "last": "the last epoch",
        "degraded": "the epoch with the lowest cross-entropy on degraded dev",
    }[config.epoch]
    best = "the highest mean on dev" if by_dev else "the highest mean on test, which flatters it"
    lines = [
        f"# {corpus.title}",
        "",
        f"{corpus.note} Seeds {seeds}; mean ± standard deviation over them, percent; WF1: weighted"
        f" F1. Tested is {chosen}, once per run, on {(test.labels >= 0).sum()} utterances of"
        f" {len(np.unique(test.first))} conversations. Difference: WF1 of the row minus that of the"
        " reference, in points, with the 95 % interval and p of a paired bootstrap over"
        f" conversations ({config.resamples} draws; not corrected for the number of comparisons;"
        " it knows the choice of conversations, not that of seeds). The reference is the first row"
        f" of a group, without groups the one with {best}."
        + metrics.too_few(test.first[test.labels >= 0], "conversations"),
    ]
    for group in dict.fromkeys(row.group for row, _ in results):
        part = {key: runs for key, runs in results.items() if key[0].group == group}
        lines += ["", *_group(group, part, corpus, config)]
    return "\n".join(lines) + "\n"


def _group(
    group: str, results: Results, corpus: ComparisonData, config: ComparisonConfig
) -> list[str]:
    conditions = () if group else _conditions(results, available_modalities(corpus.splits["test"]))
    reference = _reference(group, results, config)
    names = [f"WF1, {name}" for name in conditions]
    head = ["model", "parameters", "dev WF1", "accuracy", "WF1", "macro F1", "difference", *names]
    rows = []
    for (row, mode), runs in results.items():
        cells = [f"{row.title}, {mode}", f"{runs[0]['parameters']:,}"]
        cells.append(percent([r["dev"] for r in runs]))
        for name in ("accuracy", "weighted_f1", "macro_f1"):
            cells.append(percent([r["test"][COMPLETE][name] for r in runs]))
        same = (row, mode) == reference
        cells.append("reference" if same else _difference(runs, results[reference], corpus, config))
        for condition in conditions:
            known = [r["test"][condition]["weighted_f1"] for r in runs if condition in r["test"]]
            cells.append(percent(known) if known else "-")
        rows.append(cells)
    return [*([f"## {group}", ""] if group else []), *markdown(head, rows)]


def _conditions(results: Results, available: Sequence[str]) -> list[str]:
    """Return the conditions that change an input of a row, and leave one."""
    measured = {name for runs in results.values() for run in runs for name in run["test"]}
    emptied = f"no {available[0]}" if len(available) == 1 else ""
    return [
        name
        for name in CONDITIONS[1:]
        if name in measured and name.rpartition(" ")[2] in available and name != emptied
    ]


def _reference(group: str, results: Results, config: ComparisonConfig) -> tuple[TableRow, str]:
    """Return the reference row of a group, its first one, or of all rows, the best one.

    The best on dev; on test if dev cannot select an epoch.
    """
    if group:
        return next(iter(results))

    def quality(key: tuple[TableRow, str]) -> float:
        if config.epoch == "dev":
            return float(np.mean([r["dev"] for r in results[key]]))
        return float(np.mean([r["test"][COMPLETE]["weighted_f1"] for r in results[key]]))

    return max(results, key=quality)


def _difference(
    runs: Sequence[Mapping[str, Any]],
    others: Sequence[Mapping[str, Any]],
    corpus: ComparisonData,
    config: ComparisonConfig,
) -> str:
    test = corpus.splits["test"]
    known = test.labels >= 0
    mine, its = (np.array([r["predicted"] for r in some])[:, known] for some in (runs, others))
    difference = paired_bootstrap(
        test.labels[known], mine, its, test.first[known], len(corpus.labels), config.resamples
    )
    return difference.text(2)
