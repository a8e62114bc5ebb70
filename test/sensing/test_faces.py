"""Face detection in a real image, tracking and cropping; the tracker with synthetic detections."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from erc_ros.sensing.faces import (
    CROP_SIZE,
    Box,
    FaceObservation,
    FaceTracker,
    HaarDetector,
    Track,
    Tracks,
    cut_face,
    follow,
    observe_crop,
    step,
)
from erc_ros.sensing.frames import Frame
from erc_ros.sensing.images import ImageError
from erc_ros.values.nanoseconds import NS, seconds

ASTRONAUT = Path(__file__).parents[1] / "assets" / "astronaut.png"
FACE = Box(54, 64, 100, 100)  # in that image
T0 = 1_700_000_000 * NS
MS = NS // 1000


def astronaut() -> NDArray[np.uint8]:
    image = cv2.imread(str(ASTRONAUT))
    assert image is not None
    return np.asarray(image, np.uint8)


def frame(image: NDArray[np.uint8], stamp: int = T0) -> Frame:
    height, width = image.shape[:2]
    return Frame(stamp, "bgr8", width, height, width * 3, image.tobytes())


def room(*corners: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a gray image of 640x480 with the face of the astronaut in each corner."""
    image = np.full((480, 640, 3), 120, np.uint8)
    for x, y in corners:
        image[y : y + 210, x : x + 210] = astronaut()
    return image


class Script:
    """A detector with given results that records its calls."""

    def __init__(self, *boxes: list[Box]) -> None:
        self.boxes, self.asked = list(boxes), list[int]()

    def detect(self, frame: Frame) -> list[Box]:
        self.asked.append(frame.stamp)
        return self.boxes.pop(0) if len(self.boxes) > 1 else self.boxes[0]


def blank(stamp: int) -> Frame:
    return Frame(stamp, "mono8", 64, 48, 64, bytes(64 * 48))


def ids(observations: list[FaceObservation]) -> list[str]:
    return [observation.track_id for observation in observations]


# --- the cascade ---


def test_the_cascade_finds_the_face() -> None:
    (box,) = HaarDetector().detect(frame(astronaut()))
    assert box.overlap(FACE) > 0.7


def test_boxes_are_in_pixels_of_the_full_frame_whatever_the_encoding() -> None:
    image = room((100, 150))
    expected = Box(FACE.x + 100, FACE.y + 150, FACE.width, FACE.height)
    jpeg = cv2.imencode(".jpg", image)[1].tobytes()
    for one in (frame(image), Frame(T0, "jpeg", 0, 0, 0, jpeg)):
        (box,) = HaarDetector().detect(one)
        assert box.overlap(expected) > 0.7


def test_two_faces_are_found() -> None:
    boxes = HaarDetector().detect(frame(room((50, 100), (350, 150))))
    assert len(boxes) == 2


def test_no_face_is_found_where_none_is() -> None:
    assert HaarDetector().detect(frame(room())) == []
    assert HaarDetector().detect(blank(T0)) == []


def test_faces_below_the_smallest_size_are_excluded() -> None:
    assert HaarDetector(min_face=0.3).detect(frame(room((100, 150)))) == []


def test_an_opencv_without_the_cascade_says_where_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if Path("/usr/share/opencv4/haarcascades").is_dir():
        pytest.skip("this system has opencv-data")
    monkeypatch.delattr(cv2, "data")  # as with Ubuntu's python3-opencv
    with pytest.raises(RuntimeError, match=r"apt install opencv-data.*face_detector"):
        HaarDetector()


def test_an_image_smaller_than_the_cascade_has_no_faces() -> None:
    assert HaarDetector().detect(Frame(T0, "mono8", 8, 8, 8, bytes(64))) == []


def test_bounds_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="max_width is 10"):
        HaarDetector(max_width=10)
    for min_face in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match="min_face"):
            HaarDetector(min_face=min_face)


# --- tracks ---


def test_a_face_keeps_its_id_while_it_moves() -> None:
    boxes = [[Box(10 + 8 * n, 20, 60, 60)] for n in range(20)]
    tracker = FaceTracker(Script(*boxes), rate=5)
    seen = [ids(tracker.feed(blank(T0 + n * 200 * MS))) for n in range(20)]
    assert seen == [["face1"]] * 20


def test_two_faces_keep_their_ids_when_the_detector_swaps_them() -> None:
    left, right = Box(0, 0, 20, 20), Box(40, 20, 20, 20)
    tracker = FaceTracker(Script([left, right], [right, left], [left, right]), rate=5)
    for n in range(3):
        faces = tracker.feed(blank(T0 + n * 200 * MS))
        assert {o.track_id: o.box for o in faces} == {"face1": left, "face2": right}


