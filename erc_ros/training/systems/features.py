"""The stage `features`: published features of a corpus, in place of encoders."""

from __future__ import annotations

from dataclasses import dataclass

from erc_ros.training.comparison.stored import published_rows
from erc_ros.training.systems.encoders import FEATURES, write_store
from erc_ros.training.systems.stages import Work
from erc_ros.values.utterance import MODALITIES

NAME = "features"


@dataclass(frozen=True, slots=True)
class FeaturesStage:
    """The modalities whose features are used, if the corpus has them."""

    modalities: tuple[str, ...] = MODALITIES

    def __post_init__(self) -> None:
        if not self.modalities or set(self.modalities) - set(MODALITIES):
            raise ValueError(f"modalities must be some of {MODALITIES}, not {self.modalities}")


def store_features(stage: FeaturesStage, work: Work) -> None:
    """Write a feature store of each modality and split, MODALITY/features/SPLIT.

    Raises:
        ValueError: the corpus has no published features, or none of these modalities.
    """
    written = False
    for modality in stage.modalities:
        for name, split in work.material.splits.items():
            if not all(said.features for said in split.said):
                raise ValueError(f"{work.material.corpus} {name} is not published as features")
            rows, there = published_rows(split.split, MODALITIES.index(modality))
            if not there.any():
                print(f"{work.material.corpus} {name} has no {modality} features", flush=True)
                break
            keys = [key for key, has in zip(split.keys, there, strict=True) if has]
            missing = {k: "none" for k, has in zip(split.keys, there, strict=True) if not has}
            folder = work.folder / modality / FEATURES / name
            write_store(folder, f"published-{modality}", keys, rows[there], missing)
            written = True
    if not written:
        raise ValueError(f"{work.material.corpus} has no features of {', '.join(stage.modalities)}")
