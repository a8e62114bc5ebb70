"""How each paper trains its fusion: whom the loss teaches, and who is the teacher."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from erc_ros.training import losses
from erc_ros.training.fusion.objectives import (
    OBJECTIVES,
    CrossEntropyObjective,
    DdvlmObjective,
    Objective,
    SummerObjective,
    objective_of,
)
from erc_ros.training.heads.base import FusionModel
from erc_ros.training.heads.registry import HEADS, make_head

SIZES = (12, 8, 6)


def head(name: str, seed: int = 0, width: int = 16) -> FusionModel:
    torch.manual_seed(seed)
    config, model = HEADS[name]
    return model(
        config(width=width, embeddings=SIZES, labels=3, dropout=0.0, input_dropout=0.0)
    ).train()


def batch() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Two conversations, the second one shorter; some modalities are missing."""
    generator = torch.Generator().manual_seed(1)
    inputs = {
        name: torch.randn(2, 5, size, generator=generator)
        for name, size in zip(("text", "audio", "visual"), SIZES, strict=True)
    }
    valid = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    seen = torch.ones(2, 5, 3, dtype=torch.bool)
    seen[0, 1, 0] = seen[0, 2, 1] = seen[1, 0, 2] = False
    inputs["modalities"] = seen & valid[..., None]
    inputs["speakers"] = torch.ones(2, 5, dtype=torch.long)
    inputs["valid"] = valid
    labels = torch.tensor([[0, 1, 2, 0, 1], [2, 0, 1, -100, -100]])
    return inputs, labels


def objective(name: str, student: FusionModel) -> Objective:
    config = OBJECTIVES[objective_of(name)]()
    return Objective(config, student, head(name, seed=5).eval() if config.TEACHER else None)


@pytest.mark.parametrize("name", sorted(HEADS))
def test_every_papers_training_learns_the_batch(name: str) -> None:
    student, (inputs, labels) = head(name), batch()
    loss = objective(name, student)
    optimizer = torch.optim.AdamW(student.parameters(), 0.01)
    known = labels >= 0
    for step in range(60):
        value = loss(student, inputs, labels)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        loss.after_step(student, (step + 1) / 10)
    logits = student.eval().details(**inputs).logits[known]
    assert (logits.argmax(-1) == labels[known]).all() and value.isfinite()


def test_a_model_of_another_package_brings_its_own_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss of the example also teaches each modality's own classifier."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "examples" / "plugin"))
    name = "erc_example.fusion:ConversationMean"
    assert (objective_of(name), objective_of("concat")) == ("own", "cross_entropy")
    inputs, labels = batch()
    for own in (True, False):
        student = make_head(name, {"width": 8, "embeddings": SIZES, "labels": 3})
        config = OBJECTIVES[objective_of(name) if own else "cross_entropy"]()
        Objective(config, student)(student, inputs, labels).backward()
        gradients = [p.grad for key, p in student.named_parameters() if "unimodal" in key]
        assert all((gradient is not None) == own for gradient in gradients)


@pytest.mark.parametrize("name", sorted(HEADS))
def test_what_has_no_label_does_not_count(name: str) -> None:
    student, (inputs, labels) = head(name), batch()
    loss = objective(name, student)
    torch.manual_seed(3)
    before = loss(student, inputs, labels)
    for modality in ("text", "audio", "visual"):
        inputs[modality][1, 3:] = float("nan")
    torch.manual_seed(3)
    assert torch.equal(before, loss(student, inputs, labels))
    with pytest.raises(ValueError, match=r"batch.*label"):
        loss(student, inputs, torch.full_like(labels, -100))


def test_summers_teacher_sees_text_alone_is_frozen_and_judges_every_branch() -> None:
    student, teacher, (inputs, labels) = head("summer").eval(), head("summer", 5), batch()
    before = copy.deepcopy(teacher.state_dict())
    loss = Objective(SummerObjective(), student, teacher)
    value = loss(student, inputs, labels)
    teacher.eval()
    text = inputs["modalities"][..., 0]
    only_text = torch.stack([text, torch.zeros_like(text), torch.zeros_like(text)], dim=-1)
    taught = teacher.details(**{**inputs, "modalities": only_text}).logits
    details, known = student.details(**inputs), labels >= 0
    through, answers = [], []
    for b, u in (known & text).nonzero().tolist():
        for m in range(3):
            if inputs["modalities"][b, u, m]:
                through.append(teacher.classifier(details.features[b, u, m]))
                answers.append(taught[b, u])
    expected = losses.interactive(
        details.logits[known], torch.stack(through), torch.stack(answers), labels[known]
    )
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    value.backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert all(torch.equal(before[key], value) for key, value in teacher.state_dict().items())


def test_both_readings_of_summers_eq_8() -> None:
    """By the student's own classifier, or by the teacher's on the intermediate features."""
    student, teacher, (inputs, labels) = head("summer").eval(), head("summer", 5).eval(), batch()
    details, known = student.details(**inputs), labels >= 0
    here = inputs["modalities"] & (known & inputs["modalities"][..., 0])[..., None]
    through = teacher.classifier(details.features)[here]
    own = cross_entropy(details.logits[known], labels[known])
    by_teacher = cross_entropy(through, labels[..., None].expand(here.shape)[here])
    values = {
        align: Objective(SummerObjective(align=align), student, teacher)(student, inputs, labels)
        for align in ("student", "teacher")
    }
    assert own.item() != pytest.approx(by_teacher.item(), rel=1e-3)
    difference = values["student"] - values["teacher"]
    assert difference.item() == pytest.approx(0.3 * (own - by_teacher).item(), abs=1e-5)
    with pytest.raises(ValueError, match="'nobody'"):
        SummerObjective(align="nobody")


def test_a_teacher_that_is_missing_or_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a teacher"):
        Objective(SummerObjective(), head("summer"))
    with pytest.raises(ValueError, match=r"width.*8.*16"):
        Objective(SummerObjective(), head("summer"), head("summer", width=8))


def test_ddvlms_average_teaches_from_the_second_epoch_on() -> None:
    student, (inputs, labels) = head("ddvlm"), batch()
    plain = Objective(DdvlmObjective(hard=1.0), student)
    averaged = Objective(DdvlmObjective(decay=0.5), student)
    with torch.no_grad():
        student.classifier[-1].weight.add_(1.0)
    averaged.after_step(student, 0.9)  # halfway: the average is another model
    first = averaged(student, inputs, labels)
    assert torch.equal(first, plain(student, inputs, labels))
    averaged.after_step(student, 1.0)
    assert not torch.equal(averaged(student, inputs, labels), first)


def test_an_interrupted_training_keeps_its_average() -> None:
    student, (inputs, labels) = head("ddvlm"), batch()
    one = Objective(DdvlmObjective(decay=0.5), student)
    with torch.no_grad():
        student.classifier[-1].weight.add_(1.0)
    one.after_step(student, 1.5)
    other = Objective(DdvlmObjective(decay=0.5), student)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(student, inputs, labels), other(student, inputs, labels))


def test_labels_alone_is_the_cross_entropy() -> None:
    student, (inputs, labels) = head("magtkd"), batch()
    value = Objective(CrossEntropyObjective(), student)(student, inputs, labels)
    logits = student.details(**inputs).logits
    expected = cross_entropy(logits.flatten(0, 1), labels.flatten())
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)
