"""Stages that make embeddings: an encoder is fine-tuned, or used without training.

Results of such a stage, for every seed:

    best.safetensors, training.json    of the training loop (`engine.trainer`)
    encoder/                           the encoder as a Hugging Face folder (safetensors)
    head.safetensors                   its classifier: weight (C, d), bias (C,)
    reading.json                       settings: prompt, token position, maximum length; labels
    features/{train,dev,test}          feature stores: embeddings of every utterance
    answers/{train,dev,test}           feature stores: logits
    logits.npz, metrics.json           dev and test, for `erc evaluate` and `erc table`

A student uses the features and the logits of its teacher's stage (MAGTKD, eq. 6-14): the teacher is
the fine-tuned encoder itself.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch import Tensor, nn

from erc_ros.encoders.text import PROMPT_VERSION, prompt_of_version
from erc_ros.training.datasets.corpora import UnusableMediaError
from erc_ros.training.distillation.task import (
    DistillationConfig,
    DistillationLoss,
    DistillationTask,
    ModelInputs,
    Student,
    TaskSplit,
    fit_student,
)
from erc_ros.training.ema import SelfDistillationConfig
from erc_ros.training.encoders.audio.pretrained import SpeechEncoderConfig
from erc_ros.training.encoders.clips import PretrainedNetwork
from erc_ros.training.encoders.pretrained import Trainable
from erc_ros.training.encoders.sample import Sample
from erc_ros.training.encoders.text.pretrained import TextEncoderConfig
from erc_ros.training.encoders.trainable import CONFIGS, make_encoder
from erc_ros.training.encoders.visual.pretrained import VideoEncoder, VideoEncoderConfig
from erc_ros.training.engine.distributed import aside
from erc_ros.training.engine.recipe import build
from erc_ros.training.engine.runs import (
    MEASURED,
    READING,
    SPLITS,
    Predicted,
    plain,
    read_json,
    write_json,
    write_run,
)
from erc_ros.training.engine.trainer import TrainerConfig, set_seeds
from erc_ros.training.features.encode import encode_split
from erc_ros.training.features.store import FeatureStore, create, write_shard
from erc_ros.training.systems.material import Material, Utterances
from erc_ros.training.systems.stages import Work

FEATURES, ANSWERS, ENCODER = "features", "answers", "encoder"
DECODED = "decoded"
"""Folder with frames of clips while a stage runs, as inputs of its video encoder."""
HEAD = "head.safetensors"
ALONE = DistillationLoss(response=0.0, feature=0.0)
CHOICE = DistillationConfig(metric="weighted_f1")


@dataclass(frozen=True, slots=True)
class TextStage:
    """Fine-tune any text encoder of Hugging Face on the labels."""

    encoder: TextEncoderConfig
    trainer: TrainerConfig
    dropout: float = 0.1
    """Dropout before the classifier."""
    self_distillation: SelfDistillationConfig | None = None
    """Self-distillation from its moving average (DDVLM, section 3.4)."""


@dataclass(frozen=True, slots=True)
class SpeechStage:
    """Fine-tune any waveform encoder of Hugging Face, with or without a teacher."""

    encoder: SpeechEncoderConfig
    trainer: TrainerConfig
    dropout: float = 0.0
    loss: DistillationLoss = field(default_factory=DistillationLoss)
    """Weights of the losses with a teacher; without a teacher only labels are used."""


@dataclass(frozen=True, slots=True)
class VideoStage:
    """Fine-tune any video encoder of Hugging Face, with or without a teacher."""

    encoder: VideoEncoderConfig
    trainer: TrainerConfig
    dropout: float = 0.0
    loss: DistillationLoss = field(default_factory=DistillationLoss)


@dataclass(frozen=True, slots=True)
class FrozenSpeechStage:
    """A published waveform encoder without training, such as a converted emotion2vec."""

    encoder: SpeechEncoderConfig
    device: str = "cpu"


EncoderStage = TextStage | SpeechStage | VideoStage


def learn_alone(stage: EncoderStage, work: Work, stored: Sequence[str] = SPLITS) -> None:
    """Fine-tune on the labels.

    Args:
        stored: splits whose features and logits are written; train is for a stage that needs it.
    """
    for seed in work.seeds:
        _learn(stage, work, seed, None, stored)
    shutil.rmtree(work.folder / DECODED, ignore_errors=True)


def learn_from(teacher: str, stage: EncoderStage, work: Work) -> None:
    """Fine-tune on the labels and on the outputs of another stage (MAGTKD, eq. 6-14)."""
    for seed in work.seeds:
        _learn(stage, work, seed, work.read(teacher, seed))
    shutil.rmtree(work.folder / DECODED, ignore_errors=True)


def embed_only(stage: FrozenSpeechStage, work: Work) -> None:
    """Embed with a published encoder without training."""
    encoder = make_encoder(stage.encoder)
    encoder.model.to(stage.device)
    for name, split in work.material.splits.items():
        encode_split(work.material.corpus, split.split, encoder, work.folder / FEATURES / name)
    encoder.save(work.folder / ENCODER)
    save_reading(encoder, stage.encoder, work.material, work.folder)


def _learn(
    stage: EncoderStage,
    work: Work,
    seed: int,
    teacher: Path | None,
    stored: Sequence[str] = SPLITS,
) -> None:
    begun = work.begin(stage, seed)
    if begun is None:
        return
    folder, trainer, settings = begun
    material = work.material
    set_seeds(seed)  # the robot's networks start with random weights
    encoder = make_encoder(stage.encoder)
    kept = work.folder / DECODED
    rows = usable_rows(material, encoder, work.folder / "unusable.json", kept)
    inputs = partial(_inputs, encoder, kept)
    parts = {
        name: task_split(material.splits[name], rows[name], teacher, inputs, encoder.dimension)
        for name in ("train", "dev")
    }  # fmt: skip
    task = student_task(encoder.modality, lambda: PretrainedNetwork(lambda: encoder),
                        encoder.dimension, material, parts)  # fmt: skip
    loss = ALONE if teacher is None or isinstance(stage, TextStage) else stage.loss
    average = stage.self_distillation if isinstance(stage, TextStage) else None
    student, fitted = fit_student(
        task, replace(CHOICE, epoch=work.epoch), loss, trainer, folder, stage.dropout, average
    )
    encoder.save(folder / ENCODER)
    head = save_head(student, folder)
    save_reading(encoder, stage.encoder, material, folder)
    saved = replace(stage.encoder, model=str(folder / ENCODER))
    aside(
        partial(_encode, saved, trainer.device, material, stored, folder / FEATURES),
        trainer.processes,
    )
    write_answers(folder, head, stored)
    name = FeatureStore(folder / FEATURES / stored[0]).encoder
    training = {"best_epoch": fitted.best_epoch, "seconds": fitted.seconds, "encoder": name}
    keep_results(folder, material, {"seed": seed, "settings": settings, **training})


def _encode(
    config: Any, device: str, material: Material, splits: Sequence[str], folder: Path
) -> None:
    encoder = make_encoder(config)
    encoder.model.to(device)
    for name in splits:
        encode_split(material.corpus, material.splits[name].split, encoder, folder / name)


def save_reading(encoder: Trainable, config: Any, material: Material, folder: Path) -> None:
    """Write reading.json, from which, with encoder/, `erc export` loads the encoder."""
    options = {k: v for k, v in plain(asdict(config)).items() if k != "model"}
    content = {"modality": encoder.modality, "options": options, "labels": list(material.labels)}
    write_json(folder / READING, {**content, "prompt_version": PROMPT_VERSION})


def saved_encoder(folder: Path) -> Trainable:
    """Load the encoder from a stage's folder of a seed.

    Raises:
        ValueError, FileNotFoundError: it is missing or damaged.
    """
    file = folder / READING
    content = read_json(file)
    config, options = CONFIGS.get(content.get("modality", "")), content.get("options")
    if config is None or not isinstance(options, dict):
        raise ValueError(f"{file} does not say how the encoder is read: train the stage again")
    if "prompt" in options:
        version = int(content.get("prompt_version", 1))
        options = {**options, "prompt": prompt_of_version(options["prompt"], version)}
    return make_encoder(build(config, {"model": str(folder / ENCODER), **options}, str(file)))


def usable_rows(
    material: Material, encoder: Trainable, file: Path, kept: Path | None = None
) -> dict[str, NDArray[np.int64]]:
    """Return the rows of labeled utterances of each split that the encoder can use.

    Opens every clip once, in parallel on all processors; the result is stored in `file`, key ->
    reason, and frames in `kept` (`read_sample`).

    Raises:
        ValueError: a split has no such utterances.
    """
    if file.is_file():
        unusable: dict[str, str] = read_json(file)
    else:
        unusable = {}
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for split in material.splits.values():
                labelled = np.flatnonzero(split.labels >= 0).tolist()
                find = partial(_unusable, split, encoder=encoder, kept=kept)
                for row, reason in zip(labelled, pool.map(find, labelled), strict=True):
                    if reason:
                        unusable[split.keys[row]] = reason
        write_json(file, unusable)
    result = {}
    for name, split in material.splits.items():
        labelled = np.flatnonzero(split.labels >= 0)
        known = np.array([split.keys[row] not in unusable for row in labelled.tolist()], bool)
        reasons = Counter(unusable[split.keys[row]] for row in labelled[~known].tolist())
        for reason, count in reasons.items():
            print(f"{name}: {count} utterances excluded: {reason}", flush=True)
        if not known.any():
            raise ValueError(
                f"no utterance of {material.corpus} {name} has {encoder.modality}: {dict(reasons)};"
                " leave the stage out, or complete the corpus"
            )
        result[name] = labelled[known]
    return result


def _unusable(split: Utterances, row: int, encoder: Trainable, kept: Path | None) -> str:
    try:
        return encoder.refuses(read_sample(split, row, encoder, kept))
    except UnusableMediaError as error:
        return str(error)


def read_sample(split: Utterances, row: int, encoder: Trainable, kept: Path | None) -> Sample:
    """Return the input of an encoder for an utterance.

    Args:
        kept: cache folder for the frames of a video encoder, so that a clip is decoded once.

    Raises:
        UnusableMediaError: its clip is missing or broken.
    """
    if kept is None or not isinstance(encoder, VideoEncoder) or not encoder.can_reduce:
        return split.sample(row, encoder.modality)
    file = kept / split.split.name / f"{row}.npy"
    if file.is_file():
        return Sample(split.keys[row], split.turns[row], frames=np.load(file))
    sample = split.sample(row, encoder.modality)
    if encoder.refuses(sample):
        return sample
    sample = encoder.reduced(sample)
    assert sample.frames is not None
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{row}.{os.getpid()}.part")  # renamed when complete
    with part.open("wb") as stream:
        np.save(stream, sample.frames)
    part.replace(file)
    return sample


@dataclass(frozen=True, eq=False)
class EncoderInputs:
    """Utterances as inputs, read on access: memory is bounded by the batch."""

    split: Utterances
    rows: NDArray[np.int64]
    encoder: Trainable
    kept: Path | None
    """See `read_sample`."""

    def __len__(self) -> int:
        return len(self.rows)

    def __call__(
        self, rows: NDArray[np.int64], generator: np.random.Generator | None
    ) -> dict[str, Tensor]:
        """Return the encoder's inputs (`collate`) for some rows.

        Raises:
            ValueError: a clip was changed after the training began.
        """
        samples = [
            read_sample(self.split, row, self.encoder, self.kept)
            for row in self.rows[rows].tolist()
        ]
        for sample in samples:
            if reason := self.encoder.refuses(sample):
                raise ValueError(f"{sample.key} cannot be used any more: {reason}")
        return self.encoder.collate(samples)


@dataclass(frozen=True, eq=False)
class TextInputs(EncoderInputs):
    """Text inputs, which have very different, known lengths."""

    sizes: NDArray[np.int64]


def task_split(
    split: Utterances,
    rows: NDArray[np.int64],
    teacher: Path | None,
    inputs: Callable[[Utterances, NDArray[np.int64]], ModelInputs],
    width: int,
) -> TaskSplit:
    """Return a student's training data; with a teacher, only utterances with its outputs.

    Args:
        teacher: the folder with the teacher's stores.
        inputs: (split, rows) -> the student's inputs.
        width: size of the student's features.

    Raises:
        ValueError: the teacher has no outputs for these utterances.
    """
    if teacher is None:
        # Features of its own size, so that random numbers are equal to those with a teacher.
        nothing = np.zeros((len(rows), width), np.float32)
        return TaskSplit(inputs(split, rows), split.labels[rows], nothing, nothing)
    keys = [split.keys[row] for row in rows.tolist()]
    name = split.split.name
    features, known = FeatureStore(teacher / FEATURES / name).take(keys)
    answers, _ = FeatureStore(teacher / ANSWERS / name).take(keys)
    if not known.any():
        raise ValueError(f"{teacher} has no outputs for any utterance of {name}")
    rows = rows[known]
    return TaskSplit(inputs(split, rows), split.labels[rows], answers[known], features[known])


def student_task(
    modality: str,
    network: Callable[[], nn.Module],
    width: int,
    material: Material,
    parts: Mapping[str, TaskSplit],
) -> DistillationTask:
    """Return the distillation task of a student."""
    return DistillationTask(modality, network, width, material.labels, parts)


def _inputs(
    encoder: Trainable, kept: Path, split: Utterances, rows: NDArray[np.int64]
) -> ModelInputs:
    if encoder.modality != "text":
        return EncoderInputs(split, rows, encoder, kept)
    sizes = [encoder.size(split.sample(row, "text")) for row in rows.tolist()]
    return TextInputs(split, rows, encoder, None, np.array(sizes, np.int64))


Classifier = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Weight (C, d) and bias (C,)."""


