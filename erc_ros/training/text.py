"""Train the text encoder: all-MiniLM-L6-v2 on MELD, one prompt an utterance, history only.

First, once for all seeds, an epoch on GoEmotions' comments; then every seed fine-tunes on MELD. The
dev split chooses the epoch, a correction of the class prior, and the model that is exported;
each seed's choice is tested once.

Results in the recipe's folder: pretrained/, seed-<N>/{best.safetensors,training.json,metrics.json}
and best/ (see `text_export`).
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from erc_ros.encoders.text import TextPrompt
from erc_ros.training import metrics
from erc_ros.training.datasets.goemotions import read_goemotions
from erc_ros.training.datasets.meld import MeldSplit, read_meld, with_votes
from erc_ros.training.datasets.utterances import LABELS, Conversation
from erc_ros.training.recipe import Recipe
from erc_ros.training.text_evaluation import measure, predict
from erc_ros.training.text_examples import (
    Batch,
    Example,
    TextConfig,
    augmented,
    balanced,
    examples_of,
    make_batches,
)
from erc_ros.training.text_export import choose_and_export
from erc_ros.training.text_model import TextClassifier, load_tokenizer, make_model
from erc_ros.training.trainer import (
    Fit,
    TrainerConfig,
    fit,
    load_weights,
    set_seeds,
)


def train(recipe: Recipe) -> None:
    """Run a recipe of kind text: the seed of the command line, or all and the choice."""
    recipe.refuse_other_sections({"trainer", "pretrainer", "text"})
    config = recipe.section("text", TextConfig)
    shared = replace(recipe, seed=None)  # the pretrained encoder is the same for every seed
    pretrainer = shared.section("pretrainer", TrainerConfig) if config.pretrain else None
    splits = {name: read_meld(recipe.data, name) for name in ("train", "dev", "test")}
    for split in splits.values():
        print(describe(split))
    if config.votes:
        splits["train"] = with_votes(splits["train"], recipe.data)
    start = None
    if pretrainer is not None:
        start = pretrain(config, pretrainer, recipe.data, recipe.out / "pretrained")
    trainer = recipe.section("trainer", TrainerConfig)
    for seed in config.seeds if recipe.seed is None else (recipe.seed,):
        seeded = TrainerConfig(**{**asdict(trainer), "seed": seed})
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
    settings = json.dumps([asdict(trainer), config.most_per_label, config.dropout])
    if checkpoint.is_file() and record.is_file() and record.read_text(encoding="utf-8") == settings:
        print(f"pretrained encoder: {checkpoint}")
        return checkpoint
    prompt = TextPrompt(load_tokenizer(), config.max_tokens)
    rng = random.Random(trainer.seed)
    rows = balanced(read_goemotions(data, "train"), config.most_per_label, rng)
    dev = list(read_goemotions(data, "valid"))[:2000]
    set_seeds(trainer.seed)
    model = make_model(config.dropout)
    examples = [example for row in rows for example in examples_of(row, prompt, config, rng)]
    _fit(model, config, trainer, lambda _: examples, dev, prompt, out)
    record.write_text(settings, encoding="utf-8")
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
    settings = {"trainer": asdict(trainer), "text": asdict(config)}
    del settings["text"]["seeds"]  # the others make no difference to this one
    path = out / "metrics.json"
    if path.is_file():
        written: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if written["settings"] == settings:
            print(f"already trained: {path}")
            return written
    set_seeds(trainer.seed)
    model = make_model(config.dropout)
    if start is not None:
        load_weights(model, start)
    prompt = TextPrompt(load_tokenizer(), config.max_tokens)
    dialogues = splits["train"].conversations

    def examples(epoch: int) -> list[Example]:
        rng = random.Random(trainer.seed * 1000 + epoch)
        return [e for dialogue in dialogues for e in augmented(dialogue, prompt, config, rng)]

    dev = list(splits["dev"].conversations)
    fitted = _fit(model, config, trainer, examples, dev, prompt, out)
    result = {"settings": settings, "best_epoch": fitted.best_epoch, "seconds": fitted.seconds}
    result |= measure(model, splits, prompt, out)
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(
        f"seed {trainer.seed}: epoch {fitted.best_epoch}, weighted F1"
        f" dev {result['dev']['weighted_f1']:.4f}, test {result['test']['weighted_f1']:.4f}"
    )
    return result


def loss(model: nn.Module, batch: Batch) -> Tensor:
    """Cross-entropy with soft targets, mean over the batch."""
    logits = model(batch.ids, batch.mask, batch.index)
    return nn.functional.cross_entropy(logits.float(), batch.target)


def _fit(
    model: TextClassifier,
    config: TextConfig,
    trainer: TrainerConfig,
    examples: Any,
    dev: Sequence[Conversation],
    prompt: TextPrompt,
    out: Path,
) -> Fit:
    def batches(epoch: int) -> list[Batch]:
        return make_batches(
            examples(epoch), trainer.batch_size, random.Random(trainer.seed * 1000 + epoch)
        )

    def evaluate(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, TextClassifier)
        logits, labels = predict(model, dev, prompt, trainer.precision)
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
    )


def parameter_groups(
    model: TextClassifier, config: TextConfig, trainer: TrainerConfig
) -> list[dict[str, Any]]:
    """AdamW groups: the head at its own rate, each layer slower than the one above it.

    The word embeddings stay as they were: a word that MELD's 10,000 utterances lack would otherwise
    be left behind by those that they have.
    """
    layers = list(model.encoder.encoder["layer"])
    rates = [trainer.learning_rate * config.layer_decay**n for n in range(len(layers) + 1)]
    model.encoder.embeddings.word_embeddings.weight.requires_grad_(False)
    parts = [(model.head, config.head_learning_rate)]
    parts += [(layer, rate) for layer, rate in zip(reversed(layers), rates[:-1], strict=True)]
    parts += [(model.encoder.embeddings, rates[-1])]
    groups = []
    for module, rate in parts:
        for decays in (True, False):
            chosen = [p for p in module.parameters() if p.requires_grad and (p.ndim > 1) == decays]
            decay = trainer.weight_decay if decays else 0.0
            groups.append({"params": chosen, "lr": rate, "weight_decay": decay})
    return groups
