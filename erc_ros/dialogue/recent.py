"""What was heard and seen lately, bounded in time and number: utterances are cut out of it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from erc_ros.dialogue import speaking_face
from erc_ros.dialogue.speaking_face import (
    SPEAKS,
    Evidence,
    Glimpse,
    Kind,
    Match,
    Spoken,
    clearly_most,
    link,
    mouth_motion,
    partners,
    present,
    share,
    speech_motion,
    thumbnail,
)
from erc_ros.dialogue.voice_activity import FRAME_TIME
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.utterance import SAMPLE_RATE, FaceCrop

FACES_TIME = seconds(30.0)  # crops are kept this long
FACES_COUNT = 300  # and no more than this many
FACES_TOLD = 32  # ids of faces; they come and go
GLIMPSE = seconds(0.5)  # two pictures further apart tell nothing about a mouth
VOICE_BEFORE = seconds(10.0)  # of an utterance, in which mouths that rest are looked at


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


@dataclass(frozen=True, slots=True)
class Seen:
    """The face that goes with an utterance.

    face_id, person_id: "" unknown. crops: in the order of their stamps. evidence: how it was found.
    """

    face_id: str = ""
    person_id: str = ""
    crops: tuple[FaceCrop, ...] = ()
    evidence: Evidence = ""


@dataclass(frozen=True, slots=True)
class _Look:
    """A crop of a track. sharpness: variance of its Laplacian; small: its thumbnail."""

    track: str
    crop: FaceCrop
    sharpness: float
    small: NDArray[np.float32]
    glimpse: Glimpse | None  # against the look before


class RecentFaces:
    """The last face crops of every track, and what ROS4HRI told about faces."""

    def __init__(self) -> None:
        self._matches: tuple[Match, ...] = ()  # true whatever the conversation
        self.clear()

    def clear(self) -> None:
        """Forget what was seen."""
        self._looks: deque[_Look] = deque(maxlen=FACES_COUNT)
        self._last: dict[str, _Look] = {}
        self._spoken: dict[str, Spoken] = {}

    def add(self, track_id: str, crop: FaceCrop) -> None:
        """A face that was seen."""
        gray = cv2.cvtColor(crop.pixels, cv2.COLOR_BGR2GRAY)
        small, glimpse = thumbnail(crop.pixels), None
        last = self._last.get(track_id)
        if last is not None and 0 < crop.stamp - last.crop.stamp <= GLIMPSE:
            glimpse = Glimpse(last.crop.stamp, crop.stamp, mouth_motion(last.small, small))
        sharpness = float(cv2.Laplacian(gray, cv2.CV_32F).var())
        look = _Look(track_id, crop, sharpness, small, glimpse)
        self._looks.append(look)
        self._last[track_id] = look
        while self._looks[0].crop.stamp < crop.stamp - FACES_TIME:
            self._looks.popleft()
        if len(self._last) > FACES_TOLD:
            self._last = {look.track: look for look in self._looks}

    def tell(self, face_id: str, stamp: int, speaking: bool) -> None:
        """ROS4HRI: from `stamp` (ns) on this face speaks, or does not."""
        before = self._spoken.pop(face_id, Spoken())
        self._spoken[face_id] = speaking_face.tell(before, stamp, speaking)
        if len(self._spoken) > FACES_TOLD:
            del self._spoken[next(iter(self._spoken))]

    def match(self, match: Match) -> None:
        """ROS4HRI: these ids belong together."""
        self._matches = link(self._matches, match)

    def choose(
        self,
        start: int,
        end: int,
        count: int,
        voice: Sequence[tuple[int, float]] = (),
        voice_id: str = "",
        person_id: str = "",
    ) -> Seen:
        """The face of who spoke from `start` to `end` (ns), and up to `count` crops of it.

        The crops are spread over the time, and of each part of it the sharpest one is taken.

        Args:
            voice: (time in ns, probability of speech) of the utterance and some time before it.
            voice_id, person_id: of ROS4HRI, "" where unknown.
        """
        seen = [look for look in self._looks if start <= look.crop.stamp <= end]
        face_id, evidence = self._find(seen, voice, start, end, voice_id, person_id)
        if not person_id:
            person_id = self._partner([("voice", voice_id), ("face", face_id)], "person")
        looks = sorted(
            (look for look in seen if look.track == face_id), key=lambda look: look.crop.stamp
        )
        parts = np.array_split(np.arange(len(looks)), max(1, min(count, len(looks))))
        best = [max(part, key=lambda n: (looks[n].sharpness, -n)) for part in parts if len(part)]
        crops = tuple(looks[n].crop for n in best) if count else ()
        return Seen(face_id, person_id, crops, evidence)

    def _find(
        self,
        seen: Sequence[_Look],
        voice: Sequence[tuple[int, float]],
        start: int,
        end: int,
        voice_id: str,
        person_id: str,
    ) -> tuple[str, Evidence]:
        if face := self._partner([("voice", voice_id), ("person", person_id)], "face"):
            return face, "match"
        counts = Counter(look.track for look in seen)
        shares = {face: share(told, start, end) for face, told in self._spoken.items()}
        speaker = max(shares, key=lambda face: shares[face], default="")
        if speaker and shares[speaker] >= SPEAKS:
            return speaker, "is_speaking"
        # a face that was told to be silent is not the one
        there = [face for face in present(counts) if face not in shares]
        if len(there) == 1:
            return there[0], "only"
        motions = {face: self._motion(face, voice, start, end) for face in there}
        if face := clearly_most(motions):
            return face, "motion"
        return "", "unclear" if counts else ""

    def _partner(self, whose: Sequence[tuple[Kind, str]], kind: Kind) -> str:
        """The most likely partner of the first of these ids that has one."""
        for one in whose:
            found = partners(self._matches, one, kind) if one[1] else {}
            if found:
                return max(found, key=lambda name: found[name])
        return ""

    def _motion(
        self, face: str, voice: Sequence[tuple[int, float]], start: int, end: int
    ) -> float | None:
        glimpses = [
            look.glimpse
            for look in self._looks
            if look.track == face and look.glimpse is not None and look.crop.stamp <= end
        ]
        return speech_motion(glimpses, voice, start)
