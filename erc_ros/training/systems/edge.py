"""Train the fusion head on simulated trimodal dialogues (`simulation`), as the robot will use it.

Training sees stretches of at most `context` utterances; evaluation does what the recogniser does:
one window of the last utterances for every utterance, its last row is the answer. The dev split
chooses the epoch, the correction of the class prior, the head (`choose_head`) and its seed; test is
looked at once a seed. Seeds that are there with the same settings are not trained again.

Results: OUT/<head>/seed-N/ and OUT/best/ with fusion.onnx, metrics.json, best.safetensors; for
`erc evaluate OUT` each seed has logits.npz as well.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import Tensor, nn

from erc_ros.metrics import classification as metrics
from erc_ros.training.datasets.utterances import LABELS
from erc_ros.training.encoders import parts
from erc_ros.training.encoders.parts import Embedded, load_embeddings
from erc_ros.training.encoders.text.evaluation import best_prior_correction
from erc_ros.training.engine.recipe import Recipe
from erc_ros.training.engine.trainer import Fit, TrainerConfig, fit, save_weights, set_seeds
from erc_ros.training.export.onnx import export_fusion
from erc_ros.training.heads.base import MODALITIES, TEXT, Head
from erc_ros.training.heads.heads import HEADS
from erc_ros.training.heads.objectives import OBJECTIVES, OF_HEAD, CrossEntropy, Objective
from erc_ros.training.systems.simulation import (
    Matched,
    ModalityDropout,
    Weakness,
    drop_modalities,
    match,
)

SPLITS = ("train", "dev", "test")
FILES = ("fusion.onnx", "best.safetensors", "training.json")
ONLY_TEXT = tuple(m == TEXT for m in range(3))


@dataclass(frozen=True, slots=True)
class FusionConfig:
    """What is fused; the section `fusion` of a recipe. Paths are relative to where `erc` runs."""

    heads: tuple[str, ...] = ("magt",)
    """Candidates, each trained with its paper's objective."""
    seeds: tuple[int, ...] = (0, 1, 2)
    context: int = 16
    """Utterances that the model sees, the current one included."""
    text: str = "runs/text/best"
    """Folders of the trained encoders."""
    audio: str = "runs/audio/best"
    visual: str = "runs/face/best"

    def __post_init__(self) -> None:
        if not self.seeds or self.context < 1:
            raise ValueError("seeds must not be empty and context must be at least 1")
        if not self.heads or set(self.heads) - set(HEADS):
            raise ValueError(f"heads is {self.heads}; there are {list(HEADS)}")


@dataclass(frozen=True, slots=True)
class Network:
    """The same for every head; the section `network`."""

    width: int = 128
    dropout: float = 0.3
    input_dropout: float = 0.3


@dataclass(frozen=True, eq=False)
class Dialogues:
    """One split, N utterances in their order.

    text, audio, visual (N, d_m) float32; labels (N,) int64, -100 where nobody labelled; speakers
    (N,) int64; first (N,) int64: the row with which the utterance's dialogue begins; present (N, 3)
    bool: which embeddings there are, None: all.
    """

    text: NDArray[np.float32]
    audio: NDArray[np.float32]
    visual: NDArray[np.float32]
    labels: NDArray[np.int64]
    speakers: NDArray[np.int64]
    first: NDArray[np.int64]
    present: NDArray[np.bool_] | None = None


