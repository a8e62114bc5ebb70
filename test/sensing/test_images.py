"""Image decoding: every encoding compared with synthetic pixels, and every error."""

from __future__ import annotations

import importlib.util
from array import array
from contextlib import suppress

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from erc_ros.sensing.frames import Frame
from erc_ros.sensing.images import ImageError, image_size, to_bgr, to_gray

BYTES_PER_PIXEL = {
    "rgb8": 3,
    "bgr8": 3,
    "rgba8": 4,
    "bgra8": 4,
    "mono8": 1,
    "mono16": 2,
    "rgb16": 6,
    "bgr16": 6,
    "rgba16": 8,
    "bgra16": 8,
    "yuv422": 2,
    "uyvy": 2,
    "yuv422_yuy2": 2,
    "yuyv": 2,
    "nv12": 1,
    "nv21": 1,
    "bayer_rggb8": 1,
    "bayer_bggr8": 1,
    "bayer_gbrg8": 1,
    "bayer_grbg8": 1,
    "bayer_rggb16": 2,
    "bayer_bggr16": 2,
    "bayer_gbrg16": 2,
    "bayer_grbg16": 2,
}
BLUE, GREEN, RED = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def frame(
    encoding: str, pixels: NDArray[np.generic], width: int, height: int, padding: int = 0
) -> Frame:
    """Return a frame of pixels (rows, bytes or words); `padding` bytes of 0xAA follow each row."""
    rows = pixels.reshape(pixels.shape[0], -1)
    raw = np.frombuffer(rows.tobytes(), np.uint8).reshape(len(rows), -1)
    data = np.full((len(rows), raw.shape[1] + padding), 0xAA, np.uint8)
    data[:, : raw.shape[1]] = raw
    return Frame(1, encoding, width, height, data.shape[1], data.tobytes())


def compressed(image: NDArray[np.uint8], encoding: str = "jpeg") -> bytes:
    ok, data = cv2.imencode("." + encoding, image)
    assert ok
    return bytes(data.tobytes())


