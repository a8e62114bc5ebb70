"""A queue from several sources to one consumer, bounded in bytes."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from erc_ros.sensing.frames import Frame
from erc_ros.values.bounds import QUEUE_BYTES


class Inlet:
    """A queue of values and their sizes.

    Args:
        capacity: maximum number of bytes.

    Attributes:
        dropped: number of dropped values.
    """

    def __init__(self, capacity: int = QUEUE_BYTES) -> None:
        self.dropped = 0
        self._capacity = capacity
        self._waiting: deque[tuple[Any, int]] = deque()
        self._bytes = 0
        self._is_closed = False
        self._changed = threading.Condition()

    def put(self, value: Any, size: int = 0, wait: bool = False) -> None:
        """Add a value of `size` bytes.

        Args:
            wait: wait for space; else drop the oldest image, or the oldest value.
        """
        with self._changed:
            while self._waiting and self._bytes + size > self._capacity and not self._is_closed:
                if wait:
                    self._changed.wait()
                else:
                    self._drop()
            if not self._is_closed:
                self._waiting.append((value, size))
                self._bytes += size
                self._changed.notify_all()

    def take(self, timeout: float) -> Any | None:
        """Return the oldest value; None after `timeout` s, or if it is closed and empty."""
        with self._changed:
            if not self._waiting and not self._is_closed:
                self._changed.wait(timeout)
            if not self._waiting:
                return None
            value, size = self._waiting.popleft()
            self._bytes -= size
            self._changed.notify_all()
            return value

    def close(self) -> None:
        """Refuse further values; those that wait can still be taken."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    @property
    def is_finished(self) -> bool:
        """Whether it is closed and empty."""
        with self._changed:
            return self._is_closed and not self._waiting

    def _drop(self) -> None:
        place = next((n for n, (v, _) in enumerate(self._waiting) if isinstance(v, Frame)), 0)
        self._bytes -= self._waiting[place][1]
        del self._waiting[place]
        self.dropped += 1
