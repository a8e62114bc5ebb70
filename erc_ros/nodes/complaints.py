"""Rate-limited warnings with one limit for all subjects, so that the log cannot fill a disk.

A camera with broken images would cause thirty warnings per second, each with a different text. The
first warning about a subject is logged at once. Later ones are logged after a pause that grows from
10 s to 10 minutes while they continue, together with the number of skipped warnings.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

FIRST_PAUSE, LONGEST_PAUSE = 10.0, 600.0  # s between two warnings about the same subject
PER_MINUTE = 30  # about all subjects together
SUBJECTS = 64  # maximum number of stored subjects; the least recently used one is removed
LENGTH = 500  # characters


@dataclass
class _Subject:
    text: str
    logged_at: float  # s, time of the last logged warning
    pause: float = FIRST_PAUSE
    skipped: int = 0


class Complaints:
    """Logs warnings at a limited rate. Any thread may call it.

    Args:
        log: writes a line.
        now: current time (s) on a monotonic clock.
    """

    def __init__(self, log: Callable[[str], None], now: Callable[[], float] = time.monotonic):
        self.skipped = 0  # warnings that were not logged
        self._log = log
        self._now = now
        self._subjects: OrderedDict[str, _Subject] = OrderedDict()
        self._logged: deque[float] = deque(maxlen=PER_MINUTE)
        self._lock = threading.Lock()

    def last(self, about: str) -> str:
        """Return the last logged warning about a subject; "" if there is none."""
        subject = self._subjects.get(about)
        return subject.text if subject else ""

    def tell(self, about: str, text: str) -> None:
        """Log a warning about a subject; an identical text only after `LONGEST_PAUSE`."""
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
        is_full = len(self._logged) == PER_MINUTE and now - self._logged[0] < 60.0
        if is_full or (known is not None and now - known.logged_at < pause):
            self.skipped += 1
            if known is not None:
                known.skipped += 1
            return ""
        self._logged.append(now)
        if known is None:
            self._subjects[about] = _Subject(text, now)
            if len(self._subjects) > SUBJECTS:
                self._subjects.popitem(last=False)
            return text
        skipped, since = known.skipped, now - known.logged_at
        is_quiet = since > LONGEST_PAUSE and not skipped
        known.pause = FIRST_PAUSE if is_quiet else min(2 * known.pause, LONGEST_PAUSE)
        known.text, known.logged_at, known.skipped = text, now, 0
        return f"{text} ({skipped} more about it in {since:.0f} s)" if skipped else text


def _plain(text: str) -> str:
    """Return the text as one printable line of at most `LENGTH` characters."""
    cut = text if len(text) <= LENGTH else f"{text[:LENGTH]}..."
    return "".join(c if c.isprintable() else " " for c in cut)
