"""Every table and figure of the papers has a command, and the figures are drawn."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("torch", reason="needs the extra [train]")
pytest.importorskip("matplotlib", reason="needs the extra [replay]")

from published_files import mmgcn_meld

from erc_ros.cli import _COMMANDS, main
from erc_ros.training.engine.runs import Predicted, write_run
from erc_ros.training.systems.encoders import write_store
from erc_ros.training.systems.figures import FIGURES
from erc_ros.training.systems.tables import read_figures

SYSTEMS = Path(__file__).parents[3] / "erc_ros" / "config" / "systems"
COMMANDS = yaml.safe_load((SYSTEMS / "figures" / "commands.yaml").read_text())
PAPERS = {
    "magtkd": ("Table 2", "Table 3", "Figure 4", "Figure 5", "Figure 6"),
    "summer": ("Table I", "Table II", "Table III", "Table IV", "Figure 4"),
    "lpgnet": ("Table 2", "Table 3", "Table 4", "Table 5", "Table 6", "Table 7"),
    "ddvlm": ("Table 3", "Table 4", *(f"Figure {n}" for n in (1, 6, 8, 9, 10))),
}
"""What shows results in each paper; the other figures are drawings of the method."""


@pytest.mark.parametrize("paper", PAPERS)
def test_every_table_and_figure_of_a_paper_has_a_command(paper: str) -> None:
    assert set(COMMANDS[paper]) == set(PAPERS[paper])
    titles = " ".join(table.title for table in read_figures(SYSTEMS / f"figures/{paper}.yaml"))
    for item, command in COMMANDS[paper].items():
        erc, name, *rest = shlex.split(command)
        assert erc == "erc" and name in _COMMANDS
        recipes = [SYSTEMS / Path(word).name for word in rest if word.endswith(".yaml")]
        assert all(recipe.is_file() for recipe in recipes)
        if name == "figure":
            assert rest[1] in FIGURES[paper]
        elif name == "table" and item.partition(" ")[2] not in ("2", "II"):
            assert item.partition(" ")[2] in titles


def test_partial_figures_are_listed() -> None:
    partial = {paper: list(items) for paper, items in COMMANDS["partial"].items()}
    assert partial == {"magtkd": ["Figure 6"], "ddvlm": ["Figure 1"]}
    assert all(item in COMMANDS[paper] for paper, items in partial.items() for item in items)


def recipe(tmp_path: Path, kind: str) -> Path:
    mmgcn_meld(tmp_path / "meld_features")
    file = tmp_path / f"{kind}.yaml"
    content = {
        "kind": kind,
        "system": {"corpus": "meld-features"},
        "stages": {"features": {}, "text": {}, "audio_kd": {}, "fusion": {}},
    }
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return file


def finished(folder: Path, **content: object) -> None:
    draw = np.random.default_rng(0)
    part = Predicted(draw.normal(size=(12, 3)).astype(np.float32), np.arange(12) % 3)
    folder.mkdir(parents=True)
    write_run(folder, ("joy", "anger", "fear"), {"dev": part, "test": part}, content)


@pytest.mark.parametrize(
    ("kind", "number"), [(kind, number) for kind in FIGURES for number in FIGURES[kind]]
)
def test_a_figure_is_drawn_from_finished_runs(
    kind: str, number: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = recipe(tmp_path, kind), tmp_path / "a.png"
    given = ["figure", str(file), number, "--runs", str(tmp_path / "runs")]
    given += ["--data", str(tmp_path), "--out", str(out)]
    if (kind, number) != ("ddvlm", "6"):
        assert main(given) == 1  # nothing was trained
        assert "finished" in capsys.readouterr().err
    stages = tmp_path / "runs" / kind / "stages"
    for alpha in (0.0, 0.1):
        weights = {"row": {"weights": {"alpha": alpha, "beta": 0.5}}}
        finished(stages / "grid" / f"magt-{alpha}-offline" / "seed-0", settings=weights)
    for name in (
        f"fusion/{kind}-no-context",
        "fusion/summer-offline",
        "teacher/text-teacher-offline",
    ):
        if not (stages / name).exists():
            finished(stages / name / "seed-0")
    finished(stages / "text" / "seed-0")
    (stages / "audio_kd" / "seed-0").mkdir(parents=True)
    history = [{"loss": 1.0, "weighted_f1": 0.3}, {"loss": 0.5, "weighted_f1": 0.4}]
    (stages / "audio_kd" / "seed-0" / "training.json").write_text(json.dumps({"history": history}))
    keys = [f"test/{dialogue}/{n}" for dialogue in (1153, 1154) for n in range(3)]
    rows = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)
    write_store(stages / "text" / "seed-0" / "features" / "test", "a", keys, rows, {})
    assert main(given) == 0
    assert out.read_bytes().startswith(b"\x89PNG")


def test_an_unknown_figure_names_those_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["figure", str(recipe(tmp_path, "magtkd")), "3"]) == 1
    assert "4, 5, 6" in capsys.readouterr().err
