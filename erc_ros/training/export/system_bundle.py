"""`erc export RUN --bundle DIR`: export a trained system as a bundle for a robot.

RUN is the folder of `erc train config/systems/X.yaml`. Its last stage names the stages of its text,
audio and faces; their encoders are exported as ONNX, as the fusion already is. The exported fusion
is evaluated on the stages' features as on the robot: causally, over the last utterances.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from typing import Any

from erc_ros.encoders.audio import MEL_BANDS
from erc_ros.encoders.face import MAX_CROPS, SIZE
from erc_ros.encoders.text import PROMPT_VERSION, Turn, Vocabulary, WholePrompt
from erc_ros.inference.bundle import Bundle, load_bundle
from erc_ros.inference.inputs import SHORTEST_SOUND
from erc_ros.training.comparison.stored import FeaturesConfig, dialogues
from erc_ros.training.comparison.train import in_file_name
from erc_ros.training.datasets import corpora
from erc_ros.training.encoders.audio.emotion2vec import Emotion2vecEncoder
from erc_ros.training.encoders.audio.pretrained import SpeechEncoder
from erc_ros.training.encoders.features import FEATURES
from erc_ros.training.encoders.pretrained import Trainable
from erc_ros.training.encoders.robot import FacesEncoder, LogMelEncoder, network_kind
from erc_ros.training.encoders.sample import Sample
from erc_ros.training.encoders.text.pretrained import PretrainedTextEncoder
from erc_ros.training.encoders.visual.pretrained import VideoEncoder
from erc_ros.training.engine.history import RunHistory, whole_history
from erc_ros.training.engine.recipe import Recipe, RecipeError, read_kept
from erc_ros.training.engine.runs import BEST, MEASURED, METRICS, READING, read_json, read_metrics
from erc_ros.training.export.assembler import (
    FILES,
    BundleSpec,
    anchors_of,
    assemble,
    fused_utterances,
)
from erc_ros.training.export.card import CardPart, fusion_name
from erc_ros.training.export.encoders import export_encoder
from erc_ros.training.fusion.dialogues import Dialogues
from erc_ros.training.heads.base import MODALITIES
from erc_ros.training.systems.encoders import saved_encoder
from erc_ros.values.files import whole_folder
from erc_ros.values.utterance import SAMPLE_RATE

FEATURES_FOLDER = "features"
SCENES = (
    "Its visual encoder was trained on whole images, and a robot has faces: train on the "
    "corpus with faces (erc cut-faces)."
)
COMPLETE = (
    "Its fusion was trained on complete utterances only, as in the papers: without a face, a "
    "microphone or words, it is less accurate than a fusion that has learned from missing "
    "modalities. Give the recipe such rates: dropout: {conversation: [0.1, 0.25, 0.25], utterance: "
    "[0.1, 0.1, 0.2]}, and its rows all three modalities (seen)."
)
SPOKEN = (
    "Good day, Dr. O'Neill! How's it -- going?",
    "now feels <s1> [MASK] <mask> </s> [SEP]",
    "caf\u00e9 \u00fcber \u4f60\u597d \U0001f600 100,000.5%",
    "  ",
    "a" * 90 + " " + "word " * 40,
)
"""Difficult inputs of tokenizers: special tokens, other scripts, empty and long text."""


@dataclass(frozen=True, eq=False)
class Reading:
    """A stage's encoder of one seed: its folder and its labels."""

    stage: str
    folder: Path
    modality: str
    labels: tuple[str, ...]

    @property
    def features(self) -> str:
        """The folder of its features, with `{split}`."""
        return f"{self.folder / FEATURES_FOLDER}/{{split}}"

    def load(self) -> Trainable:
        """Load the encoder.

        Raises:
            ValueError, FileNotFoundError: files are missing, damaged, or of another encoder.
        """
        return saved_encoder(self.folder)

    def write(self, staged: Path) -> tuple[dict[str, Any], float]:
        """Write the encoder's files; return its manifest entry and its difference from torch."""
        encoder = self.load()
        file = staged / FILES[self.modality]
        difference = export_encoder(encoder, file)
        return {
            **_part(encoder, staged),
            "file": file.name,
            "precision": "float32",
            "embedding": encoder.dimension,
        }, difference

    def card(self, history: RunHistory) -> CardPart:
        """Return its part of the model card."""
        own, config = self.folder / "encoder" / "network.json", "config.json"
        kind = (
            read_json(own)["kind"]
            if own.is_file()
            else read_json(own.with_name(config))["model_type"]
        )
        measured = (self.folder / METRICS).is_file()
        how = "fine-tuned in" if measured else "as published, in"
        return CardPart(
            history,
            read_metrics(self.folder) if measured else {},
            f"{kind}, {how} the stage {self.stage}",
        )

    @property
    def source(self) -> Bundle | None:
        """The bundle from which the encoder is copied, if any."""
        return None


