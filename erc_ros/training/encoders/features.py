"""A small network on published features, in place of an encoder.

`model: features-73` in a recipe starts with new weights for 73 numbers per utterance; a folder that
`save` wrote continues with its weights. It cannot run on a robot, which has no such features.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from erc_ros.training.encoders import own_network, pretrained
from erc_ros.training.encoders.sample import Sample
from erc_ros.values.settings import check, setting

FEATURES = "features"
_NEW = re.compile(r"features-([1-9]\d{0,5})")


@dataclass(frozen=True, slots=True)
class ClassifierConfig:
    """Settings of a network on stored features; the section `classifier`."""

    hidden: int = setting(128, "width of the hidden layer", "", (1, 100_000))
    dropout: float = setting(0.3, "dropout of inputs and hidden layer", "", (0, 0.99))

    def __post_init__(self) -> None:
        check(self)


class FeatureNetwork(nn.Module):
    """Network from stored features (N, size) to embeddings (N, hidden)."""

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


@dataclass(frozen=True, slots=True)
class FeatureSizes:
    """Content of network.json: number of inputs, and the network's sizes."""

    size: int
    hidden: int = 64
    dropout: float = 0.5


def asks_for_features(model: str) -> bool:
    """Return whether a recipe's `model` is a network on published features."""
    return _NEW.fullmatch(model) is not None


class FeaturesEncoder:
    """Encoder of published features -> embedding (N, 64); see `pretrained.Trainable`.

    Args:
        modality: modality of the features; text, audio or visual.
        model: `features-N`, or a folder.

    Raises:
        ValueError: the folder is of another modality.
    """

    def __init__(self, modality: str, model: str, batch_size: int) -> None:
        self.modality, self.batch_size = modality, batch_size
        if new := _NEW.fullmatch(model):
            self._sizes, self.name = FeatureSizes(int(new[1])), f"{modality}-{model}-new"
        else:
            self._sizes = own_network.read_sizes(
                Path(model), FEATURES, FeatureSizes, modality=modality
            )
            self.name = f"{modality}-features-{pretrained.digest(Path(model))}"
        network = ClassifierConfig(self._sizes.hidden, self._sizes.dropout)
        self.model: nn.Module = FeatureNetwork(self._sizes.size, network)
        self.dimension = network.hidden
        self.model.eval()
        if not new:
            own_network.load(self.model, Path(model))

    def refuses(self, sample: Sample) -> str:
        """Refuse features that are missing, not finite, or of another size."""
        if sample.features is None:
            return "no features: the corpus is not published as such"
        if sample.features.shape != (self._sizes.size,):
            return f"features {sample.features.shape} for a network of {self._sizes.size}"
        return "" if np.isfinite(sample.features).all() else "features that are not finite"

    def size(self, sample: Sample) -> int:
        """Return 1: all inputs have the same cost."""
        return 1

    def collate(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        """Return features (N, size)."""
        given = [sample.features for sample in samples if sample.features is not None]
        return {"features": torch.from_numpy(np.stack(given).astype(np.float32))}

    def embed(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return embeddings (N, 64) for inputs of `collate`."""
        embedding: Tensor = self.model(inputs["features"])
        return embedding

    def encode(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """Return embeddings (N, 64); see `pretrained.encode`."""
        return pretrained.encode(self, samples)

    def save(self, folder: Path) -> None:
        """Write network.json and model.safetensors."""
        own_network.save(self.model, folder, FEATURES, self._sizes, modality=self.modality)
