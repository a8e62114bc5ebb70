"""Train the text encoder: all-MiniLM-L6-v2 on several corpora, then on MELD with a share of them.

The corpora of `pretraining` come first, once for all seeds; then every seed is trained on MELD with
the corpora of `mixed`. All corpora share one classifier of seven labels; a coarser label means
several of them (`mixture`). The dev splits select the epoch; MELD's dev split also selects the
correction of the class prior and the seed that is exported. Each seed is tested once, on every
corpus, also on a held-out one (`erc train --hold-out`).

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
from torch import Tensor, nn

from erc_ros.encoders.text import TextPrompt
from erc_ros.training.datasets import corpora
from erc_ros.training.datasets.utterances import LABELS, Split
from erc_ros.training.encoders.text.evaluation import measure, score
from erc_ros.training.encoders.text.examples import (
    Batch,
    TextConfig,
    TokenRow,
    augmented,
    balanced,
    make_batches,
)
from erc_ros.training.encoders.text.export import choose_and_export
from erc_ros.training.encoders.text.mixture import (
    BUILT_IN,
    Corpus,
    after_another,
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
from erc_ros.training.engine.runs import METRICS, finished, write_json, write_run
from erc_ros.training.engine.trainer import (
    Fit,
    TrainerConfig,
    fit,
    load_weights,
    save_weights,
    set_seeds,
)
from erc_ros.training.losses import cross_entropy_among

WATCHED = 700
"""Maximum number of conversations per other corpus on which an epoch is evaluated."""


def train(recipe: Recipe) -> None:
    """Run a recipe of kind text: the seed of the command line, or all seeds and the selection."""
    recipe.refuse_other_sections({"trainer", "pretrainer", "text"})
    config = recipe.section("text", TextConfig)
    if recipe.leave_out:
        known = dict.fromkeys([*BUILT_IN, config.corpus, *config.corpora, corpora.VOTES])
        if recipe.leave_out not in known:
            raise RecipeError(
                f"corpus {recipe.leave_out!r} cannot be held out: known are {', '.join(known)}"
            )
        config = config.without(recipe.leave_out)
    shared = replace(recipe, seed=None)  # the pretrained encoder is the same for every seed
    pretrainer = shared.section("pretrainer", TrainerConfig) if config.pretraining else None
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
    record(recipe.out, corpora=used)
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
    """Summarize a split and its faults for the log."""
    utterances = sum(len(c.utterances) for c in split.conversations)
    text = f"{title}, {split.name}: {len(split.conversations)} dialogues, {utterances} utterances"
    if split.bad_times:
        text += f"; impossible times in rows {list(split.bad_times)}"
    if split.repaired:
        text += f"; Windows-1252 repaired in {len(split.repaired)} rows"
    if split.refused:
        text += f"; skipped: {list(split.refused)}"
    return text


@dataclass(frozen=True, eq=False)
class Sources:
    """The corpora of a training by name.

    train: the main corpus first, unless it is held out. dev: at most WATCHED conversations of each.
    test: of all corpora that are available, also of held-out ones.
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
            FileNotFoundError, ValueError: a corpus is missing or cannot be used.
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
            whole = read_corpus(name, data, "dev")
            dev[name] = replace(whole, conversations=whole.conversations[:WATCHED])
        if not train:
            raise ValueError("no training data: every corpus is held out")
        return cls(train, dev, all_tests(config, data))


def all_tests(config: TextConfig, data: Path) -> dict[str, Corpus]:
    """Read the test splits of the classifier's corpora in `data`, except the main one."""
    tests = {}
    for name in numbers(config.corpus, config.corpora):
        if name != config.corpus:
            with contextlib.suppress(FileNotFoundError):
                tests[name] = read_test(name, data)
    return tests


def word_errors(corpora: Sequence[Corpus]) -> SimulatedWordErrors:
    """Return simulated word errors with the vocabulary of these corpora."""
    conversations = [c for corpus in corpora for c in corpus.conversations]
    return SimulatedWordErrors(u.text for c in conversations for u in c.utterances)


def mixture(
    sources: Sources,
    shares: Mapping[str, float],
    prompt: TextPrompt,
    config: TextConfig,
    seed: int,
) -> Callable[[int], list[TokenRow]]:
    """Return epoch -> rows: a share of each corpus with random changes (`examples.augmented`)."""
    names = [name for name in shares if name in sources.train]
    errors = word_errors([sources.train[name] for name in names]) if config.word_errors else None
    number = numbers(config.corpus, config.corpora)

    def rows(epoch: int) -> list[TokenRow]:
        rng = random.Random(seed * 1000 + epoch)
        drawn: list[TokenRow] = []
        for name in names:
            order = portion(sources.train[name].conversations, shares[name], epoch, seed)
            for place, each in enumerate(order):
                if config.after_another and rng.random() < config.after_another:
                    each = after_another(each, order[place - 1], rng)
                drawn += [
                    row._replace(corpus=number[name])
                    for row in augmented(each, prompt, config, rng, errors)
                ]
        return drawn

    return rows


