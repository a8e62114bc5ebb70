"""A float32 bundle from its trained parts: calibrated, measured and described.

`erc quantize` makes the small one that runs on robots from it, if that is as good.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from erc_ros.encoders.text import BERT_ROLES
from erc_ros.inference.bundle import Bundle, load_bundle
from erc_ros.inference.manifest import FORMAT, MANIFEST, modality_set
from erc_ros.metrics import classification as metrics
from erc_ros.metrics.calibration import fit_temperature
from erc_ros.networks.network import Network
from erc_ros.training.datasets import licences
from erc_ros.training.datasets.utterances import LABELS, LANGUAGES
from erc_ros.training.encoders.evaluation import (
    Measured,
    audio_test,
    face_test,
    measure_encoder,
    text_test,
)
from erc_ros.training.engine.embeddings import FILE
from erc_ros.training.engine.history import kind_of
from erc_ros.training.engine.recipe import Recipe, RecipeError
from erc_ros.training.engine.runs import MEASURED, METRICS, read_metrics
from erc_ros.training.export.card import CardPart, corpora, fusion_head, read_parts, write_card
from erc_ros.training.fusion.bundle_trial import SETS, answers
from erc_ros.training.fusion.dialogues import Dialogues
from erc_ros.training.fusion.simulated import clips
from erc_ros.training.heads.registry import head_class
from erc_ros.training.manifest import attention_shape, fix_output, open_prompt, write_manifest
from erc_ros.training.systems import edge

ANCHORS = {
    "neutral": (0.0, 0.0),
    "surprise": (0.2, 0.8),
    "fear": (-0.6, 0.7),
    "sadness": (-0.7, -0.4),
    "joy": (0.8, 0.5),
    "disgust": (-0.7, 0.3),
    "anger": (-0.6, 0.8),
    "happy": (0.8, 0.5),
    "sad": (-0.7, -0.4),
    "angry": (-0.6, 0.8),
    "excited": (0.7, 0.8),
    "frustrated": (-0.6, 0.4),
    "positive": (0.7, 0.3),
    "negative": (-0.7, 0.3),
}
"""Valence and arousal of each label, set by hand after the circumplex of affect (Russell 1980)."""
SIMULATED = "; audio and visual are simulated: no benchmark but text alone"
EMBEDDING, CLIP_EMBEDDING, MEL_BANDS, MAX_SECONDS, SIZE, MAX_CROPS = 384, 128, 64, 6.0, 48, 8


@dataclass(frozen=True, slots=True)
class BundleConfig:
    """What is assembled; the section `bundle` of a recipe. Paths: relative to where `erc` runs."""

    name: str
    version: str
    folder: str
    """Where the bundle is written."""
    text: str = "runs/text/best"
    audio: str = "runs/audio/best"
    visual: str = "runs/face/best"
    fusion: str = "runs/fusion/best"
    context: int = 16
    """Utterances that the fusion sees; 1 for a fusion model that reads no context."""
    note: str = ""
    """What else the model card has to say."""


FILES = {"text": "text.onnx", "audio": "audio.onnx", "visual": "face.onnx", "fusion": "fusion.onnx"}


def train(recipe: Recipe) -> None:
    """`erc train config/training/bundle.yaml`.

    Raises:
        RecipeError, FileNotFoundError: the recipe, the data or a trained part is not usable.
    """
    recipe.refuse_other_sections({"bundle"})
    config = recipe.section("bundle", BundleConfig)
    runs = {name: Path(getattr(config, name)) for name in FILES}
    said = {n: read_metrics(r).get("part") for n, r in runs.items() if kind_of(r) != "voice"}
    said = {name: said.get(name) for name in runs}
    tests = {
        name: test(runs[name], recipe.data)
        for name, test in (("text", text_test), ("audio", audio_test), ("visual", face_test))
        if not said[name]
    }
    with tempfile.TemporaryDirectory() as scratch:
        staged = Path(scratch)
        for name, run in runs.items():
            shutil.copyfile(run / FILES[name], staged / FILES[name])
        shutil.copyfile(runs["text"] / "tokenizer.json", staged / "tokenizer.json")
        parts = {name: measure_encoder(test, staged / FILES[name]) for name, test in tests.items()}
        parts |= {name: told(runs[name]) for name in FILES if said[name]}
        sizes = {"text": EMBEDDING, "visual": CLIP_EMBEDDING}
        if not said["audio"]:
            sizes["audio"] = audio_part(runs["audio"])["embedding"]
        for name, size in sizes.items():
            if not said[name]:
                fix_output(staged / FILES[name], "embedding", size)
        splits = deployed(config, parts)
        config = replace(config, context=fused_utterances(runs["fusion"], config.context))
        summary = calibrate(staged / FILES["fusion"], splits, config.context)
        summary["parts"] = {name: report(part) for name, part in parts.items()}
        trained = read_parts(runs)
        content = manifest(config, staged / FILES["text"], summary, trained)
        for name, part in said.items():
            if part:
                content[name] = {"precision": "float32", **part, "file": FILES[name]}
        if held_out := {
            n: m for n, run in runs.items() if (m := read_metrics(run).get("held_out"))
        }:
            content["training"]["held_out"] = held_out
        write_manifest(staged, content)
        write_card(staged / "README.md", content, trained, summary, config.note)
        learned_from = corpora(trained)
        licences.write_license(staged, config.name, learned_from, licences.MINILM)
        load_bundle(staged)
        publish(staged, Path(config.folder))
    bundle = load_bundle(config.folder)
    print(f"{bundle.folder}: {megabytes(bundle):.1f} MB, sha256 {bundle.sha256}")


def fused_utterances(run: Path, context: int) -> int:
    """`context`, or 1 where the fusion model of this run reads no context."""
    head = fusion_head(read_metrics(run))
    return context if not head or head_class(head).READS_CONTEXT else 1


def told(run: Path) -> Measured:
    """Measurements and embeddings of a part whose run describes itself.

    Its metrics.json has `part` (its entry in the manifest but for the file), `dev`, `test` (name ->
    number) and, where `test` has several, `metric`: which of them `dev` is. Its embeddings are of
    people unheard in training.

    Raises:
        RecipeError: `metric` is missing or names no number of `test`.
    """
    metrics, known = read_metrics(run), clips(run / FILE)
    test = metrics["test"]
    name: str = metrics.get("metric") or (next(iter(test)) if len(test) == 1 else "")
    if name not in test:
        raise RecipeError(
            f"{run / METRICS}: metric is {name!r}; must be one of {', '.join(test)}, the one that"
            " dev is measured in"
        )
    embeddings = {split: known[split].embeddings for split in MEASURED}
    return Measured(name.replace("_", " "), float(metrics["dev"]), float(test[name]), embeddings)


def deployed(config: BundleConfig, parts: Mapping[str, Measured]) -> dict[str, Dialogues]:
    """MELD's dev and test as the bundle's own encoders see them, audio and visual simulated.

    With the clips that the fusion's training drew.
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


