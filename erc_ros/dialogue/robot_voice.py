"""Is that a person, or only the robot itself? A gate on how loud the robot is in the microphone.

While the robot speaks, the microphone hears it as loud as the way from loudspeaker to microphone
(or what an echo canceller leaves of it) makes it. How loud that is, is learned: against the channel
that carries what the robot plays, or, where there is none, as the level itself. Audio that is
clearly louder than the robot has been is a person who talks over it (barge-in).

A gate, no echo canceller: a person who is less loud than the robot is not heard over it. Its
numbers were chosen in simulated rooms (docs/results/robot_voice.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from erc_ros.dialogue.voice_activity import FRAME_TIME
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.settings import check, parameter, setting

SILENT = 1e-6  # mean square; -60 dB: the robot plays nothing
REMEMBERED = 8  # times that the robot said that it speaks

_ROOMS = "benchmarks.robot_voice"


@dataclass(frozen=True, slots=True)
class RobotGateConfig:
    """When the gate opens.

    Raises:
        ValueError: a value outside its range.
    """

    margin: float = setting(
        6.0, "a person is this much louder than the robot", "dB", (0.0, 40.0), source=_ROOMS
    )
    reference_margin: float = setting(
        5.0, "the same where it is known what the robot plays", "dB", (0.0, 40.0), source=_ROOMS
    )
    decay: float = setting(
        0.6,
        "what the robot plays falls by 30 dB in this time: the room, and late playback",
        "s",
        (0.05, 10.0),
        source=_ROOMS,
    )
    min_learned: int = setting(
        30,
        "frames of the robot that are needed before a person can be distinguished from it",
        "frames",
        (1, 1_000),
        source=_ROOMS,
    )
    loud_share: float = setting(
        0.9,
        "share of the robot's frames that are not louder than what counts as its loudness",
        range=(0.5, 0.999),
        source=_ROOMS,
    )
    first_step: float = setting(
        6.0,
        "by how much the first frames move the learned loudness",
        "dB",
        (0.0, 40.0),
        source=_ROOMS,
    )
    step: float = setting(0.1, "and later ones", "dB", (0.0, 10.0), source=_ROOMS)
    open_step: float = setting(
        0.02,
        "and the step of frames in which a person is heard over the robot, so that a robot "
        "that becomes louder is learned as well",
        "dB",
        (0.0, 10.0),
        source=_ROOMS,
    )
    onset: int = setting(
        4, "frames above the robot that open the gate", "frames", (1, 100), source=_ROOMS
    )
    hold: int = setting(
        24, "frames for which it then stays open", "frames", (1, 1_000), source=_ROOMS
    )
    max_speech: float = parameter(
        60.0,
        "`robot_speaking` that stays true for longer is not believed; it also ends when its "
        "publisher does",
        "s",
        (1.0, 3_600.0),
        name="robot_speaks_at_most",
    )
    text_delay: float = setting(
        1.0,
        "the transcript of what the robot said arrives up to this much later",
        "s",
        (0.0, 10.0),
        source=_ROOMS,
    )

    def __post_init__(self) -> None:
        check(self)


DEFAULT = RobotGateConfig()


@dataclass(frozen=True)
class RobotVoiceConfig:
    """How the robot's own voice is kept out.

    Raises:
        ValueError: a value outside its range.
    """

    robot_tail: float = parameter(
        0.3,
        "what is heard this long after `robot_speaking` fell is still the robot",
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


def play(gate: Gate, reference: float, config: RobotGateConfig = DEFAULT) -> Gate:
    """The robot plays a frame of this power."""
    decay = 10.0 ** (-30 / 10 * FRAME_TIME / NS / config.decay)
    return replace(gate, envelope=max(reference, gate.envelope * decay))


def is_playing(gate: Gate) -> bool:
    """Is anything of the robot to be expected in the microphone?"""
    return gate.envelope > SILENT


def hear(
    gate: Gate,
    microphone: float,
    is_speech: bool,
    margin: float | None = None,
    config: RobotGateConfig = DEFAULT,
) -> tuple[Gate, bool]:
    """The microphone hears a frame of this power while the robot speaks.

    is_speech: only then it is learned from; a robot that does not sound yet teaches nothing.
    margin: dB by which a person is louder than the robot; None: that of the configuration.

    Returns:
        The new state, and whether it is (or may be) the robot alone.
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
    """The robot spoke from `start` to `end` (ns); end None: it still does."""

    start: int
    end: int | None = None


@dataclass(frozen=True, slots=True)
class RobotVoiceState:
    """State. speeches: when the robot said that it speaks.

    announced: the gate while it says so; played: against the channel that carries what it plays.
    is_talked_over: a person is heard over it at this moment.
    """

    speeches: tuple[RobotSpeech, ...] = ()
    announced: Gate = field(default_factory=lambda: Gate(envelope=1.0))
    played: Gate = field(default_factory=Gate)
    is_talked_over: bool = False


def speaks_at(state: RobotVoiceState, config: RobotVoiceConfig, time: int, late: int = 0) -> bool:
    """Did the robot say that it speaks at `time` (ns), or up to `late` before?"""
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
    """Take a frame that starts at `time` (ns), and what the robot played meanwhile.

    Returns:
        The new state, and whether the robot is heard, and no person who talks over it.
    """
    gate = config.robot_gate
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
    """Decide which audio is the robot's own voice, so that it is not taken for a person's."""

    def __init__(self, config: RobotVoiceConfig) -> None:
        self._config = config
        self.reset()

    def reset(self) -> None:
        """Nothing is known of it."""
        self._state = RobotVoiceState()

    @property
    def is_talked_over(self) -> bool:
        """Is a person heard over it at this moment?"""
        return self._state.is_talked_over

    def announce(self, stamp: int, speaking: bool) -> bool:
        """The robot says that it speaks from / until `stamp` (ns). Has it begun by this?"""
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
        """Is the robot alone in this frame? See `step`."""
        self._state, is_alone = step(
            self._state, self._config, time, samples, reference, probability
        )
        return is_alone

    def is_text_of(self, start: int, is_exact: bool) -> bool:
        """Is a text that began at `start` (ns) the transcript of the robot's words?"""
        late = 0 if is_exact else seconds(self._config.robot_gate.text_delay)
        return speaks_at(self._state, self._config, start, late)
