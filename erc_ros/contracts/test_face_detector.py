"""The contract of `erc_ros.sensing.faces.FaceDetector`."""

from __future__ import annotations

import threading

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from erc_ros.demo.conversation_bag import FACE
from erc_ros.plugins import FACE_DETECTORS, find
from erc_ros.sensing.faces import Box, FaceDetector
from erc_ros.sensing.frames import Frame

EXAMPLE_FACE = (0.5, 0.4)  # center of the face in the example image, as fractions of its size


@pytest.fixture
def detector(face_detector: str) -> FaceDetector:
    """A new detector, created as in the pipeline."""
    made: FaceDetector = find(FACE_DETECTORS, face_detector)()
    return made


def frame(image: NDArray[np.uint8], encoding: str = "bgr8") -> Frame:
    """Wrap an image (H, W[, 3]) in a frame."""
    height, width = image.shape[:2]
    return Frame(1, encoding, width, height, image.strides[0], image.tobytes())


def portrait() -> NDArray[np.uint8]:
    """Load the example image of this package, with one frontal face."""
    return np.asarray(cv2.imread(str(FACE)), np.uint8)


def noise(height: int, width: int) -> NDArray[np.uint8]:
    """Return random pixels."""
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)


def check(boxes: list[Box], width: int, height: int) -> None:
    """Check that the boxes are inside the image and sorted by area."""
    for box in boxes:
        assert isinstance(box, Box)
        assert all(isinstance(n, int) for n in (box.x, box.y, box.width, box.height))
        assert box.width >= 1 and box.height >= 1, f"{box} is empty"
        assert box.x >= 0 and box.y >= 0, f"{box} begins outside the image"
        assert box.x + box.width <= width and box.y + box.height <= height, f"{box} ends outside"
    areas = [box.area for box in boxes]
    assert areas == sorted(areas, reverse=True), "the largest face must be the first"


def test_a_frontal_face_is_found(detector: FaceDetector) -> None:
    """A box in the example image contains the center of the face."""
    image = portrait()
    height, width = image.shape[:2]
    boxes = detector.detect(frame(image))
    check(boxes, width, height)
    x, y = EXAMPLE_FACE[0] * width, EXAMPLE_FACE[1] * height
    assert any(
        box.x <= x <= box.x + box.width and box.y <= y <= box.y + box.height for box in boxes
    ), f"no box of {boxes} holds the middle of the face ({x:.0f}, {y:.0f})"


def test_two_faces_are_found_inside_a_wide_image(detector: FaceDetector) -> None:
    """The boxes of two faces of different sizes are sorted and inside the image."""
    image = portrait()
    half = cv2.resize(image, None, fx=0.75, fy=0.75)
    wall = np.full((image.shape[0], image.shape[1] + half.shape[1], 3), 128, np.uint8)
    wall[:, : image.shape[1]] = image
    wall[: half.shape[0], image.shape[1] :] = half
    boxes = detector.detect(frame(wall))
    assert len(boxes) >= 2
    check(boxes, wall.shape[1], wall.shape[0])


@pytest.mark.parametrize("size", [(1, 1), (3, 400), (480, 640), (37, 53)])
def test_images_without_a_face_raise_nothing(detector: FaceDetector, size: tuple[int, int]) -> None:
    """Uniform images and noise of any size give a list."""
    plain = np.full((*size, 3), 90, np.uint8)
    assert detector.detect(frame(plain)) == []
    check(detector.detect(frame(noise(*size))), size[1], size[0])


@pytest.mark.parametrize("encoding", ["rgb8", "mono8", "jpeg"])
def test_every_encoding_gives_the_face(detector: FaceDetector, encoding: str) -> None:
    """Color order, gray images and compression change the boxes by a few pixels at most."""
    image = portrait()
    height, width = image.shape[:2]
    (expected, *_) = detector.detect(frame(image))
    if encoding == "jpeg":
        data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()
        other = Frame(1, "jpeg", 0, 0, 0, data)
    elif encoding == "mono8":
        other = frame(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8), "mono8")
    else:
        other = frame(np.ascontiguousarray(image[..., ::-1]), "rgb8")
    (box, *_) = detector.detect(other)
    check([box], width, height)
    assert box.overlap(expected) > 0.6, f"{box} for {encoding}, {expected} for bgr8"


def test_the_result_depends_on_the_frame_alone(detector: FaceDetector) -> None:
    """Other frames in between and the order of frames have no effect."""
    image, other = frame(portrait()), frame(noise(240, 320))
    without = detector.detect(other)
    first = detector.detect(image)
    assert detector.detect(other) == without
    assert detector.detect(image) == first


def test_the_frame_is_not_changed(detector: FaceDetector) -> None:
    """The pixels are the same afterwards."""
    pixels = portrait()
    array = np.ascontiguousarray(pixels.copy())
    height, width = array.shape[:2]
    detector.detect(Frame(1, "bgr8", width, height, 3 * width, array.data.cast("B")))
    np.testing.assert_array_equal(array, pixels)


def test_it_works_on_another_thread(detector: FaceDetector) -> None:
    """The object is created on one thread and used on another."""
    boxes: list[list[Box]] = []
    thread = threading.Thread(target=lambda: boxes.append(detector.detect(frame(portrait()))))
    thread.start()
    thread.join(60)
    assert boxes == [detector.detect(frame(portrait()))]
