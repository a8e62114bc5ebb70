"""Conversion of face crops to network inputs: gray images, or a clip of color frames."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from erc_ros.values.errors import ErcValueError
from erc_ros.values.utterance import FaceCrop

SIZE = 48  # pixels, width and height of a FER2013 image
MAX_CROPS = 8  # maximum number of crops of an utterance


def spread(count: int, limit: int = MAX_CROPS) -> list[int]:
    """Return the indices of at most `limit` of `count` crops, evenly over the utterance.

    They are the centers of `limit` equal parts, because the emotion is least visible in the first
    and last frames.

    Raises:
        ValueError: the limit is below 1, or the count is negative.
    """
    if limit < 1 or count < 0:
        raise ErcValueError(f"cannot choose {limit} of {count} crops")
    if count <= limit:
        return list(range(count))
    return [(2 * part + 1) * count // (2 * limit) for part in range(limit)]


def to_gray(pixels: NDArray[np.uint8], size: int = SIZE) -> NDArray[np.float32]:
    """Convert a crop, (H, W, 3) BGR or (H, W) gray uint8, to (size, size) float32 in [0, 1].

    Raises:
        ValueError: the crop is empty, not uint8, or has another shape.
    """
    check_picture(pixels)
    gray = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY) if pixels.ndim == 3 else pixels
    small = resized(np.asarray(gray, np.uint8), size)
    result: NDArray[np.float32] = small.astype(np.float32) / np.float32(255)
    return result


def face_input(
    crops: Sequence[FaceCrop], limit: int = MAX_CROPS, size: int = SIZE
) -> NDArray[np.float32]:
    """Convert the crops of an utterance, sorted by stamp, to (N, 1, size, size) in [0, 1].

    N is 0 without crops: the visual modality is missing then.

    Raises:
        ValueError: a crop is not an image (see `to_gray`).
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
    """Convert the crops of an utterance, sorted by stamp, to a clip (frames, 3, size, size).

    RGB, (value / 255 - mean) / std per channel. The frames are evenly distributed over the
    utterance; with fewer crops, some are repeated. Without crops the result is (0, 3, size, size).

    Raises:
        ValueError: a crop is not an image (see `to_gray`).
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
    """Convert (H, W, 3) BGR or (H, W) gray to (size, size, 3) RGB."""
    check_picture(pixels)
    code = cv2.COLOR_BGR2RGB if pixels.ndim == 3 else cv2.COLOR_GRAY2RGB
    return resized(np.asarray(cv2.cvtColor(pixels, code), np.uint8), size)


def check_picture(pixels: NDArray[np.uint8]) -> None:
    """Raise ValueError for a face crop that is empty, not uint8, or has another shape."""
    shape_fits = pixels.ndim in (2, 3) and pixels.shape[2:] in {(), (3,)}
    if pixels.dtype != np.uint8 or pixels.size == 0 or not shape_fits:
        raise ErcValueError(
            f"a face crop is (H, W, 3) BGR or (H, W) gray uint8, not {pixels.shape} {pixels.dtype}"
        )


def resized(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """An image as a square of `size` pixels."""
    if pixels.shape[:2] == (size, size):
        return pixels
    # Area interpolation avoids aliasing when scaling down.
    method = cv2.INTER_AREA if min(pixels.shape[:2]) >= size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (size, size), interpolation=method), np.uint8)
