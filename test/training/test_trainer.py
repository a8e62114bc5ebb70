"""The training loop on a problem small enough to reason about."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from erc_ros.training.recipe import RecipeError, build, read_recipe  # noqa: E402
from erc_ros.training.trainer import (  # noqa: E402
    Fit,
    TrainerConfig,
    fit,
    learning_rate_share,
    load_weights,
    set_seeds,
)


def config(**changes: object) -> TrainerConfig:
    values = {"epochs": 3, "batch_size": 4, "learning_rate": 0.05, **changes}
    return TrainerConfig(**values)  # type: ignore[arg-type]


def line(model: nn.Module, batch: Tensor) -> Tensor:
    """Learn y = 3 x."""
    return nn.functional.mse_loss(model(batch), 3 * batch)


def run(out: Path, scores: list[float] | None = None, **changes: object) -> tuple[Fit, nn.Module]:
    settings = config(**changes)
    set_seeds(settings.seed)
    model = nn.Linear(1, 1)
    told = iter(scores or [])

    def evaluate(model: nn.Module) -> dict[str, float]:
        assert not model.training and not torch.is_grad_enabled()
        return {"score": next(told) if scores else -float(line(model, torch.ones(1, 1)))}

    result = fit(
        model,
        settings,
        batches=lambda epoch: [torch.randn(4, 1) for _ in range(8)],
        loss=line,
        evaluate=evaluate,
        choose="score",
        out=out,
        say=lambda text: None,
    )
    return result, model


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_learns(tmp_path: Path, precision: str) -> None:
    result, model = run(tmp_path, epochs=12, precision=precision)
    assert model.weight.item() == pytest.approx(3, abs=0.7)
    assert result.history[-1]["loss"] < result.history[0]["loss"] / 4


def test_the_model_ends_with_the_weights_of_the_best_epoch(tmp_path: Path) -> None:
    result, model = run(tmp_path, [0.1, 0.9, 0.5])
    assert result.best_epoch == 2 and result.best["score"] == 0.9
    other = nn.Linear(1, 1)
    load_weights(other, result.checkpoint)
    assert torch.equal(other.weight, model.weight)


def test_of_equal_epochs_the_first_is_kept(tmp_path: Path) -> None:
    assert run(tmp_path, [0.5, 0.5, 0.5])[0].best_epoch == 1


def test_patience_stops(tmp_path: Path) -> None:
    result, _ = run(tmp_path, [0.5, 0.4, 0.3, 0.9], epochs=4, patience=2)
    assert len(result.history) == 3 and result.best_epoch == 1


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    a, b, c = (run(tmp_path / str(n), seed=s)[1] for n, s in enumerate((7, 7, 8)))
    assert torch.equal(a.weight, b.weight) and not torch.equal(a.weight, c.weight)


def test_the_record_says_what_was_done(tmp_path: Path) -> None:
    run(tmp_path, [0.1, 0.9, 0.5])
    record = json.loads((tmp_path / "training.json").read_text())
    assert record["best_epoch"] == 2 and len(record["history"]) == 3
    assert record["config"]["learning_rate"] == 0.05


def test_a_loss_that_is_no_number_stops_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match="learning_rate"):
        fit(
            nn.Linear(1, 1),
            config(),
            batches=lambda epoch: [torch.full((1, 1), float("inf"))],
            loss=line,
            evaluate=lambda model: {"score": 0.0},
            choose="score",
            out=tmp_path,
        )


def test_the_rate_rises_then_falls_to_nothing() -> None:
    shares = [learning_rate_share(step, 100, 0.1) for step in range(101)]
    assert shares[0] == pytest.approx(0.1) and max(shares) == shares[9] == 1
    assert shares[:10] == sorted(shares[:10]) and shares[10:] == sorted(shares[10:], reverse=True)
    assert shares[100] == 0 and learning_rate_share(0, 1, 0.0) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"learning_rate": 2.0},
        {"warm_up": 1.0},
        {"weight_decay": -1.0},
        {"seed": -1},
        {"clip": 0.0},
        {"precision": "fp8"},
    ],
)
def test_nonsense_is_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        config(**wrong)


RECIPE = """
kind: text
trainer: {epochs: 2, batch_size: 4, learning_rate: 1e-4}
"""


def test_a_recipe_is_read_and_the_command_line_sets_the_seed(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE)
    recipe = read_recipe(path, tmp_path, tmp_path, seed=5)
    section = recipe.section("trainer", TrainerConfig)
    assert section == TrainerConfig(2, 4, 1e-4, seed=5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epoch": 3}, "epoch"),
        ({"epochs": "three", "batch_size": 1, "learning_rate": 0.1}, "trainer.epochs must be int"),
        ({"epochs": True, "batch_size": 1, "learning_rate": 0.1}, "trainer.epochs must be int"),
        ({"epochs": 3}, "batch_size"),
        ({"epochs": 0, "batch_size": 1, "learning_rate": 0.1}, "at least 1"),
    ],
)
def test_a_wrong_section_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        build(TrainerConfig, values, "trainer")


@pytest.mark.parametrize("content", ["kind: [", "- text", "trainer: {}", "kind: 3"])
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(content)
    with pytest.raises(RecipeError, match=r"r\.yaml"):
        read_recipe(path, tmp_path, tmp_path)


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from erc_ros.training.command import main

    assert main([str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml" in capsys.readouterr().err
    path = tmp_path / "r.yaml"
    path.write_text("kind: smell")
    assert main([str(path)]) == 2
    assert "smell" in capsys.readouterr().err
    path.write_text("kind: text\ntrianer: {}")
    assert main([str(path)]) == 2
    assert "trianer" in capsys.readouterr().err


def test_every_recipe_here_has_a_training_that_exists() -> None:
    from erc_ros.training.command import KINDS

    root = Path(__file__).parents[2]
    for path in (root / "config" / "training").glob("*.yaml"):
        module, function = KINDS[read_recipe(path, root, root).kind].split(":")
        source = (root / Path(*module.split("."))).with_suffix(".py").read_text()
        assert f"\ndef {function}(recipe: Recipe)" in source


def test_missing_data_is_told_with_the_way_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from erc_ros.training.command import main

    path = tmp_path / "r.yaml"
    path.write_text(RECIPE + "text: {pretrain: false}\n")
    assert main([str(path), "--data", str(tmp_path / "nowhere")]) == 2
    error = capsys.readouterr().err
    assert "nowhere" in error and "ERC_DATA" in error
