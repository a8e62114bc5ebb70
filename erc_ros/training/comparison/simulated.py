"""`erc train config/training/simulated.yaml`: fusion heads on MELD with **simulated** modalities.

The text is MELD's; audio and visual embeddings are clips of other corpora (`simulation`). This is
not a benchmark: it compares how fusion models use three modalities, each as accurate as published
for MELD.
"""

from __future__ import annotations

from erc_ros.training.comparison.train import SECTIONS, ComparisonData, compare
from erc_ros.training.datasets.utterances import LABELS
from erc_ros.training.engine.recipe import Recipe
from erc_ros.training.fusion.simulated import EncoderFolders, describe, read_dialogues
from erc_ros.training.fusion.simulation import Weakness

NOTE = (
    "**Simulated**, not a benchmark: MELD's text and dialogues; audio and visual embeddings are"
    " clips of other corpora with a matching label, degraded to the published unimodal scores"
    " (linear probes on dev: audio {audio:.1%}, visual {visual:.1%} weighted F1). Reference"
    " speakers and text."
)


def train(recipe: Recipe) -> None:
    """Run a recipe (all seeds or one), and write the table.

    Raises:
        RecipeError, FileNotFoundError: the recipe or the trained encoders are not usable.
    """
    recipe.refuse_other_sections(SECTIONS | {"fusion", "simulation"})
    config = recipe.section("fusion", EncoderFolders)
    splits, simulated = read_dialogues(config, recipe.section("simulation", Weakness))
    describe(simulated)
    note = NOTE.format(**{name: matched.dev_f1 for name, matched in simulated.items()})
    compare(
        recipe, ComparisonData("MELD with simulated audio and visual", note, tuple(LABELS), splits)
    )
