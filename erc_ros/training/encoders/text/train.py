"""Train the text encoder: all-MiniLM-L6-v2 on MELD, history only, a dialogue in one pass.

First, once for all seeds, an epoch on GoEmotions' comments; then every seed fine-tunes on MELD. Or,
with a teacher that reads with full attention, every seed starts with its weights and learns from
it. The dev split chooses the epoch, a correction of the class prior, and the model that is
exported; each seed's choice is tested once.

Results in the recipe's folder: pretrained/, seed-<N>/{best.safetensors,training.json,metrics.json}
and best/ (see `text_export`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from erc_ros.encoders.text import TextPrompt
from erc_ros.metrics import classification as metrics
from erc_ros.training.datasets.goemotions import read_goemotions
from erc_ros.training.datasets.meld import MeldSplit, read_meld, with_votes
from erc_ros.training.datasets.utterances import LABELS, Conversation, count
from erc_ros.training.ema import EmaDistillation
from erc_ros.training.encoders.text.evaluation import measure, predict, prior
from erc_ros.training.encoders.text.examples import (
    Batch,
    TextConfig,
    TokenRow,
    augmented,
    balanced,
    make_batches,
    rows_of,
    with_teacher,
)
from erc_ros.training.encoders.text.export import choose_and_export
from erc_ros.training.encoders.text.model import TextClassifier, load_tokenizer, make_model
from erc_ros.training.encoders.text.recognition_errors import SimulatedWordErrors
from erc_ros.training.engine.history import record
from erc_ros.training.engine.recipe import Recipe
from erc_ros.training.engine.runs import METRICS, finished, write_json, write_metrics
from erc_ros.training.engine.trainer import (
    Fit,
    TrainerConfig,
    fit,
    load_weights,
    set_seeds,
)
from erc_ros.training.losses import class_balanced, logit_adjusted, softened_kl

TEMPERATURE = 2.0  # of the teacher's answers, as in DDVLM


def train(recipe: Recipe) -> None:
    """Run a recipe of kind text: the seed of the command line, or all and the choice."""
    recipe.refuse_other_sections({"trainer", "pretrainer", "text"})
    config = recipe.section("text", TextConfig)
    shared = replace(recipe, seed=None)  # the pretrained encoder is the same for every seed
    begins = config.pretrain and not config.teacher  # a student starts as its teacher
    pretrainer = shared.section("pretrainer", TrainerConfig) if begins else None
    splits = {name: read_meld(recipe.data, name) for name in ("train", "dev", "test")}
    for split in splits.values():
        print(describe(split))
    if config.votes:
        splits["train"] = with_votes(splits["train"], recipe.data)
    used = {"goemotions": begins, "emotionlines": config.votes > 0, "meld": True}
    corpora = [name for name, is_used in used.items() if is_used]
    record(recipe.out, corpora=corpora, teachers=[config.teacher] if config.teacher else [])
    start = None
    if pretrainer is not None:
        start = pretrain(config, pretrainer, recipe.data, recipe.out / "pretrained")
    trainer = recipe.section("trainer", TrainerConfig)
    for seed in recipe.seeds(config.seeds):
        seeded = replace(trainer, seed=seed)
        train_seed(config, seeded, splits, start, recipe.out / f"seed-{seed}")
    if recipe.seed is None:
        choose_and_export(config, splits, recipe.out)


def describe(split: MeldSplit) -> str:
    """What was read and what was wrong with it, for the log."""
    utterances = sum(len(c.utterances) for c in split.conversations)
    text = f"MELD {split.name}: {len(split.conversations)} dialogues, {utterances} utterances"
    if split.bad_times:
        text += f"; impossible times in rows {list(split.bad_times)}"
    if split.repaired:
        text += f"; Windows-1252 repaired in {len(split.repaired)} rows"
    if split.refused:
        text += f"; left out: {list(split.refused)}"
    return text


def pretrain(config: TextConfig, trainer: TrainerConfig, data: Path, out: Path) -> Path:
    """GoEmotions; returns the checkpoint. One made with the same settings is used again."""
    checkpoint, record = out / "best.safetensors", out / "settings.json"
    used = ("most_per_label", "dropout", "question")
    settings = {"trainer": asdict(trainer), **{name: getattr(config, name) for name in used}}
    if checkpoint.is_file() and finished(record, settings):
        print(f"pretrained encoder: {checkpoint}")
        return checkpoint
    prompt = TextPrompt(load_tokenizer(), config.max_tokens)
    rng = random.Random(trainer.seed)
    rows = balanced(read_goemotions(data, "train"), config.most_per_label, rng)
    dev = list(read_goemotions(data, "valid"))[:2000]
    set_seeds(trainer.seed)
    model = make_model(config.dropout)
    alone = replace(config, ema=0.0, objective="cross_entropy")
    read = [made for row in rows for made in rows_of(row, prompt, alone)]
    _fit(model, alone, trainer, lambda _: read, dev, prompt, out)
    write_json(record, {"settings": settings})
    return checkpoint


def train_seed(
    config: TextConfig,
    trainer: TrainerConfig,
    splits: dict[str, MeldSplit],
    start: Path | None,
    out: Path,
) -> dict[str, Any]:
    """Fine-tune on MELD with one seed and test once; writes and returns metrics.json.

    A seed that was already trained with the same settings is not trained again.
    """
    settings: dict[str, Any] = {"trainer": asdict(trainer), "text": asdict(config)}
    del settings["text"]["seeds"]  # the others make no difference to this one
    if written := finished(out / METRICS, settings):
        print(f"already trained: {out}")
        return written
    set_seeds(trainer.seed)
    model = make_model(config.dropout)
    start = Path(config.teacher) / "best.safetensors" if config.teacher else start
    if start is not None:
        load_weights(model, start)
    prompt = TextPrompt(load_tokenizer(), config.max_tokens)
    dialogues = splits["train"].conversations

    errors = SimulatedWordErrors(u.text for d in dialogues for u in d.utterances)
    teacher = Teacher.load(Path(config.teacher), dialogues) if config.teacher else None

    def rows(epoch: int) -> list[TokenRow]:
        rng = random.Random(trainer.seed * 1000 + epoch)
        made: list[TokenRow] = []
        for number, dialogue in enumerate(dialogues):
            varied = augmented(dialogue, prompt, config, rng, errors)
            made += with_teacher(varied, teacher.embeddings[number]) if teacher else varied
        return made

    dev = list(splits["dev"].conversations)
    counts = prior(dialogues) * count(dialogues)
    fitted = _fit(model, config, trainer, rows, dev, prompt, out, counts, teacher)
    result = {
        "settings": settings,
        "best_epoch": fitted.best_epoch,
        "seconds": fitted.seconds,
        **measure(model, splits, prompt, config, out),
    }
    write_metrics(result, out)
    print(
        f"seed {trainer.seed}: epoch {fitted.best_epoch}, weighted F1"
        f" dev {result['dev']['weighted_f1']:.4f}, test {result['test']['weighted_f1']:.4f}"
    )
    return result


def hard_loss(logits: Tensor, target: Tensor, config: TextConfig, counts: Tensor) -> Tensor:
    """What the labels alone give, mean over the utterances.

    Args:
        logits, target: (N, C).
        counts: (C,) how often each label occurs in training.
    """
    if config.objective == "class_balanced":
        return class_balanced(logits, target.argmax(dim=1), counts)
    if config.objective == "logit_adjusted":
        return logit_adjusted(logits, target.argmax(dim=1), counts / counts.sum())
    return nn.functional.cross_entropy(logits, target)


def both(model: TextClassifier, batch: Batch) -> tuple[Tensor, Tensor]:
    """Embeddings (N, d) and logits (N, C) of the N utterances that the batch asks about."""
    embeddings = model.embed(batch.ids, batch.positions, batch.visible, batch.asked_at)
    logits = model.head(model.dropout(embeddings))
    return embeddings.float()[batch.asked], logits.float()[batch.asked]


@dataclass(frozen=True, eq=False)
class Teacher:
    """A trained text model whose embeddings of the training split were stored.

    embeddings: per dialogue (utterances, d). weight (C, d) and bias (C,): its classifier.
    """

    embeddings: list[NDArray[np.float32]]
    weight: Tensor
    bias: Tensor

    @classmethod
    def load(cls, folder: Path, dialogues: Sequence[Conversation]) -> Teacher:
        """Read what `text_export.write` left in `folder`.

        Raises:
            FileNotFoundError: no such folder.
            ValueError: its embeddings are of other dialogues.
        """
        head = load_file(folder / "head.safetensors")
        rows = load_file(folder / "embeddings.safetensors")["train.embedding"].numpy()
        if len(rows) != count(dialogues):
            raise ValueError(
                f"{folder} has embeddings of {len(rows)} training utterances, the data"
                f" {count(dialogues)}: export the teacher anew from the same data"
            )
        ends = np.cumsum([len(dialogue.utterances) for dialogue in dialogues])
        return cls(np.split(rows, ends[:-1]), head["weight"], head["bias"])

    def loss(self, embeddings: Tensor, logits: Tensor, taught: Tensor) -> Tensor:
        """How far a student's embeddings (N, d) and logits (N, C) are from those taught (N, d)."""
        wanted = nn.functional.linear(taught, self.weight.to(taught), self.bias.to(taught))
        apart = 1 - nn.functional.cosine_similarity(embeddings, taught).mean()
        return softened_kl(logits, wanted, TEMPERATURE) + apart


