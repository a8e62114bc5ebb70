"""History of the last audio with its speech probability, for the audio of utterances."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from erc_ros.dialogue.voice_activity import FRAME_TIME
from erc_ros.sensing.level import within_full_scale
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import SAMPLE_RATE


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    """An audio frame that starts at `time` (ns). level: root mean square, 0..1."""

    time: int
    probability: float
    level: float
    samples: NDArray[np.int16]


class AudioHistory:
    """The last audio frames with their speech probability, in order, possibly with gaps."""

    def __init__(self, duration: int) -> None:
        """Create an empty history. duration: ns of audio to keep."""
        self._frames: deque[_Frame] = deque(maxlen=max(1, duration // FRAME_TIME))

    def add(self, time: int, probability: float, samples: NDArray[np.float32]) -> None:
        """Append a frame (FRAME,) that starts at `time` (ns)."""
        kept = np.round(within_full_scale(samples) * 32767).astype(np.int16)
        # computed here, because a text would have to wait for it later
        level = float(np.sqrt(np.mean(np.square(kept, dtype=np.float32)))) / 32767
        self._frames.append(_Frame(time, probability, level, kept))

    def samples(self, start: int, end: int) -> NDArray[np.int16]:
        """Return the samples of start..end (ns) as (n,) int16, without gaps."""
        parts = []
        for frame in self._between(start - FRAME_TIME, end):
            first = max(0, (start - frame.time) * SAMPLE_RATE // NS)
            last = min(len(frame.samples), (end - frame.time) * SAMPLE_RATE // NS)
            parts.append(frame.samples[first:last])
        return np.concatenate(parts) if parts else np.zeros(0, np.int16)

    def probabilities(self, start: int, end: int) -> list[tuple[int, float]]:
        """Return (center in ns, speech probability) of the frames with center in start..end."""
        half = FRAME_TIME // 2
        return [(f.time + half, f.probability) for f in self._between(start - half, end - half)]

    def levels(self, start: int, end: int) -> list[tuple[int, float]]:
        """Return (center in ns, root mean square in 0..1) of frames with center in start..end."""
        half = FRAME_TIME // 2
        return [(f.time + half, f.level) for f in self._between(start - half, end - half)]

    def _between(self, start: int, end: int) -> list[_Frame]:
        """Return the frames that begin in [start, end) (ns)."""
        frames: list[_Frame] = []
        for frame in reversed(self._frames):  # requested times are usually recent
            if frame.time < start:
                break
            if frame.time < end:
                frames.append(frame)
        return frames[::-1]

    def clear(self) -> None:
        """Delete all frames."""
        self._frames.clear()
