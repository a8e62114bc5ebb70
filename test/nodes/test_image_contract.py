"""One contract for image converters: that of this package, and cv_bridge if installed.

The nodes use ours for every encoding that it supports, so that a recording gives the same estimates
on every machine; cv_bridge shows that ours is right.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import Image

from erc_ros.adapters import ADAPTERS
from erc_ros.sensing.images import to_bgr

Convert = Callable[[Image], np.ndarray]


def ours(message: Image) -> np.ndarray:
    return to_bgr(ADAPTERS["sensor_msgs/msg/Image"].read(message, 1))


def cv_bridge(message: Image) -> np.ndarray:
    bridge = pytest.importorskip("cv_bridge", reason="cv_bridge is not installed").CvBridge()
    return bridge.imgmsg_to_cv2(message, "bgr8")


@pytest.fixture(params=[ours, cv_bridge], ids=["ours", "cv_bridge"])
def convert(request: pytest.FixtureRequest) -> Convert:
    return request.param


def message_of(pixels: np.ndarray, encoding: str, padding: int = 0) -> Image:
    """pixels (H, W) or (H, W, C) uint8 or uint16; padding: bytes at the end of each row."""
    rows = pixels.reshape(len(pixels), -1).view(np.uint8)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    message = Image(
        encoding=encoding, width=pixels.shape[1], height=len(pixels), step=padded.shape[1]
    )
    message.data = array("B", padded.tobytes())
    return message


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)


@pytest.mark.parametrize("padding", [0, 5, 12])
@pytest.mark.parametrize(
    ("encoding", "from_bgr"),
    [
        ("bgr8", None),
        ("rgb8", cv2.COLOR_BGR2RGB),
        ("bgra8", cv2.COLOR_BGR2BGRA),
        ("rgba8", cv2.COLOR_BGR2RGBA),
    ],
)
def test_colors_and_padding(
    convert: Convert, picture: np.ndarray, encoding: str, from_bgr: int | None, padding: int
) -> None:
    if convert is cv_bridge and padding == 5:
        pytest.skip("cv_bridge misreads rows whose padding is not a whole number of pixels")
    pixels = picture if from_bgr is None else cv2.cvtColor(picture, from_bgr)
    np.testing.assert_array_equal(convert(message_of(pixels, encoding, padding)), picture)


def test_gray_is_gray_in_every_channel(convert: Convert, picture: np.ndarray) -> None:
    gray = np.ascontiguousarray(picture[..., 0])
    for channel in range(3):
        np.testing.assert_array_equal(convert(message_of(gray, "mono8"))[..., channel], gray)


@pytest.mark.parametrize(
    ("encoding", "kind", "values"),
    [
        *(("yuv422", np.uint8, 2), ("yuv422_yuy2", np.uint8, 2)),
        *((f"bayer_{pattern}8", np.uint8, 1) for pattern in ("rggb", "bggr", "gbrg", "grbg")),
        *(("mono16", np.uint16, 1), ("rgb16", np.uint16, 3), ("bgra16", np.uint16, 4)),
    ],
)
def test_every_other_encoding_gives_what_cv_bridge_gives(
    encoding: str, kind: type, values: int
) -> None:
    random = np.random.default_rng(1)
    shape = (6, 8, values) if values > 1 else (6, 8)
    message = message_of(random.integers(0, np.iinfo(kind).max, shape, kind), encoding)
    read = ours(message)
    assert read.shape == (6, 8, 3) and read.dtype == np.uint8
    # of 16 bits ours takes the upper 8, cv_bridge rounds
    assert np.abs(read.astype(int) - cv_bridge(message)).max() <= (kind is np.uint16)


def test_data_that_are_not_an_image_are_refused(convert: Convert, picture: np.ndarray) -> None:
    message = message_of(picture, "no such encoding")
    with pytest.raises(Exception, match="encoding"):
        convert(message)
