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
from erc_ros.training.engine.embeddings import FILE, OF_NOBODY, Embedded, save_embeddings
from erc_ros.training.engine.history import record
from erc_ros.training.engine.recipe import Recipe
from erc_ros.training.engine.runs import (
    choose_best,
    log_probabilities,
    save_answers,
    write_metrics,
)
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

WORST_RECALL = 0.5  # of every class on validation, where biases can reach it
STEP = 0.1  # of a class's bias; smaller steps would overfit single images
NEGATIVES = 1000  # non-face images whose embeddings are saved
IMAGES = corpora.find(corpora.FACES)


@dataclass(frozen=True, slots=True)
class FaceConfig:
    """The section `face` of a face recipe."""

    start: str = ""
    """Folder of an earlier face training whose weights are the first; "": random ones."""


@dataclass(frozen=True, slots=True)
class FaceSampling:
    """Examples of an epoch; the section `sampling` of a face recipe."""

    balance: float = setting(
        0.0, "power of a class's rarity in its share: 0 as in the data, 1 all equal", "", (0, 1)
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
    write_metrics({**finish(model, data, config.seed, out), "prior_correction": correction}, out)
    files = ["face.onnx", FILE, "best.safetensors", "training.json"]
    best = choose_best(recipe.out, files)
    print(json.dumps({"best seed": best["seed"], **best["all_seeds"]}, indent=2))


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

    start: a checkpoint of the same network for the first weights; None: random.
    """
    set_seeds(config.seed)
    model = FaceNetwork(network)
    if start is not None:
        load_weights(model, start)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = torch.Generator().manual_seed(config.seed)
    pictures, targets = torch.from_numpy(data.train.pictures), torch.from_numpy(data.train.targets)
    shares = torch.from_numpy(shown(data.train.targets, sampling.balance))
    coarse_epochs = round(augmentation.coarse_share * config.epochs)

    def batches(epoch: int) -> Sequence[tuple[Tensor, int]]:
        order = torch.randperm(len(pictures), generator=generator)
        if sampling.balance:
            order = torch.multinomial(shares, len(pictures), replacement=True, generator=generator)
        size = augmentation.coarse_size if epoch < coarse_epochs else SIZE
        # A short batch at the end is skipped (batch statistics), unless it is the only one.
        full = max(1, len(order) // config.batch_size) * config.batch_size
        return [(chosen, size) for chosen in torch.split(order[:full], config.batch_size)]

    def loss(model: FaceNetwork, batch: tuple[Tensor, int]) -> Tensor:
        chosen, size = batch[0].cpu(), batch[1]  # the images stay in main memory
        device = device_of(model)
        target = targets[chosen]
        # Coordinates in bfloat16 would be a tenth of a pixel off.
        with torch.autocast("cpu", enabled=False):
            faces = augment_faces(as_input(pictures[chosen]), augmentation, generator, size)
            if sampling.mixup:
                share = mixup_share(sampling.mixup, generator)
                other = torch.randperm(len(chosen), generator=generator)
                faces, target = (x.lerp(x[other], share) for x in (faces, target))
            count = round(sampling.negatives * len(chosen))
            insert_negatives(faces, target, no_faces(count, size, generator))
        faces = faces.to(device).contiguous(memory_format=torch.channels_last)
        logits = model.head(model(faces)).float()
        return cross_entropy(log_softmax(logits, dim=1), target.to(device)).mean()

    def evaluate(model: FaceNetwork) -> dict[str, float]:
        predicted = predict(model, data.valid.pictures)[1].argmax(axis=1)
        accuracy = metrics.accuracy(data.valid.labels, predicted, len(IMAGES.labels))
        recall = metrics.unweighted_recall(data.valid.labels, predicted, len(IMAGES.labels))
        return {"accuracy": accuracy, "recall": recall, "both": (accuracy + recall) / 2}

    fit(
        model,
        config,
        batches=batches,
        loss=loss,
        evaluate=evaluate,
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
    """Add the `class_bias` of validation to the classifier's bias; returns it, (C,)."""
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


def finish(model: FaceNetwork, data: FerPlus, seed: int, out: Path) -> dict[str, Any]:
    """Export, embed every split and evaluate test; returns the content of metrics.json."""
    difference = export_face(model, out / "face.onnx", SIZE)
    embedded, probabilities = {}, {}
    for name in IMAGES.splits:
        split: Faces = getattr(data, name)
        embeddings, probabilities[name] = predict(model, split.pictures)
        labeled = split.labels >= 0
        embedded[name] = Embedded(embeddings[labeled], to_labels(split.labels[labeled]))
    negatives = no_faces(NEGATIVES, SIZE, torch.Generator().manual_seed(seed))[:, 0]
    pictures = (negatives * 255).round().to(torch.uint8).numpy()
    no_label = np.full(NEGATIVES, -1, np.int64)
    embedded[OF_NOBODY] = Embedded(predict(model, pictures)[0], no_label)
    save_embeddings(embedded, out / FILE)
    save_answers(
        out,
        IMAGES.labels,
        dev=log_probabilities(probabilities["valid"]),
        dev_labels=data.valid.labels,
        test=log_probabilities(probabilities["test"]),
        test_labels=data.test.labels,
    )
    seven = metrics.report(
        to_labels(data.test.labels), to_label_probabilities(probabilities["test"]), LABELS
    )
    eight = metrics.report(data.test.labels, probabilities["test"], IMAGES.labels)
    return {
        "seed": seed,
        "dev": metrics.report(data.valid.labels, probabilities["valid"], IMAGES.labels)["accuracy"],
        "test": {
            "accuracy_8": eight["accuracy"],
            "macro_f1_8": eight["macro_f1"],
            "accuracy_meld_7": seven["accuracy"],
            "macro_f1_meld_7": seven["macro_f1"],
        },
        "test_8": eight,
        "test_meld_7": seven,
        "left_out": dict(data.skipped),
        "counted": "pictures with a FER+ majority class, without repeated pictures",
        "parameters": sum(p.numel() for p in model.parameters()),
        "onnx_difference": difference,
    }


def as_input(pictures: Tensor) -> Tensor:
    """(N, 48, 48) uint8 -> (N, 1, 48, 48) float32 in [0, 1], as `encoders.face` makes it."""
    return pictures[:, None].float() / 255


def predict(
    model: FaceNetwork, pictures: NDArray[np.uint8], batch_size: int = 256
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(N, 48, 48) uint8 -> embeddings (N, 128) and probabilities (N, 8)."""

    def forward(inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        faces = as_input(inputs["pictures"]).contiguous(memory_format=torch.channels_last)
        embedding = model(faces)
        return embedding, model.head(embedding)

    def inputs(chosen: NDArray[np.int64]) -> dict[str, Tensor]:
        return {"pictures": torch.from_numpy(pictures[chosen])}

    return prediction.predict(model, forward, inputs, np.arange(len(pictures)), batch_size)


def to_labels(classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Classes of the images (N,) as indices into LABELS."""
    return IMAGES.to_labels[classes]


def to_label_probabilities(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, classes of the images) -> (N, LABELS): contempt counts as disgust."""
    result = np.zeros((len(probabilities), len(LABELS)), np.float32)
    for column, label in enumerate(IMAGES.to_labels):
        result[:, label] += probabilities[:, column]
    return result
