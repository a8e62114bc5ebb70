"""The papers' tables: their figures, ours, and what was not measured."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

from erc_ros.cli import main
from erc_ros.metrics.classification import report
from erc_ros.training.engine.runs import RunError, write_metrics
from erc_ros.training.systems.tables import read_figures

SYSTEMS = Path(__file__).parents[3] / "erc_ros" / "config" / "systems"


def measured(folder: Path, seed: int, right: int) -> None:
    """A seed that got `right` of ten utterances of two labels."""
    truth = np.arange(10) % 2
    said = np.where(np.arange(10) < right, truth, 1 - truth)
    seed_folder = folder / f"seed-{seed}"
    seed_folder.mkdir(parents=True)
    content = {"test_report": report(truth, np.eye(2)[said], ("joy", "anger"))}
    write_metrics({**content, "left_out": {"dev": 1, "test": 5}}, seed_folder)


def test_ours_stand_beside_the_papers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stages = tmp_path / "magtkd" / "stages"
    for seed, right in enumerate((8, 6)):
        measured(stages / "text", seed, right)
    measured(stages / "fusion" / "magt-t-a-kd-v-causal", 0, 9)
    assert main(["table", str(SYSTEMS / "magtkd.yaml"), "--runs", str(tmp_path)]) == 0

    said = capsys.readouterr().out
    assert "| T (2 seeds) | 62.79 | 62.99 | 70.00 ± 14.14 |" in said
    assert re.search(r"\| T \(2 seeds\) .* \| 5 \|$", said, re.MULTILINE), "clips that it lacks"
    assert "| MAGT T+A_KD+V, causal (1 seed) | 66.36 | 65.32 | 90.00 |" in said
    needs = "not measured here (needs MELD.Raw)"
    command = f"{needs}: `erc train {SYSTEMS / 'magtkd.yaml'} --data CORPORA`"
    assert f"| A_KD | 49.08 | 45.69 | {command} |" in said


def test_every_paper_has_its_figures_and_every_row_a_place(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    recipes = sorted(map(str, SYSTEMS.glob("*.yaml")))
    assert main(["table", *recipes, "--runs", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    for figure in ("65.32", "69.81", "87.99", "67.80"):
        assert figure in said
    paper_only = said.split("# magtkd on meld-clips")[1].split("\n# ")[0]
    assert "not in this recipe" not in paper_only
    assert "| ddvlm_plain | - | - | not measured here" in said, "stages without a paper's row"


def test_the_figures_of_one_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured(tmp_path / "ddvlm" / "stages" / "fusion" / "ddvlm-no-context", 0, 10)
    assert main(["table", str(SYSTEMS / "ddvlm.yaml"), "--runs", str(tmp_path)]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if "80.66" in line)
    assert row.split("|")[9:-2] == [" - ", " - ", " - ", " - ", " 100.00 ", " - ", " 100.00 "]


def test_lpgnet_has_both_metrics_in_every_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(tmp_path / "lpgnet" / "stages" / "fusion" / "linear-no-context", 0, 8)
    assert main(["table", str(SYSTEMS / "lpgnet.yaml"), "--runs", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    heads = [line for line in lines if line.startswith("| |") or line.startswith("|  |")]
    assert heads and all("here, one vs all accuracy" in head for head in heads[:-1])
    row = next(line for line in lines if line.startswith("| Linear"))
    assert row.split("|")[2:6] == [" 81.68 ", " 80.75 ", " 80.00 ", " 80.00 "]


def test_damaged_figures_and_other_recipes_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "figures.yaml"
    file.write_text(
        "- title: A\n  metrics: [accuracy]\n  rows: [{name: T, run: text, meld: [1, 2]}]"
    )
    with pytest.raises(RunError, match=r"T.*1.*figures"):
        read_figures(file)
    file.write_text("tables: 3")
    with pytest.raises(RunError, match="tables"):
        read_figures(file)
    other = SYSTEMS.parent / "training" / "mosi.yaml"
    assert main(["table", str(other)]) == 1
    assert "which has no stages" in capsys.readouterr().err


def test_folders_of_runs_are_compared_as_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(tmp_path / "text", 0, 10)
    assert main(["table", str(tmp_path / "text"), "--metric", "accuracy"]) == 0
    assert "| text | 1 | - | 100.00 |" in capsys.readouterr().out
