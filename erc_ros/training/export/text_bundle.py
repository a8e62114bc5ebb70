"""A bundle of text alone from a trained text encoder: its own classifier is the fusion.

Of the same format as any bundle. `scheme` makes its encoder small at once; what `erc quantize` asks
of a bundle with sound and faces cannot be asked here, so both are measured on MELD's dev and the
manifest says what was lost.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from erc_ros.encoders.text import BERT_ROLES, TextPrompt, Turn
from erc_ros.inference.bundle import Bundle, load_bundle
from erc_ros.inference.manifest import FORMAT
from erc_ros.inference.text_encoders import CachedTextEncoder
from erc_ros.metrics.calibration import fit_temperature
from erc_ros.metrics.classification import (
    calibration_error,
    macro_f1,
    softmax,
    weighted_f1,
)
from erc_ros.metrics.table import markdown
from erc_ros.networks.network import Network
from erc_ros.resources import model_folder
from erc_ros.training.datasets import corpora, licences
from erc_ros.training.datasets.utterances import LABELS, LANGUAGES, Conversation
from erc_ros.training.encoders.evaluation import EncoderTest, measure_encoder, text_test
from erc_ros.training.encoders.text.mixture import BUILT_IN, portion, read_corpus, read_test
from erc_ros.training.engine.history import read_history, whole_history
from erc_ros.training.engine.recipe import Recipe
from erc_ros.training.export.bundle_assembly import ANCHORS, megabytes, publish
from erc_ros.training.fusion.bundle_trial import read_text
from erc_ros.training.manifest import attention_shape, fix_output, open_prompt, write_manifest
from erc_ros.training.onnx import write_onnx
from erc_ros.training.quantization.schemes import SCHEMES, quantize

CALIBRATION_CONVERSATIONS = 60  # of every corpus that the encoder learned from
WATCHED = 400  # conversations of each corpus for the temperature


CARD = "README.md"
MEASURED = 1000  # conversations of a corpus's test split, about
ENCODER = (
    "That is the data of this training. all-MiniLM-L6-v2 itself is published under Apache-2.0; the"
    " sentence pairs that it was made from come from many collections with terms of their own (some"
    " of them, such as MS MARCO, for research): whether that concerns you is for you to judge."
)
INTENDED = """## Intended use, and what it is not for

For robots that adapt how they talk, and for research on that: a hint how the last utterance was
meant. Not for decisions about people (hiring, health, law enforcement, education, insurance), nor
for watching people who did not agree to it.
"""


@dataclass(frozen=True, slots=True)
class CorpusScore:
    """Of a corpus's test split, shares 0..1; count: labelled utterances."""

    count: int
    weighted_f1: float
    macro_f1: float
    calibration_error: float

    def __str__(self) -> str:
        figures = (self.weighted_f1, self.macro_f1, self.calibration_error)
        return ", ".join(f"{100 * figure:.1f}" for figure in figures)


@dataclass(frozen=True, slots=True)
class TextBundleConfig:
    """What is assembled; the section `text_bundle` of a recipe. Paths as in `BundleConfig`."""

    name: str
    version: str
    folder: str
    text: str = "runs/text/best"
    scheme: str = "dynamic"
    """Of `erc quantize`; "" keeps float32. Chosen on MELD's dev: dynamic 59.7, smoothquant 59.0."""
    max_tokens: int = 0
    """Of a conversation that it reads; 0: as it was trained. Longer ones than those that it learned
    from may mislead it."""
    beside: str = ""
    """Another bundle whose answers the card shows beside this one's: a folder or a name."""

    def __post_init__(self) -> None:
        if self.scheme and self.scheme not in SCHEMES:
            raise ValueError(f"scheme is {self.scheme!r}, known are {', '.join(SCHEMES)} or none")


