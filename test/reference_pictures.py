"""Comparison of images with reference images in test/assets, which were checked by a person.

After an intended change, ERC_WRITE_REFERENCE=1 writes them: check them again.
"""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import matplotlib
import numpy as np

ASSETS = Path(__file__).parent / "assets"
DRAWN_WITH = "3.11.2"  # of Matplotlib
# Other versions of Matplotlib and FreeType draw other letters, which moves the axes by some pixels.
TOLERANCE = 0 if matplotlib.__version__ == DRAWN_WITH else 0.1


def assert_looks_as_before(file: Path, name: str) -> None:
    """Compare a PNG with the reference `name`."""
    drawn = cv2.imread(str(file), cv2.IMREAD_COLOR)
    assert drawn is not None
    if os.environ.get("ERC_WRITE_REFERENCE"):
        cv2.imwrite(str(ASSETS / name), drawn, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    reference = cv2.imread(str(ASSETS / name), cv2.IMREAD_COLOR)
    assert reference is not None, f"{name} is missing: ERC_WRITE_REFERENCE=1 writes it"
    assert drawn.shape == reference.shape
    differs = (np.abs(drawn.astype(int) - reference) > 32).any(axis=2)
    assert differs.mean() <= TOLERANCE, f"{differs.sum()} pixels differ from {name}"
