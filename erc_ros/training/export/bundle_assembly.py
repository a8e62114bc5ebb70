"""`erc train config/training/bundle.yaml`: the default model package from its trained parts.

All networks are float32. `erc quantize` makes the smaller package for robots from it, if its
accuracy is equal.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from erc_ros.encoders.audio import MAX_SECONDS, MEL_BANDS
from erc_ros.encoders.face import MAX_CROPS, SIZE
from erc_ros.encoders.text import BERT_ROLES, TextPrompt
from erc_ros.inference.bundle import load_bundle
from erc_ros.training.datasets import licences
from erc_ros.training.datasets.utterances import LABELS
from erc_ros.training.encoders.evaluation import (
    Measured,
    audio_test,
    face_test,
    measure_encoder,
    text_test,
)
from erc_ros.training.engine.embeddings import FILE
from erc_ros.training.engine.recipe import Recipe
from erc_ros.training.engine.runs import MEASURED, read_metrics
from erc_ros.training.export.assembler import (
    FILES,
    BundleSpec,
    assemble,
    fused_utterances,
    megabytes,
)
from erc_ros.training.export.card import read_parts
from erc_ros.training.fusion.dialogues import Dialogues
from erc_ros.training.manifest import attention_shape, fix_output, open_prompt
from erc_ros.training.systems import edge
from erc_ros.values.files import whole_folder

SIMULATED = "; audio and visual are simulated: only text is a benchmark"
EMBEDDING, CLIP_EMBEDDING = 384, 128


@dataclass(frozen=True, slots=True)
class BundleConfig:
    """Inputs of a bundle; the section `bundle` of a recipe. Paths: from the working directory."""

    name: str
    version: str
    folder: str
    """Output folder of the bundle."""
    text: str = "runs/text/best"
    audio: str = "runs/audio/best"
    visual: str = "runs/face/best"
    fusion: str = "runs/fusion/best"
    context: int = 16
    """Number of utterances of the fusion's input; 1 for a fusion model without context."""
    note: str = ""
    """Further text for the model card."""


def train(recipe: Recipe) -> None:
    """Assemble the bundle of a recipe.

    Raises:
        RecipeError, FileNotFoundError: the recipe, the data or a trained part is not usable.
    """
    recipe.refuse_other_sections({"bundle"})
    config = recipe.section("bundle", BundleConfig)
    runs = {name: Path(getattr(config, name)) for name in FILES}
    tests = {
        "text": text_test(runs["text"], recipe.data),
        "audio": audio_test(runs["audio"], recipe.data),
        "visual": face_test(runs["visual"], recipe.data),
    }
    parts = read_parts(runs)
    with whole_folder(Path(config.folder)) as staged:
        for name, run in runs.items():
            shutil.copyfile(run / FILES[name], staged / FILES[name])
        shutil.copyfile(runs["text"] / "tokenizer.json", staged / "tokenizer.json")
        measured = {
            name: measure_encoder(test, staged / FILES[name]) for name, test in tests.items()
        }
        entries = {
            "text": text_part(open_prompt(runs["text"]), staged / FILES["text"]),
            "audio": audio_part(runs["audio"]),
            "visual": VISUAL_PART,
        }
        for name, entry in entries.items():
            fix_output(staged / FILES[name], "embedding", entry["embedding"])
        held_out = {
            name: speakers
            for name, run in runs.items()
            if (speakers := read_metrics(run).get("held_out"))
        }
        simulated = bool(parts["fusion"].metrics.get("simulation"))
        spec = BundleSpec(
            config.name,
            config.version,
            tuple(LABELS),
            entries,
            fused_utterances(runs["fusion"], config.context),
            splits=deployed(config, measured),
            parts=parts,
            scores={name: report(part) for name, part in measured.items()},
            training={"held_out": held_out} if held_out else {},
            metrics={"note": "float32" + SIMULATED * simulated},
            weights=licences.MINILM,
            note=config.note,
        )
        assemble(staged, spec)
    bundle = load_bundle(config.folder)
    print(f"{bundle.folder}: {megabytes(bundle):.1f} MB, sha256 {bundle.sha256}")


def deployed(config: BundleConfig, parts: Mapping[str, Measured]) -> dict[str, Dialogues]:
    """Return MELD's dev and test as embeddings of the bundle, audio and visual simulated.

    The clips are those of the fusion's training.
    """
    text = load_file(Path(config.text) / FILE)
    drawn = load_file(Path(config.fusion) / edge.CHOSEN_CLIPS)
    return {
        split: Dialogues(
            text=parts["text"].embeddings[split],
            audio=parts["audio"].embeddings[split][drawn[f"audio.{split}"]],
            visual=parts["visual"].embeddings[split][drawn[f"visual.{split}"]],
            labels=text[f"{split}.label"],
            speakers=text[f"{split}.speaker"],
            first=np.arange(len(text[f"{split}.label"])) - text[f"{split}.index"],
        )
        for split in MEASURED
    }


def report(part: Measured) -> dict[str, Any]:
    """Return a part's scores, rounded, ready for YAML."""
    return {"metric": part.metric, "dev": round(part.dev, 4), "test": round(part.test, 4)}


def text_part(prompt: TextPrompt, file: Path, precision: str = "float32") -> dict[str, Any]:
    """Return the manifest's entry of a text encoder with cached keys and values."""
    layers, heads, width = attention_shape(file)
    return {
        "kind": "cached",
        "file": FILES["text"],
        "tokenizer": {
            "file": "tokenizer.json",
            "start": BERT_ROLES.start,
            "separator": BERT_ROLES.separator,
            "mask": BERT_ROLES.mask,
            "speakers": list(BERT_ROLES.speakers),
        },
        "embedding": heads * width,
        "max_tokens": prompt.max_tokens,
        "question": prompt.has_question,
        "layers": layers,
        "heads": heads,
        "precision": precision,
    }


VISUAL_PART = {
    "kind": "crops",
    "file": FILES["visual"],
    "size": SIZE,
    "max_crops": MAX_CROPS,
    "embedding": CLIP_EMBEDDING,
    "precision": "float32",
}


def audio_part(run: Path) -> dict[str, Any]:
    """Return the manifest's entry of the audio part: a voice network, or log-mel."""
    log_mel = {
        "kind": "log-mel",
        "mel_bands": MEL_BANDS,
        "max_seconds": MAX_SECONDS,
        "embedding": CLIP_EMBEDDING,
    }
    part: dict[str, Any] = read_metrics(run).get("part", log_mel)
    return {"kind": part["kind"], "file": FILES["audio"], **part, "precision": "float32"}
