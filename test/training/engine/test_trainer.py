"""The training loop on a problem small enough to reason about."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest

torch = pytest.importorskip("torch")

import numpy as np  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from erc_ros.metrics import classification as metrics  # noqa: E402
from erc_ros.training.ema import EmaDistillation  # noqa: E402
from erc_ros.training.engine import checkpoint, trainer  # noqa: E402
from erc_ros.training.engine.recipe import (  # noqa: E402
    CheckpointError,
    RecipeError,
    TooLargeError,
    build,
    keep,
    read_recipe,
)
from erc_ros.training.engine.trainer import (  # noqa: E402
    Fit,
    TrainerConfig,
    decayed,
    fit,
    learning_rate_share,
    load_weights,
    set_seeds,
)


@pytest.fixture(autouse=True)
def every_epoch_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if each of these short epochs took a minute."""
    monkeypatch.setattr(trainer, "MIN_SECONDS_BETWEEN_CHECKPOINTS", 0.0)


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


def small_fit(out: Path, **changes: Any) -> Fit:
    """`fit` of a line with some arguments of its own."""
    arguments: dict[str, Any] = {
        "model": nn.Linear(1, 1),
        "config": config(),
        "batches": lambda epoch: [torch.ones(4, 1)] * 2,
        "loss": line,
        "evaluate": lambda model: {"score": 0.0},
        "choose": "score",
        "out": out,
        "say": lambda text: None,
        **changes,
    }
    return fit(arguments.pop("model"), arguments.pop("config"), **arguments)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_learns(tmp_path: Path, precision: str) -> None:
    result, model = run(tmp_path, epochs=40, precision=precision)
    assert model.weight.item() == pytest.approx(3, abs=0.1)
    assert model.bias.item() == pytest.approx(0, abs=0.1)
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
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.safetensors", "training.json"]


class Pair(NamedTuple):
    x: Tensor
    note: str


@dataclass(frozen=True)
class Table:
    x: Tensor
    rows: np.ndarray


@pytest.mark.parametrize(
    ("batch", "x"),
    [
        (Pair(torch.ones(2, 1), "named"), lambda b: b.x),
        ([torch.ones(2, 1), (1, "two")], lambda b: b[0]),
        ({"x": torch.ones(2, 1), "rows": np.arange(2)}, lambda b: b["x"]),
        (Table(torch.ones(2, 1), np.arange(2)), lambda b: b.x),
    ],
)
def test_a_batch_may_be_what_the_caller_likes(
    tmp_path: Path, batch: Any, x: Callable[[Any], Tensor]
) -> None:
    def loss(model: nn.Module, got: Any) -> Tensor:
        assert type(got) is type(batch)
        return line(model, x(got))

    small_fit(tmp_path, batches=lambda epoch: [batch], loss=loss)


def test_batches_are_made_when_they_are_needed(tmp_path: Path) -> None:
    """A corpus need not fit the memory."""
    made = used = 0

    class Lazy:
        def __len__(self) -> int:
            return 50

        def __iter__(self) -> Iterator[Tensor]:
            nonlocal made
            for _ in range(50):
                made += 1
                yield torch.ones(4, 1)

    def loss(model: nn.Module, batch: Tensor) -> Tensor:
        nonlocal used
        used += 1
        assert made == used
        return line(model, batch)

    assert len(small_fit(tmp_path, batches=lambda epoch: Lazy(), loss=loss).history) == 3


# --- a training that is killed goes on -------------------------------------------------------


