"""Train every fusion head on CMU-MOSI, the only real trimodal data here, and compare them.

Every head (and text alone) x {offline, causal} x seeds. Dev chooses the epoch; test is looked at
once per run: complete, with each modality missing, and with each replaced by noise. A video is one
conversation. Runs that are already in OUT with the same settings are not repeated, so that a
killed training goes on where it was.

Results: OUT/<model>-<offline|causal>/seed-N/result.json, OUT/table.md.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from erc_ros.training import metrics
from erc_ros.training.datasets.mosi import LABELS, SIZES, Videos, read_mosi
from erc_ros.training.fusion.heads import HEADS
from erc_ros.training.fusion.inputs import MODALITIES
from erc_ros.training.losses import self_distillation
from erc_ros.training.recipe import Recipe, RecipeError
from erc_ros.training.significance import paired_bootstrap
from erc_ros.training.simulation import ModalityDropout, drop_modalities
from erc_ros.training.trainer import TrainerConfig, fit, set_seeds

Seen = tuple[bool, ...]
ALL, TEXT_ONLY = (True, True, True), (True, False, False)
COMPLETE = "complete"
CONDITIONS = (
    COMPLETE,
    *(f"no {name}" for name in MODALITIES),
    *(f"noise for {name}" for name in MODALITIES),
)


@dataclass(frozen=True, slots=True)
class MosiConfig:
    """What is compared; the section `mosi` of a recipe."""

    models: tuple[str, ...] = tuple(HEADS)
    text_only: tuple[str, ...] = ("concat", "magt")
    """Heads that are also trained on text alone: a linear classifier, and one with context."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    dev_videos: int = 12
    """Of the 62 of the official train split."""
    resamples: int = 2000
    """Of the paired bootstrap."""

    def __post_init__(self) -> None:
        if unknown := (set(self.models) | set(self.text_only)) - set(HEADS):
            raise ValueError(f"no fusion head is called {sorted(unknown)}; there are {list(HEADS)}")
        if len(self.models) + len(self.text_only) < 2 or not self.seeds or self.resamples < 1:
            raise ValueError("it takes two models, a seed and a resample to compare anything")


@dataclass(frozen=True, slots=True)
class Network:
    """The same for every head; the section `network`."""

    width: int = 32
    dropout: float = 0.3
    input_dropout: float = 0.3


@dataclass(frozen=True, slots=True)
class Variant:
    """One row of the table."""

    head: str
    causal: bool
    trained_on: Seen = ALL

    @property
    def name(self) -> str:
        return self.head if self.trained_on == ALL else f"text only ({self.head})"

    @property
    def mode(self) -> str:
        return "causal" if self.causal else "offline"

    @property
    def folder(self) -> str:
        text = "" if self.trained_on == ALL else "text-"
        return f"{text}{self.head}-{self.mode}"


def train(recipe: Recipe) -> None:
    """`erc train config/training/mosi.yaml`: all runs (or those of one seed), and the table.

    Raises:
        RecipeError, FileNotFoundError: the recipe or the data are not usable.
    """
    recipe.refuse_other_sections({"mosi", "network", "dropout", "trainer"})
    config, network = recipe.section("mosi", MosiConfig), recipe.section("network", Network)
    dropout = recipe.section("dropout", ModalityDropout)
    trainer = recipe.section("trainer", TrainerConfig)
    try:
        splits = read_mosi(recipe.data, config.dev_videos)
    except ValueError as error:
        raise RecipeError(f"CMU-MOSI in {recipe.data}: {error}") from error
    seeds = config.seeds if recipe.seed is None else (recipe.seed,)
    results: dict[Variant, list[dict[str, Any]]] = {}
    for variant in variants(config):
        results[variant] = []
        for seed in seeds:
            seeded = TrainerConfig(**{**asdict(trainer), "seed": seed})
            settings = {
                "variant": asdict(variant),
                "network": asdict(network),
                "dropout": asdict(dropout),
                "trainer": asdict(seeded),
                "dev_videos": config.dev_videos,
            }
            out = recipe.out / variant.folder / f"seed-{seed}"
            result = finished(out, settings)
            if result is None:
                result = {"settings": settings}
                result |= run(variant, splits, seeded, network, dropout, out)
                (out / "result.json").write_text(json.dumps(result), encoding="utf-8")
            results[variant].append(result)
            complete = result["test"][COMPLETE]["weighted_f1"]
            print(f"{variant.folder} seed {seed}: dev {result['dev']:.4f}, test {complete:.4f}")
    text = table(results, splits["test"], config)
    (recipe.out / "table.md").write_text(text, encoding="utf-8")
    print(text)


