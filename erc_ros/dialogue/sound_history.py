"""The sound that was heard lately, with its probability of speech: utterances are cut out of it."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from erc_ros.dialogue.voice_activity import FRAME_TIME
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import SAMPLE_RATE


class SoundHistory:
    """The last frames with their probability of speech; frames are in order, with gaps maybe."""

    def __init__(self, duration: int) -> None:
        """duration: ns that are kept."""
        self._frames: deque[tuple[int, float, NDArray[np.int16]]] = deque(
            maxlen=max(1, duration // FRAME_TIME)
        )

    def add(self, time: int, probability: float, samples: NDArray[np.float32]) -> None:
        """A frame (FRAME,) that starts at `time` (ns)."""
        clean = np.clip(np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0), -1.0, 1.0)
        self._frames.append((time, probability, np.round(clean * 32767).astype(np.int16)))

    def samples(self, start: int, end: int) -> NDArray[np.int16]:
        """What is kept of start..end (ns): (n,) int16; lost sound is left out."""
        parts = []
        for time, _, frame in self._frames:
            if time + FRAME_TIME <= start or time >= end:
                continue
            first = max(0, (start - time) * SAMPLE_RATE // NS)
            last = min(len(frame), (end - time) * SAMPLE_RATE // NS)
            parts.append(frame[first:last])
        return np.concatenate(parts) if parts else np.zeros(0, np.int16)

    def probabilities(self, start: int, end: int) -> list[tuple[int, float]]:
        """(middle in ns, probability of speech) of the frames whose middle is in start..end."""
        half = FRAME_TIME // 2
        return [(t + half, p) for t, p, _ in self._frames if start <= t + half < end]

    def levels(self, start: int, end: int) -> list[tuple[int, float]]:
        """(middle in ns, root mean square, 0..1) of the frames whose middle is in start..end."""
        half = FRAME_TIME // 2
        return [
            (t + half, float(np.sqrt(np.mean(np.square(s, dtype=np.float32)))) / 32767)
            for t, _, s in self._frames
            if start <= t + half < end
        ]

    def clear(self) -> None:
        self._frames.clear()
