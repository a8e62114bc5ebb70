from __future__ import annotations

from math import e, exp, log

import pytest
import torch

from erc_ros.training import losses
from erc_ros.training.heads.base import Details


def logits_of(*rows: list[float]) -> torch.Tensor:
    """Logits whose softmax is these rows."""
    return torch.tensor(rows).log()


def test_pearson_relation_by_hand() -> None:
    student = logits_of([0.2, 0.3, 0.5], [0.6, 0.25, 0.15])
    teacher = logits_of([0.1, 0.2, 0.7], [0.3, 0.5, 0.2])
    # Less their mean, times 30: (-4, -1, 5) with (-7, -4, 11); times 60: (16, -5, -11) with
    # (-2, 10, -8).
    rows = [(28 + 4 + 55) / (42 * 186) ** 0.5, (-32 - 50 + 88) / (402 * 168) ** 0.5]
    columns = [1, -1, 1]  # two samples rise and fall together, or not
    expected = (2 - sum(rows)) / 2 + (3 - sum(columns)) / 3
    assert losses.pearson_relation(student, teacher, 1.0).item() == pytest.approx(
        expected, rel=1e-4
    )
    # tau acts as on the logits, and the loss is scaled with its square.
    softened = losses.pearson_relation(student * 2, teacher * 2, 2.0)
    assert softened.item() == pytest.approx(4 * expected, rel=1e-4)


def test_pearson_relation_does_not_mind_the_same_answers_or_constant_ones() -> None:
    logits = torch.randn(5, 4, requires_grad=True)
    assert losses.pearson_relation(logits, logits, 2.0).item() == pytest.approx(0, abs=1e-4)
    flat = torch.zeros(5, 4, requires_grad=True)
    loss = losses.pearson_relation(flat, torch.randn(5, 4), 2.0)
    loss.backward()
    assert loss.item() == pytest.approx(8) and flat.grad is not None and flat.grad.isfinite().all()


def test_similarity_kl_by_hand() -> None:
    teacher = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    student = torch.tensor([[0.0, 5.0], [7.0, 0.0]])  # the two changed places; lengths do not count
    # Within the teacher 1, 0; student with teacher 0, 1: p = (e, 1) / (1 + e), q the other way.
    p, q = e / (1 + e), 1 / (1 + e)
    kl = p * log(p / q) + q * log(q / p)
    assert losses.similarity_kl(student, teacher).item() == pytest.approx(kl, rel=1e-5)
    jsd = p * log(2 * p) + q * log(2 * q)  # both halves are equal, the middle is 1/2, 1/2
    both = losses.similarity_kl(student, teacher, jensen_shannon=0.2)
    assert both.item() == pytest.approx(kl + 0.2 * jsd, rel=1e-5)
    assert losses.similarity_kl(teacher, teacher, 0.5, 0.2).item() == pytest.approx(0, abs=1e-6)


def test_similarity_kl_as_printed_takes_dot_products() -> None:
    teacher = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    student = torch.tensor([[0.5, 0.0], [0.0, 1.0]])
    # MAGTKD eq. 10, 11: rows (4, 0), (0, 9) within the teacher, (1, 0), (0, 3) with the student.
    expected = 0.0
    for target, source in ((4.0, 1.0), (9.0, 3.0)):
        p, q = 1 / (1 + exp(-target)), 1 / (1 + exp(-source))
        expected += (p * log(p / q) + (1 - p) * log((1 - p) / (1 - q))) / 2
    value = losses.similarity_kl(student, teacher, normalized=False)
    assert value.item() == pytest.approx(expected, rel=1e-4)
    assert losses.similarity_kl(student, teacher).item() == pytest.approx(0, abs=1e-6)