def variants(config: MosiConfig) -> list[Variant]:
    """The rows: text alone, then every head; offline, then causal."""
    heads = [(head, TEXT_ONLY) for head in config.text_only]
    heads += [(head, ALL) for head in config.models]
    return [Variant(head, causal, seen) for causal in (False, True) for head, seen in heads]


def finished(out: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The result of a run with these settings, if `out` has one."""
    file = out / "result.json"
    if not file.is_file():
        return None
    result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    same = result.get("settings") == json.loads(json.dumps(settings))
    return result if same else None


def run(
    variant: Variant,
    splits: Mapping[str, Videos],
    trainer: TrainerConfig,
    network: Network,
    dropout: ModalityDropout,
    out: Path,
) -> dict[str, Any]:
    """Train one model and test it once."""
    set_seeds(trainer.seed)
    config, head = HEADS[variant.head]
    model = head(
        config(causal=variant.causal, embeddings=SIZES, labels=len(LABELS), **asdict(network))
    )
    data, dev = splits["train"], splits["dev"]
    rng = np.random.default_rng(trainer.seed)

    def batches(epoch: int) -> list[NDArray[np.int64]]:
        rows = conversations(data)
        random.Random(trainer.seed * 1000 + epoch).shuffle(rows)
        starts = range(0, len(rows), trainer.batch_size)
        return [padded(rows[start : start + trainer.batch_size]) for start in starts]

    def loss(model: nn.Module, rows: NDArray[np.int64]) -> Tensor:
        seen = (rows >= 0)[..., None] & np.array(variant.trained_on)
        if variant.trained_on == ALL:
            seen = drop_modalities(rows >= 0, dropout, rng)
        labels = torch.from_numpy(np.where(rows >= 0, data.labels[rows], -100))
        return head_loss(variant.head, model, inputs(data, rows, seen), labels)

    def evaluate(model: nn.Module) -> dict[str, float]:
        logits = predict(model, dev, variant.trained_on)
        return {"weighted_f1": metrics.weighted_f1(dev.labels, logits.argmax(1), len(LABELS))}

    fitted = fit(
        model,
        trainer,
        batches=batches,
        loss=loss,
        evaluate=evaluate,
        choose="weighted_f1",
        out=out,
        say=lambda line: None,
    )
    test, answers = splits["test"], {}
    for condition in CONDITIONS:
        data, seen = disturbed(test, condition, variant.trained_on, trainer.seed)
        if any(seen):
            answers[condition] = predict(model, data, seen).argmax(1)
    return {
        "dev": fitted.best["weighted_f1"],
        "best_epoch": fitted.best_epoch,
        "seconds": fitted.seconds,
        "parameters": sum(p.numel() for p in model.parameters()),
        "test": {
            name: {
                "accuracy": metrics.accuracy(test.labels, answer, len(LABELS)),
                "weighted_f1": metrics.weighted_f1(test.labels, answer, len(LABELS)),
            }
            for name, answer in answers.items()
        },
        "predicted": answers[COMPLETE].tolist(),
    }


def head_loss(name: str, model: Any, batch: Mapping[str, Tensor], labels: Tensor) -> Tensor:
    """Cross-entropy; LPGNet with its self-distillation, DDVLM's with its modalities' classifiers.

    The residual fusion trusts those by their confidence: they have to be trained. labels (B, U),
    -100 where there is none.
    """
    if name == "lpgnet":
        return self_distillation(model.details(**batch), batch["modalities"], labels)
    if name == "residual":
        details = model.details(**batch)
        own = labels[..., None].masked_fill(~batch["modalities"], -100)  # (B, U, 3)
        return cross_entropy(details.logits.flatten(0, 1), labels.flatten()) + cross_entropy(
            details.unimodal.flatten(0, 2), own.flatten()
        )
    return cross_entropy(model(**batch)[0].flatten(0, 1), labels.flatten())


def conversations(data: Videos) -> list[NDArray[np.int64]]:
    """The rows of each video."""
    return [np.flatnonzero(data.first == begin) for begin in np.unique(data.first)]


def padded(rows: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """(B, U) row numbers, -1 behind the shorter ones."""
    result = np.full((len(rows), max(map(len, rows))), -1, np.int64)
    for number, row in enumerate(rows):
        result[number, : len(row)] = row
    return result


def inputs(
    data: Videos, rows: NDArray[np.int64], modalities: NDArray[np.bool_]
) -> dict[str, Tensor]:
    """What a head takes for rows (B, U), modalities (B, U, 3). One speaker per video."""
    arrays: dict[str, NDArray[Any]] = {
        name: x[rows] for name, x in zip(MODALITIES, data.features, strict=True)
    }
    valid = rows >= 0
    arrays |= {"modalities": modalities, "speakers": valid.astype(np.int64), "valid": valid}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


@torch.inference_mode()
def predict(model: nn.Module, data: Videos, seen: Seen) -> NDArray[np.float32]:
    """Logits (N, C), each video as a whole; a causal head does not look ahead in it."""
    model.eval()
    rows = padded(conversations(data))
    logits, _ = model(**inputs(data, rows, (rows >= 0)[..., None] & np.array(seen)))
    result: NDArray[np.float32] = logits.numpy()[rows >= 0]  # videos follow one another
    return result


def disturbed(data: Videos, condition: str, trained_on: Seen, seed: int) -> tuple[Videos, Seen]:
    """The test as one of CONDITIONS: other features, or less seen. Nothing seen: not measured.

    Noise is normal with mean 0 and deviation 1, as the standardised features are.
    """
    seen, features = list(trained_on), list(data.features)
    for m, name in enumerate(MODALITIES):
        if not trained_on[m] and condition.endswith(name):
            return data, (False, False, False)
        if condition == f"no {name}":
            seen[m] = False
        if condition == f"noise for {name}":
            rng = np.random.default_rng([seed, m])
            features[m] = rng.standard_normal(features[m].shape).astype(np.float32)
    return Videos(tuple(features), data.labels, data.first, data.names), tuple(seen)


def table(results: Mapping[Variant, list[dict[str, Any]]], test: Videos, config: MosiConfig) -> str:
    """Markdown: every model in every condition, then each against each."""
    some = next(iter(results.values()))
    seeds = ", ".join(str(result["settings"]["trainer"]["seed"]) for result in some)
    lines = [
        "# CMU-MOSI, negative or positive",
        "",
        f"Seeds {seeds}; mean ± standard deviation over them, percent; WF1 is weighted F1. The"
        f" epoch was chosen on {config.dev_videos} videos of the official train split, test"
        f" ({len(test.names)} videos, {len(test.labels)} utterances) is looked at once per run."
        " The text and video features come from networks that were trained on the train split with"
        " its labels: dev is part of it and says little about test. Sentiment, not emotion; one"
        " speaker per video.",
        "",
        "| model | parameters | dev WF1 | accuracy | WF1 | "
        + " | ".join(f"WF1, {name}" for name in CONDITIONS[1:])
        + " |",
        "|---" * (len(CONDITIONS) + 4) + "|",
        *(_row(variant, runs) for variant, runs in results.items()),
        "",
        "WF1 on test of the row minus that of the column, mean over seeds, in points; in brackets"
        f" p of a paired bootstrap over videos ({config.resamples} draws; not corrected for the"
        " number of comparisons; it knows the choice of videos, not that of seeds).",
    ]
    for causal in (False, True):
        mode = {v: runs for v, runs in results.items() if v.causal == causal}
        lines += ["", *_differences(mode, test, config)]
    return "\n".join(lines) + "\n"


def _row(variant: Variant, runs: Sequence[Mapping[str, Any]]) -> str:
    cells = [f"{variant.name}, {variant.mode}", f"{runs[0]['parameters']:,}"]
    cells.append(_spread([r["dev"] for r in runs]))
    cells.append(_spread([r["test"][COMPLETE]["accuracy"] for r in runs]))
    for condition in CONDITIONS:
        known = [r["test"][condition]["weighted_f1"] for r in runs if condition in r["test"]]
        cells.append(_spread(known) if known else "-")
    return "| " + " | ".join(cells) + " |"


def _differences(
    results: Mapping[Variant, list[dict[str, Any]]], test: Videos, config: MosiConfig
) -> list[str]:
    """A table of all pairs of one mode."""
    answers = {v: np.array([r["predicted"] for r in runs]) for v, runs in results.items()}
    columns = list(results)[:-1]
    lines = [
        f"| {columns[0].mode} | " + " | ".join(v.name for v in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for number, row in enumerate(results):
        cells = [""] * len(columns)
        for n, column in enumerate(columns[:number]):
            found = paired_bootstrap(
                test.labels,
                answers[row],
                answers[column],
                test.first,
                len(LABELS),
                config.resamples,
            )
            cells[n] = f"{100 * found.value:+.2f} ({found.p:.3f})"
        if number:
            lines.append(f"| {row.name} | " + " | ".join(cells) + " |")
    return lines


def _spread(values: Sequence[float]) -> str:
    deviation = np.std(values, ddof=1) if len(values) > 1 else 0.0
    return f"{100 * np.mean(values):.2f} ± {100 * deviation:.2f}"
