"""The text stages of the four papers side by side; of the corpus only the words are needed."""

from __future__ import annotations

from functools import partial

from erc_ros.training.engine.recipe import Recipe
from erc_ros.training.engine.runs import MEASURED
from erc_ros.training.systems.encoders import TextStage, learn_alone
from erc_ros.training.systems.stages import Stage, run_stages

STAGES = tuple(
    Stage(name, TextStage, partial(learn_alone, stored=MEASURED))
    for name in ("magtkd", "summer", "lpgnet", "ddvlm", "ddvlm_plain")
)


def train(recipe: Recipe) -> None:
    """Run the stages of a recipe of kind texts; see `stages.run_stages`."""
    run_stages(recipe, STAGES)
