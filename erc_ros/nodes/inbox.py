"""Bounded queues between the callbacks and the worker thread.

Each input has a bound on items and bytes, so that a fast camera cannot displace a text, and huge
messages cannot fill the memory. If a queue is full, its oldest item is dropped and counted. The
worker takes the items of all inputs in the order of their arrival.
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
    """A queued item. arrived: ns on the monotonic clock. size: bytes; 0: negligible."""

    input: str
    value: Any
    arrived: int
    size: int = 0


class Inbox:
    """Bounded queues, one per input, read in the order of arrival.

    Args:
        capacities: input name -> maximum number of items.
        silent: inputs of which only the newest item counts; their drops are not counted.
        max_bytes: maximum number of bytes per input.
    """

    def __init__(
        self,
        capacities: Mapping[str, int],
        silent: frozenset[str] = frozenset(),
        max_bytes: int = QUEUE_BYTES,
    ) -> None:
        self._capacities = dict(capacities)
        self._silent = silent
        self._queues: dict[str, deque[tuple[int, Item]]] = {name: deque() for name in capacities}
        self._max_bytes = max_bytes
        self._bytes = dict.fromkeys(capacities, 0)
        self._dropped = dict.fromkeys(capacities, 0)
        self._sequence = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, input: str, value: Any, arrived: int | None = None, size: int = 0) -> bool:
        """Queue `value` of `size` bytes; return False if it was dropped (too large, or closed)."""
        item = Item(input, value, time.monotonic_ns() if arrived is None else arrived, size)
        with self._changed:
            queue = self._queues[input]
            if self._closed or size > self._max_bytes:
                self._dropped[input] += input not in self._silent
                return False
            while queue and (
                len(queue) >= self._capacities[input] or self._bytes[input] + size > self._max_bytes
            ):
                self._bytes[input] -= queue.popleft()[1].size
                self._dropped[input] += input not in self._silent
            queue.append((self._sequence, item))
            self._bytes[input] += size
            self._sequence += 1
            self._changed.notify()
            return True

    def take(self) -> Item | None:
        """Wait for and return the oldest item; None if the inbox is closed and empty."""
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
        """Refuse further items; those that wait can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def depth(self, input: str) -> int:
        """Return the number of waiting items."""
        return len(self._queues[input])

    def bytes(self, input: str) -> int:
        """Return the number of waiting bytes."""
        return self._bytes[input]

    def dropped(self, input: str) -> int:
        """Return the number of dropped items."""
        return self._dropped[input]


class Worker:
    """A thread that handles the items of an inbox until it is closed and empty.

    Args:
        handle: called with each item. Its exceptions are passed to `failed`.
        finish: called last, in the same thread.
        ready: waits at most the given seconds until the worker may begin; returns whether it may.
            Nothing is taken before that, unless the inbox is closed.
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
        """Close the inbox, handle the waiting items, and end the thread.

        Raises:
            RuntimeError: it took longer than `patience` s; the thread continues in the background.
        """
        self._inbox.close()
        self._thread.join(patience)
        if self._thread.is_alive():
            raise ErcRuntimeError(f"{self._thread.name} did not end within {patience:g} s")
