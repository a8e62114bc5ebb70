"""Training of the face network, a small residual CNN on 48x48 gray faces, on the votes of FER+.

The target of an image is the distribution of its ten raters' votes, so that ambiguous faces remain
ambiguous. Rare classes are shown more often, and non-face images have a uniform target.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from erc_ros.encoders.face import SIZE
from erc_ros.inference.bundle import sha256_of
from erc_ros.metrics import classification as metrics
from erc_ros.training.datasets import corpora
from erc_ros.training.datasets.images import Faces, FerPlus
from erc_ros.training.datasets.utterances import LABELS
from erc_ros.training.encoders.augmentation import FaceAugmentation, augment_faces, no_faces
from erc_ros.training.encoders.mixing import cross_entropy, insert_negatives, mixup_share
from erc_ros.training.encoders.visual.model import FaceNetwork, FaceNetworkConfig
from erc_ros.training.engine import prediction
from erc_ros.training.engine.embeddings import FILE, NEGATIVE_SPLIT, Embedded, save_embeddings
from erc_ros.training.engine.history import record
from erc_ros.training.engine.recipe import Recipe
from erc_ros.training.engine.runs import Predicted, choose_best, log_probabilities, write_run
from erc_ros.training.engine.trainer import (
    WEIGHTS,
    TrainerConfig,
    device_of,
    fit,
    load_weights,
    save_weights,
    set_seeds,
)
from erc_ros.training.onnx import export_face
from erc_ros.values.settings import check, setting

WORST_RECALL = 0.5  # minimum recall of every class on validation, if biases can reach it
STEP = 0.1  # resolution of a class's bias; smaller steps would overfit single images
NEGATIVES = 1000  # non-face images whose embeddings are saved
IMAGES = corpora.find(corpora.FACES)


@dataclass(frozen=True, slots=True)
class FaceConfig:
    """The section `face` of a face recipe."""

    start: str = ""
    """Folder of an earlier face training that gives the initial weights; "": random ones."""


@dataclass(frozen=True, slots=True)
class FaceSampling:
    """Examples of an epoch; the section `sampling` of a face recipe."""

    balance: float = setting(
        0.0, "exponent of the class balancing: 0: as in the data, 1: equal frequencies", "", (0, 1)
    )
    mixup: float = setting(0.0, "mixed pairs of images: Beta(mixup, mixup); 0: none", "", (0, 10))
    negatives: float = setting(0.0, "share of non-face images in a batch", "", (0, 1))

    def __post_init__(self) -> None:
        check(self)


def train(recipe: Recipe) -> None:
    """Run `erc train config/training/face.yaml`: one seed, its test result, its ONNX part.

    The epoch is selected by accuracy on validation; test is evaluated once.

    Raises:
        RecipeError, FileNotFoundError: the recipe or the data is not usable.
    """
    recipe.refuse_other_sections({"face", "trainer", "network", "augmentation", "sampling"})
    start = recipe.section("face", FaceConfig).start
    config = recipe.section("trainer", TrainerConfig)
    network = recipe.section("network", FaceNetworkConfig)
    augmentation = recipe.section("augmentation", FaceAugmentation)
    sampling = recipe.section("sampling", FaceSampling)
    data = corpora.images(corpora.FACES, recipe.data)
    record(recipe.out, corpora=[corpora.FACES], teachers=[start] if start else [])
    print(f"FER+: skipped {json.dumps(data.skipped)}")
    out = recipe.out / f"seed-{config.seed}"
    first = Path(start) / WEIGHTS if start else None
    model = fit_faces(data, config, network, augmentation, sampling, out, first)
    correction = correct_prior(model, data)
    save_weights(model, out / WEIGHTS)
    finish(model, data, {"seed": config.seed, "prior_correction": correction}, out)
    best = choose_best(recipe.out, ["face.onnx", FILE, "best.safetensors", "training.json"])
    print(json.dumps({"best seed": best["seed"], **best["all_seeds"]}, indent=2))


class FaceSampler:
    """Draws training examples: images by their share, augmented, mixed, and non-face images."""

    def __init__(
        self,
        data: FerPlus,
        config: TrainerConfig,
        augmentation: FaceAugmentation,
        sampling: FaceSampling,
        generator: torch.Generator,
    ) -> None:
        self._augmentation, self._sampling, self._generator = augmentation, sampling, generator
        self._images = torch.from_numpy(data.train.pictures)
        self._targets = torch.from_numpy(data.train.targets)
        self._shares = torch.from_numpy(shown(data.train.targets, sampling.balance))
        self._batch_size = config.batch_size
        self._coarse_epochs = round(augmentation.coarse_share * config.epochs)

    def epoch(self, epoch: int) -> Sequence[tuple[Tensor, int]]:
        """Return batches: rows of images, and the image size."""
        count, generator = len(self._images), self._generator
        order = torch.randperm(count, generator=generator)
        if self._sampling.balance:
            order = torch.multinomial(self._shares, count, replacement=True, generator=generator)
        size = self._augmentation.coarse_size if epoch < self._coarse_epochs else SIZE
        # A short batch at the end is skipped (batch statistics), unless it is the only one.
        full = max(1, count // self._batch_size) * self._batch_size
        return [(chosen, size) for chosen in torch.split(order[:full], self._batch_size)]

    def batch(self, chosen: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Return faces (B, 1, S, S) and targets (B, C) of rows (B,)."""
        sampling, generator = self._sampling, self._generator
        chosen = chosen.cpu()  # the images are in main memory
        target = self._targets[chosen]
        # Coordinates in bfloat16 would have an error of a tenth of a pixel.
        with torch.autocast("cpu", enabled=False):
            images = as_input(self._images[chosen])
            faces = augment_faces(images, self._augmentation, generator, size)
            if sampling.mixup:
                share = mixup_share(sampling.mixup, generator)
                other = torch.randperm(len(chosen), generator=generator)
                faces, target = (x.lerp(x[other], share) for x in (faces, target))
            count = round(sampling.negatives * len(chosen))
            insert_negatives(faces, target, no_faces(count, size, generator))
        return faces, target