class Trainee:
    """A training with everything that has a state: dropout, batch statistics, generators, EMA."""

    def __init__(self, out: Path, **changes: object) -> None:
        self.out, self.calls = out, 0
        self.config = config(**{"epochs": 4, "learning_rate": 0.01, "seed": 3, **changes})
        set_seeds(self.config.seed)
        self.model = nn.Sequential(
            nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 2)
        )
        self.numpy = np.random.default_rng(1)
        self.torch = torch.Generator().manual_seed(1)
        self.python = random.Random(1)
        self.distilled = EmaDistillation(self.model, decay=0.9)
        self.said: list[str] = []

    def batches(self, epoch: int) -> list[Tensor]:
        drawn = self.numpy.standard_normal((5, 6, 3)).astype(np.float32)
        return [torch.from_numpy(drawn[i]) for i in torch.randperm(5, generator=self.torch)]

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        x = batch + self.python.random() + random.random() + float(np.random.rand())
        logits = model(x)
        hard = nn.functional.cross_entropy(logits, (batch.sum(dim=1) > 0).long())
        return self.distilled(hard, logits, lambda teacher: teacher(x))

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        self.calls += 1
        return {"score": float([0.1, 0.9, 0.5, 0.7][self.calls - 1])}

    def fit(self, **changes: Any) -> Fit:
        arguments: dict[str, Any] = {
            "batches": self.batches,
            "loss": self.loss,
            "evaluate": self.evaluate,
            "choose": "score",
            "out": self.out,
            "after_step": self.distilled.after_step,
            "stateful": [self.numpy, self.torch, self.python, self.distilled],
            "say": self.said.append,
            **changes,
        }
        return fit(self.model, self.config, **arguments)


def until(
    times: int,
    function: Callable[..., Any],
    interruption: type[BaseException] = KeyboardInterrupt,
) -> Callable[..., Any]:
    """The function, which is interrupted after so many calls."""
    count = iter(range(times))

    def call(*arguments: Any) -> Any:
        if next(count, None) is None:
            raise interruption
        return function(*arguments)

    return call


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(map(torch.equal, a.state_dict().values(), b.state_dict().values()))


@pytest.mark.parametrize(
    ("place", "times"),
    [("loss", 7), ("loss", 12), ("loss", 19), ("batches", 1), ("evaluate", 1), ("evaluate", 3)],
)
def test_an_interrupted_training_ends_with_the_same_weights(
    tmp_path: Path, place: str, times: int
) -> None:
    whole = Trainee(tmp_path / "whole")
    expected = whole.fit()
    first = Trainee(tmp_path / "cut")
    with pytest.raises(KeyboardInterrupt):
        first.fit(**{place: until(times, getattr(first, place))})
    second = Trainee(tmp_path / "cut")
    torch.manual_seed(99)  # what another process has done before
    second.calls = (times - 1) // 5 if place == "loss" else times  # scores are told by epoch
    result = second.fit()
    assert any("unfinished.pt" in text for text in second.said)
    assert same(second.model, whole.model)
    assert same(second.distilled.ema.model, whole.distilled.ema.model)
    assert result.history == expected.history and result.best_epoch == expected.best_epoch


def test_a_killed_process_goes_on(tmp_path: Path) -> None:
    """SIGKILL in the third epoch, from outside Python's reach."""
    whole = Trainee(tmp_path / "whole")
    whole.fit()
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r});"
    code += f"import {Path(__file__).stem} as t; t.train_and_die({str(tmp_path / 'cut')!r})"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    again = Trainee(tmp_path / "cut")
    again.calls = 2
    again.fit()
    assert same(again.model, whole.model)


def train_and_die(out: str) -> None:
    trainee, steps = Trainee(Path(out)), 0

    def loss(model: nn.Module, batch: Tensor) -> Tensor:
        nonlocal steps
        steps += 1
        if steps == 13:
            os.kill(os.getpid(), signal.SIGKILL)
        return trainee.loss(model, batch)

    trainee.fit(loss=loss)


def cut_off(out: Path, **changes: Any) -> Path:
    """A training that was interrupted in its third epoch."""
    trainee = Trainee(out)
    with pytest.raises(KeyboardInterrupt):
        trainee.fit(loss=until(12, trainee.loss), **changes)
    return out / "unfinished.pt"


def test_it_stops_early_after_an_interruption_as_it_would_have(tmp_path: Path) -> None:
    whole = Trainee(tmp_path / "whole", epochs=6, patience=1)
    assert len(whole.fit().history) == 3
    first = Trainee(tmp_path / "cut", epochs=6, patience=1)

    def fail(line: str) -> None:
        if "stopped" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.fit(say=fail)
    again = Trainee(tmp_path / "cut", epochs=6, patience=1)
    assert len(again.fit().history) == 3 and same(again.model, whole.model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 0.02}, "trainer.learning_rate is 0.01 there and 0.02 here"),
        ({"epochs": 5}, "trainer.epochs is 4 there and 5 here"),
        ({"precision": "bf16"}, "trainer.precision"),
    ],
)
def test_a_checkpoint_of_another_configuration_is_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    cut_off(tmp_path)
    with pytest.raises(CheckpointError, match=message) as raised:
        Trainee(tmp_path, **changes).fit()
    assert "delete the folder" in str(raised.value) and "--out" in str(raised.value)


