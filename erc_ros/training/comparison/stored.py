"""`kind: stored`: compare fusion models on stored features of a corpus.

The embeddings come from feature stores that `erc encode` made, one per split and modality, or from
the corpus if it is published as features. A clip that the encoder excluded (such as a broken one)
is a missing modality. `comparison.train` runs the comparison.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from erc_ros.training.comparison.train import (
    SECTIONS,
    ComparisonData,
    available_modalities,
    compare,
)
from erc_ros.training.datasets import corpora
from erc_ros.training.datasets.utterances import Split
from erc_ros.training.engine.recipe import Recipe, RecipeError
from erc_ros.training.engine.runs import SPLITS
from erc_ros.training.features.store import FeatureStore
from erc_ros.training.fusion.dialogues import Dialogues
from erc_ros.training.heads.base import MODALITIES


@dataclass(frozen=True, slots=True)
class FeaturesConfig:
    """The section `features` of a recipe; `{split}` in a folder is train, dev or test."""

    corpus: str
    """Name of the corpus, as for `corpora.find`."""
    text: str = ""
    """Empty: published features of the corpus, which it must then have."""
    audio: str = ""
    """Empty: the modality is missing."""
    visual: str = ""

    def __post_init__(self) -> None:
        if corpora.find_for_training(self.corpus).has_features and not self.text:
            return
        for name in MODALITIES:
            folder = getattr(self, name)
            if "{split}" not in folder and (folder or name == "text"):
                raise ValueError(f"{name} is {getattr(self, name)!r}, it must contain {{split}}")


def train(recipe: Recipe) -> None:
    """Run a recipe (all seeds or one), and write the table.

    Raises:
        RecipeError, FileNotFoundError: the recipe, the corpus or its features are not usable.
    """
    recipe.refuse_other_sections(SECTIONS | {"features"})
    config = recipe.section("features", FeaturesConfig)
    try:
        splits = {name: corpora.read(config.corpus, recipe.data, name) for name in SPLITS}
        data = {name: dialogues(split, config) for name, split in splits.items()}
    except ValueError as error:
        raise RecipeError(f"{config.corpus} in {recipe.data}: {error}") from error
    spec = corpora.find(config.corpus)
    available = ", ".join(available_modalities(data["test"]))
    note = (
        spec.note or f"Reference speakers and transcripts; modalities with features: {available}."
    )
    compare(recipe, ComparisonData(spec.title, note, splits["train"].labels, data))


def published_rows(split: Split, place: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the published features (N, d) of a modality, and which utterances have it (N,)."""
    rows = [u.features[place] for c in split.conversations for u in c.utterances]
    if not any(row.size for row in rows):
        return np.zeros((len(rows), 1), np.float32), np.zeros(len(rows), bool)
    stacked = np.stack(rows)
    there = np.asarray(np.isfinite(stacked).all(axis=1), np.bool_)
    return np.where(there[:, None], stacked, 0).astype(np.float32), there


def dialogues(split: Split, config: FeaturesConfig) -> Dialogues:
    """Return a split with its features; utterances without a label (-100) are history only.

    Raises:
        FileNotFoundError, ValueError: a store is missing, damaged, or has nothing of this split.
    """
    lengths = [len(conversation.utterances) for conversation in split.conversations]
    rows = [(c, u) for c in split.conversations for u in c.utterances]
    keys = [conversation.key(utterance) for conversation, utterance in rows]
    features, present = [], []
    for name in MODALITIES:
        if not config.text:
            taken, there = published_rows(split, MODALITIES.index(name))
            features.append(taken)
            present.append(there)
            continue
        if not getattr(config, name):
            features.append(np.zeros((len(keys), 1), np.float32))
            present.append(np.zeros(len(keys), bool))
            continue
        folder = Path(getattr(config, name).format(split=split.name))
        taken, there = FeatureStore(folder).take(keys)
        if not there.any():
            raise ValueError(f"{folder} lacks features of all {len(keys)} utterances")
        features.append(taken)
        present.append(there)
    text, audio, visual = features
    return Dialogues(
        text,
        audio,
        visual,
        labels=np.array([-100 if u.label is None else u.label for _, u in rows], np.int64),
        speakers=np.array([u.speaker for _, u in rows], np.int64),
        first=np.repeat(np.cumsum([0, *lengths[:-1]]), lengths).astype(np.int64),
        present=np.stack(present, axis=1),
    )
