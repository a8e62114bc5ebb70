"""Emotion recognition in conversation for ROS 2."""

import os
import sys


def _find_own_share() -> None:
    """Let ament's index find what pip put into this environment's share/.

    A sourced ROS installation sets AMENT_PREFIX_PATH, the ros-* wheels do not; and a virtual
    environment on top of a ROS installation is not on it.
    """
    if not os.path.isdir(os.path.join(sys.prefix, "share", "ament_index")):
        return
    known = [path for path in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if path]
    if sys.prefix not in known:
        os.environ["AMENT_PREFIX_PATH"] = os.pathsep.join([*known, sys.prefix])


_find_own_share()
# Products of numpy are small here: more threads would cost a second core and gain nothing.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
