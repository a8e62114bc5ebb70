"""The recipes of config/systems say what their systems take."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

from erc_ros.training.command import KINDS, SYSTEMS
from erc_ros.training.datasets.corpora import find_for_training
from erc_ros.training.engine.recipe import read_recipe
from erc_ros.training.systems.stages import SystemConfig, chosen_stages

RECIPES = sorted((Path(__file__).parents[3] / "erc_ros" / "config" / "systems").glob("*.yaml"))


@pytest.mark.parametrize("file", RECIPES, ids=[file.stem for file in RECIPES])
def test_a_recipe_is_accepted_and_names_itself_in_its_command(file: Path, tmp_path: Path) -> None:
    recipe = read_recipe(file, tmp_path)
    recipe.refuse_other_sections({"system", "stages"})
    assert recipe.kind in SYSTEMS
    assert find_for_training(recipe.section("system", SystemConfig).corpus).read
    stages = importlib.import_module(KINDS[recipe.kind].partition(":")[0]).STAGES
    chosen = [stage.name for stage, _ in chosen_stages(recipe, stages)]
    assert "fusion" in chosen or recipe.kind in ("texts", "causal")
    assert f"erc train config/systems/{file.name}" in file.read_text()


def test_every_paper_has_its_values_and_a_small_one() -> None:
    names = {file.stem for file in RECIPES}
    for paper in ("magtkd", "summer", "lpgnet", "ddvlm"):
        assert {paper, f"{paper}_small"} <= names