@dataclass(frozen=True, eq=False)
class TrainedSystem:
    """A trained system that can be exported.

    fusion: the folder with fusion.onnx. metrics: its metrics.json. readings: by modality. row: its
    name, "" for the row that is the system.
    """

    recipe: Recipe
    fusion: Path
    metrics: Mapping[str, Any]
    readings: Mapping[str, Reading]
    row: str = ""

    @property
    def name(self) -> str:
        """Return the default name of its bundle: kind, corpus and row."""
        parts = (self.recipe.kind, corpora.find(self.corpus).name, in_file_name(self.row))
        return "-".join(filter(None, parts))

    @property
    def corpus(self) -> str:
        """Name of the training corpus, as for `erc encode`."""
        sections = self.recipe.sections
        return str(sections.get("system", sections.get("features"))["corpus"])

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names, the same for all parts."""
        return self.readings["text"].labels


def read_system(run: Path, without: Sequence[str] = (), row: str = "") -> TrainedSystem:
    """Read a finished run for export.

    Args:
        without: modalities to omit.
        row: row of the last stage; "": the first one, which is the system.

    Raises:
        RecipeError: it is not a run of a system, not finished, offline, has several label sets, or
            a robot cannot run the encoder of a modality.
        FileNotFoundError: a file of the run is missing.
    """
    recipe = read_kept(run)
    stages = recipe.sections.get("stages")
    if not isinstance(stages, Mapping) or "system" not in recipe.sections:
        raise RecipeError(
            f"{run} is a run of kind {recipe.kind!r}, not of a system (config/systems): --bundle "
            "needs one; without it, erc export writes the ONNX file of a single network"
        )
    fusion = _row_of(run, list(stages), row) if row else _fusion_of(run, list(stages))
    metrics = read_metrics(fusion)
    reads = {name: stage for name, stage in dict(metrics["reads"]).items() if name not in without}
    if "text" not in reads:
        raise RecipeError(
            f"{run} reads no text: a bundle needs it, as its speakers are named there"
        )
    seed = int(metrics["seed"])
    readings = {name: _reading(run, stage, seed, name) for name, stage in reads.items()}
    labels = {reading.labels for reading in readings.values()}
    if len(labels) > 1:
        label_sets = "; ".join(f"{r.stage}: {', '.join(r.labels)}" for r in readings.values())
        raise RecipeError(f"{run}: its stages were trained for different labels ({label_sets})")
    return TrainedSystem(recipe, fusion, metrics, readings, row)


def _fusion_of(run: Path, stages: Sequence[str]) -> Path:
    for name in reversed(stages):
        if (run / "stages" / name / BEST / "fusion.onnx").is_file():
            return run / "stages" / name / BEST
    offline = sorted((run / "stages").glob("*/*offline*"))
    if offline:
        raise RecipeError(
            f"{run} was trained offline only ({offline[0].name}): it uses later utterances, "
            "which a robot does not have; add causal to the modes of the stage "
            f"{offline[0].parent.name} and give the same erc train again"
        )
    raise RecipeError(
        f"{run} has no stages/*/{BEST}/fusion.onnx: finish it with the same erc train first"
    )


def _row_of(run: Path, stages: Sequence[str], row: str) -> Path:
    """Return the best seed of a row on dev, causal."""
    rows: dict[str, list[tuple[float, Path]]] = {}
    for name in reversed(stages):
        for file in sorted((run / "stages" / name).glob("*/seed-*/fusion.onnx")):
            metrics = read_metrics(file.parent)
            rows.setdefault(str(metrics.get("row")), []).append(
                (float(metrics["dev"]), file.parent)
            )
        if rows:
            break
    if row not in rows:
        raise RecipeError(f"{run} has no causal row {row!r}; it has {', '.join(rows) or 'none'}")
    return max(rows[row], key=lambda each: each[0])[1]


def _reading(run: Path, stage: str, seed: int, modality: str) -> Reading:
    folder = run / "stages" / stage
    if (folder / f"seed-{seed}").is_dir():
        folder = folder / f"seed-{seed}"
    file = folder / READING
    if not file.is_file() or not (folder / "encoder").is_dir():
        raise RecipeError(
            f"{run}: the {modality} features come from the stage {stage}, which has no network "
            f"that a robot can run; give --without {modality}, a --row of the fusion that reads "
            "another one, or a recipe that trains one"
        )
    if network_kind(str(folder / "encoder")) == FEATURES:
        raise RecipeError(
            f"{run}: the stage {stage} reads published features of {modality}, which a "
            "robot does not have; train on words, audio or images instead"
        )
    content = read_json(file)
    if content.get("modality") != modality:
        raise RecipeError(f"{file} is of {content.get('modality')!r}, not of {modality}")
    return Reading(stage, folder, modality, tuple(map(str, content["labels"])))


def export_bundle(
    run: Path,
    folder: Path,
    data: Path,
    *,
    name: str = "",
    version: str = "1.0.0",
    context: int = 16,
    without: Sequence[str] = (),
    row: str = "",
    anchors: Mapping[str, tuple[float, float]] | None = None,
    system: TrainedSystem | None = None,
) -> tuple[Bundle, dict[str, float]]:
    """Write the bundle of a finished run to `folder`, atomically after all checks.

    Args:
        data: the folder of the data sets; temperatures are fitted on dev.
        name: of the bundle; "": that of `TrainedSystem`.
        context: number of utterances of the fusion's input, including the current one; always 1
            for a fusion model without context.
        without: modalities of the system to omit.
        row: as in `read_system`.
        anchors: label -> (valence, arousal), each in [-1, 1], in addition to ANCHORS or replacing
            it.
        system: the result of `read_system`, if available; `without` and `row` are then ignored.

    Returns:
        The bundle, and the largest difference of each of its networks from torch.

    Raises:
        RecipeError, ValueError, FileNotFoundError: the run cannot be exported.
        ArithmeticError: an exported network differs from torch.
    """
    system = system or read_system(run, without, row)
    anchors_of(system.labels, anchors or {})  # before the networks are exported
    splits = read_dialogues(system, data)
    with whole_folder(folder) as staged:
        encoders, differences = write_networks(system, staged)
        spec = BundleSpec(
            name or system.name,
            version,
            system.labels,
            encoders,
            fused_utterances(system.fusion, context),
            splits,
            anchors=anchors or {},
            metrics={"note": "float32, reference transcripts and speaker labels"},
            **origin(system),
        )
        assemble(staged, spec)
    return load_bundle(folder), differences


def write_networks(
    system: TrainedSystem, staged: Path
) -> tuple[dict[str, dict[str, Any]], dict[str, float]]:
    """Write the networks; return the encoders' manifest entries and differences from torch."""
    encoders: dict[str, dict[str, Any]] = {}
    differences = {"fusion": float(system.metrics["onnx_difference"])}
    for modality, reading in system.readings.items():
        encoders[modality], differences[modality] = reading.write(staged)
    copyfile(system.fusion / "fusion.onnx", staged / FILES["fusion"])
    return encoders, differences


