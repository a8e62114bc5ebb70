"""Messages that cannot be decoded: counted, and kept from filling the log.

rclpy drops a message whose bytes do not fit its type without a word, while the C libraries below
print up to twelve lines for each on stderr. An executor asks a callback group before it takes a
message and reports to it afterwards, so a group of the subscription's own sees every take that
brought no message.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.subscription import Subscription

SUSPICION = 10.0  # s after such a message, during which takes of its topic are kept quiet
TOGETHER = 1.0  # s between two takes without a message and without an error that are no accident


class _ErrorState:
    """The error that rcutils keeps for a thread; printed in full as soon as another one follows."""

    def __init__(self) -> None:
        self._rcutils: Any = None
        try:
            library = ctypes.CDLL("librcutils.so")  # loaded by rclpy already
            library.rcutils_error_is_set.restype = ctypes.c_bool
            self._rcutils = library
        except (OSError, AttributeError):
            pass

    def take(self) -> bool:
        """Return whether an error was set, and reset it."""
        if self._rcutils is None or not self._rcutils.rcutils_error_is_set():
            return False
        self._rcutils.rcutils_reset_error()
        return True


_ERROR = _ErrorState()


class _QuietStderr:
    """Sends what is written to file descriptor 2 to nowhere; used by the executor's thread."""

    def __init__(self) -> None:
        self._null = self._saved = -1

    def begin(self) -> None:
        """Until `end`. Lines that other threads write meanwhile are lost as well."""
        if self._null < 0:
            self._null = os.open(os.devnull, os.O_WRONLY)
        if self._saved < 0:
            self._saved = os.dup(2)
            os.dup2(self._null, 2)

    def end(self) -> None:
        """May be called at any time."""
        if self._saved >= 0:
            os.dup2(self._saved, 2)
            os.close(self._saved)
            self._saved = -1


_QUIET = _QuietStderr()


class DecodingGuard(ReentrantCallbackGroup):
    """The callback group of one subscription, whose callback must call `decoded` first.

    After a message that could not be decoded, the C libraries are kept quiet while messages of
    this subscription are taken, until there was none for `SUSPICION` s. One take may skip several
    such messages, so the number of calls of `failed` is the least that there were.

    Args:
        failed: called for each take that brought no message.
        now: s, on a monotonic clock.
    """

    def __init__(
        self, failed: Callable[[], None], now: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._failed = failed
        self._now = now
        self._is_decoded = False
        self._last = float("-inf")  # s, take without a message

    def decoded(self) -> None:
        """The callback was called: there was a message."""
        self._is_decoded = True
        _QUIET.end()

    def beginning_execution(self, entity: Any) -> Any:
        """The executor takes a message."""
        self._is_decoded = False
        if isinstance(entity, Subscription) and self._now() - self._last < SUSPICION:
            _QUIET.begin()
        return True

    def ending_execution(self, entity: Any) -> None:
        """It has taken one, and called the callback if it could be decoded."""
        _QUIET.end()
        if self._is_decoded or not isinstance(entity, Subscription):
            return
        is_error = _ERROR.take()
        before, self._last = self._last, self._now()
        # The end of a publisher can wake the executor without a message, too.
        if is_error or self._last - before <= TOGETHER:
            self._failed()
