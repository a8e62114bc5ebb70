"""Assemble a model bundle from trained parts: quantize, choose, calibrate, measure, describe.

Every part is measured as float32 and as int8; int8 is taken where it loses at most `largest_loss`
on dev (and, for the convolutions, where it is faster as well), and in any case where float32 would
be a file above `largest_file`. The temperature is fitted on dev with the parts as chosen. Test is
looked at once, for the card.
"""

from __future__ import annotations

import json
import platform
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from erc_ros.inference.backend import Network
from erc_ros.inference.bundle import FORMAT, MANIFEST, Bundle, load_bundle
from erc_ros.training import fusion_training, metrics
from erc_ros.training.bundle import fix_output, write_manifest
from erc_ros.training.calibration import fit_temperature
from erc_ros.training.card import write_card
from erc_ros.training.datasets.utterances import LABELS
from erc_ros.training.fusion_training import Dialogues
from erc_ros.training.part_tests import (
    Inputs,
    Measured,
    PartTest,
    audio_test,
    face_test,
    measure_part,
    side_by_side,
    text_test,
)
from erc_ros.training.quantization import quantize_dynamic, quantize_static, quantize_text
from erc_ros.training.recipe import Recipe
from erc_ros.training.simulation import Weakness, simulate
from erc_ros.training.text_evaluation import softmax

ANCHORS = {
    "neutral": (0.0, 0.0),
    "surprise": (0.2, 0.8),
    "fear": (-0.6, 0.7),
    "sadness": (-0.7, -0.4),
    "joy": (0.8, 0.5),
    "disgust": (-0.7, 0.3),
    "anger": (-0.6, 0.8),
}
"""Valence and arousal of each label, set by hand after the circumplex of affect (Russell 1980)."""
DATA = [
    "MELD text and labels (train)",
    "EmotionLines votes (train)",
    "GoEmotions (train)",
    "RAVDESS speech",
    "EmoDB",
    "FER2013 with FER+ votes (train)",
]
LICENCE = "research and other non-commercial use only (RAVDESS: CC BY-NC-SA 4.0); see the card"
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
    max_tokens: int = 96
    largest_loss: float = 0.005
    """Of the metric on dev (0..1) that int8 may cost."""
    largest_file: float = 50.0
    """MB; a part that is larger as float32 becomes int8 whatever it costs, and the card says so."""

    def __post_init__(self) -> None:
        if not 0 <= self.largest_loss < 1:
            raise ValueError(f"largest_loss is {self.largest_loss}, must be in [0, 1)")
        if not self.largest_file > 0:
            raise ValueError(f"largest_file is {self.largest_file} MB, must be above 0")


@dataclass(frozen=True, eq=False)
class Part:
    """A part as it goes into the bundle, and what was measured to choose it."""

    file: str
    chosen: Measured
    measured: list[Measured]
    metric: str
    embeddings: dict[str, NDArray[np.float32]]


def train(recipe: Recipe) -> None:
    """`erc train config/training/bundle.yaml`.

    Raises:
        RecipeError, FileNotFoundError: the recipe, the data or a trained part is not usable.
    """
    recipe.refuse_other_sections({"bundle", "simulation"})
    config = recipe.section("bundle", BundleConfig)
    weakness = recipe.section("simulation", Weakness)
    folder = Path(config.folder)
    with tempfile.TemporaryDirectory() as scratch:
        staged = Path(scratch)
        parts = {
            "text": encoder(
                staged, "text.onnx", Path(config.text), quantize_text, "int8-dynamic",
                text_test(Path(config.text), recipe.data, config.max_tokens), config,
            ),
            "audio": encoder(
                staged, "audio.onnx", Path(config.audio), None, "int8-static",
                audio_test(Path(config.audio), recipe.data), config,
            ),
            "visual": encoder(
                staged, "face.onnx", Path(config.visual), None, "int8-static",
                face_test(Path(config.visual), recipe.data), config,
            ),
        }  # fmt: skip
        splits = deployed(config, weakness, parts)
        parts["fusion"] = fusion(staged, Path(config.fusion), splits, config)
        tokenizer = Path(config.text) / "tokenizer.json"
        shutil.copyfile(tokenizer, staged / "tokenizer.json")
        summary = calibrate(staged / "fusion.onnx", splits, config.context)
        summary["parts"] = {name: report(part) for name, part in parts.items()}
        summary["runs"] = {
            name: _metrics(run)
            for name, run in (
                ("text", config.text),
                ("audio", config.audio),
                ("visual", config.visual),
                ("fusion", config.fusion),
            )
        }
        summary["machine"] = f"{platform.machine()}, one thread, {platform.system()}"
        write_manifest(staged, manifest(config, parts, summary))
        write_card(
            staged / "README.md",
            config.name,
            config.version,
            summary,
            config.context,
            config.largest_loss,
            config.largest_file,
        )
        load_bundle(staged)
        publish(staged, folder)
    bundle = load_bundle(folder)
    print(f"{folder}: {megabytes(bundle):.1f} MB, sha256 {bundle.sha256}")


