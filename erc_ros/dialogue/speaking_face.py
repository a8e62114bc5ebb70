"""Choice of the speaking face among the visible faces. Pure functions.

The first rule that applies is used: the face that ROS4HRI matched with the voice, the face that
ROS4HRI reports as speaking, the face whose mouth moves during speech and rests in silence, the only
visible face. Otherwise no face is chosen.
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
"""Rule that chose the face; unclear: several faces, none chosen; "": no visible face."""

MOST_LINKS = 64  # maximum number of ROS4HRI matches

# Parts of a face crop, as fractions of its height and width.
MOUTH = (slice(0.62, 0.92), slice(0.28, 0.72))
REST = (slice(0.15, 0.58), slice(0.15, 0.85))
SIDE = 48  # pixels; finer detail is camera noise
FLOOR = 0.05  # fraction of the contrast; smaller changes are noise


@dataclass(frozen=True, slots=True)
class SpeakingFaceConfig:
    """Settings of the choice of the speaking face.

    Raises:
        ValueError: a value is outside its range.
    """

    present: float = setting(
        0.5,
        "minimum number of detections relative to the most frequent face (fewer: false detections)",
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
        3, "minimum number of image pairs to measure the motion of a mouth", range=(1, 100)
    )
    # On a face with synthetic mouths, box jitter and noise, 3 s at 5 images per second: 98 % of the
    # speaking faces are chosen, and a face in 1 % of the pairs of silent faces.
    clearly: float = setting(
        0.15,
        "minimum difference of mouth motion (natural logarithm) to all other faces",
        range=(0.0, 5.0),
        source="test/dialogue/test_speaking_face.py",
    )
    max_glimpse: float = setting(0.5, "maximum time between two compared images", "s", (0.02, 5.0))
    before: float = setting(
        10.0, "time before an utterance in which mouths at rest are measured", "s", (0.0, 30.0)
    )
    kept: float = setting(30.0, "duration of the history of face crops", "s", (1.0, 300.0))
    max_kept: int = setting(300, "maximum number of face crops in the history", range=(1, 10_000))

    def __post_init__(self) -> None:
        check(self)


DEFAULT = SpeakingFaceConfig()


# --- ROS4HRI messages ---

Kind = Literal["person", "face", "voice"]


@dataclass(frozen=True, slots=True)
class IdentityMatch:
    """A match of two ids of one person. confidence: 0 to 1; 0 = the match is withdrawn."""

    one: tuple[Kind, str]
    other: tuple[Kind, str]
    confidence: float


def link(matches: tuple[IdentityMatch, ...], new: IdentityMatch) -> tuple[IdentityMatch, ...]:
    """Return the matches with a new one, which replaces a previous match of the same ids."""
    pair = {new.one, new.other}
    kept = [match for match in matches if {match.one, match.other} != pair]
    return tuple(([*kept, new] if new.confidence > 0 else kept)[-MOST_LINKS:])


def partners(
    matches: tuple[IdentityMatch, ...], one: tuple[Kind, str], kind: Kind
) -> dict[str, float]:
    """Return the ids of `kind` matched with `one`, directly or through one id -> confidence."""
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
    """Times at which a face was reported as speaking.

    spans: (start, end) in ns; end None = it is still speaking.
    """

    spans: tuple[tuple[int, int | None], ...] = ()


def with_speaking(spoken: Spoken, stamp: int, speaking: bool) -> Spoken:
    """Return the times updated with a report at `stamp` (ns)."""
    is_open = bool(spoken.spans) and spoken.spans[-1][1] is None
    if speaking and not is_open:
        return Spoken((*spoken.spans, (stamp, None))[-32:])
    if not speaking and is_open:
        return Spoken((*spoken.spans[:-1], (spoken.spans[-1][0], stamp)))
    return spoken


def share(spoken: Spoken, start: int, end: int) -> float:
    """Return the fraction of start..end (ns) in which the face was speaking, 0 to 1."""
    common = sum(
        max(0, min(end, end if last is None else last) - max(start, first))
        for first, last in spoken.spans
    )
    return common / max(1, end - start)


# --- mouths ---


@dataclass(frozen=True, slots=True)
class Glimpse:
    """Mouth motion between two images of a face at `before` and `stamp` (ns).

    motion: natural logarithm of the change of the mouth divided by that of the rest of the face.
    """

    before: int
    stamp: int
    motion: float


def thumbnail(crop: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Scale and normalize a crop: (S, S, 3) BGR -> (SIDE, SIDE), mean 0, standard deviation 1.

    Images without contrast become zeros.
    """
    gray = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(gray, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    small -= small.mean()
    contrast = float(small.std())
    return small / np.float32(contrast) if contrast > 1.0 else np.zeros_like(small)


def mouth_motion(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    """Return the motion of the mouth relative to the rest of the face between two thumbnails.

    The thumbnails are registered first, so that head motion and jitter of the box do not count.
    """
    (dx, dy), _ = cv2.phaseCorrelate(
        before, after, cv2.createHanningWindow((SIDE, SIDE), cv2.CV_32F)
    )
    if max(abs(dx), abs(dy)) > SIDE / 8:  # an implausibly large shift
        dx = dy = 0.0
    back = np.array([[1, 0, -dx], [0, 1, -dy]], np.float32)
    moved = cv2.warpAffine(after, back, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
    change = np.abs(moved - before)
    return float(np.log((_mean(change, MOUTH) + FLOOR) / (_mean(change, REST) + FLOOR)))


def _mean(change: NDArray[np.float32], part: tuple[slice, slice]) -> float:
    rows, columns = (slice(round(p.start * SIDE), round(p.stop * SIDE)) for p in part)
    return float(change[rows, columns].mean())


# Indices of REP-155 face landmarks: pairs on the inner edge of the upper and lower lip, and pairs
# of points whose distance does not change in speech.
LIPS = ((61, 67), (62, 66), (63, 65))
STILL = ((27, 30), (36, 39), (42, 45), (30, 36), (30, 45))
EYES = (36, 45)  # outer corners, whose distance is the unit of length
LANDMARKS = 70
LANDMARK_FLOOR = 0.01  # fraction of the distance of the eyes; smaller changes are noise


@dataclass(frozen=True, slots=True, eq=False)
class FaceShape:
    """Distances between landmarks, divided by the distance of the eyes.

    stamp: ns. lips: (3,), opening of the lips. still: (5,), distances that speech does not change.
    """

    stamp: int
    lips: NDArray[np.float32]
    still: NDArray[np.float32]


def face_shape(stamp: int, landmarks: NDArray[np.float32]) -> FaceShape | None:
    """Return the shape of (70, 2) landmarks in pixels, in REP-155's order; None without eyes."""

    def distances(pairs: Sequence[tuple[int, int]]) -> NDArray[np.float32]:
        ends = landmarks[np.array(pairs)]  # (P, 2, 2)
        return np.asarray(np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1), np.float32)

    size = float(distances([EYES])[0])
    if not 1.0 <= size < float("inf"):  # pixels
        return None
    return FaceShape(stamp, distances(LIPS) / np.float32(size), distances(STILL) / np.float32(size))


def landmark_motion(before: FaceShape, after: FaceShape) -> float:
    """Return the motion of the lips relative to the rest of the face, like `mouth_motion`."""
    lips = float(np.abs(after.lips - before.lips).mean())
    rest = float(np.abs(after.still - before.still).mean())
    return float(np.log((lips + LANDMARK_FLOOR) / (rest + LANDMARK_FLOOR)))


def speech_motion(
    glimpses: Sequence[Glimpse],
    voice: Sequence[tuple[int, float]],
    start: int,
    config: SpeakingFaceConfig = DEFAULT,
) -> float | None:
    """Return the mouth motion of a face in speech minus that in silence; None: too few images.

    glimpses: of one face. voice: (time in ns, speech probability), ascending. start: ns, start of
    the utterance; earlier images are used for silence only.
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
    """Return the face whose mouth moves clearly more than all others; "" without such a face."""
    ranked = sorted(((motion, name) for name, motion in motions.items() if motion is not None))
    if len(ranked) < len(motions) or len(ranked) < 2:
        return ""
    (second, _), (most, name) = ranked[-2:]
    return name if most - second >= clearly else ""


def present(counts: Mapping[str, int], least: float = DEFAULT.present) -> list[str]:
    """Return the faces without false detections, from the number of detections of each."""
    most = max(counts.values(), default=0)
    return [name for name, count in counts.items() if count >= least * most]