class Classifier(nn.Module):
    """An encoder's own classifier in the place of a fusion: text (B, U, d) -> logits (B, U, C)."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """And the shares of the modalities (B, U, 3): all of it is text."""
        nothing = torch.zeros_like(text[..., :2])
        share = torch.cat([nothing[..., :1] + 1, nothing], dim=-1)
        return nn.functional.linear(text, self.weight, self.bias), share


def train(recipe: Recipe) -> None:
    """`erc train config/training/text_bundle.yaml`.

    Raises:
        RecipeError, FileNotFoundError: the recipe, the data or the trained encoder is not usable.
    """
    recipe.refuse_other_sections({"text_bundle"})
    config = recipe.section("text_bundle", TextBundleConfig)
    run = Path(config.text)
    test = text_test(run, recipe.data, config.max_tokens)
    prompt = open_prompt(run, config.max_tokens)
    learned_from = list(whole_history(run).corpora)
    with tempfile.TemporaryDirectory() as scratch:
        staged = Path(scratch)
        shutil.copyfile(run / "tokenizer.json", staged / "tokenizer.json")
        shutil.copyfile(run / "text.onnx", staged / "text.onnx")
        dimension = test.head[0].shape[1]
        fix_output(staged / "text.onnx", "embedding", dimension)
        head = load_file(run / "head.safetensors")
        classifier = Classifier(head["weight"], head["bias"])
        examples = [{"text": torch.randn(b, u, dimension)} for b, u in ((1, 1), (2, 3))]
        axes = {name: {0: "B", 1: "U"} for name in ("text", "logits", "weights")}
        write_onnx(classifier, examples, staged / "fusion.onnx", ["logits", "weights"], axes)
        found = {"float32": measured(test, staged / "text.onnx")}
        precision = "float32"
        if config.scheme:
            names = [name for name in learned_from if name != corpora.VOTES]
            said = [
                c
                for name in names
                for c in portion(read_corpus(name, recipe.data, "train").conversations, 1, 0, 0)[
                    :CALIBRATION_CONVERSATIONS
                ]
            ]
            feeds = recorded(prompt, staged / "text.onnx", said)
            small = staged / "small.onnx"
            quantize(SCHEMES[config.scheme], staged / "text.onnx", small, feeds)
            small.replace(staged / "text.onnx")
            precision = SCHEMES[config.scheme].precision
            found["quantized"] = measured(test, staged / "text.onnx")
        temperature = calibrated(prompt, staged / "text.onnx", test, learned_from, recipe.data)
        content = manifest(config, prompt, staged, precision, temperature, found, learned_from)
        (staged / CARD).touch()
        write_manifest(staged, content)
        bundles = [load_bundle(staged)]
        if config.beside:
            bundles.append(load_bundle(model_folder(config.beside)))
        scores = {bundle.name: corpus_scores(bundle, recipe.data) for bundle in bundles}
        commands = (*whole_history(run).commands, *read_history(recipe.out).commands)
        write_card(staged / CARD, config, commands, learned_from, found, scores)
        licences.write_license(staged, config.name, learned_from, licences.MINILM)
        publish(staged, Path(config.folder))
    bundle = load_bundle(config.folder)
    print(f"{bundle.folder}: {megabytes(bundle):.1f} MB, MELD weighted F1 {found}")


def measured(test: EncoderTest, file: Path) -> dict[str, float]:
    """Weighted F1 on MELD's dev and test."""
    part = measure_encoder(test, file)
    return {"dev": round(part.dev, 4), "test": round(part.test, 4)}


