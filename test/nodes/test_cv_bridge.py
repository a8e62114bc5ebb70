"""Images that only cv_bridge converts: with the real one, or with its sources (ros_sources.py)."""

from __future__ import annotations

from array import array

import numpy as np
import pytest
from ros_sources import ros_module, without
from sensor_msgs.msg import Image

from erc_ros.adapters import ADAPTERS
from erc_ros.sensing.images import ImageError, to_bgr

READ = ADAPTERS["sensor_msgs/msg/Image"].read


def image_of(pixels: np.ndarray, encoding: str, padding: int = 0) -> Image:
    rows = np.ascontiguousarray(pixels).reshape(len(pixels), -1).view(np.uint8)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    height, width = pixels.shape[:2]
    message = Image(encoding=encoding, width=width, height=height, step=padded.shape[1])
    message.data = array("B", padded.tobytes())
    return message


GRAY = np.arange(0, 240, 5, dtype=np.uint8).reshape(6, 8)
COLOR = np.stack([GRAY, GRAY[::-1], 255 - GRAY], axis=2)


@pytest.mark.parametrize(("padding", "is_bigendian"), [(0, False), (5, False), (8, True)])
@pytest.mark.parametrize(
    ("encoding", "pixels", "expected"),
    [
        ("16UC1", GRAY.astype(np.uint16) << 8, GRAY),
        ("16UC3", COLOR.astype(np.uint16) << 8, COLOR),
        ("16SC1", GRAY.astype(np.int16) << 7, GRAY),
        ("8SC1", (GRAY >> 1).astype(np.int8), GRAY & 254),
        ("32SC1", GRAY.astype(np.int32) << 23, GRAY),
        ("32FC1", (GRAY / 255).astype(np.float32), GRAY),
        ("32FC3", (COLOR / 255).astype(np.float32), COLOR),
        ("64FC1", GRAY / 255, GRAY),
        ("8UC4", np.dstack([COLOR, GRAY]), COLOR),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_generic_encodings_are_converted(
    encoding: str,
    pixels: np.ndarray,
    expected: np.ndarray,
    padding: int,
    is_bigendian: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ros_module("cv_bridge", monkeypatch)
    message = image_of(pixels.byteswap() if is_bigendian else pixels, encoding, padding)
    message.is_bigendian = int(is_bigendian)
    read = to_bgr(READ(message, 1))
    if expected.ndim == 2:
        expected = np.repeat(expected[..., None], 3, axis=2)
    np.testing.assert_array_equal(read, expected)


def test_values_outside_of_an_image_are_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    ros_module("cv_bridge", monkeypatch)
    values = np.array([[-1.0, np.nan, np.inf, 7.5]], np.float32)
    assert to_bgr(READ(image_of(values, "32FC1"), 1))[0, :, 0].tolist() == [0, 0, 255, 255]
    signed = np.array([[-5, 0, 32767]], np.int16)
    assert to_bgr(READ(image_of(signed, "16SC1"), 1))[0, :, 0].tolist() == [0, 0, 255]


@pytest.mark.parametrize("change", [{"step": 3}, {"height": 7}, {"width": 70}, {"width": 9000}])
def test_a_frame_that_lies_about_its_size_is_refused(
    change: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    ros_module("cv_bridge", monkeypatch)
    message = image_of(GRAY.astype(np.uint16), "16UC1")
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(ImageError):
        READ(message, 1)


def test_without_cv_bridge_the_error_names_it_and_other_encodings_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without("cv_bridge", monkeypatch)
    with pytest.raises(ImageError, match="cv-bridge"):
        READ(image_of(GRAY.astype(np.uint16), "16UC1"), 1)
    assert to_bgr(READ(image_of(COLOR, "bgr8"), 1)).shape == (6, 8, 3)
    with pytest.raises(ImageError, match="mono8"):
        to_bgr(READ(image_of(COLOR, "no such encoding"), 1))


def test_nv24_needs_no_cv_bridge(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image whose chroma is that of its nv12 version gives the same colors."""
    without("cv_bridge", monkeypatch)
    random = np.random.default_rng(0)
    luma = random.integers(16, 235, (4, 6), np.uint8)
    chroma = random.integers(60, 200, (2, 3, 2), np.uint8)
    full = np.repeat(np.repeat(chroma, 2, axis=0), 2, axis=1)

    def planes(encoding: str, pairs: np.ndarray) -> Image:
        message = Image(encoding=encoding, width=6, height=4, step=6)
        message.data = array("B", luma.tobytes() + pairs.tobytes())
        return message

    wanted = to_bgr(READ(planes("nv12", chroma), 1))
    np.testing.assert_array_equal(to_bgr(READ(planes("nv24", full), 1)), wanted)
    padded = planes("nv24", full)
    padded.step, padded.data = 8, array("B", bytes(8 * 12))
    with pytest.raises(ImageError):
        to_bgr(READ(padded, 1))
