"""YuNet, the default face detector: a network of 230 kB that also detects rotated and small faces.

It runs in ONNX Runtime. OpenCV's class for it (`FaceDetectorYN`) reads this version of the network
from OpenCV 4.8 on, but Ubuntu 22.04 and 24.04 contain 4.5.4 and 4.6.

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
STRIDES = (8, 16, 32)  # pixels between the anchors of each scale
MIN_SCORE = 0.7
SAME_FACE = 0.3  # minimum intersection over union of two detections of one face
RIGHT_EYE, LEFT_EYE, NOSE, RIGHT_MOUTH, LEFT_MOUTH = range(5)

# The face network was trained on FER2013, whose images were cropped by a cascade like OpenCV's. The
# constants place its square relative to the eyes and mouth that YuNet detects. They were fitted by
# `python -m benchmarks.face_detectors --fit` to photographs in which both detectors find the face.
SIDE = 2.15  # side of the square, in distances from the eyes to the mouth
MIN_SIDE = 2.1  # minimum side, in distances between the eyes: for faces that look up or down
MIDDLE = 0.26  # center of the square, as a fraction of the way from the eyes to the mouth

Detections = NDArray[np.float32]  # (n, 15): x, y, width, height, five points (x, y), score


class YuNetDetector:
    """Face detector whose boxes fit the face networks.

    The box of a face is not YuNet's rectangle, but a square relative to its eyes and mouth, at the
    place where OpenCV's cascade, which was used to crop FER2013, has it.

    Args:
        model_file: a YuNet ONNX file with inputs of any size; default: that of the package.
        max_width: pixels, width to which the image is scaled down.
        min_score: minimum score of a detection, 0 to 1.

    Raises:
        ValueError: an argument is out of range, or the file is not a YuNet model.
        FileNotFoundError: the model file does not exist.
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
            raise ErcValueError(f"face model {model_file} is not a YuNet model: {error}") from error

    def detect(self, frame: Frame) -> list[Box]:
        image = to_bgr(frame)
        height, width = image.shape[:2]
        boxes = [square(face) for face in self.find(image)]
        return sorted_boxes(boxes, width, height)

    def find(self, image: NDArray[np.uint8]) -> Detections:
        """Return the detections in an image (H, W, 3) BGR, in its pixels, highest score first."""
        height, width = image.shape[:2]
        scale = max(1.0, width / self._max_width)
        size = (max(1, round(width / scale)), max(1, round(height / scale)))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale > 1 else image
        rows, columns = (-(-side // STRIDES[-1]) * STRIDES[-1] for side in small.shape[:2])
        padded = np.zeros((rows, columns, 3), np.float32)
        padded[: small.shape[0], : small.shape[1]] = small
        outputs = self._network({"input": np.ascontiguousarray(padded.transpose(2, 0, 1)[None])})
        faces = _separate(
            np.concatenate(
                [_decoded(outputs, stride, columns, self._min_score) for stride in STRIDES]
            )
        )
        faces[:, :14] *= scale
        return faces


def square(face: NDArray[np.float32]) -> tuple[float, ...]:
    """Return x, y, width and height of the crop of a detection (15,)."""
    points = face[4:14].reshape(5, 2)
    eyes = (points[RIGHT_EYE] + points[LEFT_EYE]) / 2
    mouth = (points[RIGHT_MOUTH] + points[LEFT_MOUTH]) / 2
    apart = float(np.hypot(*(points[LEFT_EYE] - points[RIGHT_EYE])))
    side = max(SIDE * float(np.hypot(*(mouth - eyes))), MIN_SIDE * apart)
    x, y = eyes + MIDDLE * (mouth - eyes) - side / 2
    return float(x), float(y), side, side


def _decoded(
    outputs: dict[str, NDArray[Any]], stride: int, columns: int, min_score: float
) -> Detections:
    """Decode the sure detections of one scale: (n, 15), in pixels of the network input."""
    kind, there = outputs[f"cls_{stride}"][0, :, 0], outputs[f"obj_{stride}"][0, :, 0]
    score = np.sqrt(np.clip(kind, 0, 1) * np.clip(there, 0, 1))
    number = np.flatnonzero(score >= min_score)  # few of a thousand
    anchors = np.stack([number % (columns // stride), number // (columns // stride)], axis=1)
    box, points = outputs[f"bbox_{stride}"][0, number], outputs[f"kps_{stride}"][0, number]
    middle = (anchors + box[:, :2]) * stride
    # Limited to e^10 strides, so that the size is finite.
    size = np.exp(np.minimum(box[:, 2:], 10)) * stride
    spots = (points.reshape(-1, 5, 2) + anchors[:, None]) * stride
    columns_of = [middle - size / 2, size, spots.reshape(-1, 10), score[number, None]]
    return np.concatenate(columns_of, axis=1).astype(np.float32)


def _separate(faces: Detections) -> Detections:
    """Apply non-maximum suppression; return the highest score first."""
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