def test_cosines_leave_hardly_a_gradient_in_batches_of_four() -> None:
    """Why both forms of eq. 10-12 are there: four unrelated features of 768 numbers."""
    torch.manual_seed(0)
    teacher = torch.randn(4, 768)
    gradients = []
    for normalized in (True, False):
        student = torch.randn(4, 768, requires_grad=True)
        losses.similarity_kl(student, teacher, normalized=normalized).backward()
        assert student.grad is not None
        gradients.append(float(student.grad.norm()))
    assert gradients[1] > 100 * gradients[0]


def test_similarity_kl_compares_each_sample_of_the_teacher_with_those_of_the_student() -> None:
    teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    student = torch.tensor([[1.0, 0.0], [1.0, 0.0]])  # both are like the teacher's first
    # A row of the teacher is as near to one row of the student as to the other: 1/2, 1/2 (eq. 11).
    p, q = e / (1 + e), 1 / (1 + e)
    expected = p * log(2 * p) + q * log(2 * q)
    assert losses.similarity_kl(student, teacher).item() == pytest.approx(expected, rel=1e-5)


def test_softened_kl_by_hand() -> None:
    student, teacher = logits_of([0.5, 0.5], [0.9, 0.1]), logits_of([0.8, 0.2], [0.9, 0.1])
    kl = 0.8 * log(0.8 / 0.5) + 0.2 * log(0.2 / 0.5)
    assert losses.softened_kl(student, teacher).item() == pytest.approx(kl / 2, rel=1e-5)
    assert losses.softened_kl(2 * student, 2 * teacher, 2.0).item() == pytest.approx(
        4 * kl / 2, rel=1e-5
    )


def test_the_teacher_learns_nothing() -> None:
    for loss in (losses.softened_kl, losses.similarity_kl, losses.pearson_relation):
        student, teacher = (torch.randn(4, 3, requires_grad=True) for _ in range(2))
        loss(student, teacher, 2.0).backward()
        assert teacher.grad is None and student.grad is not None and student.grad.any()


def test_label_smoothing_by_hand() -> None:
    loss = losses.label_smoothing(logits_of([0.7, 0.2, 0.1]), torch.tensor([0]), 0.1)
    expected = -(0.9 * log(0.7) + 0.05 * log(0.2) + 0.05 * log(0.1))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_interactive_by_hand() -> None:
    student, labels = logits_of([0.7, 0.3]), torch.tensor([0])
    through, teacher = logits_of([0.5, 0.5]), logits_of([0.8, 0.2])
    kl = 0.8 * log(1.6) + 0.2 * log(0.4)
    smooth = -(0.9 * log(0.7) + 0.1 * log(0.3))
    expected = 0.4 * kl - 0.3 * log(0.7) + 0.3 * smooth
    loss = losses.interactive(student, through, teacher, labels)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_self_distillation_by_hand_leaves_out_what_is_missing_or_has_no_label() -> None:
    fused, audio = [0.8, 0.2], [0.5, 0.5]
    logits = logits_of(fused, fused)[None]  # (1, 2, 2)
    unimodal = torch.full((1, 2, 3, 2), float("nan"))
    unimodal[0, 0, 1] = logits_of(audio)[0]
    seen = torch.zeros(1, 2, 3, dtype=torch.bool)
    seen[0, :, 1] = True
    details = Details(logits, torch.zeros(1, 2, 3), unimodal, torch.zeros(1, 2, 3, 4))
    loss = losses.self_distillation(details, seen, torch.tensor([[0, -100]]))
    kl = 0.8 * log(1.6) + 0.2 * log(0.4)
    assert loss.item() == pytest.approx(-1.5 * log(0.8) - log(0.5) + 0.3 * kl, rel=1e-5)


def branches(text: list[float], audio: list[float]) -> Details:
    """Two utterances, two labels; the visual branch is not seen."""
    unimodal = torch.full((1, 2, 3, 2), float("nan"))
    unimodal[0, :, 0] = logits_of(text, text[::-1])
    unimodal[0, :, 1] = logits_of(audio, audio[::-1])
    features = torch.full((1, 2, 3, 2), float("nan"))
    features[0, :, 0] = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    features[0, :, 1] = torch.tensor([[0.0, 5.0], [7.0, 0.0]])  # the two changed places
    return Details(unimodal[..., 0, :].clone(), torch.zeros(1, 2, 3), unimodal, features)


