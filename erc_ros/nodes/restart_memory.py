"""Privacy decisions that survive a crash of the process, in the memory of the restarting process.

Ids are personal data and must not be stored: they are in an anonymous file in memory, which ends
with the process that created it (`erc run` or `ros2 launch`).
"""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

VARIABLE = "ERC_ROS_RESTART_MEMORY"
_WRITING = threading.Lock()


@dataclass(frozen=True)
class Decisions:
    """What was decided before a restart; None: nothing, the parameter applies."""

    opted_out: tuple[str, ...] | None = None
    recording_allowed: bool | None = None


def memory() -> dict[str, str]:
    """Return the environment variable for one process that the caller restarts; {} without Linux.

    The memory is that of the calling process.
    """
    if sys.platform != "linux":
        return {}
    descriptor = os.memfd_create(VARIABLE)
    os.fchmod(descriptor, 0o600)
    return {VARIABLE: f"/proc/{os.getpid()}/fd/{descriptor}"}


def remembered() -> Decisions:
    """Return the decisions before the restart.

    Raises:
        ValueError, OSError: they could not be read.
    """
    file = os.environ.get(VARIABLE)
    content = Path(file).read_text(encoding="utf-8") if file else ""
    if not content:
        return Decisions()
    read = json.loads(content)
    if not isinstance(read, dict) or set(read) != {field.name for field in fields(Decisions)}:
        raise ValueError("unknown format")
    ids, allowed = read["opted_out"], read["recording_allowed"]
    if not isinstance(ids, list | None) or not isinstance(allowed, bool | None):
        raise ValueError("unknown format")
    return Decisions(None if ids is None else tuple(map(str, ids)), allowed)


def remember(**changes: Any) -> None:
    """Store changed fields of `Decisions` for the successor of this process.

    Raises:
        OSError: they could not be stored.
    """
    file = os.environ.get(VARIABLE)
    if not file:
        return
    with _WRITING:
        try:
            former = remembered()
        except ValueError:
            former = Decisions()
        # Never empty in between, because an empty memory means that nothing was decided before.
        with open(file, "r+", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(replace(former, **changes))))
            stream.truncate()
