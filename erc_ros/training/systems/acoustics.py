"""The stage of acoustic features by openSMILE: standardized functionals, reduced by PCA.

features/{train,dev,test}   a feature store
scale.safetensors           mean, deviation and components, from the train split
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from erc_ros.training.encoders.audio.opensmile import SETS, OpenSmileEncoder
from erc_ros.training.engine.runs import SPLITS
from erc_ros.training.features.encode import encode_split
from erc_ros.training.features.store import FeatureStore
from erc_ros.training.systems.encoders import FEATURES, write_store
from erc_ros.training.systems.stages import Work

RAW = "functionals"
LARGEST = 10.0
"""Features are clipped at this number of deviations; functionals of rare audio have outliers."""


@dataclass(frozen=True, slots=True)
class OpenSmileStage:
    """The feature set and the number of components."""

    feature_set: str = "ComParE_2016"
    components: int = 512
    """Number of principal components of the train split; SUMMER reduces to 512 for MELD and 100 for
    IEMOCAP by an unspecified method. Limited by the number of utterances."""

    def __post_init__(self) -> None:
        if self.feature_set not in SETS:
            raise ValueError(f"feature_set is {self.feature_set!r}, must be one of {SETS}")
        if self.components < 1:
            raise ValueError(f"components is {self.components}, must be at least 1")


def measure_sound(stage: OpenSmileStage, work: Work) -> None:
    """Compute openSMILE's features of the corpus."""
    encoder = OpenSmileEncoder(stage.feature_set)
    for name, split in work.material.splits.items():
        encode_split(work.material.corpus, split.split, encoder, work.folder / RAW / name)
    train = FeatureStore(work.folder / RAW / "train")
    if len(train) < 2:
        raise ValueError(f"{len(train)} utterances of train have audio, at least 2 are required")
    scale = _scale(train.take(train.keys())[0], stage.components)
    save_file(scale, work.folder / "scale.safetensors")
    for name in SPLITS:
        _rescale(work.folder, name, scale)


def _scale(x: NDArray[np.float32], components: int) -> dict[str, NDArray[np.float32]]:
    """Return mean (d,), deviation (d,) and principal components (d, k) of features (N, d)."""
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    deviation = np.where(deviation > 1e-6 * np.abs(mean) + 1e-12, deviation, np.inf)
    z = _standardised(x, mean, deviation)
    kept = min(components, *z.shape)
    directions = np.linalg.svd(z - z.mean(axis=0), full_matrices=False)[2][:kept]
    spread = (z @ directions.T).std(axis=0)
    spread = np.where(spread > 1e-6, spread, 1.0)
    parts = {"mean": mean, "deviation": deviation, "components": directions.T / spread}
    return {name: np.ascontiguousarray(part, np.float32) for name, part in parts.items()}


def _standardised(
    x: NDArray[np.float32], mean: NDArray[np.float32], deviation: NDArray[np.float32]
) -> NDArray[np.float32]:
    result: NDArray[np.float32] = np.clip((x - mean) / deviation, -LARGEST, LARGEST)
    return result


def _rescale(folder: Path, name: str, scale: dict[str, NDArray[np.float32]]) -> None:
    store = FeatureStore(folder / RAW / name)
    keys = store.keys()
    z = _standardised(store.take(keys)[0], scale["mean"], scale["deviation"])
    features = (z @ scale["components"]).astype(np.float32)
    write_store(folder / FEATURES / name, store.encoder, keys, features, store.left_out)
