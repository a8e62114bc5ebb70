"""The executables: both nodes in one process (`emotion`), or each in its own.

    python -m erc_ros.nodes.executables emotion --ros-args ...

The functions import the nodes after they have set the environment variables that the libraries
read when they are loaded.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from erc_ros.nodes.managed_node import ManagedNode


def emotion(args: list[str] | None = None) -> int:
    """Run both nodes; utterances are handed over in memory."""
    _set_environment()
    from erc_ros.nodes.emotion import both

    return _run(both, args)


def utterance_node(args: list[str] | None = None) -> int:
    """Run the utterance node; its messages contain audio and faces."""
    _set_environment()
    from erc_ros.nodes.utterance_node import UtteranceNode

    return _run(lambda **options: [UtteranceNode(**options)], args)


def emotion_node(args: list[str] | None = None) -> int:
    """Run the emotion node; it subscribes to the topic of utterances."""
    _set_environment()
    from erc_ros.nodes.emotion_node import EmotionNode

    return _run(lambda **options: [EmotionNode(**options)], args)


def _set_environment() -> None:
    # During the imports, a signal ends the process at once: there is nothing to close yet.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))
    from erc_ros.nodes.memory import limit_arenas

    limit_arenas()
    # Matrix products are small here: more threads would occupy a second core without a gain.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # OpenCV would log each damaged image; `Complaints` does so at a limited rate.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    # For ament's index. A sourced ROS installation sets it, but the ros-* wheels do not, and it
    # lacks a virtual environment on top of a ROS installation.
    known = [path for path in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if path]
    if os.path.isdir(os.path.join(sys.prefix, "share", "ament_index")) and sys.prefix not in known:
        os.environ["AMENT_PREFIX_PATH"] = os.pathsep.join([*known, sys.prefix])


def _run(make: Callable[..., Sequence[ManagedNode]], args: list[str] | None) -> int:
    import cv2

    from erc_ros.nodes.process import run_nodes
    from erc_ros.sensing.background import SWITCH_INTERVAL

    # Face detection runs in the background and must not take cores from the estimates.
    cv2.setNumThreads(1)
    sys.setswitchinterval(SWITCH_INTERVAL)
    return run_nodes(make, args)


EXECUTABLES = {"emotion": emotion, "utterance_node": utterance_node, "emotion_node": emotion_node}

if __name__ == "__main__":
    raise SystemExit(EXECUTABLES[sys.argv[1]]([sys.argv[0], *sys.argv[2:]]))
