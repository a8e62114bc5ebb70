"""The order of messages on two topics is restored, with a bounded wait."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from erc_ros.nodes.resequencer import WAITING, Resequencer

PATIENCE = 100


def test_a_correction_that_comes_late_still_comes_before_what_follows_it() -> None:
    order: Resequencer[str] = Resequencer(PATIENCE)
    assert order.feed(1, "utterance 1", 0) == ["utterance 1"]
    assert order.feed(3, "utterance 3", 1) == [] and order.waits
    assert order.feed(2, "correction 2", 2) == ["correction 2", "utterance 3"]
    assert not order.waits and order.lost == 0


def test_what_is_lost_is_given_up_and_counted() -> None:
    order: Resequencer[str] = Resequencer(PATIENCE)
    order.feed(1, "a", 0)
    assert order.feed(5, "b", 10) == []
    assert order.advance(10 + PATIENCE - 1) == []
    assert order.advance(10 + PATIENCE) == ["b"]
    assert order.lost == 3
    assert order.feed(6, "c", 200) == ["c"]


def test_what_was_given_up_and_comes_after_all_disturbs_nothing() -> None:
    order: Resequencer[str] = Resequencer(PATIENCE)
    order.feed(1, "a", 0)
    order.feed(3, "c", 0)
    assert order.advance(PATIENCE) == ["c"] and order.lost == 1
    assert order.feed(2, "b", PATIENCE + 1) == ["b"]
    assert order.lost == 0
    assert order.feed(4, "d", PATIENCE + 2) == ["d"]


def test_a_late_subscriber_waits_once_and_counts_no_loss() -> None:
    order: Resequencer[str] = Resequencer(PATIENCE)
    assert order.feed(41, "a", 0) == []
    assert order.advance(PATIENCE) == ["a"]
    assert order.feed(42, "b", PATIENCE) == ["b"]
    assert order.lost == 0


def test_a_restarted_publisher_is_followed() -> None:
    order: Resequencer[str] = Resequencer(PATIENCE)
    order.feed(1, "a", 0)
    order.feed(2, "b", 0)
    order.feed(4, "kept", 0)
    assert order.feed(1, "anew", 1) == ["kept", "anew"]
    assert order.feed(2, "b anew", 2) == ["b anew"]
    assert order.lost == 0


def test_an_unnumbered_message_does_not_wait() -> None:
    order: Resequencer[str] = Resequencer(PATIENCE)
    order.feed(1, "a", 0)
    order.feed(3, "c", 0)
    assert order.feed(0, "of an older version", 0) == ["of an older version"]


def test_a_full_queue_gives_up_the_missing_messages() -> None:
    order: Resequencer[int] = Resequencer(PATIENCE)
    order.feed(1, 1, 0)
    waiting = range(3, 3 + WAITING)
    assert [item for number in waiting for item in order.feed(number, number, 0)] == []
    last = 3 + WAITING
    assert order.feed(last, last, 0) == [*waiting, last]
    assert order.lost == 1 and not order.waits


def test_memory_is_bounded() -> None:
    order: Resequencer[int] = Resequencer(PATIENCE)
    order.feed(1, 1, 0)
    items = [item for number in range(3, 2000) for item in order.feed(number, number, 0)]
    assert len(items) >= 2000 - 3 - WAITING


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_any_mix_of_two_ordered_topics_gives_the_order_of_the_publisher(
    topics: list[bool], random: object
) -> None:
    numbers = range(1, len(topics) + 1)
    one = [n for n, is_first in zip(numbers, topics, strict=True) if is_first]
    other = [n for n, is_first in zip(numbers, topics, strict=True) if not is_first]
    order: Resequencer[int] = Resequencer(PATIENCE)
    ordered: list[int] = []
    while one or other:
        queue = one if not other or (one and random.random() < 0.5) else other  # type: ignore[attr-defined]
        ordered += order.feed(queue[0], queue.pop(0), 0)
    assert ordered == list(numbers)
    assert order.lost == 0
