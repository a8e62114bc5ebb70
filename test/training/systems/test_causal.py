"""The protocol of "Causal ERC": text only, some earlier turns, none that follow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("torch", reason="needs the extra [train]")

from tiny_systems import train

from erc_ros.cli import main
from erc_ros.training.encoders.sample import Sample
from erc_ros.training.features.store import FeatureStore
from erc_ros.training.systems.encoders import saved_encoder
from erc_ros.training.systems.material import read_material

RECIPE = Path(__file__).parents[3] / "erc_ros" / "config" / "systems" / "causal_iemocap4.yaml"


def test_an_utterance_is_read_after_so_many_turns_and_before_all_others(
    tiny: dict[str, str],
    generated_iemocap: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = yaml.safe_load(RECIPE.read_text())
    assert recipe["system"]["seeds"] == list(range(10))
    histories = [stage["encoder"]["history"] for stage in recipe["stages"].values()]
    assert histories == [0, 10, 20, 30]
    recipe["system"]["seeds"] = [0]
    recipe["stages"] = {"turns_10": recipe["stages"]["turns_10"]}
    stage = recipe["stages"]["turns_10"]
    stage["encoder"] |= {"model": tiny["roberta"], "history": 1}
    stage["trainer"] = {"epochs": 1, "batch_size": 8, "learning_rate": 1.0e-3}
    out = tmp_path / "runs" / "causal_iemocap4"
    assert train(recipe, generated_iemocap, out) == 0

    seed = out / "stages" / "turns_10" / "seed-0"
    encoder = saved_encoder(seed)
    split = read_material("iemocap-4", generated_iemocap).splits["test"]
    row = next(number for number, turns in enumerate(split.turns) if len(turns) == 3)
    turns = split.turns[row]
    stored, _ = FeatureStore(seed / "features" / "test").take([split.keys[row]])
    two, one = (encoder.encode([Sample("k", turns[-count:])]) for count in (2, 1))
    np.testing.assert_allclose(two, stored, atol=1e-4)
    assert np.abs(one - stored).max() > 1e-3

    capsys.readouterr()
    assert main(["table", str(RECIPE), "--runs", str(tmp_path / "runs")]) == 0
    table = capsys.readouterr().out
    assert "| 10 (1 seed) |" in table and "| 82.69 |" in table
