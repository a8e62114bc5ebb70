"""A bundle of text alone from a trained text encoder: its own classifier is the fusion.

Of the same format as any bundle. `scheme` makes its encoder small at once; what `erc quantize` asks
of a bundle with sound and faces cannot be asked here, so both are measured on MELD's dev and the
manifest says what was lost.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from erc_ros.encoders.text import BERT_ROLES, Turn
from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.manifest import FORMAT
from erc_ros.inference.text_encoders import CachedTextEncoder
from erc_ros.metrics.calibration import fit_temperature
from erc_ros.networks.network import Network
from erc_ros.training.datasets import licences
from erc_ros.training.datasets.utterances import LABELS, Conversation
from erc_ros.training.encoders.evaluation import EncoderTest, measure_encoder, text_test
from erc_ros.training.encoders.text.mixture import portion, read_corpus
from erc_ros.training.engine.history import whole_history
from erc_ros.training.engine.recipe import Recipe
from erc_ros.training.export.bundle_assembly import ANCHORS, megabytes, publish
from erc_ros.training.manifest import attention_shape, fix_output, open_prompt, write_manifest
from erc_ros.training.onnx import write_onnx
from erc_ros.training.quantization.schemes import SCHEMES, quantize

CALIBRATION_CONVERSATIONS = 60  # of every corpus that the encoder learned from
WATCHED = 400  # conversations of each corpus for the temperature


@dataclass(frozen=True, slots=True)
class TextBundleConfig:
    """What is assembled; the section `text_bundle` of a recipe. Paths as in `BundleConfig`."""

    name: str
    version: str
    folder: str
    text: str = "runs/text/best"
    scheme: str = "dynamic"
    """Of `erc quantize`; "" keeps float32. Chosen on MELD's dev: dynamic 59.7, smoothquant 59.0."""

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
    test = text_test(run, recipe.data)
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
            names = [name for name in learned_from if name != "emotionlines"]
            said = [
                c
                for name in names
                for c in portion(read_corpus(name, recipe.data, "train").conversations, 1, 0, 0)[
                    :CALIBRATION_CONVERSATIONS
                ]
            ]
            feeds = recorded(run, staged / "text.onnx", said)
            small = staged / "small.onnx"
            quantize(SCHEMES[config.scheme], staged / "text.onnx", small, feeds)
            small.replace(staged / "text.onnx")
            precision = SCHEMES[config.scheme].precision
            found["quantized"] = measured(test, staged / "text.onnx")
        temperature = calibrated(run, staged / "text.onnx", test, learned_from, recipe.data)
        write_manifest(staged, manifest(config, run, precision, temperature, found, learned_from))
        write_card(staged / "README.md", config, learned_from, found)
        load_bundle(staged)
        publish(staged, Path(config.folder))
    bundle = load_bundle(config.folder)
    print(f"{bundle.folder}: {megabytes(bundle):.1f} MB, MELD weighted F1 {found}")


def measured(test: EncoderTest, file: Path) -> dict[str, float]:
    """Weighted F1 on MELD's dev and test."""
    part = measure_encoder(test, file)
    return {"dev": round(part.dev, 4), "test": round(part.test, 4)}


def calibrated(
    run: Path, file: Path, test: EncoderTest, learned_from: Sequence[str], data: Path
) -> float:
    """The temperature that dev asks for: of MELD, or where it was left out of the other corpora.

    Utterances of which only several labels are known say nothing here.
    """
    if "meld" in learned_from:
        rows, labels = test.embed(file, "dev"), test.labels["dev"]
    else:
        reader = CachedTextEncoder(Network(file), open_prompt(run), attention_shape(file))
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
    run: Path, file: Path, conversations: Sequence[Conversation]
) -> list[dict[str, NDArray[Any]]]:
    """What the encoder gets while these conversations are read to it, every fourth time."""
    network, feeds = Network(file), []

    def watched(feed: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        feeds.append({name: array.copy() for name, array in feed.items()})
        return network(feed)

    reader = CachedTextEncoder(watched, open_prompt(run), attention_shape(file))
    for conversation in conversations:
        reader.conversation(Turn(u.speaker, u.text) for u in conversation.utterances)
    return feeds[::4]


def manifest(
    config: TextBundleConfig,
    run: Path,
    precision: str,
    temperature: float,
    found: dict[str, dict[str, float]],
    learned_from: Sequence[str],
) -> dict[str, Any]:
    """Everything in bundle.yaml but `files`."""
    prompt = open_prompt(run)
    layers, heads, width = attention_shape(run / "text.onnx")
    roles = {name: getattr(BERT_ROLES, name) for name in ("start", "separator", "mask")}
    return {
        "format": FORMAT,
        "name": config.name,
        "version": config.version,
        "labels": list(LABELS),
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
            "card": "README.md",
        },
        "metrics": {"meld": found},
    }


def write_card(
    file: Path,
    config: TextBundleConfig,
    learned_from: Sequence[str],
    found: dict[str, dict[str, float]],
) -> None:
    """The card: what it is, what it learned from and on which terms, what it reaches."""
    rows = "\n".join(
        f"| {name} | {100 * row['dev']:.1f} | {100 * row['test']:.1f} |"
        for name, row in found.items()
    )
    data = "\n".join(
        f"- {terms.title}: {terms.about}; {terms.licence or 'licence not known'}"
        for terms in map(licences.terms, learned_from)
    )
    file.write_text(
        f"# {config.name} {config.version}\n\n"
        "Text alone: all-MiniLM-L6-v2 (Apache-2.0), fine-tuned, and its own"
        " classifier. Sound and faces are not heard or seen.\n\n"
        f"## What it learned from\n\n{data}\n\nTerms: {licences.together(list(learned_from))}.\n\n"
        f"## MELD, weighted F1\n\n| | dev | test |\n|---|---|---|\n{rows}\n\n"
        + ("" if "meld" in learned_from else "MELD was not in its training: an unseen corpus.\n"),
        encoding="utf-8",
    )
