"""`erc train config/training/mosi.yaml`: fusion heads on CMU-MOSI, real trimodal features.

A video is one conversation of one person. The comparison itself is in `comparison`.
"""

from __future__ import annotations

import numpy as np

from erc_ros.training.comparison.train import SECTIONS, ComparisonData, compare
from erc_ros.training.datasets.mosi import LABELS, MosiConfig, Videos, read_mosi
from erc_ros.training.engine.recipe import Recipe, RecipeError
from erc_ros.training.fusion.dialogues import Dialogues

NOTE = (
    "Sentiment (negative or positive), not emotion; one speaker per video. The features are those"
    " of bc-LSTM; its text and video networks were trained on the official train split with its"
    " labels. Dev ({dev} videos) is part of that split, so dev is nearly always right and cannot"
    " choose anything: it is shown, not used, where the last epoch is tested."
)


def train(recipe: Recipe) -> None:
    """All runs of the recipe (or those of one seed), and the table.

    Raises:
        RecipeError, FileNotFoundError: the recipe or the data are not usable.
    """
    recipe.refuse_other_sections(SECTIONS | {"mosi"})
    config = recipe.section("mosi", MosiConfig)
    try:
        splits = read_mosi(recipe.data, config.dev_videos)
    except ValueError as error:
        raise RecipeError(f"CMU-MOSI in {recipe.data}: {error}") from error
    note = NOTE.format(dev=config.dev_videos)
    data = {name: dialogues(videos) for name, videos in splits.items()}
    compare(recipe, ComparisonData("CMU-MOSI, real trimodal features", note, LABELS, data))


def dialogues(videos: Videos) -> Dialogues:
    """Videos as conversations of speaker 1."""
    text, audio, visual = videos.features
    return Dialogues(
        text,
        audio,
        visual,
        labels=videos.labels,
        speakers=np.ones_like(videos.labels),
        first=videos.first,
    )