def calibrate(file: Path, splits: Mapping[str, Dialogues], context: int) -> dict[str, Any]:
    """The temperatures from dev, the calibration error before and after, and all weighted F1s.

    One temperature for each set of modalities, and one of all together for what else there may be.
    """
    network = Network(file)
    logits = {
        (split, seen): answers(network, data, context, seen)
        for split, data in splits.items()
        for seen in SETS
    }
    dev, everything = splits["dev"].labels, (True, True, True)
    temperatures = {modality_set(s): fit_temperature(logits["dev", s], dev) for s in SETS}
    errors: dict[str, dict[str, dict[str, float]]] = {}
    for (split, seen), found in logits.items():
        labels, name = splits[split].labels, modality_set(seen)
        errors.setdefault(split, {})[name] = {
            "before": metrics.calibration_error(labels, metrics.softmax(found)),
            "after": metrics.calibration_error(labels, metrics.softmax(found / temperatures[name])),
        }
    measured = edge.measure(
        lambda data, context, seen: logits[_split_of(data, splits), tuple(seen)], splits, context
    )
    return {
        "temperature": temperatures[modality_set(everything)],
        "temperatures": temperatures,
        "calibration_error": errors,
        "fusion": measured,
    }


def _split_of(data: Dialogues, splits: Mapping[str, Dialogues]) -> str:
    return next(name for name, found in splits.items() if found is data)


