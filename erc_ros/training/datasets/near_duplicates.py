"""Validation and test images of FER+ that show a training image again, cropped or watermarked.

`INDEX` has the digests of these images, written by `ferplus_index`. `ferplus.load` excludes them;
no image is stored.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CORRELATION = 0.90
"""Minimum Pearson correlation of the pixels of two images of the same photograph."""
INDEX = Path(__file__).with_name("ferplus_near_duplicates.txt")
_ROWS = 256  # images compared at a time, to bound the memory


def near_duplicates(
    images: NDArray[np.uint8], others: NDArray[np.uint8], least: float = CORRELATION
) -> NDArray[np.bool_]:
    """Return which images correlate with one of the others.

    Args:
        images: (N, H, W).
        others: (M, H, W), the images to compare with.
        least: Pearson correlation of the pixels, in (0, 1].

    Returns:
        (N,); False for an image without contrast, which correlates with nothing.
    """
    reference = _standardized(others)
    is_duplicate = np.zeros(len(images), bool)
    for begin in range(0, len(images), _ROWS):
        rows = slice(begin, begin + _ROWS)
        correlations = _standardized(images[rows]) @ reference.T
        is_duplicate[rows] = correlations.max(axis=1, initial=-1) >= least
    return is_duplicate


def digest(image: NDArray[np.uint8]) -> str:
    """Return a hash of the pixels, 32 hexadecimal digits."""
    return hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest()


@cache
def known_near_duplicates() -> frozenset[str]:
    """Return the digests of the images that `INDEX` lists."""
    return read_index(INDEX)


def read_index(file: Path) -> frozenset[str]:
    """Read the digests of a file of `ferplus_index`."""
    lines = file.read_text(encoding="ascii").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


def _standardized(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Standardize images (N, H, W) to rows (N, H * W) of mean 0 and norm 1; 0 without contrast."""
    rows = images.reshape(len(images), -1).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    result: NDArray[np.float32] = rows / np.maximum(norms, 1e-6)
    return result
