from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from erc_ros.training.heads.late_fusion import LateFusion, LateFusionConfig

SIZES = (6, 4, 4)
EVERYTHING = (True, True, True)


@pytest.fixture
def head() -> LateFusion:
    torch.manual_seed(0)
    made = LateFusion(LateFusionConfig(embeddings=SIZES, labels=5)).eval()
    for classifier in made.classifiers:
        torch.nn.init.normal_(classifier.weight, std=1.5)
    prior = torch.tensor([0.4, 0.3, 0.1, 0.1, 0.1])
    made.prior.copy_(prior.log())
    made.broken.copy_(torch.tensor([[0.0, 0.8, 0.6], [0.0, 0.0, 0.0]]))
    return made


def answer(head: LateFusion, inputs: list[torch.Tensor], seen: tuple[bool, ...]) -> torch.Tensor:
    u = inputs[0].shape[1]
    logits, _ = head(
        *inputs,
        torch.tensor(seen).expand(1, u, 3),
        torch.ones(1, u, dtype=torch.long),
        torch.ones(1, u, dtype=torch.bool),
    )
    return logits.softmax(dim=-1)


def embeddings(u: int = 50) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    return [torch.randn(1, u, size, generator=draw) for size in SIZES]


def test_a_sense_that_says_nothing_changes_nothing(head: LateFusion) -> None:
    inputs = embeddings()
    for m in (1, 2):
        head.classifiers[m].weight.data.zero_()
        head.classifiers[m].bias.data.copy_(head.prior)
    alone = answer(head, inputs, (True, False, False))
    torch.testing.assert_close(answer(head, inputs, EVERYTHING), alone)


def test_a_sense_can_change_the_odds_only_so_far(head: LateFusion) -> None:
    inputs = embeddings()
    head.classifiers[1].weight.data *= 50  # as sure as can be
    alone = answer(head, inputs, (True, False, False)).log()
    both = answer(head, inputs, (True, True, False)).log()
    moved = both - alone
    spread = moved.amax(dim=-1) - moved.amin(dim=-1)
    most = torch.log((0.8 + 0.2 / head.prior.exp().min()) / 0.8)
    assert (spread <= most + 1e-4).all() and spread.max() > 0.5 * most


def test_without_text_senses_are_believed_as_far_as_is_set_for_that(head: LateFusion) -> None:
    inputs = embeddings()
    own = head.classifiers[1](inputs[1]).softmax(dim=-1)
    torch.testing.assert_close(answer(head, inputs, (False, True, False)), own)
    with_text = answer(head, inputs, EVERYTHING)
    head.broken[1] = torch.tensor([0.0, 0.3, 0.5])
    torch.testing.assert_close(answer(head, inputs, EVERYTHING), with_text)
    prior = head.prior.exp()
    torch.testing.assert_close(
        answer(head, inputs, (False, True, False)), 0.3 * prior + 0.7 * own, atol=1e-5, rtol=1e-4
    )
    other = head.classifiers[2](inputs[2]).softmax(dim=-1)
    both = prior * (0.3 + 0.7 * own / prior) * (0.5 + 0.5 * other / prior)
    torch.testing.assert_close(
        answer(head, inputs, (False, True, True)),
        both / both.sum(dim=-1, keepdim=True),
        atol=1e-5,
        rtol=1e-4,
    )


def test_without_text_only_a_share_of_the_prior_counts(head: LateFusion) -> None:
    inputs = embeddings()
    own = head.classifiers[1](inputs[1]).log_softmax(dim=-1)
    head.share.fill_(0.25)
    expected = (own - 0.75 * head.prior).softmax(dim=-1)
    torch.testing.assert_close(answer(head, inputs, (False, True, False)), expected)
    with_text = answer(head, inputs, (True, False, False))
    head.share.fill_(1.0)
    torch.testing.assert_close(answer(head, inputs, (True, False, False)), with_text)


def test_nothing_seen_is_the_prior(head: LateFusion) -> None:
    expected = head.prior.exp().expand(1, 50, 5)
    torch.testing.assert_close(answer(head, embeddings(), (False, False, False)), expected)
