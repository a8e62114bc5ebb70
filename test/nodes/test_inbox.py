"""The inbox is bounded, fair between inputs, and counts what it drops."""

from __future__ import annotations

import threading

import pytest

pytest.importorskip("rclpy")

from erc_ros.nodes.inbox import Inbox, Item, Worker


def drain(inbox: Inbox) -> list[object]:
    inbox.close()
    return [item.value for item in iter(inbox.take, None)]


def test_a_flood_of_one_input_pushes_out_only_its_own_oldest() -> None:
    inbox = Inbox({"image": 2, "speech": 5})
    inbox.put("speech", "hello")
    for number in range(10):
        inbox.put("image", number)
    assert (inbox.dropped("image"), inbox.dropped("speech")) == (8, 0)
    assert drain(inbox) == ["hello", 8, 9]


def test_inputs_are_taken_in_the_order_of_their_arrival() -> None:
    inbox = Inbox({"a": 9, "b": 9})
    for number in range(6):
        inbox.put("ab"[number % 2], number)
    assert drain(inbox) == [0, 1, 2, 3, 4, 5]


def test_a_newer_tick_replaces_the_older_without_counting_as_lost() -> None:
    inbox = Inbox({"tick": 1}, silent=frozenset({"tick"}))
    inbox.put("tick", 1)
    inbox.put("tick", 2)
    assert inbox.dropped("tick") == 0 and drain(inbox) == [2]


def test_what_comes_after_closing_is_counted_as_dropped() -> None:
    inbox = Inbox({"a": 9})
    inbox.close()
    inbox.put("a", 1)
    assert inbox.dropped("a") == 1 and inbox.take() is None


def test_an_error_goes_to_the_node_and_the_worker_carries_on() -> None:
    handled, failed, finished = [], [], threading.Event()

    def handle(item: Item) -> None:
        if item.value == 1:
            raise ValueError("one is bad")
        handled.append(item.value)

    inbox = Inbox({"a": 9})
    worker = Worker("test", inbox, handle, lambda *what: failed.append(what), finished.set)
    for number in range(4):
        inbox.put("a", number)
    worker.stop()
    assert handled == [0, 2, 3] and finished.is_set()
    assert [(item.value, str(error)) for item, error in failed] == [(1, "one is bad")]


def test_a_queue_is_bounded_in_bytes_as_well() -> None:
    inbox = Inbox({"audio": 500, "speech": 5}, max_bytes=100)
    inbox.put("speech", "hello", size=100)
    for number in range(10):
        inbox.put("audio", number, size=30)
    assert (inbox.bytes("audio"), inbox.depth("audio"), inbox.dropped("audio")) == (90, 3, 7)
    inbox.put("audio", "too large by itself", size=101)
    assert (inbox.depth("audio"), inbox.dropped("audio")) == (3, 8)
    assert drain(inbox) == ["hello", 7, 8, 9]
    assert inbox.bytes("audio") == inbox.bytes("speech") == 0