def test_a_short_loss_is_survived_and_a_long_one_is_not() -> None:
    box = Box(0, 0, 20, 20)
    script = Script([box], [], [], [box], [], [], [], [], [], [], [box])
    tracker = FaceTracker(script, rate=5, max_loss=seconds(1.0))
    seen = [ids(tracker.feed(blank(T0 + n * 200 * MS))) for n in range(11)]
    assert seen == [["face1"], [], [], ["face1"], *[[]] * 6, ["face2"]]


def test_a_face_that_was_lost_for_as_long_as_is_allowed_is_the_same() -> None:
    box = Box(0, 0, 20, 20)
    for late, expected in ((0, "face1"), (1, "face2")):  # ns more than that
        tracker = FaceTracker(Script([box]), rate=5, max_loss=seconds(1.0))
        tracker.feed(blank(T0))
        assert ids(tracker.feed(blank(T0 + seconds(1.0) + late))) == [expected]


def test_a_walking_face_that_is_lost_for_a_second_is_the_same_where_it_was_heading() -> None:
    walk = [Box(20 * n, 100, 60, 60) for n in range(20)]
    seen = [[box] if n < 6 or n > 10 else [] for n, box in enumerate(walk)]
    tracker = FaceTracker(Script(*seen), rate=5)
    names = [ids(tracker.feed(blank(T0 + n * 200 * MS))) for n in range(20)]
    assert names == [["face1"] if boxes else [] for boxes in seen]


def test_after_a_loss_a_face_elsewhere_or_of_another_size_is_a_new_track() -> None:
    for other in (Box(400, 100, 60, 60), Box(90, 90, 140, 140)):
        tracker = FaceTracker(Script([Box(100, 100, 60, 60)], [], [other]), rate=5)
        names = [ids(tracker.feed(blank(T0 + n * 200 * MS))) for n in range(3)]
        assert names == [["face1"], [], ["face2"]], other


def test_a_face_may_reappear_the_farther_away_the_longer_it_was_lost() -> None:
    here, there = Box(100, 100, 60, 60), Box(160, 100, 60, 60)  # one width away
    for lost, expected in ((1, "face2"), (7, "face1")):  # detections at 5 Hz
        tracker = FaceTracker(Script([here], *[[]] * lost, [there]), rate=5)
        names = [ids(tracker.feed(blank(T0 + n * 200 * MS))) for n in range(lost + 2)]
        assert names[-1] == [expected], f"lost for {lost} detections"


@given(st.integers(-300, 300), st.integers(-300, 300))
def test_one_detection_changes_the_velocity_by_half(before: int, after: int) -> None:
    track = Track("face1", Box(1000, 0, 60, 60), T0, (float(before), 0.0))
    seen = follow(track, Box(1000 + after, 0, 60, 60), T0 + NS)  # it moved by `after` in a second
    assert seen.velocity == ((before + after) / 2, 0.0)


def test_two_who_pass_each_other_keep_their_ids() -> None:
    steps = [[Box(30 * n, 100, 60, 60), Box(600 - 30 * n, 140, 60, 60)] for n in range(20)]
    tracker = FaceTracker(Script(*steps), rate=5)
    for n in range(20):
        boxes = {o.track_id: o.box for o in tracker.feed(blank(T0 + n * 200 * MS))}
        assert boxes == {"face1": steps[n][0], "face2": steps[n][1]}


def test_a_face_that_was_cut_out_by_others_becomes_square_and_keeps_its_id() -> None:
    image = astronaut()[20:180, 40:140]
    observed = observe_crop("anna", frame(image))
    assert observed.track_id == "anna" and observed.crop is not None
    assert observed.crop.pixels.shape == (CROP_SIZE, CROP_SIZE, 3)
    assert observe_crop("anna", replace(frame(image), frame_id="eye")).crop.frame_id == "eye"
    with pytest.raises(ImageError):
        observe_crop("anna", Frame(T0, "jpeg", 0, 0, 0, b"no picture at all"))