def picture(height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """Return a smooth image that differs in every channel and on every side."""
    y, x = np.mgrid[0:height, 0:width]
    channels = (x * 255 // width, y * 255 // height, (x + y) * 127 // max(width, height))
    return np.stack(channels, axis=-1).astype(np.uint8)


# --- encodings ---


@pytest.mark.parametrize("padding", [0, 1, 5])
@pytest.mark.parametrize(
    ("encoding", "order"),
    [("bgr8", [0, 1, 2]), ("rgb8", [2, 1, 0]), ("bgra8", [0, 1, 2, 3]), ("rgba8", [2, 1, 0, 3])],
)
def test_colour(encoding: str, order: list[int], padding: int) -> None:
    image = picture()
    with_alpha = np.dstack([image, np.full(image.shape[:2], 7, np.uint8)])
    read = to_bgr(frame(encoding, with_alpha[..., order], 64, 48, padding))
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, image)


@pytest.mark.parametrize("is_bigendian", [False, True])
@pytest.mark.parametrize(
    ("encoding", "order"),
    [
        *(("bgr16", [0, 1, 2]), ("rgb16", [2, 1, 0])),
        *(("bgra16", [0, 1, 2, 3]), ("rgba16", [2, 1, 0, 3])),
    ],
)
def test_colour_of_16_bits_is_read_by_its_upper_byte(
    encoding: str, order: list[int], is_bigendian: bool
) -> None:
    image = picture()
    wide = np.dstack([image, np.full(image.shape[:2], 7, np.uint8)])[..., order].astype(np.uint16)
    raw = (wide * 256 + 99).astype(">u2" if is_bigendian else "<u2")
    data = raw.tobytes()
    one = Frame(1, encoding, 64, 48, len(data) // 48, data, is_bigendian=is_bigendian)
    np.testing.assert_array_equal(to_bgr(one), image)
    np.testing.assert_array_equal(to_gray(one), cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))


@pytest.mark.parametrize("padding", [0, 2])
def test_gray(padding: int) -> None:
    gray = picture()[..., 0]
    for encoding in ("mono8", "8UC1"):
        one = frame(encoding, gray, 64, 48, padding)
        np.testing.assert_array_equal(to_gray(one), gray)
        np.testing.assert_array_equal(to_bgr(one), np.dstack([gray] * 3))


@pytest.mark.parametrize("is_bigendian", [False, True])
def test_16_bit_gray_in_both_byte_orders(is_bigendian: bool) -> None:
    wide = np.arange(0, 65536, 64, np.uint16).reshape(32, 32)
    raw = wide.astype(">u2" if is_bigendian else "<u2")
    one = Frame(1, "mono16", 32, 32, 64, raw.tobytes(), is_bigendian=is_bigendian)
    np.testing.assert_array_equal(to_gray(one), wide >> 8)
    np.testing.assert_array_equal(to_bgr(one)[..., 1], wide >> 8)


@pytest.mark.parametrize(
    ("encoding", "bytes_of_two_pixels"),
    [
        ("yuv422", [90, 60, 240, 200]),  # U Y V Y
        ("uyvy", [90, 60, 240, 200]),
        ("yuv422_yuy2", [60, 90, 200, 240]),  # Y U Y V
        ("yuyv", [60, 90, 200, 240]),
    ],
)
def test_yuv_422(encoding: str, bytes_of_two_pixels: list[int]) -> None:
    pixels = np.tile(np.uint8(bytes_of_two_pixels), (2, 4))
    one = frame(encoding, pixels, 8, 2, padding=3)
    assert to_gray(one)[0, :2].tolist() == [60, 200]
    blue, green, red = to_bgr(one)[0, 0].astype(int)
    assert red > green and red > blue  # V = 240: red
    assert to_bgr(one).shape == (2, 8, 3)


@pytest.mark.parametrize(("encoding", "red_chroma"), [("nv12", [90, 240]), ("nv21", [240, 90])])
def test_yuv_420(encoding: str, red_chroma: list[int]) -> None:
    luma = np.arange(32, dtype=np.uint8).reshape(4, 8) * 6 + 16
    chroma = np.tile(np.uint8(red_chroma), (2, 4))
    one = frame(encoding, np.vstack([luma, chroma]), 8, 4, padding=4)
    np.testing.assert_array_equal(to_gray(one), luma)
    image = to_bgr(one).astype(int)
    assert image.shape == (4, 8, 3)
    assert (image[..., 2] > image[..., 0]).all()


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("colour", [BLUE, GREEN, RED])
def test_bayer_patterns_begin_as_ros_names_them(
    pattern: str, depth: int, colour: tuple[int, int, int]
) -> None:
    values = dict(zip("bgr", colour, strict=True))
    tile = np.array([values[c] for c in pattern], np.uint8).reshape(2, 2)
    mosaic = np.tile(tile, (4, 4)).astype(np.uint8 if depth == 8 else np.uint16)
    if depth == 16:
        mosaic = mosaic << 8
    image = to_bgr(frame(f"bayer_{pattern}{depth}", mosaic, 8, 8, padding=2))
    np.testing.assert_array_equal(image[2:6, 2:6], np.full((4, 4, 3), colour, np.uint8))
    gray = to_gray(frame(f"bayer_{pattern}{depth}", mosaic, 8, 8, padding=2))
    expected = cv2.cvtColor(np.uint8([[colour]]), cv2.COLOR_BGR2GRAY)[0, 0]
    assert abs(int(gray[4, 4]) - int(expected)) <= 1


@pytest.mark.parametrize("encoding", ["jpeg", "jpg", "png", "rgb8; jpeg compressed bgr8", "PNG"])
def test_compressed_colour_and_gray(encoding: str) -> None:
    codec = "png" if "png" in encoding.lower() else "jpeg"
    for image in (picture(), picture()[..., 0]):
        one = Frame(1, encoding, 0, 0, 0, compressed(image, codec))
        assert image_size(one) == (64, 48)
        expected = image if image.ndim == 3 else np.dstack([image] * 3)
        assert np.abs(to_bgr(one).astype(int) - expected).mean() < 3
        expected = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        assert np.abs(to_gray(one).astype(int) - expected).mean() < 3


def test_a_16_bit_png_comes_out_in_8_bits() -> None:
    wide = picture()[..., 0].astype(np.uint16) << 8
    ok, data = cv2.imencode(".png", wide)
    assert ok
    read = to_gray(Frame(1, "png", 0, 0, 0, data.tobytes()))
    np.testing.assert_array_equal(read, wide >> 8)


@settings(deadline=None)
@given(
    st.sampled_from(sorted(BYTES_PER_PIXEL)),
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(0, 9),
    st.integers(0, 2**32 - 1),
)
def test_padding_is_never_seen(
    encoding: str, width: int, height: int, padding: int, seed: int
) -> None:
    """For any size and step, the image is the same as without padding, in any buffer type."""
    width, height = 2 * width, 2 * height
    rows = height * 3 // 2 if encoding.startswith("nv") else height
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (rows, width * BYTES_PER_PIXEL[encoding]), np.uint8)
    tight, padded = (frame(encoding, pixels, width, height, p) for p in (0, padding))
    assert to_bgr(tight).shape == (height, width, 3) and to_gray(tight).shape == (height, width)
    for data in (padded.data, array("B", padded.data), memoryview(padded.data)):
        one = Frame(1, encoding, width, height, padded.step, data)
        np.testing.assert_array_equal(to_bgr(one), to_bgr(tight))
        np.testing.assert_array_equal(to_gray(one), to_gray(tight))
    without_last_padding = Frame(
        1, encoding, width, height, padded.step, padded.data[: len(padded.data) - padding]
    )
    np.testing.assert_array_equal(to_bgr(without_last_padding), to_bgr(tight))
    no_step = Frame(1, encoding, width, height, 0, tight.data)
    np.testing.assert_array_equal(to_bgr(no_step), to_bgr(tight))


