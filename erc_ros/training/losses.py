"""The losses of the four papers. N samples, C labels, d width; means over the batch.

Logits of conversations (B, U, C) are flattened to the valid utterances (N, C), without padding.
There is no gradient for the teacher. Every function returns a scalar.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from erc_ros.training.heads.base import AUDIO, TEXT, VISUAL, Details


def pearson_relation(student: Tensor, teacher: Tensor, tau: float) -> Tensor:
    """Return tau^2 (1 - correlation) of the softened predictions, over samples and over labels.

    MAGTKD eq. 6-9 (tau 2); DDVLM's response loss (tau 4). Logits (N, C) each. The correlation of a
    constant row or column is 0.
    """
    s = (student / tau).softmax(dim=-1)  # (N, C); eq. 8
    t = (teacher.detach() / tau).softmax(dim=-1)  # (N, C); eq. 7
    rows, columns = _correlation(s, t), _correlation(s.T, t.T)  # (N,), (C,)
    return tau**2 * ((1 - rows).mean() + (1 - columns).mean())  # eq. 9


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    """Return Pearson's correlation of each row: (N, K), (N, K) -> (N,)."""
    a, b = a - a.mean(dim=-1, keepdim=True), b - b.mean(dim=-1, keepdim=True)
    # Clamped, as the gradient of the square root is infinite at 0.
    product = a.square().sum(dim=-1) * b.square().sum(dim=-1)
    return (a * b).sum(dim=-1) / product.clamp_min(1e-12).sqrt()


def similarity_kl(
    student: Tensor,
    teacher: Tensor,
    tau: float = 1.0,
    jensen_shannon: float = 0.0,
    normalized: bool = True,
) -> Tensor:
    """Return KL of teacher-teacher similarities and teacher-student similarities.

    MAGTKD eq. 10-12; DDVLM's feature loss with jensen_shannon 0.2. Embeddings (N, d) each.
    Row i: the similarity of sample i of the teacher to each sample.

    Args:
        normalized: similarities are cosines, as in DDVLM's paper; False: dot products, as printed
            in MAGTKD's paper.
    """
    s, t = student, teacher.detach()  # (N, d)
    if normalized:
        s, t = normalize(s, dim=-1), normalize(t, dim=-1)
    target = (t @ t.T / tau).log_softmax(dim=-1)  # (N, N); eq. 10
    source = (t @ s.T / tau).log_softmax(dim=-1)  # (N, N); eq. 11
    loss = _kl(target, source)  # eq. 12
    if jensen_shannon:
        middle = torch.logaddexp(target, source) - math.log(2)
        loss = loss + jensen_shannon * (_kl(target, middle) + _kl(source, middle)) / 2
    return loss


def softened_kl(student: Tensor, teacher: Tensor, tau: float = 1.0) -> Tensor:
    """Return tau^2 KL(teacher || student) of the softened predictions; logits (N, C) each.

    DDVLM's self-distillation (tau 2), SUMMER eq. 7 (tau 1), LPGNet eq. 21 (tau 1).
    """
    t, s = (teacher.detach() / tau).log_softmax(-1), (student / tau).log_softmax(-1)
    return tau**2 * _kl(t, s)


def _kl(target: Tensor, source: Tensor) -> Tensor:
    """Return KL(target || source) of log-probabilities (N, K), mean over N."""
    return (target.exp() * (target - source)).sum(dim=-1).mean()


def label_smoothing(logits: Tensor, labels: Tensor, epsilon: float = 0.1) -> Tensor:
    """Return the cross-entropy with 1 - epsilon for the true label, epsilon / (C - 1) for others.

    SUMMER eq. 9. (torch's label smoothing distributes epsilon over all C labels.)
    """
    logp = logits.log_softmax(dim=-1)  # (N, C)
    true = logp.gather(-1, labels[:, None])[:, 0]  # (N,)
    others = (logp.sum(dim=-1) - true) / (logits.shape[-1] - 1)  # (N,)
    return -((1 - epsilon) * true + epsilon * others).mean()


def cross_entropy_among(logits: Tensor, target: Tensor) -> Tensor:
    """Return the cross-entropy, also for utterances with several possible labels.

    Args:
        logits: (N, C).
        target: (N, C) rows of probabilities with sum 1, or 1 for each possible label: then the loss
            is -log of the sum of their probabilities.
    """
    likely = torch.log_softmax(logits, dim=-1)
    share = -(target * likely).sum(dim=-1)
    among = -likely.masked_fill(target <= 0, -torch.inf).logsumexp(dim=-1)
    return torch.where(target.sum(dim=-1) > 1.5, among, share).mean()


