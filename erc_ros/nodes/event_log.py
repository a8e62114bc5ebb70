"""A log of the node's events without any sensed content."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from erc_ros.values.files import explain

MAX_BYTES = 4 * 2**20  # of the file; then it is renamed to FILE.1, which replaces a former FILE.1
Field = str | int | bool | list[str]


class EventLog:
    """Appends a JSON object per event to a file that only its owner may read.

    Args:
        file: its path; "": nothing is written.
        node: name of the node, written into each event.
        complain: called with the reason if an event could not be written.
    """

    def __init__(self, file: str, node: str, complain: Callable[[str], None]) -> None:
        self._file = Path(file).expanduser() if file else None
        self._node, self._complain = node, complain
        self._lock = threading.Lock()

    def write(self, event: str, **fields: Field) -> None:
        """Append an event. `fields` contain numbers and settings, but no text, name or id."""
        if self._file is None:
            return
        time = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        line = json.dumps({"time": time, "node": self._node, "event": event, **fields}) + "\n"
        try:
            with self._lock:
                if self._file.exists() and self._file.stat().st_size > MAX_BYTES:
                    os.replace(self._file, f"{self._file}.1")
                flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC
                number = os.open(self._file, flags, 0o600)
                try:
                    os.write(number, line.encode())  # one call: two nodes may share the file
                finally:
                    os.close(number)
        except OSError as error:
            self._complain(f"event_log: {explain(error)}")