TWO_SEEN = torch.tensor([[[True, True, False]] * 2])
SIMILARITY = (e - 1) / (e + 1)  # KL of the similarities of `branches`, as in the test above: p - q


def test_anchored_distillation_by_hand() -> None:
    details, labels = branches([0.8, 0.2], [0.3, 0.7]), torch.tensor([[0, 1]])
    # The audio says the contrary of the text: every correlation is -1, so 2 + 2, times tau^2.
    expected = -log(0.8) + 0.5 * (4 * (2 + 2) + SIMILARITY)
    loss = losses.anchored_distillation(details, TWO_SEEN, labels, 0.5, 0.5)
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    alone = losses.anchored_distillation(details, TWO_SEEN, labels, 0.0, 0.5)
    assert alone.item() == pytest.approx(-log(0.8), rel=1e-5)


def test_anchored_distillation_needs_the_text_and_two_samples() -> None:
    details, labels = branches([0.8, 0.2], [0.3, 0.7]), torch.tensor([[0, 1]])
    seen = TWO_SEEN.clone()
    seen[0, 1, 0] = False  # one pair is left, which has no relation to others
    loss = losses.anchored_distillation(details, seen, labels, 0.5, 0.5)
    assert loss.item() == pytest.approx(-log(0.8), rel=1e-5)


def test_residual_distillation_by_hand() -> None:
    details, labels = branches([0.8, 0.2], [0.3, 0.7]), torch.tensor([[0, 1]])
    own = -2 * log(0.8) - log(0.3)  # fused and text, audio
    p, q = e / (1 + e), 1 / (1 + e)
    jsd = p * log(2 * p) + q * log(2 * q)
    crossed = 16 * (2 + 2) + SIMILARITY + 0.2 * jsd
    loss = losses.residual_distillation(details, None, TWO_SEEN, labels)
    assert loss.item() == pytest.approx(own + crossed, rel=1e-4)
    plain = losses.residual_distillation(details, None, TWO_SEEN, labels, cross_modal=(0.0, 0.0))
    assert plain.item() == pytest.approx(own, rel=1e-5)


def test_residual_distillation_needs_two_samples_with_text_to_relate_them() -> None:
    details, labels = branches([0.8, 0.2], [0.3, 0.7]), torch.tensor([[0, 1]])
    seen = TWO_SEEN.clone()
    seen[0, 1, 0] = False
    loss = losses.residual_distillation(details, None, seen, labels)
    assert loss.item() == pytest.approx(-2 * log(0.8) - log(0.3), rel=1e-5)


def test_residual_distillation_learns_from_the_average_of_the_text_alone() -> None:
    details, labels = branches([0.8, 0.2], [0.3, 0.7]), torch.tensor([[0, 1]])
    teacher = branches([0.5, 0.5], [0.1, 0.9])
    loss = losses.residual_distillation(
        details, teacher, TWO_SEEN, labels, 0.7, cross_modal=(0.0, 0.0)
    )
    # tau 2: 0.8 and 0.2 become 2/3 and 1/3.
    soft = 4 * (0.5 * log(0.5 / (2 / 3)) + 0.5 * log(0.5 / (1 / 3)))
    expected = -log(0.8) - 0.7 * log(0.8) + 0.3 * soft - log(0.3)
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_interactive_without_anything_to_distil_is_the_labels_alone() -> None:
    student, labels, nothing = logits_of([0.7, 0.3]), torch.tensor([0]), torch.zeros(0, 2)
    loss = losses.interactive(student, nothing, nothing, labels)
    smooth = -(0.9 * log(0.7) + 0.1 * log(0.3))
    assert loss.item() == pytest.approx(-0.3 * log(0.7) + 0.3 * smooth, rel=1e-5)