def interactive(
    logits: Tensor,
    through_teacher: Tensor,
    teacher: Tensor,
    labels: Tensor,
    weights: tuple[float, float, float] = (0.4, 0.3, 0.3),
    align: Tensor | None = None,
) -> Tensor:
    """Return SUMMER's loss, eq. 10: distillation, cross-entropy, label smoothing.

    logits (N, C), labels (N,): the student's. through_teacher (M, C): logits of the frozen
    teacher's classifier for the student's features, one row for every modality of an utterance.
    teacher (M, C): the teacher's logits. M = 0: no distillation. align: the loss of eq. 8 with the
    teacher's classifier; None: cross-entropy of the student's own classifier.
    """
    distilled, aligned, smooth = weights
    loss = aligned * (cross_entropy(logits, labels) if align is None else align)  # eq. 8
    loss = loss + smooth * label_smoothing(logits, labels)  # eq. 9
    if len(through_teacher):
        loss = loss + distilled * softened_kl(through_teacher, teacher)  # eq. 7
    return loss


def self_distillation(
    details: Details,
    seen: Tensor,
    labels: Tensor,
    weights: tuple[float, float, float] = (1.5, 1.0, 0.3),
) -> Tensor:
    """Return LPGNet's loss, eq. 22: the task, and every modality's own classifier as a student.

    Args:
        details: of a batch of conversations.
        seen: (B, U, 3) bool; missing modalities are excluded.
        labels: (B, U), -100 without a label.
        weights: of the task, of the students' cross-entropy and of their KL (tau 1).
    """
    task, hard, soft = weights
    known = labels >= 0  # (B, U)
    loss = task * cross_entropy(details.logits[known], labels[known])  # eq. 17
    for m in range(3):
        here = known & seen[..., m]  # (B, U)
        if not here.any():
            continue
        student = details.unimodal[..., m, :][here]  # (N, C)
        loss = loss + hard * cross_entropy(student, labels[here])  # eq. 20
        loss = loss + soft * softened_kl(student, details.logits[here])  # eq. 21
    return loss


def anchored_distillation(
    details: Details,
    seen: Tensor,
    labels: Tensor,
    alpha: float = 0.01,
    beta: float = 0.09,
    taus: tuple[float, float] = (2.0, 1.0),
    normalized: bool = True,
) -> Tensor:
    """Return MAGTKD's loss of the second stage, eq. 25: the text branch teaches the other two.

    Args:
        details: of a batch of conversations; the text's own logits and features are the teacher's.
        seen: (B, U, 3) bool; distillation uses utterances with both text and student.
        labels: (B, U), -100 without a label.
        alpha: weight of the audio's distillation.
        beta: weight of the visual distillation.
        taus: temperatures of the predictions and of the similarities.
        normalized: see `similarity_kl`.
    """
    known = labels >= 0  # (B, U)
    loss = cross_entropy(details.logits[known], labels[known])  # eq. 13
    for m, weight in ((AUDIO, alpha), (VISUAL, beta)):
        here = known & seen[..., TEXT] & seen[..., m]  # (B, U)
        if weight and int(here.sum()) > 1:  # similarities need two samples
            loss = loss + weight * _from_text(
                details, m, here, taus, normalized=normalized
            )  # eq. 24
    return loss


def residual_distillation(
    details: Details,
    teacher: Details | None,
    seen: Tensor,
    labels: Tensor,
    hard: float = 0.7,
    cross_modal: tuple[float, float] = (1.0, 1.0),
) -> Tensor:
    """Return the sum of DDVLM's fusion losses: sections 3.4 and 3.5 and the task.

    Args:
        details: of a batch of conversations.
        teacher: outputs of the model's moving average; None: no self-distillation (yet).
        seen: (B, U, 3) bool; missing modalities are excluded.
        labels: (B, U), -100 without a label.
        hard: share of the cross-entropy in the text's loss if there is a teacher (tau 2).
        cross_modal: weights of the response (tau 4) and feature losses (tau 1, 0.2 JSD) from the
            text to the other modalities.
    """
    known = labels >= 0  # (B, U)
    loss = cross_entropy(details.logits[known], labels[known])
    for m in range(3):
        here = known & seen[..., m]  # (B, U)
        if not here.any():
            continue
        own = details.unimodal[..., m, :][here]  # (N, C)
        if m == TEXT and teacher is not None:
            soft = softened_kl(own, teacher.unimodal[..., TEXT, :][here], 2.0)
            loss = loss + hard * cross_entropy(own, labels[here]) + (1 - hard) * soft
        else:
            loss = loss + cross_entropy(own, labels[here])
        both = here & seen[..., TEXT]
        if m != TEXT and any(cross_modal) and int(both.sum()) > 1:
            loss = loss + _from_text(details, m, both, (4.0, 1.0), 0.2, cross_modal)
    return loss


def _from_text(
    details: Details,
    m: int,
    here: Tensor,
    taus: tuple[float, float],
    jensen_shannon: float = 0.0,
    weights: tuple[float, float] = (1.0, 1.0),
    normalized: bool = True,
) -> Tensor:
    """Return the distillation loss from text to modality m where `here` (B, U) is True."""
    student, teacher = (details.unimodal[..., k, :][here] for k in (m, TEXT))  # (N, C)
    response = pearson_relation(student, teacher, taus[0])
    student, teacher = (details.features[..., k, :][here] for k in (m, TEXT))  # (N, d)
    return weights[0] * response + weights[1] * similarity_kl(
        student, teacher, taus[1], jensen_shannon, normalized
    )
