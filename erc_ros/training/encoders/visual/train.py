"""The face network: a small residual CNN on 48x48 gray faces, trained on the votes of FER+.

Each picture's target is how its ten raters voted (soft labels), not only the winner: FER+ found
that this helps, and ambiguous faces should come out ambiguous. Rare classes are shown more often
than they come, and pictures of nothing are to say nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
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

WORST_RECALL = 0.5  # of every class on validation, if biases can be found for it
STEP = 0.1  # of a class's bias: smaller ones would follow single pictures
NOBODY = 1000  # pictures
IMAGES = corpora.find(corpora.FACES)


@dataclass(frozen=True, slots=True)
class FaceConfig:
    """The section `face` of a face recipe."""

    start: str = ""
    """Folder of an earlier face training whose weights are the first; "": random ones."""


@dataclass(frozen=True, slots=True)
class FaceSampling:
    """What an epoch shows; the section `sampling` of a face recipe."""

    balance: float = 0.0
    """Power of a class's rarity in how often it is shown: 0 as often as it comes, 1 all equally."""
    mixup: float = 0.0
    """Of Beta(mixup, mixup), by which pairs of pictures are laid over each other; 0: none."""
    nothing: float = 0.0
    """Share of a batch that is replaced by pictures of no face, whose target is all classes."""

    def __post_init__(self) -> None:
        for name in ("balance", "nothing"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must be in [0, 1]")
        if self.mixup < 0:
            raise ValueError(f"mixup is {self.mixup}, must not be negative")


def train(recipe: Recipe) -> None:
    """`erc train config/training/face.yaml`: one seed, its test result, its ONNX part.

    The epoch is chosen by accuracy on validation; test is looked at once, at the end.

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
    print(f"FER+: left out {json.dumps(data.skipped)}")
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
    """Train on data.train; the returned model is that of the epoch best on data.valid.

    start: a checkpoint of the same network whose weights are the first; None: random ones.
    """
    set_seeds(config.seed)
    model = FaceNetwork(network)
    if start is not None:
        load_weights(model, start)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = torch.Generator().manual_seed(config.seed)
    pictures, targets = torch.from_numpy(data.train.pictures), torch.from_numpy(data.train.targets)
    shares = torch.from_numpy(shown(data.train.targets, sampling.balance))
    uniform = torch.full((len(IMAGES.labels),), 1 / len(IMAGES.labels))
    coarse_epochs = round(augmentation.coarse_share * config.epochs)

    def batches(epoch: int) -> Sequence[tuple[Tensor, int]]:
        order = torch.randperm(len(pictures), generator=generator)
        if sampling.balance:
            order = torch.multinomial(shares, len(pictures), replacement=True, generator=generator)
        size = augmentation.coarse_size if epoch < coarse_epochs else SIZE
        # The short batch at the end is left out (batch statistics), unless it is the only one.
        full = max(1, len(order) // config.batch_size) * config.batch_size
        return [(chosen, size) for chosen in torch.split(order[:full], config.batch_size)]

    def loss(model: FaceNetwork, batch: tuple[Tensor, int]) -> Tensor:
        chosen, size = batch[0].cpu(), batch[1]  # the pictures stay where there is room
        device = device_of(model)
        target = targets[chosen]
        # Coordinates in bfloat16 would be a tenth of a pixel off.
        with torch.autocast("cpu", enabled=False):
            faces = augment_faces(as_input(pictures[chosen]), augmentation, generator, size)
            if sampling.mixup:
                share = float(_beta(sampling.mixup, generator))
                other = torch.randperm(len(chosen), generator=generator)
                faces, target = (x.lerp(x[other], share) for x in (faces, target))
            if empty := round(sampling.nothing * len(chosen)):
                faces[:empty] = no_faces(empty, size, generator)
                target[:empty] = uniform
        faces = faces.to(device).contiguous(memory_format=torch.channels_last)
        logits = model.head(model(faces)).float()
        return -(target.to(device) * log_softmax(logits, dim=1)).sum(dim=1).mean()

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
        say=lambda line: print(line, flush=True),
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
    """How often each picture is shown, (N, C) votes -> (N,), of sum 1; see `FaceSampling`."""
    rarity = np.maximum(targets.sum(axis=0), 1) ** -balance
    weights: NDArray[np.float32] = targets @ rarity.astype(np.float32)
    return np.asarray(weights / weights.sum(), np.float32)


def _beta(alpha: float, generator: torch.Generator) -> Tensor:
    """One draw from Beta(alpha, alpha), at most 0.5: the share of the picture laid over."""
    draws = torch._sample_dirichlet(torch.full((1, 2), alpha), generator=generator)
    return draws.min()


def correct_prior(model: FaceNetwork, data: FerPlus) -> list[float]:
    """Add to the head's bias what validation asks for (`class_bias`); returns it, (C,)."""
    logits = np.log(np.maximum(predict(model, data.valid.pictures)[1], 1e-12))
    found = class_bias(logits, data.valid.labels, data.train.targets.mean(axis=0) + 1e-4)
    head = model.head[1]
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.bias.add_(torch.tensor(found, dtype=head.bias.dtype))
    return found


def class_bias(
    logits: NDArray[np.float32], labels: NDArray[np.int64], frequency: NDArray[np.float32]
) -> list[float]:
    """What is added to each class: most accurate of what recalls every class half of the time.

    Where nothing does, what lacks counts as much as accuracy. First a share of the log frequency
    (below 0 favours rare classes), then one class after the other in small steps, as long as
    something is gained: from anywhere else the steps end where frequent classes pay.

    Args:
        logits: (N, C). labels: (N,) of validation. frequency: (C,) in training.
    """
    present = np.unique(labels)

    def worth(bias: NDArray[np.float64]) -> float:
        predicted = (logits + bias).argmax(axis=1)
        recalls = np.array([(predicted[labels == label] == label).mean() for label in present])
        lacking = np.maximum(0.0, WORST_RECALL - recalls).sum()
        return float((predicted == labels).mean() - lacking)

    shares = [step / 20 for step in range(-20, 21)]
    prior = np.log(frequency.astype(np.float64))
    share = max(shares, key=lambda share: (worth(share * prior), -abs(share)))
    bias, best, before = share * prior, worth(share * prior), -np.inf
    steps = [sign * STEP * row for row in np.eye(logits.shape[1]) for sign in (-1, 1)]
    while best > before:
        before = best
        near = max((bias + step for step in steps), key=worth)
        if (found := worth(near)) > best:
            best, bias = found, near
    return [round(float(value), 4) for value in bias]


def finish(model: FaceNetwork, data: FerPlus, seed: int, out: Path) -> dict[str, Any]:
    """Export, embed every split, and look at test once. Returns what metrics.json holds."""
    difference = export_face(model, out / "face.onnx", SIZE)
    embedded, probabilities = {}, {}
    for name in IMAGES.splits:
        split: Faces = getattr(data, name)
        embeddings, probabilities[name] = predict(model, split.pictures)
        known = split.labels >= 0
        embedded[name] = Embedded(embeddings[known], to_labels(split.labels[known]))
    nobody = no_faces(NOBODY, SIZE, torch.Generator().manual_seed(seed))[:, 0]
    pictures = (nobody * 255).round().to(torch.uint8).numpy()
    no_label = np.full(NOBODY, -1, np.int64)
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
