"""`erc train config/training/text_bundle.yaml`: make a text-only bundle from a text encoder.

The encoder's classifier takes the place of the fusion. `scheme` quantizes the encoder. The checks
of `erc quantize` need audio and faces; here float32 and quantized encoder are compared on MELD's
dev, and the manifest reports the loss.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from erc_ros.encoders.text import TextPrompt, Turn
from erc_ros.inference.bundle import Bundle, load_bundle
from erc_ros.inference.text_encoders import CachedTextEncoder
from erc_ros.metrics.classification import calibration_error, macro_f1, softmax, weighted_f1
from erc_ros.metrics.table import markdown
from erc_ros.networks.network import Network
from erc_ros.resources import model_folder
from erc_ros.training.datasets import corpora, licences
from erc_ros.training.datasets.utterances import LABELS, Conversation
from erc_ros.training.encoders.evaluation import Measured, measure_encoder, text_test
from erc_ros.training.encoders.text.mixture import BUILT_IN, portion, read_corpus, read_test
from erc_ros.training.engine.history import RunHistory, read_history, whole_history
from erc_ros.training.engine.recipe import Recipe
from erc_ros.training.engine.runs import MEASURED
from erc_ros.training.export.assembler import FILES, BundleSpec, assemble, megabytes
from erc_ros.training.export.bundle_assembly import report, text_part
from erc_ros.training.export.card import NETWORKS, CardPart
from erc_ros.training.fusion.bundle_trial import read_text, speakers_of
from erc_ros.training.fusion.dialogues import Dialogues
from erc_ros.training.manifest import attention_shape, fix_output, open_prompt
from erc_ros.training.onnx import write_onnx
from erc_ros.training.quantization.schemes import SCHEMES, quantize
from erc_ros.values.files import whole_folder

CALIBRATION_CONVERSATIONS = 60  # per training corpus of the encoder
DEV_CONVERSATIONS = 400  # per corpus, for the temperature
TEST_CONVERSATIONS = 1000  # per test split, approximately
TEXT_ONLY = (True, False, False)
ENCODER = (
    "The sentence pairs that all-MiniLM-L6-v2 itself was made from come from many collections with"
    " terms of their own (some of them, such as MS MARCO, for research): check whether this"
    " concerns your use."
)


@dataclass(frozen=True, slots=True)
class CorpusScore:
    """Scores on a corpus's test split, 0..1; count: number of labeled utterances."""

    count: int
    weighted_f1: float
    macro_f1: float
    calibration_error: float

    def __str__(self) -> str:
        figures = (self.weighted_f1, self.macro_f1, self.calibration_error)
        return ", ".join(f"{100 * figure:.1f}" for figure in figures)


@dataclass(frozen=True, slots=True)
class TextBundleConfig:
    """Inputs of a text bundle; the section `text_bundle` of a recipe. Paths: see `BundleConfig`."""

    name: str
    version: str
    folder: str
    text: str = "runs/text/best"
    scheme: str = "dynamic"
    """Quantization scheme; "" keeps float32. On MELD's dev: dynamic 59.7, smoothquant 59.0."""
    max_tokens: int = 0
    """Maximum number of tokens of a conversation; 0: as in training. Longer inputs than in training
    may lower the accuracy."""
    beside: str = ""
    """Another bundle whose scores the card also shows: a folder or a name."""

    def __post_init__(self) -> None:
        if self.scheme and self.scheme not in SCHEMES:
            raise ValueError(
                f"scheme is {self.scheme!r}; must be empty or one of {', '.join(SCHEMES)}"
            )


class Classifier(nn.Module):
    """An encoder's own classifier in place of a fusion: text (B, U, d) -> logits (B, U, C)."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, U, C) and the shares of the modalities (B, U, 3): text 1."""
        nothing = torch.zeros_like(text[..., :2])
        share = torch.cat([nothing[..., :1] + 1, nothing], dim=-1)
        return nn.functional.linear(text, self.weight, self.bias), share


