"""Voice activity detection.

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

FRAME = 512  # samples, input length of the network
CONTEXT = 64  # samples before a frame that are part of the input
STATE = 128  # size of each of the two recurrent states of the network
NETWORK = Path(__file__).parent / "assets" / "silero_vad.onnx"
FRAME_TIME = FRAME * NS // SAMPLE_RATE  # ns


@dataclass(frozen=True, slots=True)
class VoiceActivityConfig:
    """Settings of voice activity detection. Times are rounded to frames of 32 ms.

    Raises:
        ValueError: a value is outside its range.
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
        "maximum silence inside the first `min_speech`, so that two clicks are not speech",
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
    """Speech began at `start` (ns), reported `min_speech` and padding later."""

    start: int


@dataclass(frozen=True, slots=True)
class Ended:
    """A speech region from `start` to `end` (ns) ended. is_cut: at its maximum length."""

    start: int
    end: int
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Activity:
    """State. Times in ns."""

    start: int | None = None  # of the open or candidate region; None = silence
    is_open: bool = False  # the region is confirmed
    voiced: int = 0  # ns of voiced frames in a candidate region
    last_voiced: int = 0  # end of the last voiced frame
    last_end: int | None = None  # earliest start of the next region; None = before the first frame
    dips: tuple[tuple[int, float], ...] = ()  # (center, probability) of frames for a cut


def step(
    activity: Activity, config: VoiceActivityConfig, time: int, probability: float
) -> tuple[Activity, list[Began | Ended]]:
    """Process the frame that starts at `time` (ns) and is speech with `probability`."""
    end = time + FRAME_TIME
    if activity.last_end is None:
        activity = replace(activity, last_end=time)  # no padding before the audio
    if activity.start is None:
        if probability < config.onset:
            return activity, []
        assert activity.last_end is not None
        start = max(time - seconds(config.padding), activity.last_end)
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
    """Return the time of least speech probability, averaged with the adjacent frames.

    A single frame of low probability may be a consonant.
    """

    def around(place: int) -> tuple[float, float, int]:
        near = [probability for _, probability in dips[max(0, place - 1) : place + 2]]
        return round(sum(near) / len(near), 3), dips[place][1], -dips[place][0]

    return dips[min(range(len(dips)), key=around)][0]


def finish(activity: Activity, config: VoiceActivityConfig) -> tuple[Activity, list[Began | Ended]]:
    """End an open region after its last voiced frame, at the end of the audio."""
    closed = Activity(last_end=activity.last_end)
    if activity.start is None or not activity.is_open:
        return closed, []
    end = max(activity.start, activity.last_voiced) + seconds(config.padding)
    return replace(closed, last_end=end), [Ended(activity.start, end)]


class VoiceActivity(Protocol):
    """Interface of a voice activity detector: speech probability of each audio frame.

    Contract, for `SileroVoiceActivity` and for classes of other packages:

    - `frame` is the constant number of samples at 16 kHz that `feed` takes, from SHORTEST to
      LONGEST. `VoiceActivityFrames` converts lengths other than FRAME.
    - The class is called without arguments. `feed` and `reset` are called by one thread.
    - `feed` may keep a state. After `reset` the same frames give the same probabilities as from a
      new object; they do not depend on anything else (clock, random numbers, files).
    - A probability is a finite number from 0 to 1, also for silence, noise at full scale and NaN.
      `feed` does not change its argument and raises no error for a frame of the right length.
    - `feed` should take less than a tenth of the frame's duration on the target computer.
    """

    frame: int

    def feed(self, frame: NDArray[np.float32]) -> float:
        """Return the probability of speech in (frame,) float32 samples from -1 to 1, in order.

        Raises:
            ValueError: the number of samples is not `frame`.
        """

    def reset(self) -> None:
        """Reset the state."""


SHORTEST, LONGEST = SAMPLE_RATE // 200, SAMPLE_RATE // 10
"""Limits of the samples per frame of a voice activity detector: 5 ms to 100 ms."""


class VoiceActivityFrames:
    """Adapter that runs an external detector with another frame length on frames of FRAME samples.

    The probability of a frame is the mean over the detector's frames that end in it, or the
    previous probability if there is no such frame. Speech is therefore detected up to one frame of
    the detector late. NaN counts as silence. Not thread-safe.

    Args:
        detector: used by this object only.

    Raises:
        ValueError: the frame length of the detector is not in SHORTEST..LONGEST.
    """

    frame = FRAME

    def __init__(self, detector: VoiceActivity) -> None:
        if not SHORTEST <= detector.frame <= LONGEST:
            raise ErcValueError(
                f"{type(detector).__name__} takes frames of {detector.frame} samples; they must "
                f"have {SHORTEST} to {LONGEST} samples (5 to 100 ms at 16 kHz)"
            )
        self._detector, self._length = detector, detector.frame
        self._waiting = np.zeros(0, np.float32)  # samples of an incomplete frame
        self._last = 0.0  # probability
        self.reset()

    def feed(self, frame: NDArray[np.float32]) -> float:
        """Return the speech probability of (FRAME,) float32 samples in [-1, 1]."""
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
    """Silero's recurrent network (assets/README.md). Not thread-safe."""

    frame = FRAME
    _hidden: NDArray[np.float32]  # (1, 1, STATE)
    _cell: NDArray[np.float32]

    def __init__(self) -> None:
        self._network = on_cpu(NETWORK)  # 0.1 ms per frame, faster than copies to a GPU
        self.reset()

    def feed(self, frame: NDArray[np.float32]) -> float:
        """Return the speech probability of (FRAME,) float32 samples in [-1, 1]; NaN is silence.

        Raises:
            ValueError: the number of samples is not FRAME.
        """
        if frame.shape != (FRAME,):
            raise ErcValueError(f"a frame must have the shape ({FRAME},), got {frame.shape}")
        self._heard[0, :CONTEXT] = self._heard[0, FRAME:]
        self._heard[0, CONTEXT:] = within_full_scale(frame)
        inputs = {"input": self._heard, "h": self._hidden, "c": self._cell}
        outputs = self._network(inputs)
        self._hidden, self._cell = outputs["hn"], outputs["cn"]
        return float(outputs["speech_probs"][0])

    def reset(self) -> None:
        self._heard = np.zeros((1, CONTEXT + FRAME), np.float32)  # context and frame
        self._hidden = np.zeros((1, 1, STATE), np.float32)
        self._cell = np.zeros((1, 1, STATE), np.float32)