def test_a_checkpoint_of_other_data_another_recipe_or_model_is_refused(tmp_path: Path) -> None:
    file = cut_off(tmp_path, settings={"text": {"votes": 0.3}})
    assert file.is_file()
    with pytest.raises(CheckpointError, match=r"text\.votes.*0\.3.*0\.5"):
        Trainee(tmp_path).fit(settings={"text": {"votes": 0.5}})
    rows = [{"head": "concat"}, {"head": "magtkd", "name": "long" * 500}]
    file = cut_off(tmp_path / "rows", settings={"rows": rows})
    longer = [*rows[:1], {"head": "magtkd", "name": "long" * 500 + "er"}, {"head": "summer"}]
    with pytest.raises(
        CheckpointError, match=r"rows\.1\.name .*rows\.2\.head is not set"
    ) as raised:
        Trainee(tmp_path / "rows").fit(settings={"rows": longer})
    assert len(str(raised.value)) < 1000
    settings = {"text": {"votes": 0.3}}
    with pytest.raises(CheckpointError, match=r"batches_per_epoch.*5.*1"):
        Trainee(tmp_path).fit(settings=settings, batches=lambda epoch: [torch.ones(2, 3)])
    other = Trainee(tmp_path)
    other.model = nn.Linear(3, 2)
    with pytest.raises(CheckpointError, match=r"0\.weight"):
        other.fit(settings=settings)


@pytest.mark.parametrize("size", [0, 1, 100, 4000])
def test_a_cut_or_foreign_checkpoint_is_refused(tmp_path: Path, size: int) -> None:
    file = cut_off(tmp_path)
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(CheckpointError, match=r"unfinished\.pt.*delete"):
        Trainee(tmp_path).fit()
    torch.save({"model": {}}, file)
    with pytest.raises(CheckpointError, match="lacks"):
        Trainee(tmp_path).fit()
    torch.save([1], file)
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        Trainee(tmp_path).fit()


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    file = cut_off(tmp_path)
    torch.save({"settings": subprocess.run}, file)
    with pytest.raises(CheckpointError, match="read"):
        Trainee(tmp_path).fit()


def test_short_epochs_that_are_no_better_are_not_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "MIN_SECONDS_BETWEEN_CHECKPOINTS", 60.0)
    saved = []
    monkeypatch.setattr(checkpoint, "save", lambda file, content: saved.append(content["best"]))
    run(tmp_path, [0.2, 0.1, 0.3, 0.1, 0.1], epochs=5)
    assert saved == [0, 2]


@pytest.mark.parametrize(("optimizer", "expected"), [("adamw", 1.0 - 0.1 * 0.5), ("adam", 0.9)])
def test_weight_decay_is_decoupled_or_an_l2_penalty(
    tmp_path: Path, optimizer: str, expected: float
) -> None:
    """Without a gradient of the loss: AdamW shrinks by rate * decay, Adam steps by the rate."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    settings = config(
        epochs=1, learning_rate=0.1, weight_decay=0.5, optimizer=optimizer, schedule="constant"
    )
    fit(
        model,
        settings,
        batches=lambda epoch: [torch.zeros(1, 1)],
        loss=lambda model, batch: model(batch).sum(),
        evaluate=lambda model: {"score": 0.0},
        choose="score",
        out=tmp_path,
    )
    assert model.weight.item() == pytest.approx(expected, abs=1e-4)


def test_a_constant_rate_does_not_fall(tmp_path: Path) -> None:
    """A loss of constant gradient: every step of Adam is as long as the rate."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    settings = config(
        epochs=5, learning_rate=0.01, weight_decay=0.0, optimizer="adam", schedule="constant"
    )
    fit(
        model,
        settings,
        batches=lambda epoch: [torch.ones(1, 1)] * 4,
        loss=lambda model, batch: -0.5 * model(batch).sum(),
        evaluate=lambda model: {"score": model.weight.item()},
        choose="score",
        out=tmp_path,
    )
    assert model.weight.item() == pytest.approx(20 * 0.01, rel=1e-3)


