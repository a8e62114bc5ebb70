"""Face detection and face tracking in camera frames."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from erc_ros.sensing.frames import Frame
from erc_ros.sensing.images import image_size, to_bgr, to_gray
from erc_ros.values.errors import ErcRuntimeError, ErcValueError
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.utterance import FaceCrop

CROP_SIZE = 96  # pixels, default width and height of a face crop
CROP_MARGIN = 0.1  # margin on each side, as a fraction of the box
MAX_TRACKS = 8
SAME_FACE = 0.3  # minimum intersection over union of two boxes of one face
# A lost track is continued within NEAR + NEAR_PER_SECOND * (seconds since the loss) box widths of
# the extrapolated position, by a box whose size differs by at most the factor SIMILAR.
NEAR, NEAR_PER_SECOND, SIMILAR = 0.3, 0.7, 1.5
STEADY = 0.5  # smoothing factor of the velocity: weight of a new measurement


@dataclass(frozen=True, slots=True)
class Box:
    """A face in pixels of the full frame; (x, y) is its top left corner, inside the frame."""

    x: int
    y: int
    width: int
    height: int

    @property
    def area(self) -> int:
        return self.width * self.height

    def overlap(self, other: Box) -> float:
        """Return the intersection over union, 0 to 1."""
        width = min(self.x + self.width, other.x + other.width) - max(self.x, other.x)
        height = min(self.y + self.height, other.y + other.height) - max(self.y, other.y)
        common = max(width, 0) * max(height, 0)
        return common / max(self.area + other.area - common, 1)


@dataclass(frozen=True, slots=True)
class FaceObservation:
    """One tracked face in one frame.

    track_id: "face1", "face2", ...; never reused. stamp: ns, of the frame. box: last detection.
    crop: the image of the face; None on frames without a detection of it.
    """

    track_id: str
    stamp: int
    box: Box
    crop: FaceCrop | None


class FaceDetector(Protocol):
    """Interface of a detector of faces in one image.

    Contract, for the detectors of this package and of others:

    - The class is called without arguments. `detect` is called by one thread, which is not the one
      that made the object, at `face_rate` frames per second at most.
    - Boxes are in pixels of the full frame, inside it, at least 1 pixel wide and high, sorted by
      area, the largest first; an empty list where there is no face.
    - Boxes follow those of OpenCV's frontal face cascade (forehead to chin, about 2.15 times the
      distance from the eyes to the mouth), on which the face networks were trained.
    - The result depends only on the frame: no tracking, no clock, no random numbers.
    - `detect` does not change the frame. It raises no error for images of 1 to 8192 pixels on a
      side in any encoding that `sensing.images.to_bgr` reads.
    """

    def detect(self, frame: Frame) -> list[Box]:
        """Return the faces in the frame, the largest first.

        Raises:
            ImageError: the frame could not be decoded.
        """


class HaarDetector:
    """OpenCV's cascade for frontal faces: no model file, one CPU thread, few rotated faces.

    max_width: pixels, width to which the gray image is scaled down.
    min_face: width of the smallest face, as a fraction of the image's width; smaller is slower.

    Raises:
        ValueError: an argument is out of range.
        RuntimeError: OpenCV has no cascade files (5 and later, some system builds).
    """

    def __init__(self, max_width: int = 320, min_face: float = 0.1) -> None:
        check_detector(max_width)
        if not 0 < min_face <= 1:
            raise ErcValueError(
                f"min_face is {min_face}; must be a fraction of the image's width in (0, 1]"
            )
        self._max_width, self._min_face = max_width, min_face
        self._cascade = _load_cascade()

    def detect(self, frame: Frame) -> list[Box]:
        gray = to_gray(frame, self._max_width)
        side = max(24, round(gray.shape[1] * self._min_face))  # the cascade was trained on 24x24
        detections = self._cascade.detectMultiScale(
            # without histogram equalization, which lost a tenth of the faces and added false ones
            gray,
            scaleFactor=1.15,
            minNeighbors=3,
            minSize=(side, side),
        )
        scale = image_size(frame)[0] / gray.shape[1]
        boxes = [tuple(float(value) * scale for value in face) for face in detections]
        return sorted_boxes(boxes, *image_size(frame))


@dataclass(frozen=True, slots=True)
class Track:
    """A tracked face. seen: ns, stamp of the last frame with a detection.

    velocity: of its center, pixels per second, right and down.
    """

    track_id: str
    box: Box
    seen: int
    velocity: tuple[float, float] = (0.0, 0.0)

    def expected(self, stamp: int) -> Box:
        """Return the box extrapolated to `stamp` (ns) with constant velocity."""
        past = max(0, stamp - self.seen) / NS
        x, y = (round(speed * past) for speed in self.velocity)
        return replace(self.box, x=self.box.x + x, y=self.box.y + y)


@dataclass(frozen=True, slots=True)
class Tracks:
    """State of the tracker: the current tracks, and the number of tracks started so far."""

    live: tuple[Track, ...] = ()
    started: int = 0


def likeness(track: Track, box: Box, stamp: int) -> float:
    """Return the score that a detection continues a track, 0 to 1.

    The score is the overlap with the extrapolated box; without overlap, a lower score for a
    position close to it.
    """
    expected = track.expected(stamp)
    overlap = expected.overlap(box)
    if overlap >= SAME_FACE:
        return overlap
    size = max(track.box.width, track.box.height, 1)
    growth = max(box.width, box.height, 1) / size
    x = expected.x + expected.width / 2 - box.x - box.width / 2
    y = expected.y + expected.height / 2 - box.y - box.height / 2
    reach = size * (NEAR + NEAR_PER_SECOND * max(0, stamp - track.seen) / NS)
    if not 1 / SIMILAR <= growth <= SIMILAR:
        return 0.0
    return SAME_FACE * max(0.0, 1 - math.hypot(x, y) / reach)


def follow(track: Track, box: Box, stamp: int) -> Track:
    """Return the track updated with a detection."""
    past = (stamp - track.seen) / NS
    if past <= 0:
        return replace(track, box=box, seen=stamp)
    new = (
        (box.x + box.width / 2 - track.box.x - track.box.width / 2) / past,
        (box.y + box.height / 2 - track.box.y - track.box.height / 2) / past,
    )
    old = track.velocity
    velocity = tuple(STEADY * n + (1 - STEADY) * o for n, o in zip(new, old, strict=True))
    return replace(track, box=box, seen=stamp, velocity=(velocity[0], velocity[1]))


def step(tracks: Tracks, boxes: list[Box], stamp: int, max_loss: int) -> Tracks:
    """Assign the detections of one frame to tracks, best score first; others start new tracks.

    A track ends after more than `max_loss` ns without detection. At most MAX_TRACKS are kept.
    """
    live = [track for track in tracks.live if stamp - track.seen <= max_loss]
    pairs = [
        (likeness(track, box, stamp), -t, -b)
        for t, track in enumerate(live)
        for b, box in enumerate(boxes)
    ]
    free_tracks, free_boxes = set(range(len(live))), set(range(len(boxes)))
    for alike, t, b in sorted(pairs, reverse=True):
        if alike > 0 and -t in free_tracks and -b in free_boxes:
            live[-t] = follow(live[-t], boxes[-b], stamp)
            free_tracks.discard(-t)
            free_boxes.discard(-b)
    started = tracks.started
    for b in sorted(free_boxes)[: MAX_TRACKS - len(live)]:
        started += 1
        live.append(Track(f"face{started}", boxes[b], stamp))
    return Tracks(tuple(live), started)


class FaceTracker:
    """Track the faces of a camera; between detections a face keeps its last box.

    The result depends only on the frames and their stamps, not on a wall clock.

    rate: detections per second of the stamps. max_loss: ns without detection after which a track
    ends. crop_size: pixels, width and height of a crop.
    """

    def __init__(
        self,
        detector: FaceDetector,
        rate: float = 5.0,
        max_loss: int = seconds(2.0),
        crop_size: int = CROP_SIZE,
    ) -> None:
        if not 0 < rate <= 1000 or max_loss < 0:
            raise ErcValueError(
                f"detection rate is {rate} Hz, max_loss {max_loss} ns; both must be positive"
            )
        self._detector, self._period, self._max_loss = detector, round(NS / rate), max_loss
        self.crop_size = crop_size
        self._tracks = Tracks()
        self.reset()

    def reset(self) -> None:
        """End all tracks; their ids are not reused."""
        self._tracks = Tracks(started=self._tracks.started)
        self._newest: int | None = None
        self._detected: int | None = None
        self._next_detection: int | None = None

    def feed(self, frame: Frame) -> list[FaceObservation]:
        """Return the faces in this frame.

        A frame with a stamp out of order is skipped; a clock that was set back restarts the
        tracker.

        Raises:
            ImageError: a frame that is due for detection could not be decoded; detection then runs
                on the next frame.
        """
        if self._newest is not None and frame.stamp <= self._newest:
            if self._newest - frame.stamp <= self._max_loss:
                return []
            self.reset()
        is_due = self._next_detection is None or frame.stamp >= self._next_detection
        if is_due:
            boxes = self._detector.detect(frame)
            self._tracks = step(self._tracks, boxes, frame.stamp, self._max_loss)
            self._detected = frame.stamp
            self._next_detection = self._next_time(frame.stamp)
        self._newest = frame.stamp
        detected = [track for track in self._tracks.live if track.seen == self._detected]
        image = to_bgr(frame) if is_due and detected else None
        return [self._observe(track, frame, image) for track in detected]

    def _next_time(self, stamp: int) -> int:
        """Return the next detection time, so that the rate does not depend on the camera's."""
        due = self._next_detection
        if due is None or stamp - due >= self._period:
            return stamp + self._period
        return due + self._period

    def _observe(
        self, track: Track, frame: Frame, image: NDArray[np.uint8] | None
    ) -> FaceObservation:
        crop = None
        if image is not None:
            pixels = cut_face(image, track.box, self.crop_size)
            crop = FaceCrop(frame.stamp, pixels, frame.frame_id)
        return FaceObservation(track.track_id, frame.stamp, track.box, crop)


