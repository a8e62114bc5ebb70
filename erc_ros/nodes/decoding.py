"""Detection of messages that could not be decoded, without filling the log.

rclpy silently drops a message whose bytes do not match its type, while the underlying C libraries
print up to twelve lines for each on stderr. An executor notifies a callback group before and after
it takes a message, so a separate group per subscription detects every take that returned no
message.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.subscription import Subscription

SUSPICION = 10.0  # s after such a message, during which stderr is muted for takes of its topic
TOGETHER = 1.0  # s; two takes without message and error within this time count as a failure


class _ErrorState:
    """The error state of rcutils for a thread; rcutils prints it when another error follows."""

    def __init__(self) -> None:
        self._rcutils: Any = None
        try:
            library = ctypes.CDLL("librcutils.so")  # already loaded by rclpy
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
    """Redirects file descriptor 2 (stderr) to /dev/null; used by the executor's thread."""

    def __init__(self) -> None:
        self._null = self._saved = -1

    def begin(self) -> None:
        """Mute stderr until `end`. Lines of other threads are lost as well."""
        if self._null < 0:
            self._null = os.open(os.devnull, os.O_WRONLY)
        if self._saved < 0:
            self._saved = os.dup(2)
            os.dup2(self._null, 2)

    def end(self) -> None:
        """Restore stderr. May be called at any time."""
        if self._saved >= 0:
            os.dup2(self._saved, 2)
            os.close(self._saved)
            self._saved = -1


_QUIET = _QuietStderr()


class DecodingGuard(ReentrantCallbackGroup):
    """The callback group of one subscription, whose callback must call `decoded` first.

    After a message that could not be decoded, stderr is muted while messages of this subscription
    are taken, until no further one occurs for `SUSPICION` s. One take may skip several such
    messages, so the number of calls of `failed` is a lower bound.

    Args:
        failed: called for each take that returned no message.
        now: current time (s) on a monotonic clock.
    """

    def __init__(
        self, failed: Callable[[], None], now: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._failed = failed
        self._now = now
        self._is_decoded = False
        self._last = float("-inf")  # s, last take without a message

    def decoded(self) -> None:
        """Record that a message was decoded; the callback calls it."""
        self._is_decoded = True
        _QUIET.end()

    def beginning_execution(self, entity: Any) -> Any:
        """Prepare for a message that the executor is about to take."""
        self._is_decoded = False
        if isinstance(entity, Subscription) and self._now() - self._last < SUSPICION:
            _QUIET.begin()
        return True

    def ending_execution(self, entity: Any) -> None:
        """Report a failure if the executor took a message without calling the callback."""
        _QUIET.end()
        if self._is_decoded or not isinstance(entity, Subscription):
            return
        is_error = _ERROR.take()
        previous, self._last = self._last, self._now()
        # The end of a publisher can also wake the executor without a message.
        if is_error or self._last - previous <= TOGETHER:
            self._failed()
