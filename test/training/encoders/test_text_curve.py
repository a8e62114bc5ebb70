"""The benchmark that compares text recipes reads the contrast set as the bundle's does."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

from benchmarks.contrast import read_pairs
from benchmarks.text_curve import over_seeds, pair_conversations
from erc_ros.training.datasets.utterances import LABELS


def test_each_pair_is_read_after_both_histories_and_alone() -> None:
    conversations = pair_conversations()
    pairs = read_pairs()
    assert len(conversations) == 3 * len(pairs)
    for pair, one, other, alone in zip(
        pairs, *(conversations[n::3] for n in range(3)), strict=True
    ):
        for conversation, (emotion, history) in zip(
            (one, other), pair.histories.items(), strict=True
        ):
            texts = [u.text for u in conversation.utterances]
            assert texts == [*history, pair.last]
            assert [u.is_labelled for u in conversation.utterances] == [False] * len(history) + [
                True
            ]
            assert LABELS[conversation.utterances[-1].label or 0] == emotion
        assert [u.text for u in alone.utterances] == [pair.last]


def test_a_single_seed_has_no_deviation() -> None:
    assert over_seeds([2.0]) == {"mean": 2.0}
    assert over_seeds([1.0, 3.0]) == {"mean": 2.0, "sd": pytest.approx(2**0.5)}
