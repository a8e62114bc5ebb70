from __future__ import annotations

import pytest
import torch
from torch import nn

from erc_ros.training.ema import Ema


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
    with pytest.raises(ValueError, match="not the same model"):
        Ema(nn.Linear(1, 1)).update(nn.Linear(1, 1, bias=False))
    with pytest.raises(ValueError, match="decay"):
        Ema(nn.Linear(1, 1), decay=1.0)
