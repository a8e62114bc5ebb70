"""Slow state updates on another thread, with results that do not depend on timing.

Speaker diarization takes about 50 ms. Computed in the stream, it delays texts that arrive in the
meantime; computed in parallel and used when it is ready, it makes two runs of a recording differ.
Therefore an update starts at one position of the stream and takes effect at a fixed later position.
If it is not ready by then, the stream waits, so that a slow computer gives the same results.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Generic, TypeVar

from erc_ros.values.errors import ErcValueError

State = TypeVar("State")


@dataclass(frozen=True, slots=True)
class _Pending(Generic[State]):
    """A started update, and the position (ns) at which its result takes effect."""

    due: int
    result: Future[State]


class _Line(Generic[State]):
    """The latest state of a sequence of updates; used by the worker thread only."""

    def __init__(self, state: State) -> None:
        self.newest = state

    def update(self, step: Callable[[State], State]) -> State:
        self.newest = step(self.newest)
        return self.newest


class DeferredUpdates(Generic[State]):
    """Runs updates of one state in order, each on the result of the previous one.

    Positions are times in the stream (ns), not of a wall clock.

    Args:
        executor: runs the updates, one at a time (`ThreadPoolExecutor(1)`).
        delay: ns from the start of an update to the position where it takes effect: the time
            that it may take before the stream waits for it.
        state: initial state.

    Raises:
        ValueError: the delay is negative.
    """

    def __init__(self, executor: Executor, delay: int, state: State) -> None:
        if delay < 0:
            raise ErcValueError(f"delay is {delay} ns, must be >= 0")
        self._executor, self._delay = executor, delay
        self._pending: deque[_Pending[State]] = deque()
        self._line = _Line(state)

    def submit(self, position: int, step: Callable[[State], State]) -> None:
        """Start an update at `position`. `step` must be pure, and its data must not change."""
        result = self._executor.submit(self._line.update, step)
        self._pending.append(_Pending(position + self._delay, result))

    def until(self, position: int) -> list[State]:
        """Return the states that take effect up to `position`, in order; wait if necessary.

        The exception of a failed update is raised here once; the state is then unchanged.
        """
        states = []
        while self._pending and self._pending[0].due <= position:
            states.append(self._pending.popleft().result.result())
        return states

    def flush(self) -> list[State]:
        """Wait for all running updates and return their states."""
        return self.until(max((pending.due for pending in self._pending), default=0))

    def reset(self, state: State) -> None:
        """Restart with `state`; the results of running updates are discarded."""
        for pending in self._pending:
            pending.result.cancel()
        self._pending.clear()
        self._line = _Line(state)
