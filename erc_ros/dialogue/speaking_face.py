"""Which of the faces that are seen is speaking? Pure functions on what was seen and told.

In this order: what ROS4HRI matched with the voice, which face it says is speaking, whose mouth
moves while there is speech and rests while there is none, the only face; otherwise no person's.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from erc_ros.values.settings import check, setting

Evidence = Literal["match", "is_speaking", "motion", "only", "unclear", ""]
"""How the face of an utterance was found; unclear: several faces, none chosen; "": none seen."""

MOST_LINKS = 64  # ROS4HRI ids come and go

# Parts of a face crop, as shares of its height and width.
MOUTH = (slice(0.62, 0.92), slice(0.28, 0.72))
REST = (slice(0.15, 0.58), slice(0.15, 0.85))
SIDE = 48  # pixels; finer detail than this is noise of the camera
FLOOR = 0.05  # of the crop's contrast: smaller changes are noise, too


@dataclass(frozen=True, slots=True)
class SpeakingFaceConfig:
    """When a face is taken for that of who speaks.

    Raises:
        ValueError: a value outside its range.
    """

    present: float = setting(
        0.5,
        "a face seen less than this share as often as another one was not there (false detections)",
        range=(0.0, 1.0),
    )
    speaks: float = setting(
        0.3,
        "share of the utterance during which a face must be reported as speaking",
        range=(0.0, 1.0),
    )
    voiced: float = setting(
        0.6, "minimum share of speech between two images that count as speech", range=(0.0, 1.0)
    )
    unvoiced: float = setting(
        0.2, "maximum share of speech between two images that count as silence", range=(0.0, 1.0)
    )
    min_pictures: int = setting(
        3, "pairs of images that are needed to judge a mouth", range=(1, 100)
    )
    # On drawn mouths on one face, with trembling boxes and noise, 3 s at 5 images a second: 98 %
    # are found, and of 1 % of pairs of silent faces one is taken.
    clearly: float = setting(
        0.15,
        "how much more (natural logarithm) than all others the mouth must move",
        range=(0.0, 5.0),
        source="test/dialogue/test_speaking_face.py",
    )
    max_glimpse: float = setting(0.5, "two images further apart are not compared", "s", (0.02, 5.0))
    before: float = setting(
        10.0, "before an utterance, in which mouths that rest are looked at", "s", (0.0, 30.0)
    )
    kept: float = setting(30.0, "face crops are kept this long", "s", (1.0, 300.0))
    max_kept: int = setting(300, "and no more than so many", range=(1, 10_000))

    def __post_init__(self) -> None:
        check(self)


DEFAULT = SpeakingFaceConfig()


# --- what ROS4HRI tells ---

Kind = Literal["person", "face", "voice"]


@dataclass(frozen=True, slots=True)
class IdentityMatch:
    """Two ids belong together, as far as a person knows. confidence: 0 to 1; 0 = they do not."""

    one: tuple[Kind, str]
    other: tuple[Kind, str]
    confidence: float


def link(matches: tuple[IdentityMatch, ...], new: IdentityMatch) -> tuple[IdentityMatch, ...]:
    """The matches that are known, with a new one instead of a former one of the same ids."""
    pair = {new.one, new.other}
    kept = [match for match in matches if {match.one, match.other} != pair]
    return tuple(([*kept, new] if new.confidence > 0 else kept)[-MOST_LINKS:])


def partners(
    matches: tuple[IdentityMatch, ...], one: tuple[Kind, str], kind: Kind
) -> dict[str, float]:
    """Ids of `kind` that belong to `one`, directly or through one other id -> confidence."""
    direct = _neighbours(matches, one)
    scores = dict(direct)
    for between, first in direct.items():
        for far, second in _neighbours(matches, between).items():
            if far != one:
                scores[far] = max(scores.get(far, 0.0), first * second)
    return {name: confidence for (its, name), confidence in scores.items() if its == kind}


def _neighbours(
    matches: tuple[IdentityMatch, ...], one: tuple[Kind, str]
) -> dict[tuple[Kind, str], float]:
    near = {}
    for match in matches:
        if one in (match.one, match.other):
            near[match.other if match.one == one else match.one] = match.confidence
    return near


@dataclass(frozen=True, slots=True)
class Spoken:
    """When a face was told to speak. spans: (start, end) in ns, end None = it still does."""

    spans: tuple[tuple[int, int | None], ...] = ()


def with_speaking(spoken: Spoken, stamp: int, speaking: bool) -> Spoken:
    """From `stamp` (ns) on it speaks, or does not."""
    is_open = bool(spoken.spans) and spoken.spans[-1][1] is None
    if speaking and not is_open:
        return Spoken((*spoken.spans, (stamp, None))[-32:])
    if not speaking and is_open:
        return Spoken((*spoken.spans[:-1], (spoken.spans[-1][0], stamp)))
    return spoken


def share(spoken: Spoken, start: int, end: int) -> float:
    """How much of start..end (ns) it spoke, 0 to 1."""
    common = sum(
        max(0, min(end, end if last is None else last) - max(start, first))
        for first, last in spoken.spans
    )
    return common / max(1, end - start)


# --- mouths ---


@dataclass(frozen=True, slots=True)
class Glimpse:
    """Two images of a face: how much its mouth changed from `before` to `stamp` (ns).

    motion: natural logarithm of the change of the mouth over that of the rest of the face.
    """

    before: int
    stamp: int
    motion: float


def thumbnail(crop: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(S, S, 3) BGR -> (SIDE, SIDE), mean 0, standard deviation 1; flat images become zeros."""
    gray = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(gray, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    small -= small.mean()
    contrast = float(small.std())
    return small / np.float32(contrast) if contrast > 1.0 else np.zeros_like(small)


def mouth_motion(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    """How much more the mouth changed than the rest, between two thumbnails of a face.

    The rest of the face is laid over itself first: a head that moves, or a detector that trembles,
    is no speech.
    """
    (dx, dy), _ = cv2.phaseCorrelate(
        before, after, cv2.createHanningWindow((SIDE, SIDE), cv2.CV_32F)
    )
    if max(abs(dx), abs(dy)) > SIDE / 8:  # that is no small movement: not believed
        dx = dy = 0.0
    back = np.array([[1, 0, -dx], [0, 1, -dy]], np.float32)
    moved = cv2.warpAffine(after, back, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
    change = np.abs(moved - before)
    return float(np.log((_mean(change, MOUTH) + FLOOR) / (_mean(change, REST) + FLOOR)))


def _mean(change: NDArray[np.float32], part: tuple[slice, slice]) -> float:
    rows, columns = (slice(round(p.start * SIDE), round(p.stop * SIDE)) for p in part)
    return float(change[rows, columns].mean())


# REP-155's landmarks of a face, by their numbers: the inner edge of the lips, upper and lower, and
# pairs of points that no speech moves against each other.
LIPS = ((61, 67), (62, 66), (63, 65))
STILL = ((27, 30), (36, 39), (42, 45), (30, 36), (30, 45))
EYES = (36, 45)  # their outer corners: the measure of the face
LANDMARKS = 70
LANDMARK_FLOOR = 0.01  # of the distance of the eyes: smaller changes are noise


@dataclass(frozen=True, slots=True, eq=False)
class FaceShape:
    """Distances in a face, in distances of its eyes, so that it may come nearer or turn.

    stamp: ns. lips: (3,), how far they are open. still: (5,), what no speech changes.
    """

    stamp: int
    lips: NDArray[np.float32]
    still: NDArray[np.float32]


def face_shape(stamp: int, landmarks: NDArray[np.float32]) -> FaceShape | None:
    """(70, 2) in pixels, in REP-155's order -> its shape; None where the eyes are not seen."""

    def distances(pairs: Sequence[tuple[int, int]]) -> NDArray[np.float32]:
        ends = landmarks[np.array(pairs)]  # (P, 2, 2)
        return np.asarray(np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1), np.float32)

    size = float(distances([EYES])[0])
    if not 1.0 <= size < float("inf"):  # pixels
        return None
    return FaceShape(stamp, distances(LIPS) / np.float32(size), distances(STILL) / np.float32(size))


def landmark_motion(before: FaceShape, after: FaceShape) -> float:
    """How much more the lips changed than the rest of the face; as `mouth_motion` of images."""
    lips = float(np.abs(after.lips - before.lips).mean())
    rest = float(np.abs(after.still - before.still).mean())
    return float(np.log((lips + LANDMARK_FLOOR) / (rest + LANDMARK_FLOOR)))


def speech_motion(
    glimpses: Sequence[Glimpse],
    voice: Sequence[tuple[int, float]],
    start: int,
    config: SpeakingFaceConfig = DEFAULT,
) -> float | None:
    """How much more a mouth moves in speech than otherwise; None: too few images to tell.

    glimpses: of one face. voice: (time in ns, probability of speech), ascending. start: ns; what
    was before is for comparison only.
    """
    speaking, resting = [], []
    times = [time for time, _ in voice]
    for glimpse in glimpses:
        first, last = bisect_left(times, glimpse.before), bisect_left(times, glimpse.stamp)
        if first == last:
            continue
        voiced = sum(p >= 0.5 for _, p in voice[first:last]) / (last - first)
        if voiced >= config.voiced and glimpse.stamp > start:
            speaking.append(glimpse.motion)
        elif voiced <= config.unvoiced:
            resting.append(glimpse.motion)
    if len(speaking) < config.min_pictures:
        return None
    usual = float(np.mean(resting)) if len(resting) >= config.min_pictures else 0.0
    return float(np.mean(speaking)) - usual


def clearly_most(motions: Mapping[str, float | None], clearly: float = DEFAULT.clearly) -> str:
    """The face whose mouth moves clearly more than all others; "" if there is none."""
    known = sorted(((motion, name) for name, motion in motions.items() if motion is not None))
    if len(known) < len(motions) or len(known) < 2:
        return ""
    (second, _), (most, name) = known[-2:]
    return name if most - second >= clearly else ""


def present(counts: Mapping[str, int], least: float = DEFAULT.present) -> list[str]:
    """Faces that were there, of how often each was seen."""
    most = max(counts.values(), default=0)
    return [name for name, count in counts.items() if count >= least * most]
