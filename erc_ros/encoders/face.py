"""Face crops as the face network wants them: few, gray, small, in [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from erc_ros.values.utterance import FaceCrop

SIZE = 48  # pixels, the side of a FER2013 picture
MAX_CROPS = 8  # of an utterance


def spread(count: int, limit: int = MAX_CROPS) -> list[int]:
    """Which of `count` crops to look at: at most `limit`, evenly over the utterance, in order.

    The middles of `limit` equal parts: the very first and last frames of a stretch of speech show
    it least.

    Raises:
        ValueError: a limit below 1 or a negative count.
    """
    if limit < 1 or count < 0:
        raise ValueError(f"cannot choose {limit} of {count} crops")
    if count <= limit:
        return list(range(count))
    return [(2 * part + 1) * count // (2 * limit) for part in range(limit)]


def to_gray(pixels: NDArray[np.uint8], size: int = SIZE) -> NDArray[np.float32]:
    """One crop, (H, W, 3) BGR or (H, W) gray uint8, -> (size, size) float32 in [0, 1].

    Raises:
        ValueError: empty, not uint8, or of another shape.
    """
    shape_fits = pixels.ndim in (2, 3) and pixels.shape[2:] in {(), (3,)}
    if pixels.dtype != np.uint8 or pixels.size == 0 or not shape_fits:
        raise ValueError(
            f"a face crop is (H, W, 3) BGR or (H, W) gray uint8, not {pixels.shape} {pixels.dtype}"
        )
    gray = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY) if pixels.ndim == 3 else pixels
    if gray.shape != (size, size):
        # Area averaging when shrinking: anything else turns fine texture into false edges.
        shrink = min(gray.shape) >= size
        method = cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
        gray = cv2.resize(gray, (size, size), interpolation=method)
    result: NDArray[np.float32] = gray.astype(np.float32) / np.float32(255)
    return result


def face_input(
    crops: Sequence[FaceCrop], limit: int = MAX_CROPS, size: int = SIZE
) -> NDArray[np.float32]:
    """Crops of an utterance, in the order of their stamps, -> (N, 1, size, size) float32 in [0, 1].

    N is 0 without crops: the utterance then has no visual modality.

    Raises:
        ValueError: a crop that is no picture (`to_gray`).
    """
    chosen = [to_gray(crops[index].pixels, size) for index in spread(len(crops), limit)]
    return np.stack(chosen)[:, None] if chosen else np.zeros((0, 1, size, size), np.float32)
