"""DDVLM's visual stages: describe clips, embed the descriptions, train a student of the text.

Descriptions need a vision-language model and, except for the smallest, a GPU; alternatively, the
stage uses a file of descriptions (format: `encoders.descriptions`).
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from erc_ros.training.datasets.corpora import UnusableMediaError
from erc_ros.training.distillation.task import (
    DistillationLoss,
    ModelInputs,
    StoredInputs,
    fit_student,
)
from erc_ros.training.encoders.descriptions import (
    Describer,
    DescriberConfig,
    Description,
    DescriptionEncoder,
    describe_all,
    read,
)
from erc_ros.training.encoders.features import ClassifierConfig, FeatureNetwork
from erc_ros.training.encoders.packaged import PACKAGED
from erc_ros.training.encoders.sample import Sample
from erc_ros.training.encoders.text.pretrained import sentence_encoder
from erc_ros.training.engine.trainer import TrainerConfig, save_weights
from erc_ros.training.features.store import FeatureStore
from erc_ros.training.systems.encoders import (
    ALONE,
    CHOICE,
    FEATURES,
    keep_results,
    save_head,
    student_task,
    task_split,
    write_answers,
    write_store,
)
from erc_ros.training.systems.material import Material, Utterances
from erc_ros.training.systems.stages import Work

DESCRIPTIONS = "descriptions.jsonl"
AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class DescriptionsStage:
    """Source of the descriptions: a model on this machine, or a file."""

    file: str = ""
    """File of existing descriptions."""
    describer: DescriberConfig | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        if bool(self.file) == (self.describer is not None):
            raise ValueError("give either the file of the descriptions, or a describer")


@dataclass(frozen=True, slots=True)
class SentencesStage:
    """The sentence encoder, which is not trained."""

    model: str = PACKAGED
    """DDVLM: sentence-transformers/all-mpnet-base-v2."""


@dataclass(frozen=True, slots=True)
class FeatureStudentStage:
    """A small network on stored features."""

    trainer: TrainerConfig
    network: ClassifierConfig = field(default_factory=ClassifierConfig)
    loss: DistillationLoss = field(
        default_factory=partial(DistillationLoss, response_tau=4.0, jensen_shannon=0.2)
    )
    """Loss weights; the defaults are DDVLM's (section 3.5)."""


def describe(stage: DescriptionsStage, work: Work) -> None:
    """Write descriptions.jsonl of every clip of the corpus.

    Raises:
        ValueError: the file is invalid, or has no descriptions of this corpus.
    """
    file = work.folder / DESCRIPTIONS
    if stage.file:
        known = read(Path(stage.file))
        keys = {key for split in work.material.splits.values() for key in split.keys}
        if not keys & known.keys():
            raise ValueError(
                f"{stage.file} describes {len(known)} utterances, but not of {work.material.corpus}"
                f"; its keys must be such as {sorted(keys)[0]!r}"
            )
        shutil.copyfile(stage.file, file)
        described = {key for key, entry in known.items() if entry.text}
        counted = {"described": len(keys & described), "dropped": dropped(work.material, known)}
        print(json.dumps(counted), flush=True)
        return
    assert stage.describer is not None
    describer = Describer(stage.describer)
    describer.model.to(stage.device)
    counts = describe_all(_pictures(work.material), describer, file, stage.describer.tries)
    print(json.dumps({**counts, "dropped": dropped(work.material, read(file))}), flush=True)


def dropped(material: Material, described: Mapping[str, Description]) -> dict[str, int]:
    """Count the utterances whose every description named an emotion, by label."""
    counts: Counter[str] = Counter()
    for split in material.splits.values():
        for key, label in zip(split.keys, split.labels.tolist(), strict=True):
            if key in described and not described[key].text:
                counts[material.labels[label] if label >= 0 else "no label"] += 1
    return dict(counts)


def _pictures(material: Material) -> Iterator[Sample]:
    for split in material.splits.values():
        for row, key in enumerate(split.keys):
            try:
                yield split.sample(row, "visual")
            except UnusableMediaError as error:
                print(f"{key}: {error}", flush=True)


def embed_sentences(stage: SentencesStage, work: Work) -> None:
    """Write the feature stores of the descriptions' embeddings."""
    file = work.inputs["descriptions"] / DESCRIPTIONS
    encoder = DescriptionEncoder(file, sentence_encoder(stage.model))
    for name, split in work.material.splits.items():
        samples = {key: Sample(key) for key in split.keys}
        left_out = {key: why for key, s in samples.items() if (why := encoder.refuses(s))}
        kept = [sample for key, sample in samples.items() if key not in left_out]
        if not kept:
            raise ValueError(f"no utterance of {name} has a description that can be used")
        starts = range(0, len(kept), AT_ONCE)
        rows = [encoder.encode(kept[start : start + AT_ONCE]) for start in starts]
        keys = [sample.key for sample in kept]
        write_store(
            work.folder / FEATURES / name, encoder.name, keys, np.concatenate(rows), left_out
        )


def learn_features(
    stage: FeatureStudentStage, work: Work, sources: Sequence[str], teacher: str = ""
) -> None:
    """Train the network on the features of a stage, optionally with a teacher.

    Args:
        sources: candidate stages of the features; the first one in the recipe is used.

    Raises:
        ValueError: the recipe has none of them.
    """
    source = next((name for name in sources if name in work.inputs), "")
    if not source:
        raise ValueError(f"there are no features to learn from: name stages.{sources[0]} before it")
    for seed in work.seeds:
        taught = work.read(teacher, seed) if teacher else None
        features = work.features(source, "visual", seed)
        if features is None:
            raise ValueError(f"stages.{source} has no visual features")
        _learn(stage, work, seed, features, taught)


def _learn(
    stage: FeatureStudentStage, work: Work, seed: int, source: Path, teacher: Path | None
) -> None:
    begun = work.begin(stage, seed)
    if begun is None:
        return
    folder, trainer, settings = begun
    material, hidden = work.material, stage.network.hidden
    stores = {name: FeatureStore(source / name) for name in material.splits}

    def inputs(split: Utterances, rows: NDArray[np.int64]) -> ModelInputs:
        keys = [split.keys[row] for row in rows.tolist()]
        return StoredInputs(stores[split.split.name].take(keys)[0])

    parts = {}
    for name in ("train", "dev"):
        split = material.splits[name]
        known = np.array([key in stores[name] for key in split.keys], bool)
        rows = np.flatnonzero(known & (split.labels >= 0))
        if not len(rows):
            raise ValueError(f"{source} has features of no labeled utterance of {name}")
        parts[name] = task_split(split, rows, teacher, inputs, hidden)
    network = partial(FeatureNetwork, stores["train"].dimension, stage.network)
    task = student_task("visual", network, hidden, material, parts)
    loss = ALONE if teacher is None else stage.loss
    student, fitted = fit_student(task, replace(CHOICE, epoch=work.epoch), loss, trainer, folder)
    save_weights(student.encoder, folder / "network.safetensors")
    student.eval()
    for name, store in stores.items():
        keys = store.keys()
        with torch.inference_mode():
            given = torch.from_numpy(store.take(keys)[0]).to(student.head.weight.device)
            features = student.encoder(given).float().cpu().numpy()
        write_store(
            folder / FEATURES / name, f"{store.encoder}-student", keys, features, store.left_out
        )
    write_answers(folder, save_head(student, folder))
    training = {"best_epoch": fitted.best_epoch, "seconds": fitted.seconds}
    keep_results(folder, material, {"seed": seed, "settings": settings, **training})