def encoder(
    staged: Path,
    name: str,
    run: Path,
    quantize: Callable[[Path, Path], None] | None,
    precision: str,
    test: PartTest,
    config: BundleConfig,
) -> Part:
    """Measure an encoder as float32 and int8 and put the better one into `staged` under `name`.

    quantize: None means statically, with the calibration inputs of the test.
    """
    source, smaller = staged / f"float-{name}", staged / f"int8-{name}"
    shutil.copyfile(run / name, source)
    if quantize is None:
        quantize_static(source, smaller, test.inputs["calibration"])
    else:
        quantize(source, smaller)
    before, embedded = measure_part(test, source, "float32")
    after, embedded_after = measure_part(test, smaller, precision)
    before, after = timed([before, after], [source, smaller], test.inputs["dev"][:200])
    # The text encoder's size is what makes the bundle small; a convolution has to be faster, too.
    good = before.dev - after.dev <= config.largest_loss
    good = good and (quantize is not None or after.milliseconds < before.milliseconds)
    if good or before.bytes > config.largest_file * 1e6:
        chosen, embedded = after, embedded_after
        source.unlink()
        smaller.rename(staged / name)
    else:
        chosen = before
        smaller.unlink()
        source.rename(staged / name)
    fix_output(staged / name, "embedding", EMBEDDING if name == "text.onnx" else CLIP_EMBEDDING)
    chosen = replace(chosen, bytes=(staged / name).stat().st_size)
    part = Part(name, chosen, [before, after], test.metric, embedded)
    print(f"{name}: {part.metric} {[asdict(m) for m in part.measured]}, taken: {chosen.precision}")
    return part


def timed(
    measured: Sequence[Measured], files: Sequence[Path], inputs: Sequence[Inputs]
) -> list[Measured]:
    """The measurements with their speed, taken side by side."""
    speeds = side_by_side(files, inputs)
    return [replace(m, milliseconds=ms) for m, ms in zip(measured, speeds, strict=True)]


def deployed(
    config: BundleConfig, weakness: Weakness, parts: Mapping[str, Part]
) -> dict[str, Dialogues]:
    """MELD's dev and test as the bundle's own encoders see them, audio and visual simulated.

    The same draws as in the fusion's training, with the mismatch that was found there.
    """
    text = load_file(Path(config.text) / "embeddings.safetensors")
    labels = {split: text[f"{split}.label"] for split in fusion_training.SPLITS}
    found = _metrics(config.fusion)["simulation"]
    drawn = {}
    for name, run, seed in (
        ("audio", config.audio, weakness.draws),
        ("visual", config.visual, weakness.draws + 1),
    ):
        known = fusion_training.clips(Path(run) / "embeddings.safetensors")
        clips = {
            split: replace(known[split], embeddings=parts[name].embeddings[split])
            for split in ("dev", "test")
        }
        drawn[name] = simulate(labels, clips, found[name]["mismatch"], seed)
    return {
        split: Dialogues(
            text=parts["text"].embeddings[split],
            audio=drawn["audio"][split],
            visual=drawn["visual"][split],
            labels=labels[split],
            speakers=text[f"{split}.speaker"],
            first=np.arange(len(labels[split])) - text[f"{split}.index"],
        )
        for split in ("dev", "test")
    }


def _metrics(run: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(run) / "metrics.json").read_text(encoding="utf-8"))
    return found


def fusion(staged: Path, run: Path, splits: Mapping[str, Dialogues], config: BundleConfig) -> Part:
    """Measure the fusion as float32 and int8 and put the better one into `staged`."""
    source, smaller = staged / "float-fusion.onnx", staged / "int8-fusion.onnx"
    shutil.copyfile(run / "fusion.onnx", source)
    quantize_dynamic(source, smaller)
    measured = []
    for file, precision in ((source, "float32"), (smaller, "int8-dynamic")):
        network = Network(file)
        scores = {}
        for split, data in splits.items():
            predicted = answers(network, data, config.context).argmax(axis=1)
            scores[split] = metrics.weighted_f1(data.labels, predicted, len(LABELS))
        measured.append(Measured(precision, file.stat().st_size, scores["dev"], scores["test"]))
    rows = fusion_training.windows(splits["dev"].first, config.context)
    examples = [_inputs(splits["dev"], row[None], (True, True, True)) for row in rows[:200]]
    measured = timed(measured, [source, smaller], examples)
    before, after = measured
    good = before.dev - after.dev <= config.largest_loss
    chosen = after if good and after.milliseconds < before.milliseconds else before
    taken, left = (smaller, source) if chosen is after else (source, smaller)
    left.unlink()
    taken.rename(staged / "fusion.onnx")
    print(f"fusion.onnx: {[asdict(m) for m in measured]}, taken: {chosen.precision}")
    return Part("fusion.onnx", chosen, measured, "weighted F1 (simulated)", {})


