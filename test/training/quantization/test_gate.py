"""The gate refuses a bundle with a larger loss, and names the part that causes most of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tiny_dialogues import labelled_as_answered

from erc_ros.training.quantization.gate import (
    TEXT_ALONE,
    Bench,
    RefusedError,
    compare,
    judge,
    passes,
)
from erc_ros.training.quantization.schemes import SCHEMES, quantize
from erc_ros.training.quantization.task import Task


def spoiled(source: Path, target: Path, amount: float) -> Path:
    """The network with noise on its weights."""
    model, rng = onnx.load(str(source)), np.random.default_rng(0)
    for tensor in model.graph.initializer:
        if tensor.name == "project":
            array = numpy_helper.to_array(tensor)
            noise = amount * array.std() * rng.standard_normal(array.shape)
            tensor.CopyFrom(
                numpy_helper.from_array((array + noise).astype(np.float32), tensor.name)
            )
    onnx.save(model, str(target))
    return target


@pytest.fixture()
def right_task(task: Task) -> Task:
    """The same dialogues, labelled as the float32 bundle answers on dev: its F1 is 100."""
    return Task(task.bundle, labelled_as_answered(task))


def test_equal_networks_differ_in_nothing(task: Task) -> None:
    bench = Bench(task)
    verdict = judge(bench, {"fusion": bench.floats["fusion"]})
    assert (verdict.total.drop, verdict.total.largest, verdict.total.agreement) == (0, 0, 1)
    assert verdict.parts["fusion"].alone is None
    verdict.refuse(0.0)


def test_the_drop_is_in_points_of_weighted_f1_with_its_interval() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    before = np.eye(3, dtype=np.float32)[labels] * 4
    after = before.copy()
    after[:30] = np.roll(after[:30], 1, axis=1)  # 10 % of the decisions change, all to the worse
    drop = compare(labels, np.arange(300) // 10, before, after)
    assert drop.before == pytest.approx(100) and drop.agreement == pytest.approx(0.9)
    assert drop.drop == pytest.approx(10, abs=0.5) and drop.low < drop.drop < drop.high
    assert drop.largest == 4 and drop.mean == pytest.approx(0.1 * 8 / 3)


def test_answers_that_are_not_finite_are_an_error() -> None:
    logits = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match="finite"):
        compare(np.zeros(2, np.int64), np.arange(2), logits, np.full_like(logits, np.nan))
    with pytest.raises(ValueError, match="of 3 utterances"):
        compare(np.zeros(3, np.int64), np.arange(3), logits, logits)


@pytest.mark.parametrize("part", ["audio", "fusion"])
def test_the_spoiled_part_is_to_blame(part: str, right_task: Task, tmp_path: Path) -> None:
    bench = Bench(right_task)
    choice = {}
    for name in ("audio", "visual", "fusion"):
        source, target = bench.floats[name], tmp_path / f"{name}.onnx"
        if name == part:
            choice[name] = spoiled(source, target, 3.0)
        else:
            quantize(SCHEMES["weight-only"], source, target)
            choice[name] = target
    verdict = judge(bench, choice)
    assert verdict.total.drop > 5 and verdict.parts[part].only.drop > 5
    with pytest.raises(RefusedError, match=rf"allowed are 0\.3.*the part {part} in"):
        verdict.refuse(0.3)
    verdict.refuse(100.0)
    assert not passes(bench, {**bench.floats, **choice}, 0.3)


def test_a_choice_that_loses_too_much_from_text_alone_does_not_pass(
    task: Task, tmp_path: Path
) -> None:
    bench = Bench(Task(task.bundle, labelled_as_answered(task, TEXT_ALONE)))
    file = spoiled(bench.floats["fusion"], tmp_path / "fusion.onnx", 3.0)
    verdict = judge(bench, {"fusion": file})
    choice, total, text = {**bench.floats, "fusion": file}, verdict.total.drop, verdict.text.drop
    assert text > total
    assert not passes(bench, choice, (total + text) / 2)
    assert passes(bench, choice, text)


def test_text_alone_has_to_pass_as_well(right_task: Task, tmp_path: Path) -> None:
    """Sound and faces may hide what the text lost; somebody without a camera would notice."""
    bench = Bench(right_task)
    file = spoiled(bench.floats["fusion"], tmp_path / "fusion.onnx", 0.5)
    verdict = judge(bench, {"fusion": file})
    hidden = replace(verdict, total=replace(verdict.total, drop=0.0))
    visible = replace(hidden, text=replace(hidden.text, drop=0.5))
    with pytest.raises(RefusedError, match=r"dev.*text.*0\.50"):
        visible.refuse(0.3)
