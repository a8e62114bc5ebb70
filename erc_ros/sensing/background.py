"""Low-priority threads for face detection and speaker diarization."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

NICE = 5  # nice value of a background thread, 0..19


def background_executor(name: str) -> ThreadPoolExecutor:
    """Return an executor with one low-priority thread, for work that no estimate waits for."""
    return ThreadPoolExecutor(1, thread_name_prefix=name, initializer=_stand_back)


def _stand_back() -> None:
    if sys.platform == "linux":  # elsewhere nice changes the whole process
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
