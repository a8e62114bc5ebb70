"""The face network: a small residual CNN on 48x48 gray faces, trained on the votes of FER+.

Each picture's target is how its ten raters voted (soft labels), not only the winner: FER+ found
that this helps, and ambiguous faces should come out ambiguous.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import log_softmax

from erc_ros.encoders.face import SIZE
from erc_ros.metrics import classification as metrics
from erc_ros.training.datasets import ferplus
from erc_ros.training.datasets.ferplus import CLASSES, TO_MELD, Faces, FerPlus
from erc_ros.training.datasets.utterances import LABELS
from erc_ros.training.encoders.augmentation import FaceAugmentation, augment_faces
from erc_ros.training.encoders.visual.model import FaceNetwork, FaceNetworkConfig
from erc_ros.training.engine import prediction
from erc_ros.training.engine.embeddings import FILE, Embedded, save_embeddings
from erc_ros.training.engine.history import record
from erc_ros.training.engine.recipe import Recipe
from erc_ros.training.engine.runs import (
    choose_best,
    log_probabilities,
    save_answers,
    write_metrics,
)
from erc_ros.training.engine.trainer import TrainerConfig, device_of, fit, set_seeds
from erc_ros.training.onnx import export_face


def train(recipe: Recipe) -> None:
    """`erc train config/training/face.yaml`: one seed, its test result, its ONNX part.

    The epoch is chosen by accuracy on validation; test is looked at once, at the end.

    Raises:
        RecipeError, FileNotFoundError: the recipe or the data is not usable.
    """
    recipe.refuse_other_sections({"trainer", "network", "augmentation"})
    config = recipe.section("trainer", TrainerConfig)
    network = recipe.section("network", FaceNetworkConfig)
    augmentation = recipe.section("augmentation", FaceAugmentation)
    data = ferplus.load(recipe.data / "fer2013plus")
    record(recipe.out, corpora=["ferplus"])
    print(f"FER+: left out {json.dumps(data.skipped)}")
    out = recipe.out / f"seed-{config.seed}"
    model = fit_faces(data, config, network, augmentation, out)
    write_metrics(finish(model, data, config.seed, out), out)
    files = ["face.onnx", FILE, "best.safetensors", "training.json"]
    best = choose_best(recipe.out, files)
    print(json.dumps({"best seed": best["seed"], **best["all_seeds"]}, indent=2))


def fit_faces(
    data: FerPlus,
    config: TrainerConfig,
    network: FaceNetworkConfig,
    augmentation: FaceAugmentation,
    out: Path,
) -> FaceNetwork:
    """Train on data.train; the returned model is that of the epoch best on data.valid."""
    set_seeds(config.seed)
    model = FaceNetwork(network)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = torch.Generator().manual_seed(config.seed)
    pictures, targets = torch.from_numpy(data.train.pictures), torch.from_numpy(data.train.targets)
    coarse_epochs = round(augmentation.coarse_share * config.epochs)

    def batches(epoch: int) -> Sequence[tuple[Tensor, int]]:
        order = torch.randperm(len(pictures), generator=generator)
        size = augmentation.coarse_size if epoch < coarse_epochs else SIZE
        # The short batch at the end is left out (batch statistics), unless it is the only one.
        full = max(1, len(order) // config.batch_size) * config.batch_size
        return [(chosen, size) for chosen in torch.split(order[:full], config.batch_size)]

    def loss(model: FaceNetwork, batch: tuple[Tensor, int]) -> Tensor:
        chosen, size = batch[0].cpu(), batch[1]  # the pictures stay where there is room
        device = device_of(model)
        # Coordinates in bfloat16 would be a tenth of a pixel off.
        with torch.autocast("cpu", enabled=False):
            faces = augment_faces(as_input(pictures[chosen]), augmentation, generator, size)
        faces = faces.to(device).contiguous(memory_format=torch.channels_last)
        logits = model.head(model(faces)).float()
        return -(targets[chosen].to(device) * log_softmax(logits, dim=1)).sum(dim=1).mean()

    def evaluate(model: FaceNetwork) -> dict[str, float]:
        predicted = predict(model, data.valid.pictures)[1].argmax(axis=1)
        return {"accuracy": metrics.accuracy(data.valid.labels, predicted, len(CLASSES))}

    fit(
        model,
        config,
        batches=batches,
        loss=loss,
        evaluate=evaluate,
        choose="accuracy",
        out=out,
        say=lambda line: print(line, flush=True),
        stateful=[generator],
        settings={"network": asdict(network), "augmentation": asdict(augmentation)},
    )
    return model


def finish(model: FaceNetwork, data: FerPlus, seed: int, out: Path) -> dict[str, Any]:
    """Export, embed every split, and look at test once. Returns what metrics.json holds."""
    difference = export_face(model, out / "face.onnx", SIZE)
    embedded, probabilities = {}, {}
    for name in ferplus.SPLITS:
        split: Faces = getattr(data, name)
        embeddings, probabilities[name] = predict(model, split.pictures)
        known = split.labels >= 0
        embedded[name] = Embedded(embeddings[known], meld_labels(split.labels[known]))
    save_embeddings(embedded, out / FILE)
    save_answers(
        out,
        CLASSES,
        dev=log_probabilities(probabilities["valid"]),
        dev_labels=data.valid.labels,
        test=log_probabilities(probabilities["test"]),
        test_labels=data.test.labels,
    )
    seven = metrics.report(
        meld_labels(data.test.labels), meld_probabilities(probabilities["test"]), LABELS
    )
    eight = metrics.report(data.test.labels, probabilities["test"], CLASSES)
    return {
        "seed": seed,
        "dev": metrics.report(data.valid.labels, probabilities["valid"], CLASSES)["accuracy"],
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


def meld_labels(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """FER+ classes (N,) as indices into MELD's LABELS."""
    return np.array([LABELS.index(TO_MELD[name]) for name in CLASSES], np.int64)[labels]


def meld_probabilities(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, 8) of FER+ -> (N, 7) of MELD: contempt counts as disgust."""
    result = np.zeros((len(probabilities), len(LABELS)), np.float32)
    for column, name in enumerate(CLASSES):
        result[:, LABELS.index(TO_MELD[name])] += probabilities[:, column]
    return result
