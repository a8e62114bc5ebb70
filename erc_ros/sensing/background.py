"""Threads for work that may wait: face detection, speaker diarization."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

NICE = 5  # how much such a thread stands back where cores are scarce, 0..19


def background_executor(name: str) -> ThreadPoolExecutor:
    """One thread of low priority: an estimate is awaited, its work is not."""
    return ThreadPoolExecutor(1, thread_name_prefix=name, initializer=_stand_back)


def _stand_back() -> None:
    if sys.platform == "linux":  # elsewhere the priority is that of the whole process
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