def corpus_scores(bundle: Bundle, data: Path) -> dict[str, CorpusScore]:
    """What it answers to text alone on the test split of every corpus that is in `data`."""
    found = {}
    for name in BUILT_IN:
        with contextlib.suppress(FileNotFoundError):
            corpus = read_test(name, data)
            step = max(1, len(corpus.conversations) // MEASURED)
            some = replace(corpus, conversations=corpus.conversations[::step])
            logits, _ = read_text(bundle, some.conversations)
            is_asked = [u.is_labelled for c in some.conversations for u in c.utterances]
            order = [bundle.labels.index(label) for label in LABELS]
            scaled = logits[is_asked][:, order] / bundle.calibration.of((True, False, False))
            each = softmax(scaled)
            summed = np.stack([each[:, list(c)].sum(axis=1) for c in some.classes], axis=1)
            truth, said = np.array(some.truth()), summed.argmax(axis=1)
            found[name] = CorpusScore(
                len(truth),
                weighted_f1(truth, said, len(some.classes)),
                macro_f1(truth, said, len(some.classes)),
                calibration_error(truth, summed),
            )
    return found


def calibrated(
    prompt: TextPrompt, file: Path, test: EncoderTest, learned_from: Sequence[str], data: Path
) -> float:
    """The temperature that dev asks for: of MELD, or where it was left out of the other corpora.

    Utterances of which only several labels are known say nothing here.
    """
    if corpora.DIALOGUES in learned_from:
        rows, labels = test.embed(file, "dev"), test.labels["dev"]
    else:
        reader = CachedTextEncoder(Network(file), prompt, attention_shape(file))
        found, said = [], []
        for name in learned_from:
            for conversation in read_corpus(name, data, "dev").conversations[:WATCHED]:
                read = reader.conversation(Turn(u.speaker, u.text) for u in conversation.utterances)
                for row, utterance in zip(read, conversation.utterances, strict=True):
                    if utterance.label is not None:
                        found.append(row)
                        said.append(utterance.label)
        rows, labels = np.array(found), np.array(said, np.int64)
    weight, bias = test.head
    return round(fit_temperature(rows @ weight.T + bias, labels), 4)


def recorded(
    prompt: TextPrompt, file: Path, conversations: Sequence[Conversation]
) -> list[dict[str, NDArray[Any]]]:
    """What the encoder gets while these conversations are read to it, every fourth time."""
    network, feeds = Network(file), []

    def watched(feed: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        feeds.append({name: array.copy() for name, array in feed.items()})
        return network(feed)

    reader = CachedTextEncoder(watched, prompt, attention_shape(file))
    for conversation in conversations:
        reader.conversation(Turn(u.speaker, u.text) for u in conversation.utterances)
    return feeds[::4]


def manifest(
    config: TextBundleConfig,
    prompt: TextPrompt,
    folder: Path,
    precision: str,
    temperature: float,
    found: dict[str, dict[str, float]],
    learned_from: Sequence[str],
) -> dict[str, Any]:
    """Everything in bundle.yaml but `files`."""
    layers, heads, width = attention_shape(folder / "text.onnx")
    roles = {name: getattr(BERT_ROLES, name) for name in ("start", "separator", "mask")}
    return {
        "format": FORMAT,
        "name": config.name,
        "version": config.version,
        "labels": list(LABELS),
        "languages": list(LANGUAGES),
        "anchors": {label: list(ANCHORS[label]) for label in LABELS},
        "text": {
            "kind": "cached",
            "file": "text.onnx",
            "tokenizer": {
                "file": "tokenizer.json",
                **roles,
                "speakers": list(BERT_ROLES.speakers),
            },
            "embedding": heads * width,
            "max_tokens": prompt.max_tokens,
            "question": prompt.has_question,
            "layers": layers,
            "heads": heads,
            "precision": precision,
        },
        "fusion": {"file": "fusion.onnx", "context": 1, "causal": True, "precision": "float32"},
        "calibration": {"temperature": temperature},
        "training": {
            "data": [licences.terms(name).title for name in learned_from],
            "licence": licences.together(list(learned_from)),
            "card": CARD,
        },
        "metrics": {corpora.DIALOGUES: found},
    }


def write_card(
    file: Path,
    config: TextBundleConfig,
    commands: Sequence[str],
    learned_from: Sequence[str],
    found: dict[str, dict[str, float]],
    scores: Mapping[str, Mapping[str, CorpusScore]],
) -> None:
    """The card: what it is, how it was made, of what and on which terms, and what it reaches."""
    rows = "\n".join(
        f"| {name} | {100 * row['dev']:.1f} | {100 * row['test']:.1f} |"
        for name, row in found.items()
    )
    data = "\n".join(
        f"- {terms.title}: {terms.about}; {terms.licence or 'licence not known'}"
        + (f" ({terms.source})" if terms.source else "")
        for terms in map(licences.terms, learned_from)
    )
    made = "\n".join(f"    {command}" for command in commands)
    unseen = "MELD was not in its training.\n"
    file.write_text(
        f"# {config.name} {config.version}: emotion of an utterance from its words\n\n"
        "Text alone: all-MiniLM-L6-v2 (22 M, Apache-2.0), fine-tuned, and its own"
        " classifier. Sound and faces are not heard or seen.\n\n"
        f"Made by these commands:\n\n{made}\n\n{INTENDED}\n"
        f"## What it learned from\n\n{data}\n\nTerms: {licences.together(list(learned_from))}."
        f" {ENCODER}\n\n"
        f"## MELD, weighted F1\n\n| | dev | test |\n|---|---|---|\n{rows}\n\n"
        + ("" if corpora.DIALOGUES in learned_from else f"{unseen}\n")
        + score_table(learned_from, scores),
        encoding="utf-8",
    )


def score_table(
    learned_from: Sequence[str], scores: Mapping[str, Mapping[str, CorpusScore]]
) -> str:
    """Each corpus's test split through the bundle, beside another one's if there is one."""
    names = list(scores)
    rows = [
        [f"{corpus}, {score.count}" + ("" if corpus in learned_from else " (not in the training)")]
        + [str(scores[name][corpus]) for name in names]
        for corpus, score in scores[names[0]].items()
    ]
    return (
        "## Test splits\n\nText alone with its history, as shipped: weighted F1, macro F1,"
        " calibration error in percent, of so many labelled utterances.\n\n"
        + "\n".join(markdown(["corpus", *names], rows))
        + "\n"
    )
