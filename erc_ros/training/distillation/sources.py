"""Where `erc distill` finds a teacher's answers and the students' inputs.

Every source is a section of the recipe; a recipe has exactly one:

- `stored`: features of a real corpus, teacher's and students', made by `erc encode`;
- `clips`: the teacher's stored features, and the clips of a real corpus for a pretrained speech or
  video encoder that is fine-tuned whole (MAGTKD's first stage);
- `faces`: stored embeddings of descriptions, and FER+ pictures for the face network (DDVLM);
- `mosi`: CMU-MOSI's features, the real trimodal set that is at hand;
- `simulated`: the text encoder's answers on MELD, and clips and faces of other corpora with the
  same label. No benchmark.

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
from erc_ros.training.datasets import corpora, emodb, ferplus, ravdess
from erc_ros.training.datasets.mosi import LABELS as SENTIMENTS
from erc_ros.training.datasets.mosi import MosiConfig, read_mosi
from erc_ros.training.datasets.speech import together
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
from erc_ros.training.encoders.visual import model as face_model
from erc_ros.training.encoders.visual import train as face_training
from erc_ros.training.encoders.visual.model import FaceNetwork, FaceNetworkConfig
from erc_ros.training.engine.prediction import Floats, Indices
from erc_ros.training.engine.recipe import Recipe, RecipeError
from erc_ros.training.engine.runs import SPLITS, log_probabilities
from erc_ros.training.engine.trainer import TrainerConfig
from erc_ros.training.features.store import FeatureStore
from erc_ros.training.onnx import export_audio, export_face

SECTIONS = ("stored", "clips", "faces", "mosi", "simulated", "classifier", "teacher", "network")


@dataclass(frozen=True, slots=True)
class ClassifierConfig:
    """The section `classifier`: a network on stored features, the teacher's and the students'."""

    hidden: int = 128
    dropout: float = 0.3

    def __post_init__(self) -> None:
        if self.hidden < 1 or not 0 <= self.dropout < 1:
            raise ValueError(f"hidden ({self.hidden}) or dropout ({self.dropout}) is no size")


class FeatureNetwork(nn.Module):
    """Stored features (N, size) -> (N, hidden)."""

    def __init__(self, size: int, config: ClassifierConfig) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(size),
            nn.Dropout(config.dropout),
            nn.Linear(size, config.hidden),
            nn.ReLU(),
            nn.Dropout(config.dropout),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(N, size) -> (N, hidden)."""
        hidden: Tensor = self.layers(features)
        return hidden


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
class StoredConfig:
    """The section `stored`; {split} in a folder stands for train, dev and test."""

    corpus: str
    """As in `erc encode`: meld, iemocap-6, ..."""
    teacher: str
    """Feature store of the teacher, such as runs/features/meld-{split}-bundle-text."""
    audio: str = ""
    """Of a student; empty: no such student."""
    visual: str = ""


@dataclass(frozen=True, slots=True)
class ClipsConfig:
    """The section `clips`: pretrained encoders that learn from sound and pictures."""

    corpus: str
    """With clips: meld-clips, iemocap-6, ..."""
    teacher: str
    audio: str = ""
    """A Hugging Face speech encoder on this machine, such as facebook/data2vec-audio-base."""
    visual: str = ""
    """A Hugging Face video encoder, such as facebook/timesformer-base-finetuned-k400."""
    max_seconds: float = 12.0


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


@dataclass(frozen=True, eq=False)
class Listed:
    """What is labelled in a split: keys, labels (N,), files with sound, files with pictures."""

    keys: Sequence[str]
    labels: Indices
    clips: Sequence[Path | None]
    pictures: Sequence[Path | None]
    names: tuple[str, ...]