def face_loss(model: FaceNetwork, faces: Tensor, target: Tensor) -> Tensor:
    """Return the cross-entropy with the targets (B, C)."""
    device = device_of(model)
    faces = faces.to(device).contiguous(memory_format=torch.channels_last)
    logits = model.head(model(faces)).float()
    return cross_entropy(log_softmax(logits, dim=1), target.to(device)).mean()


def validate(model: FaceNetwork, valid: Faces) -> dict[str, float]:
    """Return accuracy, unweighted recall, and their mean."""
    predicted = predict(model, valid.pictures)[1].argmax(axis=1)
    accuracy = metrics.accuracy(valid.labels, predicted, len(IMAGES.labels))
    recall = metrics.unweighted_recall(valid.labels, predicted, len(IMAGES.labels))
    return {"accuracy": accuracy, "recall": recall, "both": (accuracy + recall) / 2}


def fit_faces(
    data: FerPlus,
    config: TrainerConfig,
    network: FaceNetworkConfig,
    augmentation: FaceAugmentation,
    sampling: FaceSampling,
    out: Path,
    start: Path | None = None,
) -> FaceNetwork:
    """Train on data.train; returns the model of the epoch that is best on data.valid.

    start: a checkpoint of the same network with the initial weights; None: random.
    """
    set_seeds(config.seed)
    model = FaceNetwork(network)
    if start is not None:
        load_weights(model, start)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = torch.Generator().manual_seed(config.seed)
    sampler = FaceSampler(data, config, augmentation, sampling, generator)
    fit(
        model,
        config,
        batches=sampler.epoch,
        loss=lambda model, batch: face_loss(model, *sampler.batch(*batch)),
        evaluate=lambda model: validate(model, data.valid),
        choose="both" if sampling.balance else "accuracy",
        out=out,
        say=partial(print, flush=True),
        stateful=[generator],
        settings={
            "network": asdict(network),
            "augmentation": asdict(augmentation),
            "sampling": asdict(sampling),
            "start": sha256_of(start) if start is not None else "",
        },
    )
    return model


def shown(targets: NDArray[np.float32], balance: float) -> NDArray[np.float32]:
    """Return the share of each image in an epoch, (N, C) votes -> (N,); see `FaceSampling`."""
    rarity = np.maximum(targets.sum(axis=0), 1) ** -balance
    weights: NDArray[np.float32] = targets @ rarity.astype(np.float32)
    return np.asarray(weights / weights.sum(), np.float32)


def correct_prior(model: FaceNetwork, data: FerPlus) -> list[float]:
    """Add the `class_bias` of validation to the classifier's bias; return it, (C,)."""
    logits = np.log(np.maximum(predict(model, data.valid.pictures)[1], 1e-12))
    bias = class_bias(logits, data.valid.labels, data.train.targets.mean(axis=0) + 1e-4)
    head = model.head[1]
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.bias.add_(torch.tensor(bias, dtype=head.bias.dtype))
    return bias


