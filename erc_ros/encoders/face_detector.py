"""YuNet, the default face detector: a network of 230 kB that also finds turned and small faces.

It runs in ONNX Runtime. OpenCV has a class for it (`FaceDetectorYN`), but reads this form of the
network from version 4.8 on only, and Ubuntu 22.04 and 24.04 ship 4.5.4 and 4.6.

Wu, Peng and Yu, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 20,
2023. `assets/README.md` has source and license of the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from erc_ros.networks.session import NetworkError, on_cpu
from erc_ros.sensing.faces import Box, check_detector, sorted_boxes
from erc_ros.sensing.frames import Frame
from erc_ros.sensing.images import to_bgr
from erc_ros.values.errors import ErcValueError

NETWORK = Path(__file__).parent / "assets" / "face_detection_yunet_2026may.onnx"
STRIDES = (8, 16, 32)  # pixels between the anchors of the three scales
MIN_SCORE = 0.7
SAME_FACE = 0.3  # intersection over union of two detections of one face
RIGHT_EYE, LEFT_EYE, NOSE, RIGHT_MOUTH, LEFT_MOUTH = range(5)

# The face network learned from FER2013, whose images were cut by a cascade like OpenCV's. Where
# that cascade's square is, relative to the eyes and the mouth that YuNet finds: fitted by
# `python -m benchmarks.face_detectors --fit` to photographs in which both detectors find the face.
SIDE = 2.15  # of the square, in distances from the eyes to the mouth
MIN_SIDE = 2.1  # of the square, in distances between the eyes: for faces that look up or down
MIDDLE = 0.26  # of the square: this share of the way from the eyes to the mouth

Detections = NDArray[np.float32]  # (n, 15): x, y, width, height, five points (x, y), score


class YuNetDetector:
    """Faces of an image, cut as the face networks expect them.

    The box of a face is a square around its eyes and mouth, in the place where OpenCV's cascade,
    with which FER2013 was cut, has it: not YuNet's own rectangle.

    Args:
        model_file: a YuNet ONNX file with inputs of any size; the one of the package by default.
        max_width: the image is scaled down to it, pixels.
        min_score: of a detection, 0 to 1.

    Raises:
        ValueError: a bound out of its range, or the file is no such model.
        FileNotFoundError: there is no model file.
    """

    def __init__(
        self, model_file: Path = NETWORK, max_width: int = 320, min_score: float = MIN_SCORE
    ) -> None:
        check_detector(max_width)
        if not 0 < min_score < 1:
            raise ErcValueError(f"min_score is {min_score}; must be between 0 and 1")
        if not model_file.is_file():
            raise FileNotFoundError(
                f"face model {model_file} does not exist; set face_model to a YuNet ONNX file, or"
                " leave it empty for the one of the package"
            )
        self._max_width, self._min_score = max_width, min_score
        try:
            self._network = on_cpu(model_file)
            self.find(np.zeros((64, 96, 3), np.uint8))
        except (NetworkError, KeyError, ValueError, IndexError) as error:
            raise ErcValueError(f"face model {model_file} is no YuNet model: {error}") from error

    def detect(self, frame: Frame) -> list[Box]:
        image = to_bgr(frame)
        height, width = image.shape[:2]
        boxes = [square(face) for face in self.find(image)]
        return sorted_boxes(boxes, width, height)

    def find(self, image: NDArray[np.uint8]) -> Detections:
        """All faces of an image (H, W, 3) BGR, in its pixels, the surest first."""
        height, width = image.shape[:2]
        scale = max(1.0, width / self._max_width)
        size = (max(1, round(width / scale)), max(1, round(height / scale)))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale > 1 else image
        rows, columns = (-(-side // STRIDES[-1]) * STRIDES[-1] for side in small.shape[:2])
        padded = np.zeros((rows, columns, 3), np.float32)
        padded[: small.shape[0], : small.shape[1]] = small
        outputs = self._network({"input": np.ascontiguousarray(padded.transpose(2, 0, 1)[None])})
        faces = np.concatenate([_decoded(outputs, stride, columns) for stride in STRIDES])
        faces = _separate(faces[faces[:, 14] >= self._min_score])
        faces[:, :14] *= scale
        return faces


def square(face: NDArray[np.float32]) -> tuple[float, ...]:
    """x, y, width, height of the square that a face is cut by, of a detection (15,)."""
    points = face[4:14].reshape(5, 2)
    eyes = (points[RIGHT_EYE] + points[LEFT_EYE]) / 2
    mouth = (points[RIGHT_MOUTH] + points[LEFT_MOUTH]) / 2
    apart = float(np.hypot(*(points[LEFT_EYE] - points[RIGHT_EYE])))
    side = max(SIDE * float(np.hypot(*(mouth - eyes))), MIN_SIDE * apart)
    x, y = eyes + MIDDLE * (mouth - eyes) - side / 2
    return float(x), float(y), side, side


def _decoded(outputs: dict[str, NDArray[Any]], stride: int, columns: int) -> Detections:
    """One scale's detections (n, 15), in pixels of the network's input."""
    kind, there = outputs[f"cls_{stride}"][0, :, 0], outputs[f"obj_{stride}"][0, :, 0]
    score = np.sqrt(np.clip(kind, 0, 1) * np.clip(there, 0, 1))
    number = np.arange(len(score))
    anchors = np.stack([number % (columns // stride), number // (columns // stride)], axis=1)
    box, points = outputs[f"bbox_{stride}"][0], outputs[f"kps_{stride}"][0]
    middle = (anchors + box[:, :2]) * stride
    # A size beyond e^10 strides is no size; it would be infinite.
    size = np.exp(np.minimum(box[:, 2:], 10)) * stride
    spots = (points.reshape(-1, 5, 2) + anchors[:, None]) * stride
    columns_of = [middle - size / 2, size, spots.reshape(-1, 10), score[:, None]]
    return np.concatenate(columns_of, axis=1).astype(np.float32)


def _separate(faces: Detections) -> Detections:
    """Without the less sure ones of detections that overlap, the surest first."""
    faces = faces[np.argsort(-faces[:, 14], kind="stable")]
    kept: list[NDArray[np.float32]] = []
    for face in faces[np.isfinite(faces).all(axis=1)]:
        if all(_overlap(face, other) <= SAME_FACE for other in kept):
            kept.append(face)
    return np.stack(kept) if kept else np.zeros((0, 15), np.float32)


def _overlap(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    first, last = (
        np.maximum(one[:2], other[:2]),
        np.minimum(one[:2] + one[2:4], other[:2] + other[2:4]),
    )
    common = float(np.prod(np.maximum(last - first, 0)))
    return common / max(float(one[2] * one[3] + other[2] * other[3]) - common, 1e-6)
