"""The audio that was heard lately, with its probability of speech: utterances are cut out of it."""

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
    """A frame that starts at `time` (ns). level: root mean square, 0..1."""

    time: int
    probability: float
    level: float
    samples: NDArray[np.int16]


class AudioHistory:
    """The last frames with their probability of speech; frames are in order, with gaps maybe."""

    def __init__(self, duration: int) -> None:
        """duration: ns that are kept."""
        self._frames: deque[_Frame] = deque(maxlen=max(1, duration // FRAME_TIME))

    def add(self, time: int, probability: float, samples: NDArray[np.float32]) -> None:
        """A frame (FRAME,) that starts at `time` (ns)."""
        kept = np.round(within_full_scale(samples) * 32767).astype(np.int16)
        # now, and not when a text comes: that would wait for it
        level = float(np.sqrt(np.mean(np.square(kept, dtype=np.float32)))) / 32767
        self._frames.append(_Frame(time, probability, level, kept))

    def samples(self, start: int, end: int) -> NDArray[np.int16]:
        """What is kept of start..end (ns): (n,) int16; lost audio is excluded."""
        parts = []
        for frame in self._between(start - FRAME_TIME, end):
            first = max(0, (start - frame.time) * SAMPLE_RATE // NS)
            last = min(len(frame.samples), (end - frame.time) * SAMPLE_RATE // NS)
            parts.append(frame.samples[first:last])
        return np.concatenate(parts) if parts else np.zeros(0, np.int16)

    def probabilities(self, start: int, end: int) -> list[tuple[int, float]]:
        """(middle in ns, probability of speech) of the frames whose middle is in start..end."""
        half = FRAME_TIME // 2
        return [(f.time + half, f.probability) for f in self._between(start - half, end - half)]

    def levels(self, start: int, end: int) -> list[tuple[int, float]]:
        """(middle in ns, root mean square, 0..1) of the frames whose middle is in start..end."""
        half = FRAME_TIME // 2
        return [(f.time + half, f.level) for f in self._between(start - half, end - half)]

    def _between(self, start: int, end: int) -> list[_Frame]:
        """The frames that begin from `start` to before `end` (ns)."""
        frames: list[_Frame] = []
        for frame in reversed(self._frames):  # what is asked for is rarely long past
            if frame.time < start:
                break
            if frame.time < end:
                frames.append(frame)
        return frames[::-1]

    def clear(self) -> None:
        """Forget it."""
        self._frames.clear()
