from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from erc_ros.training.ema import Ema, EmaDistillation


def test_the_teacher_follows_the_student_by_hand() -> None:
    student = nn.Linear(1, 1, bias=False)
    student.weight.data.fill_(1.0)
    ema = Ema(student, decay=0.9)
    student.weight.data.fill_(2.0)
    ema.update(student)
    assert ema.model.weight.item() == pytest.approx(1.1)
    ema.update(student)
    assert ema.model.weight.item() == pytest.approx(1.19)


def test_the_teacher_is_another_model_and_is_never_trained() -> None:
    student = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)).train()
    ema = Ema(student)
    assert not ema.model.training and not any(p.requires_grad for p in ema.model.parameters())
    with torch.no_grad():
        student[0].weight.add_(1.0)
    assert not torch.equal(student[0].weight, ema.model[0].weight)


def test_running_statistics_are_averaged_and_counters_copied() -> None:
    student = nn.BatchNorm1d(1)
    ema = Ema(student, decay=0.5)
    student(torch.tensor([[10.0], [30.0]]))
    ema.update(student)
    assert ema.model.running_mean.item() == pytest.approx(student.running_mean.item() / 2)
    assert ema.model.num_batches_tracked.item() == 1


def test_another_model_and_a_decay_of_one_are_refused() -> None:
    with pytest.raises(ValueError, match="model"):
        Ema(nn.Linear(1, 1)).update(nn.Linear(1, 1, bias=False))
    with pytest.raises(ValueError, match="decay"):
        Ema(nn.Linear(1, 1), decay=1.0)


def test_a_weight_with_two_names_moves_once() -> None:
    student = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    student[1].weight = student[0].weight
    student[0].weight.data.fill_(1.0)
    ema = Ema(student, decay=0.9)
    student[0].weight.data.fill_(2.0)
    ema.update(student)
    assert ema.model[0].weight.item() == pytest.approx(1.1)


def test_distillation_by_hand() -> None:
    """Student (0.5, 0.5) at any temperature; teacher softmax((2 log 3, 0) / 2) = (0.75, 0.25)."""
    distilled = EmaDistillation(nn.Linear(1, 2), weight=0.3, temperature=2.0, warm_epochs=1)
    student, teacher = torch.zeros(1, 2), torch.tensor([[2 * math.log(3), 0.0]])
    hard = torch.tensor(5.0)
    kl = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    distilled.after_step(nn.Linear(1, 2), 1.0)
    loss = distilled(hard, student, lambda _: teacher)
    assert loss.item() == pytest.approx(0.7 * 5 + 0.3 * 4 * kl)


def test_the_first_epoch_is_without_the_teacher_who_is_not_even_asked() -> None:
    model = nn.Linear(1, 2)
    distilled, hard = EmaDistillation(model, warm_epochs=1), torch.tensor(5.0)

    def ask(teacher: nn.Module) -> torch.Tensor:
        raise AssertionError("asked")

    assert distilled(hard, torch.zeros(1, 2), ask) is hard
    distilled.after_step(model, 0.999)
    assert distilled(hard, torch.zeros(1, 2), ask) is hard
    distilled.after_step(model, 1.0)
    with pytest.raises(AssertionError, match="asked"):
        distilled(hard, torch.zeros(1, 2), ask)


def test_the_student_learns_from_its_average_which_gets_no_gradient() -> None:
    model, x = nn.Linear(3, 2), torch.randn(4, 3)
    distilled = EmaDistillation(model, decay=0.5, warm_epochs=0)
    with torch.no_grad():
        model.weight.mul_(2)
    distilled.after_step(model, 0.1)
    before = distilled.ema.model.weight.clone()
    logits = model(x)
    distilled(logits.sum() * 0, logits, lambda teacher: teacher(x)).backward()
    assert model.weight.grad is not None and model.weight.grad.abs().sum() > 0
    assert distilled.ema.model.weight.grad is None
    assert torch.equal(distilled.ema.model.weight, before)


def test_it_goes_on_from_its_state() -> None:
    model = nn.Linear(1, 2)
    a, b = EmaDistillation(model), EmaDistillation(nn.Linear(1, 2))
    a.after_step(model, 2.5)
    b.load_state_dict(a.state_dict())
    hard, student = torch.tensor(1.0), torch.randn(3, 2)
    x = torch.randn(3, 1)
    answers = [each(hard, student, lambda teacher: teacher(x)).item() for each in (a, b)]
    assert answers[0] == answers[1] != 1.0


@pytest.mark.parametrize(
    "wrong", [{"weight": 0.0}, {"weight": 1.1}, {"temperature": 0.0}, {"warm_epochs": -1}]
)
def test_nonsense_is_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EmaDistillation(nn.Linear(1, 2), **wrong)