def train(recipe: Recipe) -> None:
    """Assemble the bundle of a recipe.

    Raises:
        RecipeError, FileNotFoundError: the recipe, the data or the trained encoder is not usable.
    """
    recipe.refuse_other_sections({"text_bundle"})
    config = recipe.section("text_bundle", TextBundleConfig)
    run = Path(config.text)
    test = text_test(run, recipe.data, config.max_tokens)
    prompt = open_prompt(run, config.max_tokens)
    history = whole_history(run)
    commands = (*history.commands, *read_history(recipe.out).commands)
    history = RunHistory(commands, history.corpora)
    with whole_folder(Path(config.folder)) as staged:
        file = staged / FILES["text"]
        shutil.copyfile(run / "tokenizer.json", staged / "tokenizer.json")
        shutil.copyfile(run / "text.onnx", file)
        fix_output(file, "embedding", test.head[0].shape[1])
        write_classifier(run, staged / FILES["fusion"])
        measured = {"float32": measure_encoder(test, file)}
        precision = "float32"
        if config.scheme:
            conversations = list(_calibration_data(history.corpora, recipe.data))
            feeds = recorded(prompt, file, conversations)
            small = staged / "small.onnx"
            quantize(SCHEMES[config.scheme], file, small, feeds)
            small.replace(file)
            precision = SCHEMES[config.scheme].precision
            measured["quantized"] = measure_encoder(test, file)
        scores = {name: report(part) for name, part in measured.items()}
        of_meld = {name: {s: each[s] for s in MEASURED} for name, each in scores.items()}
        shipped = list(measured.values())[-1]
        learned_meld = corpora.DIALOGUES in history.corpora
        splits = {split: _dialogues(shipped.embeddings[split], split, recipe.data)
                  for split in MEASURED}  # fmt: skip
        if not learned_meld:
            splits["dev"] = _dev_of(history.corpora, prompt, file, recipe.data)
        others = [load_bundle(model_folder(config.beside))] if config.beside else []

        def sections(bundle: Bundle) -> str:
            tests = {b.name: corpus_scores(b, recipe.data) for b in (bundle, *others)}
            left_out = "" if learned_meld else "\nMELD was not in its training.\n"
            return (
                f"\n{ENCODER}\n{left_out}\n## MELD, weighted F1\n\n"
                + "\n".join(_precisions(measured))
                + f"\n\n{score_table(history.corpora, tests)}"
            )

        spec = BundleSpec(
            config.name,
            config.version,
            tuple(LABELS),
            {"text": text_part(prompt, file, precision)},
            1,
            splits,
            {
                "text": CardPart(history, {}, NETWORKS["text"]),
                "fusion": CardPart(history, {}, "the classifier of the text encoder"),
            },
            {"text": scores[list(scores)[-1]]},
            metrics={corpora.DIALOGUES: of_meld},
            weights=licences.MINILM,
            card_sections=sections,
        )
        assemble(staged, spec)
    bundle = load_bundle(config.folder)
    print(f"{bundle.folder}: {megabytes(bundle):.1f} MB, MELD weighted F1 {scores}")


def write_classifier(run: Path, file: Path) -> None:
    """Write the classifier of a trained text encoder as the network of a fusion."""
    head = load_file(run / "head.safetensors")
    classifier = Classifier(head["weight"], head["bias"])
    width = head["weight"].shape[1]
    examples = [{"text": torch.randn(b, u, width)} for b, u in ((1, 1), (2, 3))]
    axes = {name: {0: "B", 1: "U"} for name in ("text", "logits", "weights")}
    write_onnx(classifier, examples, file, ["logits", "weights"], axes)


def _calibration_data(names: Sequence[str], data: Path) -> Iterator[Conversation]:
    for name in names:
        if name != corpora.VOTES:
            conversations = read_corpus(name, data, "train").conversations
            yield from portion(conversations, 1, 0, 0)[:CALIBRATION_CONVERSATIONS]


def _dialogues(text: NDArray[np.float32], split: str, data: Path) -> Dialogues:
    """Return a split of MELD with these embeddings."""
    conversations = corpora.read(corpora.DIALOGUES, data, split).conversations
    labels = [u.label for c in conversations for u in c.utterances]
    return _text_only(text, [-100 if label is None else label for label in labels], conversations)