def _fit(
    model: TextClassifier,
    config: TextConfig,
    trainer: TrainerConfig,
    rows: Callable[[int], list[TokenRow]],
    dev: Sequence[Conversation],
    prompt: TextPrompt,
    out: Path,
    counts: NDArray[np.float64] | None = None,
    teacher: Teacher | None = None,
) -> Fit:
    average = EmaDistillation(model, config.ema) if config.ema else None
    frequent = torch.ones(len(LABELS)) if counts is None else torch.from_numpy(counts).float()

    def batches(epoch: int) -> list[Batch]:
        rng = random.Random(trainer.seed * 1000 + epoch)
        return make_batches(rows(epoch), trainer.batch_size, rng)

    def loss(model: TextClassifier, batch: Batch) -> Tensor:
        embeddings, logits = both(model, batch)
        value = hard_loss(logits, batch.target[batch.asked], config, frequent)
        if teacher is not None and batch.taught is not None:
            soft = teacher.loss(embeddings, logits, batch.taught[batch.asked])
            value = (1 - config.teaching) * value + config.teaching * soft
        return average(value, logits, lambda it: both(it, batch)[1]) if average else value

    def evaluate(model: TextClassifier) -> dict[str, float]:
        logits, labels = predict(model, dev, prompt, config, trainer.precision)
        predicted = logits.argmax(axis=1)
        return {
            "accuracy": metrics.accuracy(labels, predicted, len(LABELS)),
            "weighted_f1": metrics.weighted_f1(labels, predicted, len(LABELS)),
            "macro_f1": metrics.macro_f1(labels, predicted, len(LABELS)),
        }

    return fit(
        model,
        trainer,
        batches=batches,
        loss=loss,
        evaluate=evaluate,
        choose="weighted_f1",
        out=out,
        parameters=parameter_groups(model, config, trainer),
        say=partial(print, flush=True),
        after_step=average.after_step if average else None,
        stateful=[average] if average else [],
        settings={name: value for name, value in asdict(config).items() if name != "seeds"},
    )


def parameter_groups(
    model: TextClassifier, config: TextConfig, trainer: TrainerConfig
) -> list[dict[str, Any]]:
    """AdamW groups: the head at its own rate, each layer slower than the one above it.

    The word embeddings stay as they were: a word that MELD's 10,000 utterances lack would otherwise
    be left behind by those that they have.
    """
    layers: list[nn.Module] = list(model.encoder.encoder["layer"])  # type: ignore[call-overload]
    rates = [trainer.learning_rate * config.layer_decay**n for n in range(len(layers) + 1)]
    model.encoder.embeddings.word_embeddings.weight.requires_grad_(False)
    parts: list[tuple[nn.Module, float]] = [(model.head, config.head_learning_rate)]
    parts += [(layer, rate) for layer, rate in zip(reversed(layers), rates[:-1], strict=True)]
    parts += [(model.encoder.embeddings, rates[-1])]
    groups = []
    for module, rate in parts:
        for decays in (True, False):
            chosen = [p for p in module.parameters() if p.requires_grad and (p.ndim > 1) == decays]
            decay = trainer.weight_decay if decays else 0.0
            groups.append({"params": chosen, "lr": rate, "weight_decay": decay})
    return groups
