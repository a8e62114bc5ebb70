"""Low-priority threads for face detection and speaker diarization."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

NICE = 5  # added to the nice value of the process
SWITCH_INTERVAL = 0.0005
"""s; a thread that returns from a network waits so long for one that computes in Python. The
default of 5 ms is half of an estimate's time, and delays each call of a network in the background.
"""


def background_executor(name: str) -> ThreadPoolExecutor:
    """Return an executor with one low-priority thread, for work that no estimate waits for."""
    return ThreadPoolExecutor(1, thread_name_prefix=name, initializer=_stand_back)


def _stand_back() -> None:
    if sys.platform == "linux":  # elsewhere nice changes the whole process
        thread = threading.get_native_id()
        nice = min(19, os.getpriority(os.PRIO_PROCESS, thread) + NICE)
        os.setpriority(os.PRIO_PROCESS, thread, nice)
