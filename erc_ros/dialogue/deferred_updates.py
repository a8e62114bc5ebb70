"""Slow updates of a state in parallel with a stream, with deterministic results.

Diarization takes some 50 ms. Computed within the stream, it delays texts that arrive meanwhile;
computed in parallel and used whenever it is ready, two runs of one recording differ. So an update
begins at one position of the stream and takes effect at a later, fixed one. If it is ready by
then, nothing is delayed; otherwise the stream waits: a slow machine gives the same results later.
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
    """An update that was begun, and the position (ns) at which its result takes effect."""

    due: int
    result: Future[State]


class _Line(Generic[State]):
    """The newest state of one line of updates; only the worker reads and writes it."""

    def __init__(self, state: State) -> None:
        self.newest = state

    def update(self, step: Callable[[State], State]) -> State:
        self.newest = step(self.newest)
        return self.newest


class DeferredUpdates(Generic[State]):
    """Updates of one state, each on the result of the one before, in the order of their beginning.

    Positions are those of the stream (ns), not of a wall clock.

    Args:
        executor: runs the updates, one at a time (`ThreadPoolExecutor(1)`).
        delay: ns from where an update begins to where it takes effect: the time that it may take
            before the stream waits for it.
        state: that the first update changes.

    Raises:
        ValueError: a negative delay.
    """

    def __init__(self, executor: Executor, delay: int, state: State) -> None:
        if delay < 0:
            raise ErcValueError(f"delay is {delay} ns, must be >= 0")
        self._executor, self._delay = executor, delay
        self._pending: deque[_Pending[State]] = deque()
        self._line = _Line(state)

    def submit(self, position: int, step: Callable[[State], State]) -> None:
        """Begin an update at `position`. `step` must be pure and own what it reads."""
        result = self._executor.submit(self._line.update, step)
        self._pending.append(_Pending(position + self._delay, result))

    def until(self, position: int) -> list[State]:
        """The states that take effect up to `position`, in order; waits for those not ready.

        An update that raised raises here, once; the state stays what it was before it.
        """
        states = []
        while self._pending and self._pending[0].due <= position:
            states.append(self._pending.popleft().result.result())
        return states

    def flush(self) -> list[State]:
        """All states that are on their way, due or not."""
        return self.until(max((pending.due for pending in self._pending), default=0))

    def reset(self, state: State) -> None:
        """Begin again with `state`. What runs is left to end, and no person takes its result."""
        for pending in self._pending:
            pending.result.cancel()
        self._pending.clear()
        self._line = _Line(state)