@pytest.mark.parametrize("changes", [{"optimizer": "sgd"}, {"schedule": "cosine"}])
def test_unknown_optimizers_and_schedules_are_refused(changes: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes.values()))):
        config(**changes)


def test_best_weights_that_were_lost_are_missed(tmp_path: Path) -> None:
    trainee = Trainee(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        trainee.fit(loss=until(17, trainee.loss))  # the best epoch is the second of three
    (tmp_path / "best.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"epoch.*2"):
        Trainee(tmp_path).fit()


def test_a_finished_training_is_redone_unless_the_caller_keeps_it(tmp_path: Path) -> None:
    expected = Trainee(tmp_path).fit()
    kept = Trainee(tmp_path)
    result = kept.fit(keep_finished=True, loss=until(0, kept.loss))
    assert result.best == expected.best and result.history == expected.history
    with pytest.raises(KeyboardInterrupt):
        kept.fit(loss=until(0, kept.loss))
    with pytest.raises(CheckpointError, match="learning_rate"):
        Trainee(tmp_path, learning_rate=0.02).fit(keep_finished=True)


def test_weights_that_were_changed_afterwards_are_not_kept(tmp_path: Path) -> None:
    trainee = Trainee(tmp_path)
    file = trainee.fit().checkpoint
    file.write_bytes(file.read_bytes() + b" ")
    again = Trainee(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        again.fit(keep_finished=True, loss=until(0, again.loss))


# --- a GPU whose memory is too small ---------------------------------------------------------


@dataclass
class SmallMemory:
    """A line through rows of (x, 3 x); a loss that takes no more than `most` of them at once."""

    most: int
    asked: list[int] = field(default_factory=list)

    def fit(self, out: Path, batch: Any = None, **changes: Any) -> nn.Linear:
        torch.manual_seed(0)
        model = nn.Linear(1, 1)
        rows = np.arange(12) if batch is None else batch
        small_fit(out, model=model, batches=lambda _: [rows] * 2, loss=self.loss,
                  config=config(batch_size=12, **changes))  # fmt: skip
        return model

    def loss(self, model: nn.Linear, rows: np.ndarray) -> Tensor:
        self.asked.append(len(rows))
        answers = model(torch.as_tensor(rows)[:, None] / 12)
        if len(rows) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return (answers[:, 0] - torch.as_tensor(rows) / 4).square().mean()


@pytest.mark.parametrize("most", [6, 4, 1])
def test_a_batch_that_is_too_large_for_the_memory_is_halved_and_learned_from_as_a_whole(
    most: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = SmallMemory(12).fit(tmp_path / "whole")
    small = SmallMemory(most)
    in_parts = small.fit(tmp_path / "parts")
    assert in_parts.weight.item() == pytest.approx(whole.weight.item(), abs=1e-6)
    assert in_parts.bias.item() == pytest.approx(whole.bias.item(), abs=1e-6)
    parts = {6: 2, 4: 4, 1: 16}[most]
    records = [json.loads((tmp_path / n / "training.json").read_text()) for n in ("whole", "parts")]
    assert [record["batch_parts"] for record in records] == [1, parts]
    for one, other in zip(*(record["history"] for record in records), strict=True):
        assert one == pytest.approx(other, abs=1e-6)
    assert len(caplog.records) == len([n for n in small.asked if n > most])  # each told once
    assert f"{parts} parts" in caplog.messages[-1] and "trainer.batch_size" in caplog.messages[-1]


def test_parts_of_unequal_size_count_by_their_size(tmp_path: Path) -> None:
    batch = np.arange(11)  # parts of 6 and 5, or 3, 3, 3 and 2
    whole = SmallMemory(12).fit(tmp_path / "whole", batch)
    for most in (6, 4):
        in_parts = SmallMemory(most).fit(tmp_path / str(most), batch)
        assert in_parts.weight.item() == pytest.approx(whole.weight.item(), abs=1e-6)
        assert in_parts.bias.item() == pytest.approx(whole.bias.item(), abs=1e-6)


def test_weight_decay_shrinks_matrices_and_neither_biases_nor_normalisation() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2), nn.Conv1d(2, 2, 3))
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer = torch.optim.AdamW(decayed(model, weight_decay=0.5), lr=0.1)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, value in model.named_parameters():
        shrinks = name in ("0.weight", "2.weight")
        torch.testing.assert_close(value.detach(), before[name] * (0.95 if shrinks else 1))


def test_what_cannot_be_halved_says_what_to_lower(tmp_path: Path) -> None:
    with pytest.raises(TooLargeError, match=r"example.*length") as refused:
        SmallMemory(0).fit(tmp_path / "single")
    assert refused.value.single
    with pytest.raises(TooLargeError, match=r"12.*batch_size"):
        SmallMemory(4).fit(tmp_path / "tensor", torch.arange(12))
    pytest.importorskip("accelerate")
    with pytest.raises(Exception, match=r"TooLargeError.*12.*2"):
        SmallMemory(4).fit(tmp_path / "processes", processes=2)


# --- several processes, logs -----------------------------------------------------------------


def test_two_processes_learn_what_one_learns_from_both_batches(tmp_path: Path) -> None:
    """On the CPU, over gloo: the mean of two gradients is the gradient of both batches together."""
    pytest.importorskip("accelerate")
    rows = torch.arange(12.0).reshape(6, 2, 1) / 12
    models = [nn.Linear(1, 1), nn.Linear(1, 1)]
    models[1].load_state_dict(models[0].state_dict())
    both = [torch.cat([rows[n], rows[n + 1]]) for n in (0, 2, 4)]
    evaluate = lambda model: {"score": -line(model, rows[0]).item()}  # noqa: E731
    one = small_fit(tmp_path / "1", model=models[0], batches=lambda _: both, evaluate=evaluate)
    two = small_fit(
        tmp_path / "2",
        model=models[1],
        config=config(processes=2),
        batches=lambda _: list(rows),
        evaluate=evaluate,
    )
    assert models[1].weight.item() == pytest.approx(models[0].weight.item(), abs=1e-6)
    assert two.history[-1] == pytest.approx(one.history[-1], abs=1e-5)


def test_several_processes_go_on_each_with_its_own_state(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    whole = Trainee(tmp_path / "whole", processes=2)
    expected = whole.fit()
    first = Trainee(tmp_path / "cut", processes=2)
    with pytest.raises(Exception, match="MemoryError"):
        first.fit(loss=until(7, first.loss, MemoryError))  # in the third epoch of three steps
    with pytest.raises(CheckpointError, match=r"trainer\.processes.*2.*1"):
        Trainee(tmp_path / "cut").fit()
    again = Trainee(tmp_path / "cut", processes=2)
    again.calls = 2
    assert again.fit().history == expected.history and same(again.model, whole.model)


def test_a_failure_in_one_of_several_processes_is_told(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    with pytest.raises(Exception, match="NaN"):
        small_fit(
            tmp_path,
            config=config(processes=2),
            batches=lambda _: [torch.full((1, 1), float("nan"))] * 2,
        )


def test_gpus_that_are_not_there_are_missed(tmp_path: Path) -> None:
    many = torch.cuda.device_count() + 1
    with pytest.raises(ValueError, match=r"GPUs.*trainer\.device"):
        small_fit(tmp_path, config=config(device="cuda", processes=many))


def test_tensorboard_gets_the_curves(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    many = [torch.ones(4, 1)] * 25
    small_fit(tmp_path, config=config(tensorboard=True), batches=lambda epoch: many)
    (file,) = (tmp_path / "tensorboard").iterdir()
    content, steps = file.read_bytes(), {}
    while content:  # length, 4 bytes of checksum, event, 4 bytes of checksum
        length = int.from_bytes(content[:8], "little")
        event = Event.FromString(content[12 : 12 + length])
        for value in event.summary.value:
            steps.setdefault(value.tag, []).append(event.step)
        content = content[16 + length :]
    assert steps["epoch/score"] == [25, 50, 75]
    assert steps["loss"] == steps["learning_rate"] == [20, 40, 60]


# --- what is wrong is named ------------------------------------------------------------------


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_features_that_are_no_numbers_are_named(tmp_path: Path, value: str) -> None:
    with pytest.raises(FloatingPointError, match=r"NaN.*infinite"):
        small_fit(tmp_path, batches=lambda epoch: [torch.full((1, 1), float(value))])


def test_a_loss_that_becomes_no_number_stops_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match=r"1.*learning_rate.*\(0.05\)"):
        small_fit(
            tmp_path, batches=lambda epoch: [torch.ones(1, 1), torch.full((1, 1), float("inf"))]
        )


def test_an_epoch_without_batches_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"epoch.*1.*batches"):
        small_fit(tmp_path, batches=lambda epoch: [])
    with pytest.raises(ValueError, match=r"epoch.*2.*batches"):
        small_fit(tmp_path, batches=lambda epoch: [] if epoch else [torch.ones(1, 1)])


def test_a_dev_split_without_some_classes_still_chooses(tmp_path: Path) -> None:
    labels = np.array([0, 0, 1])  # of three classes
    answers = iter([[2, 2, 2], [0, 2, 1], [0, 0, 2]])
    result = small_fit(
        tmp_path,
        evaluate=lambda model: {"score": metrics.macro_f1(labels, next(answers), 3)},
    )
    assert result.best_epoch == 2
    assert [round(epoch["score"], 3) for epoch in result.history] == [0, 0.556, 0.333]


def test_a_dev_metric_that_is_absent_or_no_number_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match=r"score.*f1"):
        small_fit(tmp_path, evaluate=lambda model: {"f1": 1.0})
    with pytest.raises(FloatingPointError, match=r"nan.*epoch.*1"):
        small_fit(tmp_path, evaluate=lambda model: {"score": float("nan")})


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
        {"precision": "fp16"},
        {"device": "tpu"},
        {"processes": 0},
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
        (
            {"epochs": "three", "batch_size": 1, "learning_rate": 0.1},
            "trainer.epochs must be an int",
        ),
        ({"epochs": True, "batch_size": 1, "learning_rate": 0.1}, "trainer.epochs must be an int"),
        ({"epochs": 3}, "batch_size"),
        ({"epochs": 0, "batch_size": 1, "learning_rate": 0.1}, "at least 1"),
    ],
)
def test_a_wrong_section_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        build(TrainerConfig, values, "trainer")


