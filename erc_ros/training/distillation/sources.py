"""Where `erc distill` finds a teacher's answers and the students' inputs.

Every source is a section of the recipe; a recipe has exactly one:

- `faces`: stored embeddings of descriptions, and FER+ pictures for the face network (DDVLM);
- `mosi`: CMU-MOSI's features, the real trimodal set that is at hand;
- `simulated`: the text encoder's answers on MELD, and clips and faces of other corpora with the
  same label. No benchmark.

The systems of the papers have their distillation as stages of their own (`training.systems`).

A teacher with stored features but without answers gets a classifier first, trained on the labels
as the section `teacher` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import Tensor, nn

from erc_ros.encoders.audio import MEL_BANDS
from erc_ros.encoders.face import SIZE
from erc_ros.training.datasets import ferplus
from erc_ros.training.datasets.held_out import acted_speech, new_speakers
from erc_ros.training.datasets.mosi import LABELS as SENTIMENTS
from erc_ros.training.datasets.mosi import MosiConfig, read_mosi
from erc_ros.training.datasets.utterances import LABELS
from erc_ros.training.distillation.task import (
    DistillationConfig,
    DistillationLoss,
    DistillationTask,
    TaskSplit,
    predict,
    train_student,
)
from erc_ros.training.encoders.audio import model as audio_model
from erc_ros.training.encoders.audio import train as audio_training
from erc_ros.training.encoders.audio.model import AudioNetwork, AudioNetworkConfig
from erc_ros.training.encoders.augmentation import (
    FaceAugmentation,
    SpeechAugmentation,
    augment_faces,
    hide_parts,
)
from erc_ros.training.encoders.features import ClassifierConfig, FeatureNetwork
from erc_ros.training.encoders.visual import model as face_model
from erc_ros.training.encoders.visual import train as face_training
from erc_ros.training.encoders.visual.model import FaceNetwork, FaceNetworkConfig
from erc_ros.training.engine.prediction import Floats, Indices
from erc_ros.training.engine.recipe import Recipe, RecipeError
from erc_ros.training.engine.runs import SPLITS, log_probabilities
from erc_ros.training.engine.trainer import TrainerConfig
from erc_ros.training.features.store import FeatureStore
from erc_ros.training.onnx import export_audio, export_face

SECTIONS = ("faces", "mosi", "simulated", "classifier", "teacher", "network")


@dataclass(frozen=True, eq=False)
class StoredInputs:
    """Features (N, size) as they are."""

    features: Floats

    def __len__(self) -> int:
        return len(self.features)

    def __call__(self, rows: Indices, generator: np.random.Generator | None) -> dict[str, Tensor]:
        """features (n, size)."""
        return {"features": torch.from_numpy(self.features[rows])}


@dataclass(frozen=True, slots=True)
class FacesConfig:
    """The section `faces`; {split} in `teacher` stands for train, valid and test of FER+."""

    teacher: str = "runs/descriptions/store"
    """Feature store of the descriptions' embeddings, keys "train/0", "valid/17", ..."""


@dataclass(frozen=True, slots=True)
class SimulatedConfig:
    """The section `simulated`."""

    teacher: str = "runs/text/best/embeddings.safetensors"
    """What `erc train config/training/text.yaml` leaves behind."""
    students: tuple[str, ...] = ("audio", "visual")
    audio_versions: int = 5
    """Of each clip, the clean one and others changed at random."""

    def __post_init__(self) -> None:
        if not self.students or set(self.students) - {"audio", "visual"}:
            raise ValueError(f"students {self.students} must be audio, visual or both")


def read_tasks(recipe: Recipe) -> list[DistillationTask]:
    """The tasks of the recipe's source, one for each student.

    Raises:
        RecipeError, FileNotFoundError, ValueError: no such source, or its data are not usable.
    """
    sources: dict[str, Callable[[Recipe], list[DistillationTask]]] = {
        "faces": _faces,
        "mosi": _mosi,
        "simulated": _simulated,
    }
    named = [name for name in sources if name in recipe.sections]
    if len(named) != 1:
        raise RecipeError(f"a distillation needs one of the sections {list(sources)}, not {named}")
    return sources[named[0]](recipe)