def origin(system: TrainedSystem) -> dict[str, Any]:
    """Return fields of `BundleSpec`: sources of the networks, and scores of each alone."""
    parts = _card_parts(system)
    sources = {r.source.sha256: r.source for r in system.readings.values() if r.source is not None}
    scenes = "visual" in system.readings and "faces" not in system.corpus
    note = " ".join([SCENES] * scenes + [COMPLETE] * (not _has_seen_missing(system.metrics)))
    return {
        "parts": parts,
        "scores": {
            name: {
                "metric": "weighted F1",
                **{split: _own_f1(part, split) for split in MEASURED},
            }
            for name, part in parts.items()
            if name != "fusion"
        },
        "sources": list(sources.values()),
        "training": {
            "system": system.recipe.kind,
            "corpus": system.corpus,
            **({"note": note} if note else {}),
        },
        "note": note,
    }


def _has_seen_missing(metrics: Mapping[str, Any]) -> bool:
    """Whether modalities were removed in the training of a fusion; as in `train_head`."""
    settings = metrics.get("settings", {})
    rates = settings.get("dropout", {})
    seen = settings.get("row", {}).get("seen", MODALITIES)
    missing = any(rates.get("conversation", ())) or any(rates.get("utterance", ()))
    return missing and len(seen) == len(MODALITIES)


