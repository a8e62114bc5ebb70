"""YuNet, the default detector, on a real photograph."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from erc_ros.encoders.face_detector import NETWORK, YuNetDetector, square
from erc_ros.pipeline import Perception, PerceptionConfig
from erc_ros.sensing.faces import HaarDetector
from erc_ros.sensing.frames import Frame
from erc_ros.values.nanoseconds import NS

ASTRONAUT = Path(__file__).parents[1] / "assets" / "astronaut.png"

Image = NDArray[np.uint8]


def astronaut() -> Image:
    image = cv2.imread(str(ASTRONAUT))
    assert image is not None
    return np.asarray(image, np.uint8)


def frame(image: Image) -> Frame:
    height, width = image.shape[:2]
    return Frame(NS, "bgr8", width, height, 3 * width, image.tobytes())


def room(*corners: tuple[int, int], angle: float = 0.0) -> Image:
    """Return a gray image of 640x480 with a rotated astronaut in each corner."""
    face = astronaut()
    middle = (face.shape[1] / 2, face.shape[0] / 2)
    turn = cv2.getRotationMatrix2D(middle, angle, 1.0)
    turned = cv2.warpAffine(face, turn, face.shape[1::-1], borderValue=(120, 120, 120))
    image = np.full((480, 640, 3), 120, np.uint8)
    for x, y in corners:
        image[y : y + face.shape[0], x : x + face.shape[1]] = turned
    return image


@pytest.fixture(scope="module")
def detector() -> YuNetDetector:
    return YuNetDetector()


def test_no_parameter_is_needed_for_yunet() -> None:
    perception = Perception(PerceptionConfig(speaker_model="none"))
    assert perception.feed(frame(room((100, 150)))) == []
    perception.flush()  # waits for the search
    assert [face.track_id for face in perception.faces] == ["face1"]
    perception.close()


def test_its_box_is_where_the_cascade_has_it(detector: YuNetDetector) -> None:
    (box,), (haar,) = (each.detect(frame(astronaut())) for each in (detector, HaarDetector()))
    assert box.overlap(haar) > 0.7
    (box,) = detector.detect(frame(room((300, 200))))
    assert abs(box.width - box.height) <= 1


def test_several_faces_and_turned_ones_are_found(detector: YuNetDetector) -> None:
    assert len(detector.detect(frame(room((50, 100), (350, 150))))) == 2
    tilted = frame(room((100, 150), angle=35))
    assert len(detector.detect(tilted)) == 1 and HaarDetector().detect(tilted) == []


def test_points_are_where_the_eyes_and_the_mouth_are(detector: YuNetDetector) -> None:
    (face,) = detector.find(astronaut())
    right_eye, left_eye, nose, right_mouth, left_mouth = face[4:14].reshape(5, 2)
    assert right_eye[0] < nose[0] < left_eye[0] and right_mouth[0] < left_mouth[0]
    assert max(right_eye[1], left_eye[1]) < nose[1] < min(right_mouth[1], left_mouth[1])
    x, y, side, _ = square(face)
    for point in (right_eye, left_eye, nose, right_mouth, left_mouth):
        assert x < point[0] < x + side and y < point[1] < y + side


@pytest.mark.parametrize("size", [(1, 1), (7, 900), (900, 7), (33, 65)])
def test_images_of_any_size_are_searched(detector: YuNetDetector, size: tuple[int, int]) -> None:
    assert detector.detect(frame(np.full((*size, 3), 90, np.uint8))) == []


def test_no_face_is_found_in_noise(detector: YuNetDetector) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3)).astype(np.uint8)
    assert detector.detect(frame(noise)) == []


def test_a_missing_or_wrong_model_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no_model\.onnx"):
        YuNetDetector(tmp_path / "no_model.onnx")
    wrong = tmp_path / "wrong.onnx"
    wrong.write_bytes(b"this is no model")
    other = Path(__file__).parents[2] / "erc_ros" / "models" / "edge-small" / "face.onnx"
    for file in (wrong, other):
        with pytest.raises(ValueError, match="YuNet"):
            YuNetDetector(file)


@pytest.mark.parametrize(("max_width", "min_score"), [(10, 0.7), (320, 0.0), (320, 1.0)])
def test_bounds_are_checked(max_width: int, min_score: float) -> None:
    with pytest.raises(ValueError, match=r"max_width|min_score"):
        YuNetDetector(NETWORK, max_width, min_score)