def _mosi(recipe: Recipe) -> list[DistillationTask]:
    config = recipe.section("mosi", MosiConfig)
    videos = read_mosi(recipe.data, config.dev_videos)
    labels = {split: part.labels for split, part in videos.items()}
    teacher = {split: part.features[0] for split, part in videos.items()}
    said = _classified(recipe, "", teacher, labels, SENTIMENTS)
    result = []
    for m, modality in ((1, "audio"), (2, "visual")):
        own = {split: part.features[m] for split, part in videos.items()}
        result.append(_of_features(recipe, modality, own, labels, said, SENTIMENTS))
    return result


def _faces(recipe: Recipe) -> list[DistillationTask]:
    config = recipe.section("faces", FacesConfig)
    network = recipe.section("network", FaceNetworkConfig)
    how = FaceAugmentation()
    data = ferplus.load(recipe.data / "fer2013plus")
    inputs, labels, teacher, left = {}, {}, {}, {}
    for split, official in zip(SPLITS, ferplus.SPLITS, strict=True):
        faces = getattr(data, official)
        keys = [f"{official}/{number}" for number in range(len(faces.labels))]
        described, there = _store(config.teacher, official).take(keys)
        used = there & (faces.labels >= 0)
        if not used.any():
            raise RecipeError(f"{config.teacher} describes no FER+ picture of {official}")
        inputs[split] = FaceInputs(faces.pictures[used], how)
        labels[split] = face_training.meld_labels(faces.labels[used])
        teacher[split], left[split] = described[used], int((~used).sum())
    said = _classified(recipe, "visual", teacher, labels, LABELS)
    parts = {s: TaskSplit(inputs[s], labels[s], *said[s]) for s in SPLITS}
    make = partial(FaceNetwork, network)
    width = face_model.EMBEDDING
    truth = labels["train"]
    return [DistillationTask("visual", make, width, LABELS, parts, truth, left, _export_face)]


def _simulated(recipe: Recipe) -> list[DistillationTask]:
    config = recipe.section("simulated", SimulatedConfig)
    file = Path(config.teacher)
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} is missing: train the teacher first (erc train config/training/text.yaml)"
        )
    try:
        said = load_file(file)
    except SafetensorError as error:
        raise RecipeError(f"{file} is no safetensors file: {error}") from error
    wanted = {f"{split}.{name}" for split in SPLITS for name in ("logits", "embedding", "label")}
    if missing := sorted(wanted - said.keys()):
        raise RecipeError(f"{file} lacks {missing[:3]}: it is not what the text training leaves")
    makers = {"audio": _simulated_audio, "visual": _simulated_faces}
    result = []
    for modality in config.students:
        make, width, inputs, labels = makers[modality](recipe, config)
        parts = {
            split: TaskSplit(
                inputs[split],
                labels[split],
                said[f"{split}.logits"],
                said[f"{split}.embedding"],
                simulated=True,
            )
            for split in SPLITS
        }
        truth = said["train.label"]
        if alone := set(labels["train"].tolist()) - set(truth.tolist()):
            names = [LABELS[label] for label in alone]
            raise RecipeError(f"{file} has no utterance of {names} to pair with {modality}")
        export = _export_audio if modality == "audio" else _export_face
        result.append(DistillationTask(modality, make, width, LABELS, parts, truth, {}, export))
    return result


def _simulated_audio(recipe: Recipe, config: SimulatedConfig) -> tuple[Any, ...]:
    how = SpeechAugmentation(variants=config.audio_versions)
    clips = acted_speech(recipe.data).clips
    versions = audio_training.all_versions(clips, how)
    labels = np.array([clip.label for clip in clips], np.int64)
    speakers = new_speakers(clips)
    rows = {split: speakers.rows(clips, split) for split in SPLITS}
    inputs = {s: SpeechInputs([versions[row] for row in rows[s]], how) for s in SPLITS}
    make = partial(AudioNetwork, AudioNetworkConfig())
    return make, audio_model.EMBEDDING, inputs, {s: labels[rows[s]] for s in SPLITS}


def _simulated_faces(recipe: Recipe, config: SimulatedConfig) -> tuple[Any, ...]:
    data = ferplus.load(recipe.data / "fer2013plus")
    inputs, labels = {}, {}
    for split, official in zip(SPLITS, ferplus.SPLITS, strict=True):
        faces = getattr(data, official)
        known = faces.labels >= 0
        inputs[split] = FaceInputs(faces.pictures[known], FaceAugmentation())
        labels[split] = face_training.meld_labels(faces.labels[known])
    make = partial(FaceNetwork, FaceNetworkConfig())
    return make, face_model.EMBEDDING, inputs, labels


