"""From corpora to a bundle in steps: what is run, what is not run again, and what is said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

pytest.importorskip("torch")

from erc_ros.inference.manifest import MANIFEST
from erc_ros.resources import config_file, model_folder, recipe_file
from erc_ros.training.command import KINDS
from erc_ros.training.engine.recipe import RecipeError, read_recipe
from erc_ros.training.systems.build import BuildConfig, Step, run_steps


class Bench:
    """Steps that write their files, and what was run and said."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ran, self.said = folder, [], []
        self.recipe = folder / "text.yaml"
        self.recipe.write_text("kind: text\n")
        self.steps = (
            Step("text", ("train", str(self.recipe)), str(folder / "text.onnx"), 2.0),
            Step("bundle", ("train", "x"), str(folder / "bundle.yaml"), 0.5),
        )

    def run(self, words: Sequence[str]) -> int:
        self.ran.append(words[1])
        step = next(step for step in self.steps if step.erc == tuple(words))
        Path(step.makes).write_text("made")
        return 0

    def build(self) -> list[str]:
        """The steps that were run."""
        self.ran.clear()
        self.said.clear()
        run_steps(self.steps, self.folder, self.run, self.said.append)
        return [Path(word).stem for word in self.ran]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_steps_run_once_and_the_hours_are_told_first(bench: Bench) -> None:
    assert bench.build() == ["text", "x"]
    assert bench.said[0] == "2 of 2 steps to do, about 2.5 hours on two cores"
    assert bench.build() == []
    assert bench.said[0].startswith("0 of 2")


def test_a_changed_recipe_runs_its_step_and_all_after_it(bench: Bench) -> None:
    bench.build()
    bench.recipe.write_text("kind: text\nepochs: 2\n")
    assert bench.build() == ["text", "x"]


def test_what_is_lost_is_made_again(bench: Bench) -> None:
    bench.build()
    Path(bench.steps[1].makes).unlink()
    assert bench.build() == ["x"]


def test_what_somebody_else_made_is_taken_and_said(bench: Bench) -> None:
    Path(bench.steps[0].makes).write_text("from elsewhere")
    assert bench.build() == ["x"]
    assert any("without change" in line for line in bench.said)


def test_a_step_that_fails_or_makes_nothing_stops_the_build(bench: Bench) -> None:
    with pytest.raises(RecipeError, match=r"text.*status.*3"):
        run_steps(bench.steps, bench.folder, lambda words: 3, bench.said.append)
    with pytest.raises(RecipeError, match=r"text\.onnx"):
        run_steps(bench.steps, bench.folder, lambda words: 0, bench.said.append)


def test_the_shipped_recipe_names_recipes_that_are_there() -> None:
    recipe = read_recipe(config_file("edge.yaml"), Path("runs/edge"), None)
    steps = recipe.section("build", BuildConfig).steps
    for step in steps:
        if step.erc[0] == "train":
            assert read_recipe(Path(step.erc[1]), Path("runs/x"), None).kind in KINDS
    assert all(step.makes.startswith("runs/") for step in steps)
    files = {word for step in steps for word in step.erc if word.endswith(".yaml")}
    assert all(recipe_file(file).is_file() for file in files)


def test_the_shipped_recipe_makes_the_shipped_fusion() -> None:
    """Its constants are those of the shipped bundle; the fusion sees a voice network of its own."""
    shipped = yaml.safe_load((model_folder("edge-small") / MANIFEST).read_text())
    constants = yaml.safe_load(config_file("edge_reliability.yaml").read_text())
    assert constants == shipped["reliability"]
    recipes = {
        name: yaml.safe_load(config_file(f"training/{name}.yaml").read_text())
        for name in ("audio", "audio_acted", "fusion", "bundle")
    }
    acted = {**recipes["audio"], "voice": dict(recipes["audio"]["voice"])}
    assert acted["voice"].pop("ordinary") > 0
    assert recipes["audio_acted"] == acted
    assert recipes["fusion"]["fusion"]["audio"] == "runs/audio_acted/best"
    assert recipes["bundle"]["bundle"]["audio"] == "runs/audio/best"
    assert recipes["bundle"]["bundle"]["version"] == shipped["version"]
    steps = read_recipe(config_file("edge.yaml"), Path("runs/edge"), None)
    names = [step.name for step in steps.section("build", BuildConfig).steps]
    assert names.index("audio for the fusion") < names.index("fusion")