def observe_crop(track_id: str, frame: Frame, crop_size: int = CROP_SIZE) -> FaceObservation:
    """Convert a face crop of an external detector to a square crop of `crop_size`.

    Raises:
        ImageError: the frame could not be decoded.
    """
    image = to_bgr(frame)
    height, width = image.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square = cv2.copyMakeBorder(
        image, top, side - height - top, left, side - width - left, cv2.BORDER_REPLICATE
    )
    crop = FaceCrop(frame.stamp, _scaled(square, crop_size), frame.frame_id)
    return FaceObservation(track_id, frame.stamp, Box(0, 0, width, height), crop)


def cut_face(image: NDArray[np.uint8], box: Box, crop_size: int = CROP_SIZE) -> NDArray[np.uint8]:
    """Crop a square around the box, with a margin: (H, W, 3) -> (crop_size, crop_size, 3).

    Pixels outside the image repeat its edge.
    """
    side = max(2, round(max(box.width, box.height) * (1 + 2 * CROP_MARGIN)))
    left, top = box.x + (box.width - side) // 2, box.y + (box.height - side) // 2
    height, width = image.shape[:2]
    square = cv2.copyMakeBorder(
        image[max(top, 0) : top + side, max(left, 0) : left + side],
        max(-top, 0),
        max(top + side - height, 0),
        max(-left, 0),
        max(left + side - width, 0),
        cv2.BORDER_REPLICATE,
    )
    return _scaled(square, crop_size)


