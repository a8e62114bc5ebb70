"""Is that somebody, or only the robot itself? A gate on how loud the robot is in the microphone.

While the robot speaks, the microphone hears it as loud as the way from loudspeaker to microphone
(or what an echo canceller leaves of it) makes it. How loud that is, is learned: against the channel
that carries what the robot plays, or, where there is none, as the level itself. Sound that is
clearly louder than the robot has been is somebody who talks over it (barge-in).

A gate, no echo canceller: somebody who is less loud than the robot is not heard over it. Its
numbers were chosen in simulated rooms (docs/results/robot_voice.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

FRAMES_PER_SECOND = 31.25  # frames of 512 samples at 16 kHz
REFERENCE_SILENT = 1e-6  # mean square; -60 dB: the robot plays nothing
TAIL_DECAY = 10 ** (-30 / 10 / (0.6 * FRAMES_PER_SECOND))  # 30 dB in 0.6 s: room and late playback
LEAST_LEARNED = 30  # frames, about a second, before anybody can be told from the robot
MARGIN = 6.0  # dB above the robot
MARGIN_TO_REFERENCE = 5.0  # the same where it is known what the robot plays
LOUD_SHARE = 0.9  # of the robot's frames are not louder than what counts as its loudness
FIRST_STEP, STEP = 6.0, 0.1  # dB by which a frame moves it: at first, and later on
STEP_OVER = 0.02  # the same while somebody is heard over it: a robot that speaks up is learned, too
ONSET, HOLD = 4, 24  # frames above the robot that open the gate; and that it then stays open


@dataclass(frozen=True, slots=True)
class Echo:
    """State. envelope: mean square of what plays, falling as the room lets it fall.

    loudness: dB, of the robot in the microphone (relative to the envelope). learned: frames.
    above, hold: frames that were above the robot, and for which the gate is still open.
    """

    envelope: float = 0.0
    loudness: float = -120.0
    learned: int = 0
    above: int = 0
    hold: int = 0


def power(frame: NDArray[np.float32]) -> float:
    """Mean square of a frame (n,)."""
    return float(np.mean(np.square(frame, dtype=np.float64)))


def play(echo: Echo, reference: float) -> Echo:
    """The robot plays a frame of this power."""
    return replace(echo, envelope=max(reference, echo.envelope * TAIL_DECAY))


def is_playing(echo: Echo) -> bool:
    """Is anything of the robot to be expected in the microphone?"""
    return echo.envelope > REFERENCE_SILENT


def hear(
    echo: Echo, microphone: float, is_speech: bool, margin: float = MARGIN
) -> tuple[Echo, bool]:
    """The microphone hears a frame of this power while the robot speaks.

    is_speech: only then it is learned from; a robot that does not sound yet teaches nothing.
    margin: dB by which somebody is louder than the robot.

    Returns:
        The new state, and whether it is (or may be) the robot alone.
    """
    level = 10 * math.log10(max(microphone, 1e-12) / max(echo.envelope, 1e-12))
    is_known = echo.learned >= LEAST_LEARNED
    is_above = is_known and is_speech and level > echo.loudness + margin
    above = min(ONSET, echo.above + 1) if is_above else max(0, echo.above - 1)
    hold = HOLD if above >= ONSET else max(0, echo.hold - 1)
    if is_speech:
        step = STEP_OVER if hold else max(STEP, FIRST_STEP / (1 + echo.learned / 4))
        loudness = level if not echo.learned else echo.loudness
        loudness += step * (LOUD_SHARE if level > loudness else LOUD_SHARE - 1)
        echo = replace(echo, loudness=loudness, learned=echo.learned + 1)
    return replace(echo, above=above, hold=hold), hold == 0