def report(part: Measured) -> dict[str, Any]:
    """A part's measurements, rounded, ready for YAML."""
    return {"metric": part.metric, "dev": round(part.dev, 4), "test": round(part.test, 4)}


def manifest(
    config: BundleConfig, text: Path, summary: Mapping[str, Any], parts: Mapping[str, CardPart]
) -> dict[str, Any]:
    """Everything in bundle.yaml but `files`."""
    measured, learned_from = summary["fusion"], corpora(parts)
    rounded = partial(round, ndigits=4)
    layers, heads, _ = attention_shape(text)
    prompt = open_prompt(Path(config.text))
    return {
        "format": FORMAT,
        "name": config.name,
        "version": config.version,
        "labels": list(LABELS),
        "languages": list(LANGUAGES),
        "anchors": {label: list(ANCHORS[label]) for label in LABELS},
        "text": {
            "kind": "cached",
            "file": FILES["text"],
            "tokenizer": {
                "file": "tokenizer.json",
                "start": BERT_ROLES.start,
                "separator": BERT_ROLES.separator,
                "mask": BERT_ROLES.mask,
                "speakers": list(BERT_ROLES.speakers),
            },
            "embedding": EMBEDDING,
            "max_tokens": prompt.max_tokens,
            "question": prompt.has_question,
            "layers": layers,
            "heads": heads,
            "precision": "float32",
        },
        "audio": audio_part(Path(config.audio)),
        "visual": {
            "kind": "crops",
            "file": FILES["visual"],
            "size": SIZE,
            "max_crops": MAX_CROPS,
            "embedding": CLIP_EMBEDDING,
            "precision": "float32",
        },
        "fusion": {
            "file": FILES["fusion"],
            "context": config.context,
            "causal": True,
            "precision": "float32",
        },
        "calibration": {
            "temperature": rounded(summary["temperature"]),
            "temperatures": {k: rounded(v) for k, v in summary["temperatures"].items()},
        },
        "training": {
            "data": [licences.terms(name).title for name in learned_from],
            "licence": licences.together(learned_from),
            "card": "README.md",
        },
        "metrics": {
            "note": "float32" + SIMULATED * bool(parts["fusion"].metrics.get("simulation")),
            "dev_weighted_f1": {k: rounded(v) for k, v in measured["dev_subsets"].items()},
            "test_weighted_f1": {k: rounded(v) for k, v in measured["test"].items()},
            "calibration_error": {
                split: {
                    seen: {when: rounded(value) for when, value in found.items()}
                    for seen, found in values.items()
                }
                for split, values in summary["calibration_error"].items()
            },
            "parts": summary["parts"],
        },
    }


def audio_part(run: Path) -> dict[str, Any]:
    """What the manifest says of the sound: a voice part as its training wrote, else log-mel."""
    log_mel = {
        "kind": "log-mel",
        "mel_bands": MEL_BANDS,
        "max_seconds": MAX_SECONDS,
        "embedding": CLIP_EMBEDDING,
    }
    part: dict[str, Any] = read_metrics(run).get("part", log_mel)
    return {"kind": part["kind"], "file": FILES["audio"], **part, "precision": "float32"}


def publish(staged: Path, folder: Path) -> None:
    """Put the files into place, the manifest last: a half-written bundle never passes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    for file in sorted(staged.iterdir(), key=lambda file: file.name == MANIFEST):
        shutil.copyfile(file, folder / file.name)


def megabytes(bundle: Bundle) -> float:
    """Size of all files in the bundle's folder."""
    return sum(file.stat().st_size for file in bundle.folder.iterdir() if file.is_file()) / 1e6