def test_a_recipe_is_kept_and_another_is_refused_where_one_was_interrupted(tmp_path: Path) -> None:
    path, out = tmp_path / "r.yaml", tmp_path / "out"
    path.write_text(RECIPE + "text: {seeds: [0], votes: 0.3}")
    keep(read_recipe(path, out, tmp_path))
    assert read_recipe(out / "recipe.yaml", out, tmp_path) == read_recipe(path, out, tmp_path)
    (out / "seed-0").mkdir()
    (out / "seed-0" / "unfinished.pt").touch()
    path.write_text(RECIPE + "text: {seeds: [0, 1], votes: 0.3}")
    keep(read_recipe(path, out, tmp_path))
    path.write_text(RECIPE + "text: {seeds: [0, 1], votes: 0.5}")
    with pytest.raises(CheckpointError, match=r"text\.votes.*0\.3.*0\.5"):
        keep(read_recipe(path, out, tmp_path))
    (out / "seed-0" / "unfinished.pt").unlink()
    keep(read_recipe(path, out, tmp_path))  # nothing would be mixed


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
    assert main([str(path), "--out", str(tmp_path / "out")]) == 2
    assert "trianer" in capsys.readouterr().err


def test_every_recipe_here_has_a_training_that_exists() -> None:
    from erc_ros.training.command import KINDS

    root = Path(__file__).parents[3]
    for path in (root / "erc_ros" / "config" / "training").glob("*.yaml"):
        module, function = KINDS[read_recipe(path, root, root).kind].split(":")
        source = (root / Path(*module.split("."))).with_suffix(".py").read_text()
        assert f"\ndef {function}(recipe: Recipe)" in source


def test_without_a_data_folder_the_command_asks_for_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from erc_ros.training.command import main

    monkeypatch.delenv("ERC_DATA", raising=False)
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE + "text: {pretraining: {}}\n")
    assert main([str(path), "--out", str(tmp_path / "out")]) == 2
    assert "--data FOLDER or set ERC_DATA" in capsys.readouterr().err


def test_missing_data_is_told_with_the_way_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from erc_ros.training.command import main

    path = tmp_path / "r.yaml"
    path.write_text(RECIPE + "text: {pretraining: {}}\n")
    arguments = [str(path), "--out", str(tmp_path / "out"), "--data", str(tmp_path / "nowhere")]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "nowhere" in error and "ERC_DATA" in error
