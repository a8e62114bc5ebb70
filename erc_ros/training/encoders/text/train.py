"""Train the text encoder: all-MiniLM-L6-v2 on several corpora, then on MELD with a share of them.

First, once for all seeds, what `pretraining` names; then every seed learns MELD with what `mixed`
names. Or, with a teacher that reads with full attention, every seed starts with its weights and
learns from it. All corpora share one classifier of seven labels: where a corpus has coarser ones,
it says which of the seven they may be (`mixture`). The dev splits choose the epoch, MELD's a
correction of the class prior and the model that is exported; each seed's choice is tested once, on
every corpus, whether it was learned from or left out (`erc train --leave-out`).

Results in the recipe's folder: pretrained/, seed-<N>/{best.safetensors,training.json,metrics.json}
and best/ (see `text_export`).
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Mapping, Sequence
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
from erc_ros.training.datasets import corpora
from erc_ros.training.datasets.utterances import LABELS, Conversation, Split, count
from erc_ros.training.ema import EmaDistillation
from erc_ros.training.encoders.text.evaluation import measure, prior, score
from erc_ros.training.encoders.text.examples import (
    Batch,
    TextConfig,
    TokenRow,
    augmented,
    balanced,
    make_batches,
    with_teacher,
)
from erc_ros.training.encoders.text.export import choose_and_export
from erc_ros.training.encoders.text.mixture import (
    BUILT_IN,
    Corpus,
    in_our_labels,
    numbers,
    portion,
    read_corpus,
    read_test,
)
from erc_ros.training.encoders.text.model import TextClassifier, load_tokenizer, make_model
from erc_ros.training.encoders.text.recognition_errors import SimulatedWordErrors
from erc_ros.training.engine.history import record
from erc_ros.training.engine.recipe import Recipe, RecipeError
from erc_ros.training.engine.runs import METRICS, finished, write_json, write_metrics
from erc_ros.training.engine.trainer import (
    Fit,
    TrainerConfig,
    fit,
    load_weights,
    set_seeds,
)
from erc_ros.training.losses import (
    class_balanced,
    cross_entropy_among,
    logit_adjusted,
    softened_kl,
)

TEMPERATURE = 2.0  # of the teacher's answers, as in DDVLM
WATCHED = 700
"""Conversations of a corpus beside MELD whose dev split is looked at after every epoch."""


def train(recipe: Recipe) -> None:
    """Run a recipe of kind text: the seed of the command line, or all and the choice."""
    recipe.refuse_other_sections({"trainer", "pretrainer", "text"})
    config = recipe.section("text", TextConfig)
    if recipe.leave_out:
        known = dict.fromkeys([*BUILT_IN, config.corpus, *config.corpora, corpora.VOTES])
        if recipe.leave_out not in known:
            raise RecipeError(
                f"cannot leave out {recipe.leave_out!r}: known are {', '.join(known)}"
            )
        config = config.without(recipe.leave_out)
    shared = replace(recipe, seed=None)  # the pretrained encoder is the same for every seed
    begins = bool(config.pretraining) and not config.teacher  # a student starts as its teacher
    pretrainer = shared.section("pretrainer", TrainerConfig) if begins else None
    spec = corpora.find_for_training(config.corpus)
    own = {"train": "train", "dev": spec.dev, "test": "test"}
    splits = {name: corpora.read(config.corpus, recipe.data, own[name]) for name in own}
    for split in splits.values():
        print(describe(spec.title, split))
    votes = spec.votes if config.votes else None
    if votes:
        splits["train"] = votes[1](splits["train"], recipe.data)
    for name, split in splits.items():
        if split.labels != LABELS:
            ours = in_our_labels(config.corpus, split).conversations
            splits[name] = replace(split, conversations=ours, labels=LABELS)
    is_main_used = recipe.leave_out != config.corpus
    sources = Sources.read(config, recipe.data, splits if is_main_used else None)
    used = [*([votes[0]] if votes else []), *sources.train]
    record(recipe.out, corpora=used, teachers=[config.teacher] if config.teacher else [])
    start = None
    if pretrainer is not None:
        start = pretrain(config, pretrainer, sources, recipe.out / "pretrained")
    trainer = recipe.section("trainer", TrainerConfig)
    for seed in recipe.seeds(config.seeds):
        seeded = replace(trainer, seed=seed)
        train_seed(config, seeded, splits, sources, start, recipe.out / f"seed-{seed}")
    if recipe.seed is None:
        choose_and_export(config, splits, recipe.out)


def describe(title: str, split: Split) -> str:
    """What was read and what was wrong with it, for the log."""
    utterances = sum(len(c.utterances) for c in split.conversations)
    text = f"{title}, {split.name}: {len(split.conversations)} dialogues, {utterances} utterances"
    if split.bad_times:
        text += f"; impossible times in rows {list(split.bad_times)}"
    if split.repaired:
        text += f"; Windows-1252 repaired in {len(split.repaired)} rows"
    if split.refused:
        text += f"; left out: {list(split.refused)}"
    return text


@dataclass(frozen=True, eq=False)
class Sources:
    """The corpora that a training learns from, by name, and what it is measured on.

    train: the main corpus first, unless it is left out. dev: at most WATCHED conversations of
    each of them. test: of all corpora that are there, also of those that are left out.
    """

    train: dict[str, Corpus]
    dev: dict[str, Corpus]
    test: dict[str, Corpus]

    @classmethod
    def read(
        cls, config: TextConfig, data: Path, main: Mapping[str, Split] | None = None
    ) -> Sources:
        """Read what `config` names.

        Raises:
            FileNotFoundError, ValueError: a corpus that it names is not there or not usable.
        """
        train, dev = {}, {}
        if main is not None:
            train[config.corpus] = in_our_labels(config.corpus, main["train"])
            dev[config.corpus] = in_our_labels(config.corpus, main["dev"])
        for name in config.corpora:
            train[name] = read_corpus(name, data, "train")
            if name == corpora.COMMENTS:
                rows = balanced(train[name].conversations, config.most_per_label, random.Random(0))
                train[name] = replace(train[name], conversations=tuple(rows))
            found = read_corpus(name, data, "dev")
            dev[name] = replace(found, conversations=found.conversations[:WATCHED])
        if not train:
            raise ValueError("there is nothing to learn from: every corpus is left out")
        return cls(train, dev, all_tests(config, data))


def all_tests(config: TextConfig, data: Path) -> dict[str, Corpus]:
    """The test split of every corpus of the classifier, except the main one, that is in `data`."""
    tests = {}
    for name in numbers(config.corpus, config.corpora):
        if name != config.corpus:
            with contextlib.suppress(FileNotFoundError):
                tests[name] = read_test(name, data)
    return tests


def word_errors(corpora: Sequence[Corpus]) -> SimulatedWordErrors:
    """Word errors among the words that are said in them."""
    conversations = [c for corpus in corpora for c in corpus.conversations]
    return SimulatedWordErrors(u.text for c in conversations for u in c.utterances)


def mixture(
    sources: Sources,
    shares: Mapping[str, float],
    prompt: TextPrompt,
    config: TextConfig,
    seed: int,
) -> Callable[[int], list[TokenRow]]:
    """What an epoch reads: of each corpus its share, varied anew (`examples.augmented`)."""
    names = [name for name in shares if name in sources.train]
    errors = word_errors([sources.train[name] for name in names]) if config.word_errors else None
    number = numbers(config.corpus, config.corpora)

    def rows(epoch: int) -> list[TokenRow]:
        rng = random.Random(seed * 1000 + epoch)
        return [
            row._replace(corpus=number[name])
            for name in names
            for each in portion(sources.train[name].conversations, shares[name], epoch, seed)
            for row in augmented(each, prompt, config, rng, errors)
        ]

    return rows


def pretrain(config: TextConfig, trainer: TrainerConfig, sources: Sources, out: Path) -> Path:
    """What comes before the main corpus; returns the checkpoint.

    A checkpoint of the same settings is used again.
    """
    checkpoint, record = out / "best.safetensors", out / "settings.json"
    settings = {"trainer": asdict(trainer), **_settings(config)}
    for later in ("mixed", "repeated"):
        del settings[later]
    if checkpoint.is_file() and finished(record, settings):
        print(f"pretrained encoder: {checkpoint}")
        return checkpoint
    prompt = config.prompt(load_tokenizer())
    set_seeds(trainer.seed)
    model = make_model(config.dropout, config.reading, config.corpora_of_classifier)
    alone = replace(config, ema=0.0, objective="cross_entropy", repeated=0.0)
    rows = mixture(sources, config.pretraining, prompt, alone, trainer.seed)
    dev = {name: corpus for name, corpus in sources.dev.items() if name in config.pretraining}
    _fit(model, alone, trainer, rows, dev, prompt, out)
    write_json(record, {"settings": settings})
    return checkpoint


def _settings(config: TextConfig) -> dict[str, Any]:
    """What decides a run, for JSON; other seeds make no difference to one."""
    return {name: value for name, value in asdict(config).items() if name != "seeds"}


def train_seed(
    config: TextConfig,
    trainer: TrainerConfig,
    splits: dict[str, Split],
    sources: Sources,
    start: Path | None,
    out: Path,
) -> dict[str, Any]:
    """Learn the main corpus and what is mixed in, with one seed; test once; returns metrics.json.

    A seed that was already trained with the same settings is not trained again.
    """
    settings: dict[str, Any] = {
        "trainer": asdict(trainer),
        "text": _settings(config),
        "corpora": {name: len(corpus.conversations) for name, corpus in sources.train.items()},
    }
    if written := finished(out / METRICS, settings):
        print(f"already trained: {out}")
        return written
    set_seeds(trainer.seed)
    model = make_model(config.dropout, config.reading, config.corpora_of_classifier)
    start = Path(config.teacher) / "best.safetensors" if config.teacher else start
    if start is not None:
        load_weights(model, start)
    prompt = config.prompt(load_tokenizer())
    dialogues = splits["train"].conversations
    is_taught = bool(config.teacher) and config.teaching > 0
    teacher = Teacher.load(Path(config.teacher), dialogues) if is_taught else None
    others = mixture(sources, config.mixed, prompt, config, trainer.seed)
    errors = SimulatedWordErrors(u.text for d in dialogues for u in d.utterances)
    is_main_learned = config.corpus in sources.train

    def rows(epoch: int) -> list[TokenRow]:
        rng = random.Random(trainer.seed * 1000 + epoch)
        made: list[TokenRow] = others(epoch)
        for number, dialogue in enumerate(dialogues if is_main_learned else ()):
            varied = augmented(dialogue, prompt, config, rng, errors)
            made += with_teacher(varied, teacher.embeddings[number]) if teacher else varied
        return made

    counts = prior(dialogues) * count(dialogues)
    fitted = _fit(model, config, trainer, rows, sources.dev, prompt, out, counts, teacher)
    result = {
        "settings": settings,
        "best_epoch": fitted.best_epoch,
        "seconds": fitted.seconds,
        **measure(model, splits, prompt, config, out, is_main_learned),
        "learned_from": list(sources.train),
        "other_tests": {
            name: score(model, corpus, prompt, config) for name, corpus in sources.test.items()
        },
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
    return cross_entropy_among(logits, target)


def both(model: TextClassifier, batch: Batch) -> tuple[Tensor, Tensor]:
    """Embeddings (N, d) and logits (N, C) of the N utterances that the batch asks about."""
    embeddings = model.embed(batch.ids, batch.positions, batch.visible, batch.asked_at)
    logits = model.head(model.dropout(embeddings)) + model.offset(batch.corpus)
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
    dev: Mapping[str, Corpus],
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
        found = {
            f"{name} {kind}": f1
            for name, corpus in dev.items()
            for kind, f1 in score(model, corpus, prompt, config, trainer.precision).items()
        }
        return {"mean": float(np.mean(list(found.values()))), **found}

    return fit(
        model,
        trainer,
        batches=batches,
        loss=loss,
        evaluate=evaluate,
        choose="mean",
        out=out,
        parameters=parameter_groups(model, config, trainer),
        say=partial(print, flush=True),
        after_step=average.after_step if average else None,
        stateful=[average] if average else [],
        settings=_settings(config),
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
    groups: list[dict[str, Any]] = []
    for module, rate in parts:
        for decays in (True, False):
            chosen = [p for p in module.parameters() if p.requires_grad and (p.ndim > 1) == decays]
            decay = trainer.weight_decay if decays else 0.0
            groups.append({"params": chosen, "lr": rate, "weight_decay": decay})
    rate = config.head_learning_rate
    return [*groups, {"params": [model.offsets], "lr": rate, "weight_decay": 0.0}]
