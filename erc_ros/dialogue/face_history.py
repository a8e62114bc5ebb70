"""History of face crops and of ROS4HRI messages about faces, limited in time and number."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from erc_ros.dialogue.speaking_face import (
    DEFAULT,
    Evidence,
    FaceShape,
    Glimpse,
    IdentityMatch,
    Kind,
    SpeakingFaceConfig,
    Spoken,
    clearly_most,
    face_shape,
    landmark_motion,
    link,
    mouth_motion,
    partners,
    present,
    share,
    speech_motion,
    thumbnail,
    with_speaking,
)
from erc_ros.values.nanoseconds import seconds
from erc_ros.values.utterance import FaceCrop

MAX_FACES = 32  # maximum number of face ids in the history


@dataclass(frozen=True, slots=True)
class Seen:
    """The face of the speaker of an utterance.

    face_id, person_id: "" = unknown. crops: sorted by stamp. evidence: how it was determined.
    """

    face_id: str = ""
    person_id: str = ""
    crops: tuple[FaceCrop, ...] = ()
    evidence: Evidence = ""


@dataclass(frozen=True, slots=True)
class _SeenFace:
    """A crop of a track. sharpness: variance of its Laplacian. small: its thumbnail."""

    track: str
    crop: FaceCrop
    sharpness: float
    small: NDArray[np.float32]
    glimpse: Glimpse | None  # comparison with the previous crop


class FaceHistory:
    """The last face crops of every track, and the ROS4HRI messages about faces."""

    def __init__(self, config: SpeakingFaceConfig = DEFAULT) -> None:
        self._config = config
        self._matches: tuple[IdentityMatch, ...] = ()  # kept across conversations
        self.clear()

    def clear(self) -> None:
        """Delete the history, except matches of ids."""
        self._seen: deque[_SeenFace] = deque()
        self._unseen: deque[tuple[str, int]] = deque(maxlen=self._config.max_kept)
        self._last: dict[str, _SeenFace] = {}
        self._spoken: dict[str, Spoken] = {}
        self._shapes: dict[str, FaceShape] = {}  # face -> shape of its last landmarks
        self._told: deque[tuple[str, Glimpse]] = deque(maxlen=self._config.max_kept)

    def add(self, track_id: str, crop: FaceCrop) -> None:
        """Add a crop of a face."""
        gray = cv2.cvtColor(crop.pixels, cv2.COLOR_BGR2GRAY)
        small, glimpse = thumbnail(crop.pixels), None
        last = self._last.get(track_id)
        if last is not None and 0 < crop.stamp - last.crop.stamp <= seconds(
            self._config.max_glimpse
        ):
            glimpse = Glimpse(last.crop.stamp, crop.stamp, mouth_motion(last.small, small))
        sharpness = float(cv2.Laplacian(gray, cv2.CV_32F).var())
        face = _SeenFace(track_id, crop, sharpness, small, glimpse)
        self._seen.append(face)
        if len(self._seen) > self._config.max_kept:
            silent = (n for n, seen in enumerate(self._seen) if not self._has_spoken(seen.track))
            del self._seen[next(silent, 0)]
        self._last[track_id] = face
        while self._seen[0].crop.stamp < crop.stamp - seconds(self._config.kept):
            self._seen.popleft()
        if len(self._last) > MAX_FACES:
            self._last = {face.track: face for face in self._seen}

    def note_presence(self, track_id: str, stamp: int) -> None:
        """Record that a face is present at `stamp` (ns), without using its image."""
        self._last.pop(track_id, None)
        self._seen = deque(face for face in self._seen if face.track != track_id)
        self._unseen.append((track_id, stamp))

    def matched(self, kind: Kind, name: str) -> set[str]:
        """Return this id and the ids matched with it."""
        kinds: tuple[Kind, ...] = ("person", "face", "voice")
        return {name}.union(*(partners(self._matches, (kind, name), other) for other in kinds))

    def add_landmarks(self, face_id: str, stamp: int, landmarks: NDArray[np.float32]) -> None:
        """Add the ROS4HRI landmarks of a face at `stamp` (ns), (70, 2) in pixels."""
        shape, last = face_shape(stamp, landmarks), self._shapes.pop(face_id, None)
        if shape is None:
            return
        if last is not None and 0 < stamp - last.stamp <= seconds(self._config.max_glimpse):
            glimpse = Glimpse(last.stamp, stamp, landmark_motion(last, shape))
            self._told.append((face_id, glimpse))
        self._shapes[face_id] = shape
        while self._told and self._told[0][1].stamp < stamp - seconds(self._config.kept):
            self._told.popleft()
        if len(self._shapes) > MAX_FACES:
            del self._shapes[next(iter(self._shapes))]

    def set_speaking(self, face_id: str, stamp: int, speaking: bool) -> None:
        """Record the ROS4HRI report whether a face is speaking from `stamp` (ns) on."""
        before = self._spoken.pop(face_id, Spoken())
        self._spoken[face_id] = with_speaking(before, stamp, speaking)
        if len(self._spoken) > MAX_FACES:  # keep the faces that spoke last
            del self._spoken[min(self._spoken, key=self._last_spoke)]

    def _last_spoke(self, face_id: str) -> float:
        """Return when a face last spoke, in ns: infinite if speaking, 0 if it never spoke."""
        spoken = self._spoken.get(face_id, Spoken())
        end = spoken.spans[-1][1] if spoken.spans else 0
        return math.inf if end is None else end

    def _has_spoken(self, face_id: str) -> bool:
        return self._last_spoke(face_id) > 0

    def of_voice(self, voice_id: str) -> list[str]:
        """Return the faces matched with a voice."""
        return list(partners(self._matches, ("voice", voice_id), "face"))

    def match(self, match: IdentityMatch) -> None:
        """Add a ROS4HRI match of two ids."""
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
        """Choose the face of the speaker from `start` to `end` (ns), and up to `count` crops.

        The time is divided into equal parts, and the sharpest crop of each part is returned.

        Args:
            voice: (time in ns, speech probability) during and shortly before the utterance.
            voice_id, person_id: of ROS4HRI; "" if unknown.
        """
        crops_in_span = [face for face in self._seen if start <= face.crop.stamp <= end]
        counts = Counter(face.track for face in crops_in_span)
        counts.update(track for track, stamp in self._unseen if start <= stamp <= end)
        face_id, evidence = self._find(counts, voice, start, end, voice_id, person_id)
        if not person_id:
            person_id = self._partner([("voice", voice_id), ("face", face_id)], "person")
        faces = sorted(
            (face for face in crops_in_span if face.track == face_id),
            key=lambda face: face.crop.stamp,
        )
        parts = np.array_split(np.arange(len(faces)), max(1, min(count, len(faces))))
        best = [max(part, key=lambda n: (faces[n].sharpness, -n)) for part in parts if len(part)]
        crops = tuple(faces[n].crop for n in best) if count else ()
        return Seen(face_id, person_id, crops, evidence)

    def _find(
        self,
        counts: Counter[str],
        voice: Sequence[tuple[int, float]],
        start: int,
        end: int,
        voice_id: str,
        person_id: str,
    ) -> tuple[str, Evidence]:
        if face := self._partner([("voice", voice_id), ("person", person_id)], "face"):
            return face, "match"
        shares = {face: share(spoken, start, end) for face, spoken in self._spoken.items()}
        speaker = max(shares, key=lambda face: shares[face], default="")
        if speaker and shares[speaker] >= self._config.speaks:
            return speaker, "is_speaking"
        # faces that were reported as silent are excluded
        candidates = [face for face in present(counts, self._config.present) if face not in shares]
        if len(candidates) == 1:
            return candidates[0], "only"
        motions = {face: self._motion(face, voice, start, end) for face in candidates}
        if face := clearly_most(motions, self._config.clearly):
            return face, "motion"
        return "", "unclear" if counts else ""

    def _partner(self, whose: Sequence[tuple[Kind, str]], kind: Kind) -> str:
        """Return the most likely match of the first of these ids that has one."""
        for one in whose:
            names = partners(self._matches, one, kind) if one[1] else {}
            if names:
                return max(names, key=lambda name: names[name])
        return ""

    def _motion(
        self, face: str, voice: Sequence[tuple[int, float]], start: int, end: int
    ) -> float | None:
        """Return the mouth motion of a face, from landmarks if there are any, else from crops."""
        glimpses = [glimpse for name, glimpse in self._told if name == face] or [
            seen.glimpse for seen in self._seen if seen.track == face and seen.glimpse is not None
        ]
        glimpses = [glimpse for glimpse in glimpses if glimpse.stamp <= end]
        return speech_motion(glimpses, voice, start, self._config)