def test_detection_keeps_its_rate_and_crops_come_with_it() -> None:
    script = Script([Box(0, 0, 20, 20)])
    tracker = FaceTracker(script, rate=5)
    observed = [tracker.feed(blank(T0 + n * NS // 30)) for n in range(90)]
    assert len(script.asked) == 15  # three seconds at 5 Hz, out of 30 Hz
    assert all(ids(faces) == ["face1"] for faces in observed)
    with_crop = [faces[0].stamp for faces in observed if faces[0].crop is not None]
    assert with_crop == script.asked
    crop = observed[0][0].crop
    assert crop is not None and crop.stamp == T0
    assert crop.pixels.shape == (CROP_SIZE, CROP_SIZE, 3) and crop.pixels.dtype == np.uint8


@pytest.mark.parametrize("frames_per_second", [5, 7, 12, 15, 24, 25, 30, 60])
def test_the_detection_rate_does_not_depend_on_the_camera_rate(frames_per_second: int) -> None:
    script = Script([Box(0, 0, 20, 20)])
    tracker = FaceTracker(script, rate=5)
    for n in range(20 * frames_per_second):
        tracker.feed(blank(T0 + n * NS // frames_per_second))
    assert len(script.asked) == 100  # 20 s at 5 Hz


def test_frames_between_detections_are_not_decoded() -> None:
    tracker = FaceTracker(Script([Box(0, 0, 20, 20)]), rate=1)
    tracker.feed(blank(T0))
    faces = tracker.feed(Frame(T0 + 33 * MS, "jpeg", 0, 0, 0, b"no picture at all"))
    assert ids(faces) == ["face1"] and faces[0].crop is None


def test_a_broken_frame_is_an_error_and_the_next_one_is_searched() -> None:
    tracker = FaceTracker(HaarDetector(), rate=1)
    with pytest.raises(ImageError):
        tracker.feed(Frame(T0, "jpeg", 0, 0, 0, b"no picture at all"))
    assert ids(tracker.feed(frame(astronaut(), T0 + 33 * MS))) == ["face1"]


def test_stamps_that_go_back_a_little_are_skipped_and_far_back_restart() -> None:
    script = Script([Box(0, 0, 20, 20)])
    tracker = FaceTracker(script, rate=5)
    tracker.feed(blank(T0))
    assert tracker.feed(blank(T0)) == tracker.feed(blank(T0 - 100 * MS)) == []
    assert ids(tracker.feed(blank(T0 - 60 * NS))) == ["face2"]  # ids are not used again
    tracker.reset()
    assert ids(tracker.feed(blank(T0))) == ["face3"]


@given(st.lists(st.lists(st.tuples(st.integers(0, 600), st.integers(1, 200)), max_size=30)))
def test_tracks_are_bounded_distinct_and_ids_never_return(
    detections: list[list[tuple[int, int]]],
) -> None:
    tracks, gone, before = Tracks(), set[str](), set[str]()
    for number, corners in enumerate(detections):
        boxes = [Box(x, x % 97, size, size) for x, size in corners]
        tracks = step(tracks, boxes, T0 + number * 200 * MS, seconds(1.0))
        now = {track.track_id for track in tracks.live}
        assert len(now) == len(tracks.live) <= 8
        assert not now & gone
        gone |= before - now
        before = now


def test_a_rate_that_cannot_be_is_refused() -> None:
    for rate in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="rate"):
            FaceTracker(Script([]), rate=rate)


def test_a_moving_face_is_tracked_in_real_images() -> None:
    results = []
    for _ in range(2):
        tracker = FaceTracker(HaarDetector(), rate=5)
        observed = [tracker.feed(frame(room((20 * n, 100)), T0 + n * 200 * MS)) for n in range(15)]
        assert all(ids(one) == ["face1"] for one in observed)
        results.append(
            [(o.box, o.crop.pixels.tobytes()) for one in observed for o in one if o.crop]
        )
    assert results[0] == results[1] and len(results[0]) == 15


# --- crops ---


def test_a_crop_is_the_box_with_its_margin() -> None:
    image = np.zeros((200, 300, 3), np.uint8)
    image[50:130, 100:180] = 200
    crop = cut_face(image, Box(100, 50, 80, 80))
    assert crop.shape == (CROP_SIZE, CROP_SIZE, 3)
    assert (crop[10:-10, 10:-10] == 200).all() and not crop[:6].any() and not crop[:, -6:].any()


def test_the_smallest_face_is_cut_out_with_two_pixels() -> None:
    image = np.zeros((20, 20, 3), np.uint8)
    image[9:11, 9:11] = 200
    assert (cut_face(image, Box(10, 10, 1, 1)) == 200).all()  # nothing around them


@pytest.mark.parametrize(
    "box", [Box(0, 0, 50, 50), Box(250, 150, 50, 50), Box(0, 0, 300, 200), Box(299, 199, 1, 1)]
)
def test_a_crop_at_the_edge_repeats_the_edge(box: Box) -> None:
    crop = cut_face(np.full((200, 300, 3), 77, np.uint8), box)
    assert crop.shape == (CROP_SIZE, CROP_SIZE, 3) and (crop == 77).all()