def train(recipe: Recipe) -> None:
    """`erc train config/training/fusion.yaml`: all seeds (or the one given), choice and export.

    Raises:
        RecipeError, FileNotFoundError: the recipe or the trained encoders are not usable.
    """
    recipe.refuse_other_sections({"fusion", "network", "simulation", "dropout", "trainer"})
    config = recipe.section("fusion", FusionConfig)
    trainer = recipe.section("trainer", TrainerConfig)
    network = recipe.section("network", Network)
    dropout = recipe.section("dropout", ModalityDropout)
    splits, simulated = read_dialogues(config, recipe.section("simulation", Weakness))
    describe(simulated)
    best = {}
    for head in config.heads:
        for seed in config.seeds if recipe.seed is None else (recipe.seed,):
            seeded = replace(trainer, seed=seed)
            out = recipe.out / head / f"seed-{seed}"
            train_seed(splits, simulated, config, head, seeded, network, dropout, out)
        best[head] = parts.choose_best(recipe.out / head, FILES)
    chosen = choose_head(best, recipe.out)
    print(json.dumps({"head": chosen["head"], "dev of the heads": chosen["heads"]}, indent=2))
    print(json.dumps({"best seed": chosen["seed"], **chosen["all_seeds"]}, indent=2))


def choose_head(best: Mapping[str, Mapping[str, Any]], out: Path) -> dict[str, Any]:
    """Copy the best head to OUT/best; its metrics get what all heads reached.

    The best: mean weighted F1 on dev over the seeds and over all subsets of the modalities, as a
    robot often has only some of them. best: head -> its metrics.json, `parts.choose_best` of its
    seeds. Where OUT/best has a file FINAL, something was built on the head there: it stays.
    """
    dev = {}
    for head in best:
        files = sorted((out / head).glob("seed-*/metrics.json"))
        seeds = [json.loads(file.read_text("utf-8"))["dev_subsets"] for file in files]
        dev[head] = float(np.mean([list(subsets.values()) for subsets in seeds]))
    head, folder = max(dev, key=dev.__getitem__), out / "best"
    folder.mkdir(exist_ok=True)
    if (folder / "FINAL").exists():
        known: dict[str, Any] = json.loads((folder / "metrics.json").read_text("utf-8"))
        return known
    for name in FILES:
        shutil.copyfile(out / head / "best" / name, folder / name)
    chosen = {**best[head], "heads": dev}
    parts.write_metrics(chosen, folder)
    return chosen


def read_dialogues(
    config: FusionConfig, weakness: Weakness
) -> tuple[dict[str, Dialogues], dict[str, Matched]]:
    """MELD as the text encoder sees it, with simulated audio and visual; and how they were made.

    Raises:
        FileNotFoundError: an encoder is not trained yet; says which.
    """
    text = load_file(_trained(Path(config.text), "text"))
    audio = _trained(Path(config.audio), "audio")
    visual = _trained(Path(config.visual), "face")
    labels = {split: text[f"{split}.label"] for split in SPLITS}
    simulated = {
        "audio": match(labels, clips(audio), weakness.audio, weakness.draws),
        "visual": match(labels, clips(visual), weakness.visual, weakness.draws + 1),
    }
    splits = {
        split: Dialogues(
            text=text[f"{split}.embedding"],
            audio=simulated["audio"].embeddings[split],
            visual=simulated["visual"].embeddings[split],
            labels=labels[split],
            speakers=text[f"{split}.speaker"],
            first=np.arange(len(labels[split])) - text[f"{split}.index"],
        )
        for split in SPLITS
    }
    return splits, simulated


def clips(file: Path) -> dict[str, Embedded]:
    """The clips of an encoder for MELD's splits: train, and unseen people for dev and test."""
    found = load_embeddings(file)
    dev = "valid" if "valid" in found else "dev"
    return {"train": found["train"], "dev": found[dev], "test": found["test"]}


def describe(simulated: Mapping[str, Matched]) -> None:
    """What the simulation came to, for the log."""
    for name, matched in simulated.items():
        print(
            f"simulated {name}: {matched.mismatch:.1%} of the clips mismatched,"
            f" alone weighted F1 {matched.dev_f1:.4f} on dev (linear probe)"
        )