def _scaled(square: NDArray[Any], size: int) -> NDArray[np.uint8]:
    method = cv2.INTER_AREA if len(square) > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (size, size), interpolation=method), np.uint8)


def check_detector(max_width: int) -> None:
    """Raise ValueError for an image width that is too small for face detection."""
    if max_width < 32:
        raise ErcValueError(f"max_width is {max_width} pixels; must be at least 32")


def _load_cascade() -> cv2.CascadeClassifier:
    name = "haarcascade_frontalface_default.xml"
    places = [Path("/usr/share/opencv4/haarcascades")]  # Debian's OpenCV has no cv2.data
    if hasattr(cv2, "data"):
        places.insert(0, Path(cv2.data.haarcascades))
    files = [place / name for place in places if (place / name).is_file()]
    if not files or not hasattr(cv2, "CascadeClassifier"):
        raise ErcRuntimeError(
            f"OpenCV {cv2.__version__} does not contain {name}: on Debian and Ubuntu apt install "
            "opencv-data; elsewhere pip install 'opencv-python-headless<5'; or set "
            "face_detector to yunet, which needs neither"
        )
    return cv2.CascadeClassifier(str(files[0]))


def sorted_boxes(faces: list[tuple[float, ...]], width: int, height: int) -> list[Box]:
    """Convert (x, y, width, height) to boxes inside the frame, the largest first."""
    boxes = []
    for x, y, w, h in faces:
        left, top = max(0, round(x)), max(0, round(y))
        right, bottom = min(width, round(x + w)), min(height, round(y + h))
        if right > left and bottom > top:
            boxes.append(Box(left, top, right - left, bottom - top))
    return sorted(boxes, key=lambda box: (-box.area, box.x, box.y))
