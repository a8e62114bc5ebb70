"""The four systems on published features, from the files to the table."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("torch", reason="needs the extra [train]")

from published_files import dialogue_rnn_iemocap, dialogue_rnn_meld, mmgcn_meld

from erc_ros.cli import main
from erc_ros.training.command import launched_processes
from erc_ros.training.engine.distributed import aside
from erc_ros.training.engine.recipe import RecipeError, read_recipe
from erc_ros.training.engine.runs import read_metrics

RECIPES = Path(__file__).parents[3] / "erc_ros" / "config" / "systems"


def small(tmp_path: Path, kind: str) -> Path:
    """The recipe with narrow networks on the CPU, one epoch, one seed."""
    content = yaml.safe_load((RECIPES / f"{kind}_features.yaml").read_text())
    content["system"]["seeds"] = [0]
    for stage in content["stages"].values():
        if "trainer" in stage:
            stage["trainer"] |= {"epochs": 1, "device": "cpu"}
            stage["network"]["width"] = 8
        if "layers" in stage.get("options", {}):
            stage["options"] |= {"layers": 1, "experts": 2}
        for row in stage.get("rows", ()):
            if "layers" in row.get("options", {}):
                row["options"] |= {"layers": 1, "experts": 2}
    file = tmp_path / f"{kind}_features.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return file


@pytest.mark.parametrize("kind", ["magtkd", "summer", "lpgnet", "ddvlm"])
def test_a_system_is_trained_on_published_features(kind: str, tmp_path: Path) -> None:
    mmgcn_meld(tmp_path / "meld_features")
    dialogue_rnn_iemocap(tmp_path / "iemocap_features")
    out = tmp_path / "run"
    given = ["train", str(small(tmp_path, kind)), "--data", str(tmp_path), "--out", str(out)]
    assert main(given) == 0
    runs = [read_metrics(file.parent) for file in out.glob("stages/fusion/*/seed-0/metrics.json")]
    read = [run["reads"] for run in runs if "reads" in run]
    modalities = {"lpgnet": {"text", "audio"}, "ddvlm": {"text", "visual"}}
    expected = modalities.get(kind, {"text", "audio", "visual"})
    assert read and all(set(each) == expected for each in read)
    assert all(set(each.values()) == {"features"} for each in read)


def test_what_the_files_lack_is_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dialogue_rnn_meld(tmp_path / "meld_features")
    out = tmp_path / "run"
    recipe = small(tmp_path, "magtkd")
    given = ["train", str(recipe), "--data", str(tmp_path), "--out", str(out)]
    assert main(given) == 0
    run = next(out.glob("stages/fusion/magt-*causal/seed-0"))
    assert set(read_metrics(run)["reads"]) == {"text", "audio"}
    assert "has no visual features" in capsys.readouterr().out


def test_two_processes_and_two_seeds_end_with_their_features(tmp_path: Path) -> None:
    """Gloo in place of GPUs: each seed trains in two processes and encodes in one of its own."""
    mmgcn_meld(tmp_path / "meld_features")
    content = yaml.safe_load(small(tmp_path, "magtkd").read_text())
    trainer = {"epochs": 1, "batch_size": 4, "learning_rate": 1e-3, "processes": 2}
    text = {"encoder": {"model": "features-8"}, "trainer": trainer}
    content["system"]["seeds"] = [0, 1]
    content["stages"] = {"text": text, "fusion": content["stages"]["fusion"]}
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    out = tmp_path / "run"
    given = ["train", str(tmp_path / "two.yaml"), "--data", str(tmp_path), "--out", str(out)]
    assert main([*given, "--until", "text"]) == 0
    for seed in (0, 1):
        assert (out / "stages" / "text" / f"seed-{seed}" / "features" / "test").is_dir()
        assert read_metrics(out / "stages" / "text" / f"seed-{seed}")["encoder"]


@pytest.mark.parametrize("count", [1, 2])
def test_a_separate_process_returns_its_result_and_its_error(count: int) -> None:
    class PrivateError(Exception):
        """Cannot be sent to another process."""

    def fail() -> None:
        raise PrivateError("of its own")

    assert aside(lambda: {"a": np.arange(3)}, count)["a"].tolist() == [0, 1, 2]
    with pytest.raises(ZeroDivisionError):
        aside(lambda: 1 / 0, count)
    with pytest.raises(PrivateError if count == 1 else RuntimeError, match="of its own"):
        aside(fail, count)


def test_a_separate_process_that_is_killed_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="-9"):
        aside(lambda: os.kill(os.getpid(), signal.SIGKILL), 2)


def test_the_first_process_of_torchrun_trains_in_as_many_as_it_started() -> None:
    started = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}
    started |= {"MASTER_PORT": "29500", "TORCHELASTIC_RUN_ID": "none", "HOME": "/"}
    first, second = ({**started, "RANK": rank, "LOCAL_RANK": rank} for rank in "01")
    assert launched_processes(second) == 0
    assert launched_processes(first) == 2
    assert first == {"HOME": "/"}, "its own processes find nothing of the launcher"
    assert launched_processes(first) == 1
    with pytest.raises(RecipeError):
        launched_processes({**started, "LOCAL_WORLD_SIZE": "1"})


def test_torchrun_decides_the_processes_of_every_training(tmp_path: Path) -> None:
    recipe = read_recipe(small(tmp_path, "magtkd"), tmp_path / "run")
    stages = recipe.in_processes(2).sections["stages"]
    assert [stage["trainer"]["processes"] for stage in stages.values() if "trainer" in stage] == [2]
    assert "processes" not in recipe.sections["stages"]["fusion"]["trainer"]


def test_other_ranks_do_not_train_into_the_same_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    given = ["train", str(small(tmp_path, "magtkd")), "--out", str(tmp_path / "run")]
    assert main(given) == 0
    assert not (tmp_path / "run").exists()


def test_a_fusion_needs_text_or_features(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = yaml.safe_load(small(tmp_path, "magtkd").read_text())
    del content["stages"]["features"]
    (tmp_path / "none.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    assert main(["train", str(tmp_path / "none.yaml"), "--data", str(tmp_path)]) == 2
    assert "stages.text or stages.features" in capsys.readouterr().err
