"""Where speech starts and ends.

Silero's network gives each frame of 32 ms a probability; a pure `step` makes segments of speech
from them, with hysteresis.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from erc_ros.networks.session import on_cpu
from erc_ros.sensing.level import within_full_scale
from erc_ros.values.errors import ErcValueError
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.settings import check, setting
from erc_ros.values.utterance import SAMPLE_RATE

FRAME = 512  # samples; the network takes no other number
CONTEXT = 64  # samples before a frame that the network sees with it
STATE = 128  # numbers that the network remembers, twice
NETWORK = Path(__file__).parent / "assets" / "silero_vad.onnx"
FRAME_TIME = FRAME * NS // SAMPLE_RATE  # ns


@dataclass(frozen=True, slots=True)
class VoiceActivityConfig:
    """When is it speech? Times are used in frames of 32 ms.

    Raises:
        ValueError: a value outside its range.
    """

    onset: float = setting(0.3, "probability at which speech begins", range=(0.05, 0.99))
    offset: float = setting(
        0.15, "probability below which a frame is silent, at most `onset`", range=(0.01, 0.99)
    )
    min_speech: float = setting(0.16, "shorter speech is ignored", "s", (0.0, 2.0))
    hangover: float = setting(0.3, "silence that ends a segment", "s", (0.03, 3.0))
    padding: float = setting(
        0.1,
        "a segment begins this much before its first voiced frame and ends this much after "
        "its last one, at most `hangover`",
        "s",
        (0.0, 3.0),
    )
    max_stretch: float = setting(15.0, "a longer segment is cut", "s", (4.0, 60.0))
    max_dip: float = setting(
        0.12,
        "silence inside the first `min_speech`: a click followed by another one is no word",
        "s",
        (0.0, 1.0),
    )
    cut_search: float = setting(
        3.0,
        "a segment that is too long is cut at the most silent frame of its last part, which"
        " has this length",
        "s",
        (0.1, 4.0),
    )

    def __post_init__(self) -> None:
        check(self)
        for name, greatest in (("offset", self.onset), ("padding", self.hangover)):
            if getattr(self, name) > greatest:
                raise ErcValueError(
                    f"voice_activity.{name} must be <= {greatest:g}, got {getattr(self, name)!r}"
                )


@dataclass(frozen=True, slots=True)
class Began:
    """Speech began at `start` (ns), which lies in the past by `min_speech` and padding."""

    start: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The stretch from `start` to `end` (ns) is over. is_cut: it was too long, speech goes on."""

    start: int
    end: int
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Activity:
    """State: what is remembered from frame to frame. Times in ns, None = not so."""

    start: int | None = None  # of the stretch, open or not yet believed
    is_open: bool = False  # the stretch is believed
    voiced: int = 0  # ns of voiced frames in a stretch not yet believed
    last_voiced: int = 0  # end of the last voiced frame
    last_end: int | None = None  # no stretch begins before
    dips: tuple[tuple[int, float], ...] = ()  # (middle of frame, probability) where a cut is sought


def step(
    activity: Activity, config: VoiceActivityConfig, time: int, probability: float
) -> tuple[Activity, list[Began | Ended]]:
    """Take the frame that starts at `time` (ns) and is speech with `probability`."""
    end = time + FRAME_TIME
    if activity.start is None:
        if probability < config.onset:
            return activity, []
        start = time - seconds(config.padding)
        if activity.last_end is not None:
            start = max(start, activity.last_end)
        activity = replace(activity, start=start, voiced=0, last_voiced=end)
    if probability >= config.offset:
        activity = replace(activity, voiced=activity.voiced + FRAME_TIME, last_voiced=end)
    assert activity.start is not None
    if activity.is_open:
        return _continue(activity, config, time, probability)
    if activity.voiced >= seconds(config.min_speech):
        return replace(activity, is_open=True, dips=()), [Began(activity.start)]
    if end - activity.last_voiced > seconds(config.max_dip):
        return replace(activity, start=None), []
    return activity, []