def test_bytes_of_the_message_are_viewed_not_copied_and_not_changed() -> None:
    one = frame("bgr8", picture(), 64, 48, padding=4)
    assert np.shares_memory(to_bgr(one), np.frombuffer(one.data, np.uint8))
    assert not to_bgr(one).flags.writeable
    gray = frame("nv12", np.zeros((72, 64), np.uint8), 64, 48)
    assert to_gray(gray).shape == (48, 64)


# --- size ---


@pytest.mark.parametrize("codec", ["bgr8", "jpeg", "png"])
def test_gray_is_scaled_down_never_up(codec: str) -> None:
    image = picture(480, 640)
    one = (
        frame("bgr8", image, 640, 480)
        if codec == "bgr8"
        else Frame(1, codec, 0, 0, 0, compressed(image, codec))
    )
    assert to_gray(one, 320).shape == (240, 320)
    assert to_gray(one, 100).shape == (75, 100)
    assert to_gray(one, 1000).shape == (480, 640)
    full = cv2.resize(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), (320, 240), interpolation=3)
    assert np.abs(to_gray(one, 320).astype(int) - full).mean() < 2


def test_a_wide_strip_keeps_one_row() -> None:
    one = frame("mono8", np.zeros((1, 4000), np.uint8), 4000, 1)
    assert to_gray(one, 320).shape == (1, 320)


# --- errors ---


def broken(encoding: str, width: int, height: int, step: int, size: int) -> Frame:
    return Frame(1, encoding, width, height, step, bytes(size))


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (broken("rgb8", 4, 4, 12, 47), r"rgb8 image of 4x4: 47 bytes, with step 12 it needs 48"),
        (broken("rgb8", 4, 4, 11, 48), r"step 11 is less than the 12 bytes of a row"),
        (broken("rgb8", 4, 4, -12, 48), r"step -12 is less"),
        (broken("mono16", 4, 4, 4, 32), r"step 4 is less than the 8 bytes"),
        (broken("mono8", 4, 4, 4, 0), r"0 bytes, with step 4 it needs 16"),
        (broken("rgb8", 0, 4, 0, 48), r"rgb8 image of 0x4: 1x1 to 8192x8192"),
        (broken("rgb8", 4, 0, 12, 48), r"4x0"),
        (broken("rgb8", -4, 4, 12, 48), r"-4x4"),
        (broken("mono8", 8193, 1, 8193, 8193), r"8193x1"),
        (broken("mono8", 2**31, 2**31, 2**31, 4), r"2147483648x2147483648"),
        (broken("nv12", 3, 4, 3, 100), r"nv12 needs an even size"),
        (broken("nv12", 4, 3, 4, 100), r"nv12 needs an even size"),
        (broken("nv12", 4, 4, 4, 23), r"23 bytes, with step 4 it needs 24"),
        (broken("yuv422", 3, 4, 6, 100), r"yuv422 needs an even size"),
        (broken("32FC1", 4, 4, 16, 64), r"'32FC1' cannot be read; .* rgb8"),
        (broken("", 4, 4, 16, 64), r"encoding '' cannot be read"),
        (broken("jpeg", 0, 0, 0, 0), r"jpeg image without data"),
        (broken("jpeg", 0, 0, 0, 100), r"begins with 00000000: neither JPEG nor PNG"),
        (broken("h264", 4, 4, 0, 100), r"'h264' cannot be read"),
    ],
)
def test_errors_name_the_value_and_the_way_out(one: Frame, message: str) -> None:
    for read in (to_bgr, to_gray):
        with pytest.raises(ImageError, match=message):
            read(one)


