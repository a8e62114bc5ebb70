"""Deferred updates: the same results at any speed of the worker and with any chunks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor

import pytest
from executors import Held, Postponed
from hypothesis import given
from hypothesis import strategies as st

from erc_ros.dialogue.deferred_updates import DeferredUpdates

State = tuple[int, ...]


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def adding(number: int) -> Callable[[State], State]:
    return lambda state: (*state, number)


def test_an_update_takes_effect_at_its_position_and_not_before(
    executor: ThreadPoolExecutor,
) -> None:
    work: DeferredUpdates[State] = DeferredUpdates(executor, 10, ())
    work.submit(5, adding(1))
    assert work.until(14) == []
    assert work.until(15) == [(1,)]
    assert work.until(99) == []


def test_each_update_goes_on_from_the_one_before_though_that_is_not_in_effect(
    executor: ThreadPoolExecutor,
) -> None:
    work: DeferredUpdates[State] = DeferredUpdates(executor, 10, (0,))
    for position in (1, 2, 3):
        work.submit(position, adding(position))
    assert work.until(12) == [(0, 1), (0, 1, 2)]
    assert work.flush() == [(0, 1, 2, 3)]
    assert work.flush() == []


def test_the_stream_waits_only_for_what_is_due(executor: ThreadPoolExecutor) -> None:
    slow = Held(adding(1))
    work: DeferredUpdates[State] = DeferredUpdates(executor, 10, ())
    work.submit(0, slow)
    assert slow.begun.wait(10)
    assert work.until(9) == []  # while it runs
    threading.Timer(0.05, slow.may_go_on.set).start()
    assert work.until(10) == [(1,)]


def test_what_fails_is_raised_once_and_changes_nothing(executor: ThreadPoolExecutor) -> None:
    def failing(state: State) -> State:
        raise OSError("the network is gone")

    work: DeferredUpdates[State] = DeferredUpdates(executor, 0, (0,))
    work.submit(0, failing)
    work.submit(1, adding(1))
    with pytest.raises(OSError, match="network"):
        work.until(0)
    assert work.until(1) == [(0, 1)]


def test_after_a_reset_nothing_of_before_takes_effect(executor: ThreadPoolExecutor) -> None:
    slow = Held(adding(1))
    work: DeferredUpdates[State] = DeferredUpdates(executor, 0, ())
    work.submit(0, slow)
    work.submit(0, adding(2))
    assert slow.begun.wait(10)
    work.reset((7,))
    work.submit(0, adding(3))
    slow.may_go_on.set()
    assert work.flush() == [(7, 3)]


def test_a_delay_below_zero_is_refused(executor: ThreadPoolExecutor) -> None:
    with pytest.raises(ValueError, match="-1"):
        DeferredUpdates(executor, -1, ())


@given(
    st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=20),
    st.integers(0, 30),
    st.lists(st.integers(0, 100), max_size=10),
)
def test_the_time_of_computation_changes_no_result(
    begun: list[tuple[int, bool]], delay: int, asked: list[int]
) -> None:
    def effects(executor: Executor, asked: list[int]) -> list[State]:
        work: DeferredUpdates[State] = DeferredUpdates(executor, delay, ())
        states: list[State] = []
        positions = sorted(position for position, _ in begun)
        for number, position in enumerate(positions):
            for moment in sorted(a for a in asked if a <= position):
                states += work.until(moment)
            work.submit(position, adding(number))
        return states + work.flush()

    moments = iter([is_now for _, is_now in begun])
    fast, slow = Postponed(lambda: True), Postponed(lambda: next(moments))
    assert effects(fast, []) == effects(slow, asked)