def _continue(
    activity: Activity, config: VoiceActivityConfig, time: int, probability: float
) -> tuple[Activity, list[Began | Ended]]:
    start, end = activity.start, time + FRAME_TIME
    assert start is not None
    if end - activity.last_voiced >= seconds(config.hangover):
        return finish(activity, config)
    length = end - start
    if length < seconds(config.max_stretch) - seconds(config.cut_search):
        return activity, []
    activity = replace(
        activity, dips=(*activity.dips, (time + FRAME_TIME // 2, round(probability, 2)))
    )
    if length < seconds(config.max_stretch):
        return activity, []
    cut = _quietest(activity.dips)
    ended = Ended(start, cut, is_cut=True)
    return replace(activity, start=cut, last_end=cut, dips=()), [ended, Began(cut)]


def _quietest(dips: tuple[tuple[int, float], ...]) -> int:
    """Where speech is least sure, with the frames beside: one doubtful frame may be a consonant."""

    def around(place: int) -> tuple[float, float, int]:
        near = [probability for _, probability in dips[max(0, place - 1) : place + 2]]
        return round(sum(near) / len(near), 3), dips[place][1], -dips[place][0]

    return dips[min(range(len(dips)), key=around)][0]


def finish(activity: Activity, config: VoiceActivityConfig) -> tuple[Activity, list[Began | Ended]]:
    """Nothing more is heard: an open stretch ends after its last voiced frame."""
    closed = Activity(last_end=activity.last_end)
    if activity.start is None or not activity.is_open:
        return closed, []
    end = max(activity.start, activity.last_voiced) + seconds(config.padding)
    return replace(closed, last_end=end), [Ended(activity.start, end)]


class VoiceActivity(Protocol):
    """A voice activity detector: gives each audio frame a probability of speech.

    Contract, for `SileroVoiceActivity` and for classes of other packages:

    - `frame` is the number of samples at 16 kHz that `feed` takes, from SHORTEST to LONGEST. It is
      constant. Another length than FRAME is converted by `VoiceActivityFrames`.
    - The class is called without arguments. `feed` and `reset` are called by one thread.
    - `feed` may remember earlier frames. After `reset` the same frames give the same probabilities
      as from a new object; nothing else (clock, random numbers, files) changes them.
    - A probability is a finite number from 0 to 1, also for silence, noise at full scale and
      not-a-number. `feed` does not change its argument and raises nothing for a frame of the right
      length.
    - `feed` should take less than a tenth of the frame's duration on the target computer.
    """

    frame: int

    def feed(self, frame: NDArray[np.float32]) -> float:
        """Return the probability of speech in (frame,) float32 samples from -1 to 1, in order.

        Raises:
            ValueError: another number of samples.
        """

    def reset(self) -> None:
        """Forget all frames: the next one does not follow the last one."""


SHORTEST, LONGEST = SAMPLE_RATE // 200, SAMPLE_RATE // 10
"""Samples of a frame that a voice activity detector may take: 5 ms to 100 ms."""


class VoiceActivityFrames:
    """A detector of another package, with frames of any length, for frames of FRAME samples.

    Not thread-safe. What is not a number counts as silence.

    The probability of a frame is the mean over the detector's frames that end in it. A frame in
    which no frame of the detector ends has the probability of the frame before. Speech is
    therefore found up to one frame of the detector later than it begins.

    Args:
        detector: used by this object only.

    Raises:
        ValueError: its frames are shorter than SHORTEST or longer than LONGEST samples.
    """

    frame = FRAME

    def __init__(self, detector: VoiceActivity) -> None:
        if not SHORTEST <= detector.frame <= LONGEST:
            raise ErcValueError(
                f"{type(detector).__name__} takes frames of {detector.frame} samples; they must "
                f"have {SHORTEST} to {LONGEST} samples (5 to 100 ms at 16 kHz)"
            )
        self._detector, self._length = detector, detector.frame
        self._waiting = np.zeros(0, np.float32)  # samples of a frame that is not complete
        self._last = 0.0  # probability
        self.reset()

    def feed(self, frame: NDArray[np.float32]) -> float:
        """(FRAME,) float32 in [-1, 1] -> probability of speech."""
        waiting = np.concatenate([self._waiting, within_full_scale(frame)])
        whole = len(waiting) // self._length
        parts = waiting[: whole * self._length].reshape(whole, self._length)
        if probabilities := [float(self._detector.feed(part)) for part in parts]:
            mean = float(np.mean(probabilities))
            self._last = min(max(mean, 0.0), 1.0) if np.isfinite(mean) else 0.0
        self._waiting = waiting[whole * self._length :]
        return self._last

    def reset(self) -> None:
        self._detector.reset()
        self._waiting, self._last = np.zeros(0, np.float32), 0.0


class SileroVoiceActivity:
    """Silero's network (assets/README.md): remembers what it heard. Not thread-safe."""

    frame = FRAME
    _hidden: NDArray[np.float32]  # (1, 1, STATE)
    _cell: NDArray[np.float32]

    def __init__(self) -> None:
        self._network = on_cpu(NETWORK)  # 0.1 ms for a frame: on a GPU the copies would take longer
        self.reset()

    def feed(self, frame: NDArray[np.float32]) -> float:
        """(FRAME,) float32 in [-1, 1] -> probability of speech. Not-a-number counts as silence.

        Raises:
            ValueError: another number of samples.
        """
        if frame.shape != (FRAME,):
            raise ErcValueError(
                f"a frame has {FRAME} samples, this one has the shape {frame.shape}"
            )
        self._heard[0, :CONTEXT] = self._heard[0, FRAME:]
        self._heard[0, CONTEXT:] = within_full_scale(frame)
        inputs = {"input": self._heard, "h": self._hidden, "c": self._cell}
        outputs = self._network(inputs)
        self._hidden, self._cell = outputs["hn"], outputs["cn"]
        return float(outputs["speech_probs"][0])

    def reset(self) -> None:
        self._heard = np.zeros((1, CONTEXT + FRAME), np.float32)  # a frame and what was before it
        self._hidden = np.zeros((1, 1, STATE), np.float32)
        self._cell = np.zeros((1, 1, STATE), np.float32)
