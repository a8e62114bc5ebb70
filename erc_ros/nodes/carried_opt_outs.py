"""Opt-outs that survive a crash of the process, in the memory of the process that restarts it.

Ids are personal data and must not be stored: they are in an anonymous file in memory, which ends
with the process that created it (`erc run` or `ros2 launch`).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection
from pathlib import Path

VARIABLE = "ERC_ROS_OPT_OUTS"


def memory() -> dict[str, str]:
    """Return the environment variable for one process that the caller restarts; {} without Linux.

    The memory is that of the calling process.
    """
    if sys.platform != "linux":
        return {}
    descriptor = os.memfd_create(VARIABLE)
    os.fchmod(descriptor, 0o600)
    return {VARIABLE: f"/proc/{os.getpid()}/fd/{descriptor}"}


def carried() -> list[str] | None:
    """Return the opt-outs of the process before the restart; None: this is the first.

    Raises:
        ValueError, OSError: they could not be read.
    """
    file = os.environ.get(VARIABLE)
    content = Path(file).read_text(encoding="utf-8") if file else ""
    return [str(name) for name in json.loads(content)] if content else None


def keep(ids: Collection[str]) -> None:
    """Store all opt-outs of this process for its successor.

    Raises:
        OSError: they could not be stored.
    """
    if file := os.environ.get(VARIABLE):
        # Never empty in between, because an empty memory means that there was no process before.
        with open(file, "r+", encoding="utf-8") as stream:
            stream.write(json.dumps(sorted(ids)))
            stream.truncate()
