"""Compare text stages; only the text of the corpus is needed.

Kind texts: those of the four papers. Kind causal: the protocol of "Causal ERC" (arXiv 2601.00181),
the same encoder with 0, 10, 20 and 30 earlier turns and without later ones.
"""

from __future__ import annotations

from functools import partial

from erc_ros.training.engine.recipe import Recipe
from erc_ros.training.engine.runs import MEASURED
from erc_ros.training.systems.encoders import TextStage, learn_alone
from erc_ros.training.systems.stages import Stage, run_stages

STAGES = tuple(
    Stage(name, TextStage, partial(learn_alone, stored=MEASURED))
    for name in (
        *("magtkd", "summer", "lpgnet", "ddvlm", "ddvlm_plain"),
        *("turns_0", "turns_10", "turns_20", "turns_30"),
    )
)


def train(recipe: Recipe) -> None:
    """Run the stages of a recipe of kind texts or causal; see `stages.run_stages`."""
    run_stages(recipe, STAGES)
