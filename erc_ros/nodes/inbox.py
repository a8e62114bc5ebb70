"""What arrived and waits for the worker: callbacks only put, one thread takes.

Bounded per input in number and in bytes, so that a fast camera cannot push out a text, and huge
messages cannot fill the memory; the oldest of the same input is dropped and counted. Taken in the
order of arrival over all inputs.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from erc_ros.values.bounds import QUEUE_BYTES
from erc_ros.values.errors import ErcRuntimeError


@dataclass(frozen=True)
class Item:
    """One thing that arrived. arrived: ns on the monotonic clock. size: bytes, 0 = next to none."""

    input: str
    value: Any
    arrived: int
    size: int = 0


class Inbox:
    """Bounded queues, one per input, read as one.

    Args:
        capacities: input name -> how many may wait.
        silent: inputs of which only the newest counts; what they push out is not a drop.
        most_bytes: that may wait of each input.
    """

    def __init__(
        self,
        capacities: Mapping[str, int],
        silent: frozenset[str] = frozenset(),
        most_bytes: int = QUEUE_BYTES,
    ) -> None:
        self._capacities = dict(capacities)
        self._silent = silent
        self._queues: dict[str, deque[tuple[int, Item]]] = {name: deque() for name in capacities}
        self._most_bytes = most_bytes
        self._bytes = dict.fromkeys(capacities, 0)
        self._dropped = dict.fromkeys(capacities, 0)
        self._sequence = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, input: str, value: Any, arrived: int | None = None, size: int = 0) -> bool:
        """Queue `value` of `size` bytes; False: it was dropped and counted, as after close()."""
        item = Item(input, value, time.monotonic_ns() if arrived is None else arrived, size)
        with self._changed:
            queue = self._queues[input]
            if self._closed or size > self._most_bytes:
                self._dropped[input] += input not in self._silent
                return False
            while queue and (
                len(queue) >= self._capacities[input]
                or self._bytes[input] + size > self._most_bytes
            ):
                self._bytes[input] -= queue.popleft()[1].size
                self._dropped[input] += input not in self._silent
            queue.append((self._sequence, item))
            self._bytes[input] += size
            self._sequence += 1
            self._changed.notify()
            return True

    def take(self) -> Item | None:
        """The oldest item; waits for one. None once closed and empty."""
        with self._changed:
            while True:
                waiting = [queue for queue in self._queues.values() if queue]
                if waiting:
                    item = min(waiting, key=lambda queue: queue[0][0]).popleft()[1]
                    self._bytes[item.input] -= item.size
                    return item
                if self._closed:
                    return None
                self._changed.wait()

    def close(self) -> None:
        """No more puts; what waits can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def depth(self, input: str) -> int:
        """How many wait."""
        return len(self._queues[input])

    def bytes(self, input: str) -> int:
        """How many bytes wait."""
        return self._bytes[input]

    def dropped(self, input: str) -> int:
        """How many were pushed out since the start."""
        return self._dropped[input]


class Worker:
    """The thread that takes from an inbox and handles, until the inbox is closed and empty.

    Args:
        handle: called with each item. An exception in it goes to `failed` and ends nothing.
        finish: called last, in the same thread.
        ready: waits for at most so many seconds until the worker may begin, and says whether it
            may. Nothing is taken before, unless the inbox is closed.
    """

    def __init__(
        self,
        name: str,
        inbox: Inbox,
        handle: Callable[[Item], None],
        failed: Callable[[Item, Exception], None],
        finish: Callable[[], None] = lambda: None,
        ready: Callable[[float], bool] = lambda seconds: True,
    ) -> None:
        self._inbox = inbox
        self._ready = ready
        self._handle = handle
        self._failed = failed
        self._finish = finish
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._inbox.is_closed and not self._ready(0.05):
            pass
        while (item := self._inbox.take()) is not None:
            self._attempt(item)
        try:
            self._finish()
        except Exception as error:  # noqa: BLE001  (a thread has no caller)
            self._failed(Item("finish", None, time.monotonic_ns()), error)

    def _attempt(self, item: Item) -> None:
        try:
            self._handle(item)
        except Exception as error:  # noqa: BLE001  (bad input must never end the node)
            self._failed(item, error)

    def stop(self, patience: float = 60.0) -> None:
        """Close the inbox, handle what waits, finish, end.

        Raises:
            RuntimeError: that took longer than `patience` s; what hangs is left behind.
        """
        self._inbox.close()
        self._thread.join(patience)
        if self._thread.is_alive():
            raise ErcRuntimeError(f"{self._thread.name} did not end within {patience:g} s")