def train_seed(
    splits: Mapping[str, Dialogues],
    simulated: Mapping[str, Matched],
    config: FusionConfig,
    name: str,
    trainer: TrainerConfig,
    network: Network,
    dropout: ModalityDropout,
    out: Path,
) -> None:
    """Train one seed of a head, test it once, export it; writes metrics.json."""
    settings = {
        "network": asdict(network),
        "dropout": asdict(dropout),
        "trainer": asdict(trainer),
        "context": config.context,
        "simulation": {modality: matched.mismatch for modality, matched in simulated.items()},
        "embeddings": {m: float(np.abs(getattr(splits["train"], m)).sum()) for m in MODALITIES},
    }
    settings = json.loads(json.dumps(settings))
    decisive = {name: value for name, value in settings.items() if name != "trainer"}
    file = out / "metrics.json"
    if file.is_file() and json.loads(file.read_text("utf-8"))["settings"] == settings:
        print(f"{out} is there")
        return
    objective, teacher = OBJECTIVES[OF_HEAD[name]](), None
    if objective.TEACHER:
        set_seeds(trainer.seed)
        teacher = make_head(name, network, splits["train"])
        alone = Objective(CrossEntropy(), teacher)
        train_head(
            teacher,
            alone,
            splits,
            config.context,
            trainer,
            dropout,
            out / "teacher",
            decisive,
            ONLY_TEXT,
        )
    set_seeds(trainer.seed)
    model = make_head(name, network, splits["train"])
    fitted = train_head(
        model,
        Objective(objective, model, teacher),
        splits,
        config.context,
        trainer,
        dropout,
        out,
        decisive,
    )
    correction = correct_prior(model, splits, config.context)
    save_weights(model, out / "best.safetensors")
    export_fusion(model, out / "fusion.onnx")
    answers: dict[str, Any] = {"names": np.array(LABELS)}  # for `erc evaluate`
    for split in ("dev", "test"):
        answers[split] = predict(model, splits[split], config.context)
        answers[f"{split}_labels"] = splits[split].labels
        answers[f"{split}_conversations"] = splits[split].first
    np.savez(out / "logits.npz", **answers)
    result = {
        "head": name,
        "seed": trainer.seed,
        "settings": settings,
        "best_epoch": fitted.best_epoch,
        "seconds": fitted.seconds,
        "prior_correction": correction,
        "parameters": sum(p.numel() for p in model.parameters()),
        "simulation": {
            name: {"mismatch": m.mismatch, "dev_weighted_f1": m.dev_f1}
            for name, m in simulated.items()
        },
        **measure(partial(predict, model), splits, config.context),
    }
    parts.write_metrics(result, out)


def make_head(name: str, network: Network, data: Dialogues) -> Head:
    """A causal head for these embeddings, with new weights."""
    config, head = HEADS[name]
    sizes = tuple(getattr(data, modality).shape[1] for modality in MODALITIES)
    return head(config(embeddings=sizes, labels=len(LABELS), **asdict(network)))


def train_head(
    model: Head,
    objective: Objective,
    splits: Mapping[str, Dialogues],
    context: int,
    trainer: TrainerConfig,
    dropout: ModalityDropout,
    out: Path,
    settings: Mapping[str, Any],
    seen: tuple[bool, ...] = (True, True, True),
) -> Fit:
    """Train on stretches, choose the epoch on dev; only these modalities are ever seen.

    settings: what decides the result beside `trainer`, see `fit`.
    """
    data, dev = splits["train"], splits["dev"]
    rng = np.random.default_rng(trainer.seed)

    def batches(epoch: int) -> list[NDArray[np.int64]]:
        rng = random.Random(trainer.seed * 1000 + epoch)
        return stretches(data.first, context, trainer.batch_size, rng)

    def loss(model: nn.Module, rows: NDArray[np.int64]) -> Tensor:
        there = (rows >= 0)[..., None] & np.array(seen)
        if all(seen):
            there = drop_modalities(rows >= 0, dropout, rng)
        labels = torch.from_numpy(np.where(rows >= 0, data.labels[rows], -100))
        return objective(model, window_inputs(data, rows, there), labels)

    def evaluate(model: nn.Module) -> dict[str, float]:
        predicted = predict(model, dev, context, seen).argmax(axis=1)
        return {"weighted_f1": metrics.weighted_f1(dev.labels, predicted, len(LABELS))}

    return fit(
        model,
        trainer,
        batches=batches,
        loss=loss,
        evaluate=evaluate,
        choose="weighted_f1",
        out=out,
        after_step=objective.after_step,
        stateful=[objective, rng],
        settings=settings,
        say=partial(print, flush=True),
    )


