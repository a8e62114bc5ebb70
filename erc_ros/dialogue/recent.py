"""What was heard and seen lately, bounded in time and number: utterances are cut out of it."""

from __future__ import annotations

from collections import Counter, deque

import numpy as np
from numpy.typing import NDArray

from erc_ros.dialogue.utterance import SAMPLE_RATE, FaceCrop
from erc_ros.dialogue.voice_activity import FRAME_TIME
from erc_ros.sensing.nanoseconds import NS, seconds

FACES_TIME = seconds(30.0)  # crops are kept this long
FACES_COUNT = 300  # and no more than this many


class RecentSound:
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


class RecentFaces:
    """The last face crops of every track."""

    def __init__(self) -> None:
        self._crops: deque[tuple[str, FaceCrop]] = deque(maxlen=FACES_COUNT)

    def add(self, track_id: str, crop: FaceCrop) -> None:
        self._crops.append((track_id, crop))
        while self._crops[0][1].stamp < crop.stamp - FACES_TIME:
            self._crops.popleft()

    def choose(self, start: int, end: int, count: int) -> tuple[str, tuple[FaceCrop, ...]]:
        """The track seen most often in start..end (ns), and up to `count` crops spread over it.

        ("", ()) where no face was seen. Equally frequent tracks: the one seen first.
        """
        seen = [(track, crop) for track, crop in self._crops if start <= crop.stamp <= end]
        if not seen or count < 1:
            return "", ()
        track = Counter(name for name, _ in seen).most_common(1)[0][0]
        crops = sorted((crop for name, crop in seen if name == track), key=lambda c: c.stamp)
        if len(crops) > count:
            places = np.linspace(0, len(crops) - 1, count).round().astype(int)
            crops = [crops[place] for place in places]
        return track, tuple(crops)

    def clear(self) -> None:
        self._crops.clear()