@dataclass(frozen=True, eq=False)
class SpeechInputs:
    """Log-mel features of clips, several versions of each; see `audio.all_versions`."""

    versions: Sequence[Sequence[audio_training.Features]]
    how: SpeechAugmentation

    def __len__(self) -> int:
        return len(self.versions)

    def __call__(self, rows: Indices, generator: np.random.Generator | None) -> dict[str, Tensor]:
        """features (n, T, 64), frames (n,)."""
        examples = []
        for row in rows.tolist():
            versions = self.versions[row]
            if generator is None:
                examples.append(versions[0].astype(np.float32))
            else:
                version = versions[int(generator.integers(len(versions)))].astype(np.float32)
                examples.append(hide_parts(version, self.how, generator))
        features, frames = audio_model.pad(examples)
        return {"features": features, "frames": frames}


@dataclass(frozen=True, eq=False)
class FaceInputs:
    """Pictures (N, 48, 48) uint8."""

    pictures: np.ndarray
    how: FaceAugmentation

    def __len__(self) -> int:
        return len(self.pictures)

    def __call__(self, rows: Indices, generator: np.random.Generator | None) -> dict[str, Tensor]:
        """faces (n, 1, 48, 48)."""
        faces = face_training.as_input(torch.from_numpy(self.pictures[rows]))
        if generator is not None:
            draws = torch.Generator().manual_seed(int(generator.integers(1 << 62)))
            faces = augment_faces(faces, self.how, draws)
        return {"faces": faces.contiguous(memory_format=torch.channels_last)}


def _export_audio(encoder: nn.Module, out: Path) -> None:
    export_audio(encoder, out / "audio.onnx", MEL_BANDS)


def _export_face(encoder: nn.Module, out: Path) -> None:
    export_face(encoder, out / "face.onnx", SIZE)


def _classified(
    recipe: Recipe,
    modality: str,
    features: Mapping[str, Floats],
    labels: Mapping[str, Indices],
    names: tuple[str, ...],
) -> dict[str, tuple[Floats, Floats]]:
    """A teacher's answers (logits, features) per split: a classifier on its stored features.

    The features that it teaches are its own hidden layer, which is where it tells labels apart.
    """
    config = recipe.section("distillation", DistillationConfig)
    trainer = TrainerConfig(epochs=20, batch_size=64, learning_rate=1e-3, weight_decay=0.05)
    if "teacher" in recipe.sections:
        trainer = recipe.section("teacher", TrainerConfig)
    network = recipe.section("classifier", ClassifierConfig)
    size = features["train"].shape[1]
    nothing = {s: np.zeros((len(labels[s]), 1), np.float32) for s in SPLITS}
    parts = {
        s: TaskSplit(StoredInputs(features[s]), labels[s], nothing[s], nothing[s]) for s in SPLITS
    }
    make = partial(FeatureNetwork, size, network)
    task = DistillationTask("teacher", make, network.hidden, names, parts, labels["train"], {})
    alone = DistillationLoss(response=0.0, feature=0.0)
    seeded = replace(trainer, seed=config.seeds[0])  # one teacher for all seeds of the students
    model = train_student(task, config, alone, seeded, recipe.out / modality / "teacher")
    said = {}
    for split in SPLITS:
        hidden, probabilities = predict(model, parts[split].inputs)
        said[split] = (log_probabilities(probabilities), hidden)
    return said


def _of_features(
    recipe: Recipe,
    modality: str,
    features: Mapping[str, Floats],
    labels: Mapping[str, Indices],
    said: Mapping[str, tuple[Floats, Floats]],
    names: tuple[str, ...],
    left_out: Mapping[str, int] | None = None,
) -> DistillationTask:
    network = recipe.section("classifier", ClassifierConfig)
    parts = {s: TaskSplit(StoredInputs(features[s]), labels[s], *said[s]) for s in SPLITS}
    make = partial(FeatureNetwork, features["train"].shape[1], network)
    return DistillationTask(
        modality, make, network.hidden, names, parts, labels["train"], left_out or {}
    )


def _store(folder: str, split: str) -> FeatureStore:
    return FeatureStore(Path(folder.replace("{split}", split)))
