"""Gate that excludes the robot's own voice from the audio, and detects barge-in.

The level of the robot's voice in the microphone depends on the acoustic path and on an echo
canceller. The gate learns this level: relative to the reference channel with the robot's playback,
or as an absolute level if there is no such channel. Audio that is clearly louder than the robot is
a person who talks over it (barge-in).

This is not an echo canceller: a person who is less loud than the robot is not detected. The default
settings were determined in simulated rooms (docs/results/robot_voice.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from erc_ros.dialogue.voice_activity import FRAME_TIME
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.settings import check, parameter, setting

SILENT = 1e-6  # mean square (-60 dB) below which the robot plays nothing
REMEMBERED = 8  # maximum number of robot speeches in the history

_ROOMS = "benchmarks.robot_voice"


@dataclass(frozen=True, slots=True)
class RobotGateConfig:
    """Settings of the gate.

    Raises:
        ValueError: a value is outside its range.
    """

    margin: float = setting(
        6.0, "level above the robot from which a person speaks", "dB", (0.0, 40.0), source=_ROOMS
    )
    reference_margin: float = setting(
        5.0, "likewise with a reference channel", "dB", (0.0, 40.0), source=_ROOMS
    )
    decay: float = setting(
        0.6,
        "time in which the robot's playback decays by 30 dB (reverberation, late playback)",
        "s",
        (0.05, 10.0),
        source=_ROOMS,
    )
    min_learned: int = setting(
        30,
        "frames of the robot's voice needed before a person can be detected",
        "frames",
        (1, 1_000),
        source=_ROOMS,
    )
    loud_share: float = setting(
        0.9,
        "quantile of the levels of the robot's frames that is used as its level",
        range=(0.5, 0.999),
        source=_ROOMS,
    )
    first_step: float = setting(
        6.0,
        "step by which the first frames adapt the learned level",
        "dB",
        (0.0, 40.0),
        source=_ROOMS,
    )
    step: float = setting(0.1, "likewise of later frames", "dB", (0.0, 10.0), source=_ROOMS)
    open_step: float = setting(
        0.02,
        "likewise of frames above the gate, so that the gate adapts to a robot that becomes louder",
        "dB",
        (0.0, 10.0),
        source=_ROOMS,
    )
    onset: int = setting(
        4, "frames above the robot's level that open the gate", "frames", (1, 100), source=_ROOMS
    )
    hold: int = setting(
        24, "frames for which the gate then stays open", "frames", (1, 1_000), source=_ROOMS
    )
    max_speech: float = parameter(
        60.0,
        "maximum duration of `robot_speaking`; it also ends if its publisher disappears",
        "s",
        (1.0, 3_600.0),
        name="robot_speaks_at_most",
    )
    text_delay: float = setting(
        1.0,
        "maximum delay of the transcript of the robot's speech",
        "s",
        (0.0, 10.0),
        source=_ROOMS,
    )

    def __post_init__(self) -> None:
        check(self)


DEFAULT = RobotGateConfig()


@dataclass(frozen=True)
class RobotVoiceConfig:
    """Settings of the detection of the robot's own voice.

    Raises:
        ValueError: a value is outside its range.
    """

    robot_tail: float = parameter(
        0.3,
        "audio this long after the end of `robot_speaking` is still the robot's",
        "s",
        (0.0, 5.0),
        source=_ROOMS,
    )
    robot_gate: RobotGateConfig = field(default_factory=RobotGateConfig)

    def __post_init__(self) -> None:
        check(self)


# --- the gate ---


@dataclass(frozen=True, slots=True)
class Gate:
    """State of the gate.

    envelope: mean square of the playback, with decay. loudness: dB, level of the robot in the
    microphone (relative to the envelope). learned: number of frames it was learned from. above:
    frames in a row above the robot's level. hold: frames for which the gate stays open.
    """

    envelope: float = 0.0
    loudness: float = -120.0
    learned: int = 0
    above: int = 0
    hold: int = 0


def power(frame: NDArray[np.float32]) -> float:
    """Return the mean square of a frame (n,)."""
    return float(np.mean(np.square(frame, dtype=np.float64)))


def play(gate: Gate, reference: float, config: RobotGateConfig = DEFAULT) -> Gate:
    """Return the state after the robot played a frame of power `reference`."""
    decay = 10.0 ** (-30 / 10 * FRAME_TIME / NS / config.decay)
    return replace(gate, envelope=max(reference, gate.envelope * decay))


def is_playing(gate: Gate) -> bool:
    """Return whether the microphone may receive the robot's playback."""
    return gate.envelope > SILENT