def answers(
    network: Network,
    data: Dialogues,
    context: int,
    modalities: tuple[bool, ...] = (True, True, True),
) -> NDArray[np.float32]:
    """Logits (N, C) of the exported fusion for every utterance, as the recogniser gets them."""
    rows = fusion_training.windows(data.first, context)
    pieces = np.array_split(rows, max(1, len(rows) // 64))
    found = [network(_inputs(data, piece, modalities))["logits"][:, -1] for piece in pieces]
    return np.concatenate(found)


def _inputs(
    data: Dialogues, rows: NDArray[np.int64], modalities: tuple[bool, ...]
) -> dict[str, NDArray[Any]]:
    seen = (rows >= 0)[..., None] & np.array(modalities)
    tensors = fusion_training.window_inputs(data, rows, seen)
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def calibrate(file: Path, splits: Mapping[str, Dialogues], context: int) -> dict[str, Any]:
    """The temperature from dev, the calibration error before and after, and all weighted F1s."""
    network = Network(file)
    dev = splits["dev"]
    temperature = fit_temperature(answers(network, dev, context), dev.labels)
    errors: dict[str, dict[str, float]] = {}
    for split, data in splits.items():
        logits = answers(network, data, context)
        errors[split] = {
            "before": metrics.calibration_error(data.labels, softmax(logits)),
            "after": metrics.calibration_error(data.labels, softmax(logits / temperature)),
        }
    measured = fusion_training.measure(
        lambda data, context, seen: answers(network, data, context, seen), splits, context
    )
    return {"temperature": temperature, "calibration_error": errors, "fusion": measured}


def report(part: Part) -> dict[str, Any]:
    """A part's measurements, rounded, ready for YAML."""
    return {
        "metric": part.metric,
        "taken": part.chosen.precision,
        **{
            m.precision: {
                "dev": round(m.dev, 4),
                "test": round(m.test, 4),
                "megabytes": round(m.bytes / 1e6, 2),
                "milliseconds": round(m.milliseconds, 2),
            }
            for m in part.measured
        },
    }


def manifest(
    config: BundleConfig, parts: Mapping[str, Part], summary: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything in bundle.yaml but `files`."""
    text, audio, visual, head = (parts[n] for n in ("text", "audio", "visual", "fusion"))
    measured = summary["fusion"]
    rounded = partial(round, ndigits=4)
    return {
        "format": FORMAT,
        "name": config.name,
        "version": config.version,
        "labels": list(LABELS),
        "anchors": {label: list(ANCHORS[label]) for label in LABELS},
        "sample_rate": 16000,
        "text": {
            "file": text.file,
            "tokenizer": "tokenizer.json",
            "embedding": EMBEDDING,
            "max_tokens": config.max_tokens,
            "precision": text.chosen.precision,
        },
        "audio": {
            "file": audio.file,
            "mel_bands": MEL_BANDS,
            "max_seconds": MAX_SECONDS,
            "embedding": CLIP_EMBEDDING,
            "precision": audio.chosen.precision,
        },
        "visual": {
            "file": visual.file,
            "size": SIZE,
            "max_crops": MAX_CROPS,
            "embedding": CLIP_EMBEDDING,
            "precision": visual.chosen.precision,
        },
        "fusion": {
            "file": head.file,
            "context": config.context,
            "causal": True,
            "precision": head.chosen.precision,
        },
        "temperature": rounded(summary["temperature"]),
        "training": {"data": DATA, "licence": LICENCE, "card": "README.md"},
        "metrics": {
            "note": "audio and visual of MELD are simulated; no benchmark but text alone",
            "meld_dev_weighted_f1": {k: rounded(v) for k, v in measured["dev_subsets"].items()},
            "meld_test_weighted_f1": {k: rounded(v) for k, v in measured["test"].items()},
            "calibration_error": {
                split: {when: rounded(value) for when, value in values.items()}
                for split, values in summary["calibration_error"].items()
            },
            "parts": summary["parts"],
        },
    }


def publish(staged: Path, folder: Path) -> None:
    """Put the files into place, the manifest last: a half-written bundle never passes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    for file in sorted(staged.iterdir(), key=lambda file: file.name == MANIFEST):
        shutil.copyfile(file, folder / file.name)


def megabytes(bundle: Bundle) -> float:
    """Size of all files in the bundle's folder."""
    return sum(file.stat().st_size for file in bundle.folder.iterdir() if file.is_file()) / 1e6