def read_dialogues(system: TrainedSystem, data: Path) -> dict[str, Dialogues]:
    """Return dev and test as embeddings of the system's encoders.

    Raises:
        FileNotFoundError: the corpus is not in `data`.
        RecipeError: the corpus has other labels than the system.
    """
    folders = {modality: reading.features for modality, reading in system.readings.items()}
    config = FeaturesConfig(system.corpus, **folders)
    splits = {}
    for split in MEASURED:
        read = corpora.read(system.corpus, data, split)
        if read.labels != system.labels:
            raise RecipeError(
                f"{system.corpus} in {data} has the labels {', '.join(read.labels)}, the system "
                f"was trained for {', '.join(system.labels)}"
            )
        splits[split] = dialogues(read, config)
    return splits


def _own_f1(part: CardPart, split: str) -> float:
    """Return the weighted F1 of an encoder's own classifier; NaN if it was not fine-tuned."""
    score = part.metrics.get(split, float("nan"))
    return round(float(score["weighted_f1"] if isinstance(score, Mapping) else score), 4)


def _part(encoder: Trainable, staged: Path) -> dict[str, Any]:
    """Return the manifest's entry of an encoder without its file; write the tokenizer."""
    if isinstance(encoder, PretrainedTextEncoder):
        return _text_part(encoder, staged)
    if isinstance(encoder, SpeechEncoder | Emotion2vecEncoder):
        if encoder.rate != SAMPLE_RATE:
            raise ValueError(
                f"{encoder.name} takes {encoder.rate} Hz, the robot has {SAMPLE_RATE} Hz"
            )
        if encoder.shortest > SHORTEST_SOUND:
            raise ValueError(
                f"{encoder.name} needs {encoder.shortest} samples, the robot has utterances from "
                f"{SHORTEST_SOUND} samples on"
            )
        return {
            "kind": "waveform",
            "max_seconds": encoder.config.max_seconds,
            # emotion2vec's network normalizes the waveform itself.
            "normalise": isinstance(encoder, SpeechEncoder) and encoder.normalises,
        }
    if isinstance(encoder, LogMelEncoder):
        return {
            "kind": "log-mel",
            "mel_bands": MEL_BANDS,
            "max_seconds": encoder.config.max_seconds,
        }
    if isinstance(encoder, FacesEncoder):
        return {"kind": "crops", "size": SIZE, "max_crops": MAX_CROPS}
    assert isinstance(encoder, VideoEncoder)
    mean, std = encoder.normalisation
    return {
        "kind": "clip",
        "size": encoder.side,
        "frames": encoder.frames,
        "mean": list(mean),
        "std": list(std),
    }


def _text_part(encoder: PretrainedTextEncoder, staged: Path) -> dict[str, Any]:
    config, roles = encoder.config, encoder.roles
    file = staged / "tokenizer.json"
    encoder.tokenizer.backend_tokenizer.save(str(file))
    prompt = WholePrompt(
        Vocabulary.from_file(file, roles), encoder.max_tokens, config.prompt, config.history
    )
    window: tuple[tuple[int, ...], ...] = ()
    turns: list[Turn] = []
    for number, text in enumerate(SPOKEN):
        turn = Turn(number % 3, text)
        if not text.strip():
            continue  # empty text, which the robot skips
        turns.append(turn)
        window = prompt.slide(window, turn)
        if prompt.assemble(window) != encoder.tokens(Sample("", tuple(turns))):
            raise ValueError(
                f"{encoder.name}: its tokenizer encodes {text[:40]!r} differently on the robot"
            )
    return {
        "kind": "prompt",
        "tokenizer": {
            "file": file.name,
            "start": roles.start,
            "separator": roles.separator,
            "mask": roles.mask,
            "speakers": list(roles.speakers),
        },
        "prompt": config.prompt,
        "prompt_version": PROMPT_VERSION,
        "history": config.history,
        "max_tokens": encoder.max_tokens,
    }


def _card_parts(system: TrainedSystem) -> dict[str, CardPart]:
    commands = whole_history(system.recipe.out).commands
    history = RunHistory(commands, (system.corpus,))
    parts = {modality: reading.card(history) for modality, reading in system.readings.items()}
    parts["fusion"] = CardPart(history, system.metrics, f"{fusion_name(system.metrics)}, causal")
    return parts