@pytest.mark.parametrize("encoding", ["jpeg", "png"])
def test_a_compressed_image_cut_anywhere_is_refused(encoding: str) -> None:
    rng = np.random.default_rng(0)
    data = compressed(rng.integers(0, 256, (48, 64, 3), np.uint8), encoding)
    for size in [*range(0, 700, 7), len(data) // 2, len(data) - 40, len(data) - 1]:
        for read in (to_bgr, to_gray, image_size):
            if read is image_size and encoding == "png" and size == len(data) - 1:
                continue  # one byte of the checksum: decoders do not mind either
            if encoding == "png" and size >= len(data) - 4:
                continue
            with pytest.raises(ImageError):
                read(Frame(1, encoding, 0, 0, 0, data[:size]))


def test_a_thumbnail_does_not_hide_that_a_jpeg_is_cut() -> None:
    """An EXIF thumbnail is a JPEG with its own end marker in the header."""
    data = compressed(picture(480, 640))
    thumbnail = compressed(picture())
    segment = b"\xff\xe1" + (len(thumbnail) + 8).to_bytes(2, "big") + b"Exif\0\0" + thumbnail
    whole = data[:2] + segment + data[2:]
    assert image_size(Frame(1, "jpeg", 0, 0, 0, whole)) == (640, 480)
    assert to_bgr(Frame(1, "jpeg", 0, 0, 0, whole)).shape == (480, 640, 3)
    with pytest.raises(ImageError, match="short"):
        to_bgr(Frame(1, "jpeg", 0, 0, 0, whole[: len(whole) // 2]))


def test_padding_behind_a_jpeg_is_accepted() -> None:
    data = compressed(picture()) + bytes(100)
    assert to_bgr(Frame(1, "jpeg", 0, 0, 0, data)).shape == (48, 64, 3)


def test_an_absurd_size_in_a_header_is_refused_before_decoding() -> None:
    data = bytearray(compressed(picture(), "png"))
    data[16:20] = (100_000).to_bytes(4, "big")
    with pytest.raises(ImageError, match="100000x48"):
        to_bgr(Frame(1, "png", 0, 0, 0, bytes(data)))


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(["jpeg", "png"]), st.data())
def test_damaged_images_raise_only_image_errors(encoding: str, data: st.DataObject) -> None:
    raw = bytearray(compressed(picture(), encoding))
    for _ in range(data.draw(st.integers(1, 20))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    damaged = Frame(1, encoding, 0, 0, 0, bytes(raw))
    for read, depth in ((to_bgr, (3,)), (to_gray, ())):
        with suppress(ImageError):
            pixels = read(damaged)
            width, height = image_size(damaged)
            assert pixels.shape == (height, width, *depth) and pixels.dtype == np.uint8


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(["jpeg", "png"]), st.binary(max_size=200))
def test_bytes_behind_the_end_of_an_image_change_no_pixel(encoding: str, rest: bytes) -> None:
    data = compressed(picture(), encoding)
    whole = to_bgr(Frame(1, encoding, 0, 0, 0, data))
    assert np.abs(whole.astype(int) - picture()).mean() < (12 if encoding == "jpeg" else 0.1)
    np.testing.assert_array_equal(to_bgr(Frame(1, encoding, 0, 0, 0, data + rest)), whole)


@pytest.mark.skipif(
    importlib.util.find_spec("rosbags") is None
    or importlib.util.find_spec("rosbags.image") is None,
    reason="rosbags-image is not installed",
)
@pytest.mark.parametrize("encoding", ["rgb8", "bgra8", "mono8", "bayer_rggb8", "bayer_gbrg8"])
def test_same_as_rosbags_image(encoding: str) -> None:
    from rosbags.image import message_to_cvimage
    from rosbags.typesys import Stores, get_typestore

    types = get_typestore(Stores.ROS2_HUMBLE).types
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (24, 32 * BYTES_PER_PIXEL[encoding]), np.uint8)
    one = frame(encoding, pixels, 32, 24)
    header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](0, 1), "camera")
    message = types["sensor_msgs/msg/Image"](
        header, 24, 32, encoding, 0, one.step, np.frombuffer(one.data, np.uint8)
    )
    np.testing.assert_array_equal(to_bgr(one), message_to_cvimage(message, "bgr8"))


def test_a_png_with_a_wrong_checksum_is_refused_without_a_word_in_the_log(
    capfd: pytest.CaptureFixture[str],
) -> None:
    data = bytearray(cv2.imencode(".png", np.arange(3072, dtype=np.uint8).reshape(32, 32, 3))[1])
    for at in range(40, len(data) - 12, 7):
        broken = bytes(data[:at]) + bytes([data[at] ^ 0x55]) + bytes(data[at + 1 :])
        with pytest.raises(ImageError):
            to_bgr(Frame(1, "png", 0, 0, 0, broken))
    assert capfd.readouterr().err == ""
    assert to_bgr(Frame(1, "png", 0, 0, 0, bytes(data))).shape == (32, 32, 3)
