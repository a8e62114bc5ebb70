"""Face crops as face networks want them: few, gray and small; or as a clip in color."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from erc_ros.values.errors import ErcValueError
from erc_ros.values.utterance import FaceCrop

SIZE = 48  # pixels, the side of a FER2013 image
MAX_CROPS = 8  # of an utterance


def spread(count: int, limit: int = MAX_CROPS) -> list[int]:
    """Which of `count` crops to look at: at most `limit`, evenly over the utterance, in order.

    The middles of `limit` equal parts: the very first and last frames of a segment show
    it least.

    Raises:
        ValueError: a limit below 1 or a negative count.
    """
    if limit < 1 or count < 0:
        raise ErcValueError(f"cannot choose {limit} of {count} crops")
    if count <= limit:
        return list(range(count))
    return [(2 * part + 1) * count // (2 * limit) for part in range(limit)]


def to_gray(pixels: NDArray[np.uint8], size: int = SIZE) -> NDArray[np.float32]:
    """One crop, (H, W, 3) BGR or (H, W) gray uint8, -> (size, size) float32 in [0, 1].

    Raises:
        ValueError: empty, not uint8, or of another shape.
    """
    check_picture(pixels)
    gray = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY) if pixels.ndim == 3 else pixels
    small = _resized(np.asarray(gray, np.uint8), size)
    result: NDArray[np.float32] = small.astype(np.float32) / np.float32(255)
    return result


def face_input(
    crops: Sequence[FaceCrop], limit: int = MAX_CROPS, size: int = SIZE
) -> NDArray[np.float32]:
    """Crops of an utterance, in the order of their stamps, -> (N, 1, size, size) float32 in [0, 1].

    N is 0 without crops: the utterance then has no visual modality.

    Raises:
        ValueError: a crop that is no image (`to_gray`).
    """
    chosen = [to_gray(crops[index].pixels, size) for index in spread(len(crops), limit)]
    return np.stack(chosen)[:, None] if chosen else np.zeros((0, 1, size, size), np.float32)


def clip_input(
    crops: Sequence[FaceCrop],
    frames: int,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
) -> NDArray[np.float32]:
    """Crops of an utterance, in the order of their stamps, -> a clip (frames, 3, size, size).

    RGB, (value / 255 - mean) / std per channel. So many frames evenly over the utterance; of fewer
    crops some count twice. Without any there is no clip: (0, 3, size, size).

    Raises:
        ValueError: a crop that is no image (`to_gray`).
    """
    if not crops:
        return np.zeros((0, 3, size, size), np.float32)
    count = len(crops)
    chosen = [(2 * part + 1) * count // (2 * frames) for part in range(frames)]
    pictures = {index: _to_rgb(crops[index].pixels, size) for index in set(chosen)}
    clip = np.stack([pictures[index] for index in chosen]).astype(np.float32)  # (T, S, S, 3)
    normal = (clip / np.float32(255) - np.array(mean, np.float32)) / np.array(std, np.float32)
    result: NDArray[np.float32] = np.ascontiguousarray(normal.transpose(0, 3, 1, 2))
    return result


def _to_rgb(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """(H, W, 3) BGR or (H, W) gray -> (size, size, 3) RGB."""
    check_picture(pixels)
    code = cv2.COLOR_BGR2RGB if pixels.ndim == 3 else cv2.COLOR_GRAY2RGB
    return _resized(np.asarray(cv2.cvtColor(pixels, code), np.uint8), size)


def check_picture(pixels: NDArray[np.uint8]) -> None:
    """Raise ValueError for what is no face crop: empty, not uint8, or of another shape."""
    shape_fits = pixels.ndim in (2, 3) and pixels.shape[2:] in {(), (3,)}
    if pixels.dtype != np.uint8 or pixels.size == 0 or not shape_fits:
        raise ErcValueError(
            f"a face crop is (H, W, 3) BGR or (H, W) gray uint8, not {pixels.shape} {pixels.dtype}"
        )


def _resized(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    if pixels.shape[:2] == (size, size):
        return pixels
    # Area averaging when shrinking: anything else turns fine texture into false edges.
    method = cv2.INTER_AREA if min(pixels.shape[:2]) >= size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (size, size), interpolation=method), np.uint8)