def class_bias(
    logits: NDArray[np.float32], labels: NDArray[np.int64], frequency: NDArray[np.float32]
) -> list[float]:
    """Return the biases of the classes with the highest accuracy at a recall of 0.5 of each class.

    If no biases reach that recall, the missing recall is subtracted from the accuracy. The search
    starts with a share of the log frequency and continues class by class in small steps.

    Args:
        logits: (N, C). labels: (N,) of validation. frequency: (C,) in training.
    """
    present = np.unique(labels)

    def value(bias: NDArray[np.float64]) -> float:
        predicted = (logits + bias).argmax(axis=1)
        recalls = np.array([(predicted[labels == label] == label).mean() for label in present])
        lacking = np.maximum(0.0, WORST_RECALL - recalls).sum()
        return float((predicted == labels).mean() - lacking)

    shares = [step / 20 for step in range(-20, 21)]
    prior = np.log(frequency.astype(np.float64))
    share = max(shares, key=lambda share: (value(share * prior), -abs(share)))
    bias, best, before = share * prior, value(share * prior), -np.inf
    steps = [sign * STEP * row for row in np.eye(logits.shape[1]) for sign in (-1, 1)]
    while best > before:
        before = best
        near = max((bias + step for step in steps), key=value)
        if value(near) > best:
            best, bias = value(near), near
    return [round(float(each), 4) for each in bias]


def finish(model: FaceNetwork, data: FerPlus, content: Mapping[str, Any], out: Path) -> None:
    """Export, embed every split, evaluate on test, and write metrics.json with `content`."""
    difference = export_face(model, out / "face.onnx", SIZE)
    embedded, probabilities = {}, {}
    for name in IMAGES.splits:
        split: Faces = getattr(data, name)
        embeddings, probabilities[name] = predict(model, split.pictures)
        labeled = split.labels >= 0
        embedded[name] = Embedded(embeddings[labeled], to_labels(split.labels[labeled]))
    negatives = no_faces(NEGATIVES, SIZE, torch.Generator().manual_seed(content["seed"]))[:, 0]
    images = (negatives * 255).round().to(torch.uint8).numpy()
    no_label = np.full(NEGATIVES, -1, np.int64)
    embedded[NEGATIVE_SPLIT] = Embedded(predict(model, images)[0], no_label)
    save_embeddings(embedded, out / FILE)
    seven = to_labels(data.test.labels), to_label_probabilities(probabilities["test"])
    predicted = probabilities["valid"].argmax(axis=1)
    content = {
        **content,
        "dev": metrics.accuracy(data.valid.labels, predicted, len(IMAGES.labels)),
        "test": {
            **accuracies("8", data.test.labels, probabilities["test"], IMAGES.labels),
            **accuracies("meld_7", *seven, LABELS),
        },
        "test_meld_7": metrics.report(*seven, LABELS),
        "left_out": dict(data.skipped),
        "counted": "images with a FER+ majority class, without repeated images",
        "parameters": sum(p.numel() for p in model.parameters()),
        "onnx_difference": difference,
    }
    splits = {
        "dev": Predicted(log_probabilities(probabilities["valid"]), data.valid.labels),
        "test": Predicted(log_probabilities(probabilities["test"]), data.test.labels),
    }
    write_run(out, IMAGES.labels, splits, content)


def accuracies(
    suffix: str,
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float32],
    names: Sequence[str],
) -> dict[str, float]:
    """Return accuracy and macro F1 among the labels `names`."""
    report = metrics.report(labels, probabilities, names)
    return {f"{name}_{suffix}": report[name] for name in ("accuracy", "macro_f1")}


def as_input(pictures: Tensor) -> Tensor:
    """Convert (N, 48, 48) uint8 to (N, 1, 48, 48) float32 in [0, 1], as in `encoders.face`."""
    return pictures[:, None].float() / 255


def predict(
    model: FaceNetwork, pictures: NDArray[np.uint8], batch_size: int = 256
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return embeddings (N, 128) and probabilities (N, 8) of images (N, 48, 48) uint8."""

    def forward(inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        faces = as_input(inputs["pictures"]).contiguous(memory_format=torch.channels_last)
        embedding = model(faces)
        return embedding, model.head(embedding)

    def inputs(chosen: NDArray[np.int64]) -> dict[str, Tensor]:
        return {"pictures": torch.from_numpy(pictures[chosen])}

    return prediction.predict(model, forward, inputs, np.arange(len(pictures)), batch_size)


def to_labels(classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Convert classes of FER+ (N,) to indices into LABELS."""
    return IMAGES.to_labels[classes]


def to_label_probabilities(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert probabilities of FER+ (N, 8) to (N, LABELS); contempt counts as disgust."""
    result = np.zeros((len(probabilities), len(LABELS)), np.float32)
    for column, label in enumerate(IMAGES.to_labels):
        result[:, label] += probabilities[:, column]
    return result
