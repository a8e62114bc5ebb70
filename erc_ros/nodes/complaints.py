"""Rate-limited warnings: one limit for everything, so that the log cannot fill a disk.

A camera with broken images would cause thirty warnings a second, each with another text. Of each
subject, the first warning is logged at once; then one at a time after a pause that grows from 10 s
to 10 minutes while they continue, with the number of those that were skipped.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

FIRST_PAUSE, LONGEST_PAUSE = 10.0, 600.0  # s between two complaints about the same subject
PER_MINUTE = 30  # about all subjects together
SUBJECTS = 64  # that are remembered; the longest unused one is forgotten
LENGTH = 500  # characters


@dataclass
class _Subject:
    text: str
    told: float  # s, when it was told last
    pause: float = FIRST_PAUSE
    left_out: int = 0


class Complaints:
    """Logs warnings at a limited rate. Any thread may call it.

    Args:
        log: takes a line.
        now: s, on a monotonic clock.
    """

    def __init__(self, log: Callable[[str], None], now: Callable[[], float] = time.monotonic):
        self.left_out = 0  # complaints that were not told
        self._log = log
        self._now = now
        self._subjects: OrderedDict[str, _Subject] = OrderedDict()
        self._told: deque[float] = deque(maxlen=PER_MINUTE)
        self._lock = threading.Lock()

    def last(self, about: str) -> str:
        """The last complaint about a subject that was told; "" if there was none."""
        subject = self._subjects.get(about)
        return subject.text if subject else ""

    def tell(self, about: str, text: str) -> None:
        """Something is wrong with `about`; in the same words, after `LONGEST_PAUSE` only."""
        with self._lock:
            line = self._line(about[:LENGTH], _plain(text), self._now())
        if line:
            self._log(line)

    def _line(self, about: str, text: str, now: float) -> str:
        known = self._subjects.get(about)
        pause = 0.0
        if known is not None:
            self._subjects.move_to_end(about)
            pause = LONGEST_PAUSE if known.text == text else known.pause
        is_full = len(self._told) == PER_MINUTE and now - self._told[0] < 60.0
        if is_full or (known is not None and now - known.told < pause):
            self.left_out += 1
            if known is not None:
                known.left_out += 1
            return ""
        self._told.append(now)
        if known is None:
            self._subjects[about] = _Subject(text, now)
            if len(self._subjects) > SUBJECTS:
                self._subjects.popitem(last=False)
            return text
        left_out, since = known.left_out, now - known.told
        is_quiet = since > LONGEST_PAUSE and not left_out
        known.pause = FIRST_PAUSE if is_quiet else min(2 * known.pause, LONGEST_PAUSE)
        known.text, known.told, known.left_out = text, now, 0
        return f"{text} ({left_out} more about it in {since:.0f} s)" if left_out else text


def _plain(text: str) -> str:
    """One line that can be printed, of at most `LENGTH` characters."""
    cut = text if len(text) <= LENGTH else f"{text[:LENGTH]}..."
    return "".join(c if c.isprintable() else " " for c in cut)