def pretrain(config: TextConfig, trainer: TrainerConfig, sources: Sources, out: Path) -> Path:
    """Train on the corpora of `pretraining`; return the checkpoint.

    A finished checkpoint of the same settings is kept.
    """
    checkpoint, record = out / "best.safetensors", out / "settings.json"
    settings = {"trainer": asdict(trainer), **_settings(config)}
    del settings["mixed"]
    if checkpoint.is_file() and finished(record, settings):
        print(f"pretrained encoder: {checkpoint}")
        return checkpoint
    prompt = config.prompt(load_tokenizer())
    set_seeds(trainer.seed)
    model = make_model(config.dropout, config.reading, config.corpora_of_classifier)
    rows = mixture(sources, config.pretraining, prompt, config, trainer.seed)
    dev = {name: corpus for name, corpus in sources.dev.items() if name in config.pretraining}
    _fit(model, config, trainer, rows, dev, prompt, out)
    write_json(record, {"settings": settings})
    return checkpoint


def _settings(config: TextConfig) -> dict[str, Any]:
    """Return the settings that determine a run, without the other seeds, for JSON."""
    return {name: value for name, value in asdict(config).items() if name != "seeds"}


def train_seed(
    config: TextConfig,
    trainer: TrainerConfig,
    splits: dict[str, Split],
    sources: Sources,
    start: Path | None,
    out: Path,
) -> dict[str, Any]:
    """Train one seed on the main and the mixed corpora; return the content of metrics.json.

    A finished seed with the same settings is not trained again.
    """
    settings: dict[str, Any] = {
        "trainer": asdict(trainer),
        "text": _settings(config),
        "corpora": {name: len(corpus.conversations) for name, corpus in sources.train.items()},
    }
    written = finished(out / METRICS, settings)
    if written and "test_report" in written:  # else of the form before `write_run`
        print(f"already trained: {out}")
        return written
    set_seeds(trainer.seed)
    model = make_model(config.dropout, config.reading, config.corpora_of_classifier)
    if start is not None:
        load_weights(model, start)
    prompt = config.prompt(load_tokenizer())
    dialogues = splits["train"].conversations
    others = mixture(sources, config.mixed, prompt, config, trainer.seed)
    errors = SimulatedWordErrors(u.text for d in dialogues for u in d.utterances)
    is_main_learned = config.corpus in sources.train

    def rows(epoch: int) -> list[TokenRow]:
        rng = random.Random(trainer.seed * 1000 + epoch)
        main = dialogues if is_main_learned else ()
        varied = [row for each in main for row in augmented(each, prompt, config, rng, errors)]
        return [*others(epoch), *varied]

    fitted = _fit(model, config, trainer, rows, sources.dev, prompt, out)
    correction, predicted = measure(model, splits, prompt, config, is_main_learned)
    save_weights(model, out / "best.safetensors")
    content = {
        "seed": trainer.seed,
        "settings": settings,
        "best_epoch": fitted.best_epoch,
        "seconds": fitted.seconds,
        "prior_correction": correction,
        "learned_from": list(sources.train),
        "other_tests": {
            name: score(model, corpus, prompt, config) for name, corpus in sources.test.items()
        },
    }
    result = write_run(out, LABELS, predicted, content)
    print(
        f"seed {trainer.seed}: epoch {fitted.best_epoch}, weighted F1"
        f" dev {result['dev']:.4f}, test {result['test']['weighted_f1']:.4f}"
    )
    return result


def both(model: TextClassifier, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return embeddings (N, d) and logits (N, C) of the N utterances that the batch reads."""
    embeddings = model.embed(batch.ids, batch.positions, batch.visible, batch.asked_at)
    logits = model.head(model.dropout(embeddings)) + model.offset(batch.corpus)
    return embeddings.float()[batch.asked], logits.float()[batch.asked]


def _fit(
    model: TextClassifier,
    config: TextConfig,
    trainer: TrainerConfig,
    rows: Callable[[int], list[TokenRow]],
    dev: Mapping[str, Corpus],
    prompt: TextPrompt,
    out: Path,
) -> Fit:
    def batches(epoch: int) -> list[Batch]:
        rng = random.Random(trainer.seed * 1000 + epoch)
        return make_batches(rows(epoch), trainer.batch_size, rng)

    def loss(model: TextClassifier, batch: Batch) -> Tensor:
        return cross_entropy_among(both(model, batch)[1], batch.target[batch.asked])

    def evaluate(model: TextClassifier) -> dict[str, float]:
        scores = {
            f"{name} {kind}": f1
            for name, corpus in dev.items()
            for kind, f1 in score(model, corpus, prompt, config, trainer.precision).items()
        }
        return {"mean": float(np.mean(list(scores.values()))), **scores}

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
        settings=_settings(config),
    )


def parameter_groups(
    model: TextClassifier, config: TextConfig, trainer: TrainerConfig
) -> list[dict[str, Any]]:
    """Return AdamW groups: the classifier with its own rate, lower layers with lower rates.

    Word embeddings are not trained: words that do not occur in MELD's 10,000 utterances would
    otherwise become inconsistent with those that do.
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