def read_tasks(recipe: Recipe) -> list[DistillationTask]:
    """The tasks of the recipe's source, one for each student.

    Raises:
        RecipeError, FileNotFoundError, ValueError: no such source, or its data are not usable.
    """
    sources: dict[str, Callable[[Recipe], list[DistillationTask]]] = {
        "stored": _stored,
        "clips": _clips,
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


def _stored(recipe: Recipe) -> list[DistillationTask]:
    config = recipe.section("stored", StoredConfig)
    listed = _listed(recipe, config.corpus)
    names = listed["train"].names
    result = []
    for modality in ("audio", "visual"):
        if folder := getattr(config, modality):
            features, labels, teacher, left = {}, {}, {}, {}
            for split, here in listed.items():
                taught, known = _store(config.teacher, split).take(here.keys)
                own, there = _store(folder, split).take(here.keys)
                both = known & there
                if not both.any():
                    raise RecipeError(
                        f"no utterance of {config.corpus} {split} is in {config.teacher} and in"
                        f" {folder}: encode the same corpus with both encoders"
                    )
                features[split], teacher[split] = own[both], taught[both]
                labels[split], left[split] = here.labels[both], int((~both).sum())
            said = _classified(recipe, modality, teacher, labels, names)
            result.append(_of_features(recipe, modality, features, labels, said, names, left))
    return result or _no_student("stored")


def _clips(recipe: Recipe) -> list[DistillationTask]:
    from erc_ros.training.encoders.audio.pretrained import SpeechEncoder, SpeechEncoderConfig
    from erc_ros.training.encoders.clips import ClipEncoder, ClipInputs, PretrainedNetwork, usable
    from erc_ros.training.encoders.visual.pretrained import VideoEncoder, VideoEncoderConfig

    config = recipe.section("clips", ClipsConfig)
    listed = _listed(recipe, config.corpus)
    makers: dict[str, Callable[[], ClipEncoder]] = {
        "audio": partial(
            SpeechEncoder, SpeechEncoderConfig(config.audio, max_seconds=config.max_seconds)
        ),
        "visual": partial(VideoEncoder, VideoEncoderConfig(config.visual)),
    }
    result = []
    for modality, make in makers.items():
        if not getattr(config, modality):
            continue
        encoder = make()
        inputs, labels, teacher, left = {}, {}, {}, {}
        for split, here in listed.items():
            taught, known = _store(config.teacher, split).take(here.keys)
            clips = here.pictures if modality == "visual" else here.clips
            good = usable(config.corpus, clips, encoder) & known
            chosen = [
                clip for clip, use in zip(clips, good, strict=True) if use and clip is not None
            ]
            if not chosen:
                raise RecipeError(
                    f"no clip of {config.corpus} {split} has {modality} and is in {config.teacher}"
                )
            inputs[split] = ClipInputs(config.corpus, chosen, encoder)
            labels[split], teacher[split] = here.labels[good], taught[good]
            left[split] = int((~good).sum())
        names = listed["train"].names
        said = _classified(recipe, modality, teacher, labels, names)
        parts = {s: TaskSplit(inputs[s], labels[s], *said[s]) for s in SPLITS}
        network = partial(PretrainedNetwork, make)
        result.append(
            DistillationTask(
                modality, network, encoder.dimension, names, parts, labels["train"], left
            )
        )
    return result or _no_student("clips")


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
    data = recipe.data
    clips = together([ravdess.load(data / "ravdess_speech_16k"), emodb.load(data / "emodb")]).clips
    versions = audio_training.all_versions(clips, how)
    labels = np.array([clip.label for clip in clips], np.int64)
    fold = audio_training.folds(clips)[audio_training.BUNDLE_FOLD]
    rows = {split: getattr(fold, split) for split in SPLITS}
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


def _listed(recipe: Recipe, corpus: str) -> dict[str, Listed]:
    listed = {}
    for split in SPLITS:
        read = corpora.read(corpus, recipe.data, split)
        labelled = [
            (conversation.key(utterance), utterance)
            for conversation in read.conversations
            for utterance in conversation.utterances
            if utterance.label is not None
        ]
        listed[split] = Listed(
            [key for key, _ in labelled],
            np.array([utterance.label for _, utterance in labelled], np.int64),
            [utterance.clip for _, utterance in labelled],
            [utterance.pictures for _, utterance in labelled],
            read.labels,
        )
    return listed


def _store(folder: str, split: str) -> FeatureStore:
    return FeatureStore(Path(folder.replace("{split}", split)))


def _no_student(section: str) -> list[DistillationTask]:
    raise RecipeError(f"section {section!r} names no student: give audio, visual or both")