def correct_prior(model: Head, splits: Mapping[str, Dialogues], context: int) -> float:
    """Take a share tau of the class prior off the logits, as chosen on dev."""
    dev = splits["dev"]
    counts = np.bincount(splits["train"].labels, minlength=len(LABELS)) + 1.0
    prior = counts / counts.sum()
    tau = best_prior_correction(predict(model, dev, context), dev.labels, prior)
    model.correction += torch.from_numpy((tau * np.log(prior)).astype(np.float32))
    return tau


def measure(predict: Any, splits: Mapping[str, Dialogues], context: int) -> dict[str, Any]:
    """Weighted F1 and accuracy on dev and test, with all modalities and with every subset.

    predict: (dialogues, context, modalities) -> logits (N, C). Returns `dev` (weighted F1 with
    all), `test` (name -> number) and the full reports.
    """
    f1: dict[str, dict[str, float]] = {"dev": {}, "test": {}}
    reports = {}
    for split in ("dev", "test"):
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


def stretches(
    first: NDArray[np.int64], context: int, batch_size: int, rng: random.Random
) -> list[NDArray[np.int64]]:
    """Training batches (B, context) of row numbers, -1 = padding behind.

    A dialogue longer than `context` is cut at a random place of every epoch, so that any utterance
    may be the one with which the model's memory begins.
    """
    pieces: list[NDArray[np.int64]] = []
    for begin in np.unique(first):
        rows = np.flatnonzero(first == begin)
        offset = rng.randrange(context) if len(rows) > context else 0
        cuts = range(offset, len(rows), context) if offset else range(context, len(rows), context)
        pieces += [piece for piece in np.split(rows, list(cuts)) if len(piece)]
    rng.shuffle(pieces)
    result = np.full((len(pieces), context), -1, np.int64)
    for number, piece in enumerate(pieces):
        result[number, : len(piece)] = piece
    return [result[start : start + batch_size] for start in range(0, len(result), batch_size)]


def windows(first: NDArray[np.int64], context: int) -> NDArray[np.int64]:
    """Every utterance's window (N, context) of row numbers, itself last, -1 = before the first."""
    rows = np.arange(len(first))[:, None] - np.arange(context)[::-1]
    return np.where(rows >= first[:, None], rows, -1)


def window_inputs(
    data: Dialogues, rows: NDArray[np.int64], modalities: NDArray[np.bool_]
) -> dict[str, Tensor]:
    """What the fusion takes for rows (B, U), -1 = padding; modalities (B, U, 3)."""
    if data.present is not None:
        modalities = modalities & data.present[rows]
    arrays = {
        "text": data.text[rows],
        "audio": data.audio[rows],
        "visual": data.visual[rows],
        "modalities": modalities,
        "speakers": data.speakers[rows],
        "valid": rows >= 0,
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


@torch.inference_mode()
def predict(
    model: nn.Module,
    data: Dialogues,
    context: int,
    modalities: Sequence[bool] = (True, True, True),
) -> NDArray[np.float32]:
    """Logits (N, C) as the recogniser would get them, from these modalities only."""
    model.eval()
    answers = []
    for rows in np.array_split(windows(data.first, context), max(1, len(data.first) // 512)):
        seen = (rows >= 0)[..., None] & np.array(modalities)
        answers.append(model(**window_inputs(data, rows, seen))[0][:, -1].numpy())
    return np.concatenate(answers)


def _trained(folder: Path, recipe: str) -> Path:
    file = folder / "embeddings.safetensors"
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} is missing: train that encoder first (erc train config/training/{recipe}.yaml)"
        )
    return file
