"""Motion of the robot, whose motor noise makes speech less reliable."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.settings import check, parameter, setting

REMEMBERED = 256  # maximum number of motions in the history
LONGEST_PAUSE = seconds(1.0)  # maximum time between joint states; after it, motion is unknown


@dataclass(frozen=True, slots=True)
class RobotMotionConfig:
    """Handling of audio while the robot moves.

    Raises:
        ValueError: a value is outside its range.
    """

    while_moving: str = parameter(
        "distrust",
        "during `robot_moving`, and for `robot_tail` after it: distrust: audio is not used for "
        "emotions; mute: speech is not used either; ignore: no effect",
        choices=("ignore", "distrust", "mute"),
    )
    share: float = setting(
        0.3, "minimum share of an utterance during motion to distrust its audio", range=(0.0, 1.0)
    )
    joint_speed: float = setting(
        0.05, "minimum speed of a moving joint (rad/s or m/s)", range=(0.0, 100.0)
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, eq=False)
class JointState:
    """Last positions of the joints. stamp: ns; positions: (J,)."""

    stamp: int
    positions: NDArray[np.float64]


class RobotMotion:
    """Recent motions of the robot.

    Args:
        tail: ns for which motors are audible after a motion.
        longest: maximum duration of a motion in ns; the rest of a longer one is ignored.
    """

    def __init__(self, config: RobotMotionConfig, tail: int, longest: int) -> None:
        self._config, self._tail, self._longest = config, tail, longest
        self.reset()

    def reset(self) -> None:
        """Delete all motions."""
        self._spans: deque[tuple[int, int | None]] = deque(maxlen=REMEMBERED)
        self._joints: JointState | None = None

    def announce(self, stamp: int, moving: bool) -> None:
        """Record that the robot starts or stops moving at `stamp` (ns)."""
        is_open = bool(self._spans) and self._spans[-1][1] is None
        if moving and not is_open:
            self._spans.append((stamp, None))
        elif not moving and is_open:
            self._spans[-1] = (self._spans[-1][0], stamp)

    def observe_joints(
        self, stamp: int, positions: NDArray[np.float64], velocities: NDArray[np.float64]
    ) -> None:
        """Process joint states (J,) at `stamp` (ns); without velocities, positions are compared."""
        former, self._joints = self._joints, JointState(stamp, positions)
        if not len(velocities) and former is not None and len(former.positions) == len(positions):
            elapsed = (stamp - former.stamp) / NS
            if elapsed <= 0:
                return
            velocities = (positions - former.positions) / elapsed
        speeds = np.abs(velocities[np.isfinite(velocities)])
        self.announce(stamp, bool((speeds > self._config.joint_speed).any()))

    def is_moving(self, time: int) -> bool:
        """Return whether the robot moved at `time` (ns) or up to the tail before it."""
        return any(start <= time < end for start, end in self._ends())

    def covers(self, start: int, end: int) -> bool:
        """Return whether the share of motion in start..end (ns) is too large to use the audio."""
        common = sum(max(0, min(end, last) - max(start, first)) for first, last in self._ends())
        return common > 0 and common >= self._config.share * (end - start)

    @property
    def mutes(self) -> bool:
        """Whether speech during motion is ignored."""
        return self._config.while_moving == "mute"

    @property
    def distrusts(self) -> bool:
        """Whether audio during motion is not used for emotion recognition."""
        return self._config.while_moving != "ignore"

    def _ends(self) -> list[tuple[int, int]]:
        """Return (start, end) in ns of each motion with its tail, limited to the maximum."""
        ends = []
        for start, end in self._spans:
            last = start + self._longest
            if end is not None:
                last = min(last, end + self._tail)
            elif self._joints is not None:
                last = min(last, self._joints.stamp + LONGEST_PAUSE)
            ends.append((start, last))
        return ends