def hear(
    gate: Gate,
    microphone: float,
    is_speech: bool,
    margin: float | None = None,
    config: RobotGateConfig = DEFAULT,
) -> tuple[Gate, bool]:
    """Process a microphone frame of power `microphone` while the robot speaks.

    is_speech: whether the frame contains speech; otherwise the level is not learned from it.
    margin: dB by which a person is louder than the robot; None: from `config`.

    Returns:
        The new state, and whether the frame is (or may be) the robot's voice only.
    """
    margin = config.margin if margin is None else margin
    level = 10 * math.log10(max(microphone, 1e-12) / max(gate.envelope, 1e-12))
    is_known = gate.learned >= config.min_learned
    is_above = is_known and is_speech and level > gate.loudness + margin
    above = min(config.onset, gate.above + 1) if is_above else max(0, gate.above - 1)
    hold = config.hold if above >= config.onset else max(0, gate.hold - 1)
    if is_speech:
        first = config.first_step / (1 + gate.learned / 4)
        step = config.open_step if hold else max(config.step, first)
        loudness = level if not gate.learned else gate.loudness
        loudness += step * (config.loud_share if level > loudness else config.loud_share - 1)
        gate = replace(gate, loudness=loudness, learned=gate.learned + 1)
    return replace(gate, above=above, hold=hold), hold == 0


# --- the robot ---


@dataclass(frozen=True, slots=True)
class RobotSpeech:
    """The robot spoke from `start` to `end` (ns); end None: it is still speaking."""

    start: int
    end: int | None = None


@dataclass(frozen=True, slots=True)
class RobotVoiceState:
    """State.

    speeches: times reported on `robot_speaking`. announced: gate during these times. played: gate
    for the reference channel. is_talked_over: whether a person talks over the robot now.
    """

    speeches: tuple[RobotSpeech, ...] = ()
    announced: Gate = field(default_factory=lambda: Gate(envelope=1.0))
    played: Gate = field(default_factory=Gate)
    is_talked_over: bool = False


def speaks_at(state: RobotVoiceState, config: RobotVoiceConfig, time: int, late: int = 0) -> bool:
    """Return whether the robot reported to speak at `time` (ns), or up to `late` ns before."""
    tail, longest = seconds(config.robot_tail), seconds(config.robot_gate.max_speech)
    for speech in state.speeches:
        end = speech.start + longest
        if speech.end is not None:
            end = min(end, speech.end + tail)
        if speech.start - FRAME_TIME < time < end + late:
            return True
    return False


def step(
    state: RobotVoiceState,
    config: RobotVoiceConfig,
    time: int,
    samples: NDArray[np.float32],
    reference: NDArray[np.float32],
    probability: float,
) -> tuple[RobotVoiceState, bool]:
    """Process a frame that starts at `time` (ns).

    Args:
        samples: (FRAME,) of the microphone.
        reference: (FRAME,) of the reference channel, or empty.
        probability: speech probability of the frame.

    Returns:
        The new state, and whether the frame contains the robot's voice only.
    """
    gate = config.robot_gate
    if not (state.speeches or is_playing(state.played) or reference.any()):
        return replace(state, is_talked_over=False) if state.is_talked_over else state, False
    state = replace(state, played=play(state.played, power(reference), gate), is_talked_over=False)
    if not is_playing(state.played) and not speaks_at(state, config, time):
        return state, False
    loud, is_speech = power(np.nan_to_num(samples)), probability >= 0.5
    if is_playing(state.played):
        played, is_alone = hear(state.played, loud, is_speech, gate.reference_margin, gate)
        state = replace(state, played=played)
    else:
        announced, is_alone = hear(state.announced, loud, is_speech, None, gate)
        state = replace(state, announced=announced)
    return replace(state, is_talked_over=not is_alone), is_alone


class RobotVoice:
    """Detects the robot's own voice in the audio."""

    def __init__(self, config: RobotVoiceConfig) -> None:
        self._config = config
        self.reset()

    def reset(self) -> None:
        """Delete the state."""
        self._state = RobotVoiceState()

    @property
    def is_talked_over(self) -> bool:
        """Whether a person talks over the robot now."""
        return self._state.is_talked_over

    def announce(self, stamp: int, speaking: bool) -> bool:
        """Record a report that the robot starts or stops speaking at `stamp` (ns).

        Returns:
            Whether a speech of the robot began.
        """
        speeches = self._state.speeches
        is_open = bool(speeches) and speeches[-1].end is None
        if speaking and not is_open:
            speeches = (*speeches, RobotSpeech(stamp))[-REMEMBERED:]
        elif not speaking and is_open:
            speeches = (*speeches[:-1], replace(speeches[-1], end=stamp))
        self._state = replace(self._state, speeches=speeches)
        return speaking and not is_open

    def feed(
        self,
        time: int,
        samples: NDArray[np.float32],
        reference: NDArray[np.float32],
        probability: float,
    ) -> bool:
        """Return whether a frame contains the robot's voice only; see `step`."""
        self._state, is_alone = step(
            self._state, self._config, time, samples, reference, probability
        )
        return is_alone

    def is_text_of(self, start: int, is_exact: bool) -> bool:
        """Return whether a text that began at `start` (ns) is a transcript of the robot."""
        late = 0 if is_exact else seconds(self._config.robot_gate.text_delay)
        return speaks_at(self._state, self._config, start, late)