def save_head(student: Student, folder: Path) -> Classifier:
    """Write a student's classifier as head.safetensors."""
    weight, bias = (x.detach().float().cpu().numpy() for x in student.head.parameters())
    save_file({"weight": weight, "bias": bias}, folder / HEAD)
    return weight, bias


def write_answers(folder: Path, head: Classifier, splits: Sequence[str] = SPLITS) -> None:
    """Write the stores `answers`: logits of a linear classifier for the stores `features`."""
    weight, bias = head
    for name in splits:
        store = FeatureStore(folder / FEATURES / name)
        keys = store.keys()
        logits = (store.take(keys)[0] @ weight.T + bias).astype(np.float32)
        write_store(folder / ANSWERS / name, store.encoder, keys, logits, store.left_out)


def write_store(
    folder: Path,
    encoder: str,
    keys: Sequence[str],
    features: NDArray[np.float32],
    left_out: Mapping[str, str],
) -> None:
    """Write a feature store with one shard."""
    create(folder, encoder, features.shape[1], 1)
    write_shard(folder, 0, encoder, keys, features, left_out)


def keep_results(folder: Path, material: Material, content: dict[str, Any]) -> None:
    """Write logits.npz and metrics.json of dev and test from the stores `answers`.

    Utterances with this modality are evaluated; `left_out` counts the others.
    """
    splits, left_out = {}, {}
    for name in MEASURED:
        split = material.splits[name]
        logits, present = FeatureStore(folder / ANSWERS / name).take(split.keys)
        rows = np.flatnonzero(present & (split.labels >= 0))
        left_out[name] = int((split.labels >= 0).sum()) - len(rows)
        if not len(rows):
            raise ValueError(f"no labeled utterance of {name} has this modality")
        splits[name] = Predicted(logits[rows], split.labels[rows], split.conversations[rows])
    write_run(folder, material.labels, splits, {**content, "left_out": left_out})
