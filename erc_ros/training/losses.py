"""The losses of the four papers. N samples, C labels, d width; means over the batch.

Logits of conversations (B, U, C) come flattened to the valid utterances (N, C), so that padding is
nowhere. The teacher's side gets no gradient. Every function returns a scalar.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from erc_ros.training.heads.base import AUDIO, TEXT, VISUAL, Details


def pearson_relation(student: Tensor, teacher: Tensor, tau: float) -> Tensor:
    """1 - correlation of the softened predictions, over samples and over labels, times tau^2.

    MAGTKD eq. 6-9 (tau 2); DDVLM's response loss (tau 4). Logits (N, C) each. A row or a column
    that is constant correlates with nothing.
    """
    s = (student / tau).softmax(dim=-1)  # (N, C); eq. 8
    t = (teacher.detach() / tau).softmax(dim=-1)  # (N, C); eq. 7
    rows, columns = _correlation(s, t), _correlation(s.T, t.T)  # (N,), (C,)
    return tau**2 * ((1 - rows).mean() + (1 - columns).mean())  # eq. 9


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's, row by row: (N, K), (N, K) -> (N,)."""
    a, b = a - a.mean(dim=-1, keepdim=True), b - b.mean(dim=-1, keepdim=True)
    # The root of the product of both, kept away from 0, where its gradient has no end.
    product = a.square().sum(dim=-1) * b.square().sum(dim=-1)
    return (a * b).sum(dim=-1) / product.clamp_min(1e-12).sqrt()


def similarity_kl(
    student: Tensor,
    teacher: Tensor,
    tau: float = 1.0,
    jensen_shannon: float = 0.0,
    normalized: bool = True,
) -> Tensor:
    """KL from the similarities within the teacher to those of the student with the teacher.

    MAGTKD eq. 10-12; DDVLM's feature loss with jensen_shannon 0.2. Embeddings (N, d) each.
    Row i: the similarity of sample i of the teacher to each sample.

    Args:
        normalized: similarities are cosines, as in DDVLM's paper; False: dot products, as MAGTKD's
            paper prints them.
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
    """tau^2 KL(teacher || student) of the softened predictions; logits (N, C) each.

    DDVLM's self-distillation (tau 2), SUMMER eq. 7 (tau 1), LPGNet eq. 21 (tau 1).
    """
    t, s = (teacher.detach() / tau).log_softmax(-1), (student / tau).log_softmax(-1)
    return tau**2 * _kl(t, s)


def _kl(target: Tensor, source: Tensor) -> Tensor:
    """KL(target || source) of log-probabilities (N, K), mean over N."""
    return (target.exp() * (target - source)).sum(dim=-1).mean()


def label_smoothing(logits: Tensor, labels: Tensor, epsilon: float = 0.1) -> Tensor:
    """Cross-entropy against 1 - epsilon for the true label and epsilon / (C - 1) for each other.

    SUMMER eq. 9. (torch's own spreads epsilon over all C, the true one included.)
    """
    logp = logits.log_softmax(dim=-1)  # (N, C)
    true = logp.gather(-1, labels[:, None])[:, 0]  # (N,)
    others = (logp.sum(dim=-1) - true) / (logits.shape[-1] - 1)  # (N,)
    return -((1 - epsilon) * true + epsilon * others).mean()


def cross_entropy_among(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy, also where only several labels are known of which one is right.

    Args:
        logits: (N, C).
        target: (N, C) rows that are shares with sum 1, or 1 for each label that may be right: there
            the loss is -log of their probabilities' sum.
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
    """SUMMER's whole loss, eq. 10: distillation, cross-entropy, label smoothing.

    logits (N, C), labels (N,): the student's answers. through_teacher (M, C): its features through
    the frozen teacher's classifier, one row for every modality of an utterance. teacher (M, C): the
    teacher's answers to these utterances. M may be 0: nothing is distilled. align: the loss of
    eq. 8 in its other reading; None: cross-entropy of the student's own classifier.
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
    """LPGNet's whole loss, eq. 22: the task, and every modality's own classifier as a student.

    Args:
        details: of a batch of conversations.
        seen: (B, U, 3) bool; a modality that is missing teaches and learns nothing.
        labels: (B, U), -100 where there is none.
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
    """MAGTKD's whole loss of the second stage, eq. 25: the text branch teaches the other two.

    Args:
        details: of a batch of conversations; the text's own logits and features are the teacher's.
        seen: (B, U, 3) bool; distilled is where the text and the student are both seen.
        labels: (B, U), -100 where there is none.
        alpha: of the audio's distillation.
        beta: of the visual one's.
        taus: of the predictions and of the similarities.
        normalized: see `similarity_kl`.
    """
    known = labels >= 0  # (B, U)
    loss = cross_entropy(details.logits[known], labels[known])  # eq. 13
    for m, weight in ((AUDIO, alpha), (VISUAL, beta)):
        here = known & seen[..., TEXT] & seen[..., m]  # (B, U)
        if weight and int(here.sum()) > 1:  # one sample has no relation to others
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
    """DDVLM's losses at the level of the fusion: its sections 3.4 and 3.5 and the task, summed.

    Args:
        details: of a batch of conversations.
        teacher: the same of the moving average of the model; None: no self-distillation (yet).
        seen: (B, U, 3) bool; a modality that is missing teaches and learns nothing.
        labels: (B, U), -100 where there is none.
        hard: share of the cross-entropy in the text's loss when there is a teacher (tau 2).
        cross_modal: weights of the response (tau 4) and feature losses (tau 1, 0.2 JSD) by which
            the text teaches the others.
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
    """What the text teaches modality m where `here` (B, U): predictions and similarities."""
    student, teacher = (details.unimodal[..., k, :][here] for k in (m, TEXT))  # (N, C)
    response = pearson_relation(student, teacher, taus[0])
    student, teacher = (details.features[..., k, :][here] for k in (m, TEXT))  # (N, d)
    return weights[0] * response + weights[1] * similarity_kl(
        student, teacher, taus[1], jensen_shannon, normalized
    )