def _dev_of(names: Sequence[str], prompt: TextPrompt, file: Path, data: Path) -> Dialogues:
    """Return the dev splits of the training corpora, for an encoder without MELD.

    Utterances with several possible labels count as unlabeled.
    """
    reader = CachedTextEncoder(Network(file), prompt, attention_shape(file))
    conversations = [
        conversation
        for name in names
        for conversation in read_corpus(name, data, "dev").conversations[:DEV_CONVERSATIONS]
    ]
    rows = [
        reader.conversation(Turn(u.speaker, u.text) for u in conversation.utterances)
        for conversation in conversations
    ]
    labels = [u.label for c in conversations for u in c.utterances]
    return _text_only(
        np.concatenate(rows), [-100 if label is None else label for label in labels], conversations
    )


def _text_only(
    text: NDArray[np.float32], labels: Sequence[int], conversations: Sequence[Conversation]
) -> Dialogues:
    count = len(text)
    nothing = np.zeros((count, 1), np.float32)
    return Dialogues(
        text,
        nothing,
        nothing,
        labels=np.array(labels, np.int64),
        speakers=speakers_of(conversations),
        first=np.arange(count),  # the classifier does not use context
        present=np.tile(TEXT_ONLY, (count, 1)),
    )


def corpus_scores(bundle: Bundle, data: Path) -> dict[str, CorpusScore]:
    """Evaluate text alone on the test split of every corpus in `data`."""
    scores = {}
    for name in BUILT_IN:
        with contextlib.suppress(FileNotFoundError):
            corpus = read_test(name, data)
            step = max(1, len(corpus.conversations) // TEST_CONVERSATIONS)
            some = replace(corpus, conversations=corpus.conversations[::step])
            logits, _ = read_text(bundle, some.conversations)
            is_labelled = [u.is_labelled for c in some.conversations for u in c.utterances]
            order = [bundle.labels.index(label) for label in LABELS]
            scaled = logits[is_labelled][:, order] / bundle.calibration.of(TEXT_ONLY)
            each = softmax(scaled)
            summed = np.stack([each[:, list(c)].sum(axis=1) for c in some.classes], axis=1)
            truth, predicted = np.array(some.truth()), summed.argmax(axis=1)
            scores[name] = CorpusScore(
                len(truth),
                weighted_f1(truth, predicted, len(some.classes)),
                macro_f1(truth, predicted, len(some.classes)),
                calibration_error(truth, summed),
            )
    return scores


def recorded(
    prompt: TextPrompt, file: Path, conversations: Sequence[Conversation]
) -> list[dict[str, NDArray[Any]]]:
    """Return every fourth input of the encoder for these conversations."""
    network, feeds = Network(file), []

    def recording(feed: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        feeds.append({name: array.copy() for name, array in feed.items()})
        return network(feed)

    reader = CachedTextEncoder(recording, prompt, attention_shape(file))
    for conversation in conversations:
        reader.conversation(Turn(u.speaker, u.text) for u in conversation.utterances)
    return feeds[::4]


def _precisions(measured: Mapping[str, Measured]) -> list[str]:
    rows = [
        [name, f"{100 * part.dev:.1f}", f"{100 * part.test:.1f}"] for name, part in measured.items()
    ]
    return markdown(["", "dev", "test"], rows)


def score_table(
    learned_from: Sequence[str], scores: Mapping[str, Mapping[str, CorpusScore]]
) -> str:
    """Return a Markdown table of scores on each corpus's test split, by bundle."""
    names = list(scores)
    rows = [
        [f"{corpus}, {score.count}" + ("" if corpus in learned_from else " (not in the training)")]
        + [str(scores[name][corpus]) for name in names]
        for corpus, score in scores[names[0]].items()
    ]
    return (
        "## Test splits\n\nText alone with its history, as shipped: weighted F1, macro F1 and"
        " calibration error in percent. The number after a corpus counts its labeled utterances."
        "\n\n" + "\n".join(markdown(["corpus", *names], rows)) + "\n"
    )
