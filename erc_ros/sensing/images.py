"""Decoding of camera frames of all ROS encodings, with row padding (`step`).

ROS and OpenCV name Bayer patterns differently: ROS by the pixels at the start of the first two
rows, OpenCV by those in the second row, second and third column. bayer_rggb8 is OpenCV's BayerBG.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from erc_ros.sensing.frames import Frame
from erc_ros.values.bounds import COMPRESSED_BYTES, JPEG_SCANS, NAME, PIXELS, SIDE, shown
from erc_ros.values.errors import ErcValueError

Image = NDArray[np.uint8]
Rows: TypeAlias = "NDArray[np.integer[Any]]"


class ImageError(ErcValueError):
    """A frame could not be decoded; the text has its encoding, step or size, and what to do."""


def to_bgr(frame: Frame) -> Image:
    """Decode a frame to (H, W, 3) uint8, BGR; for bgr8 a view of the frame's bytes.

    Raises:
        ImageError: the frame is damaged, or its encoding is not supported.
    """
    codec = _codec(frame.encoding)
    if codec:
        _check_side(frame, *_header_size(frame, codec))
        return _decode(frame, cv2.IMREAD_COLOR)
    reader = _reader(frame)
    return reader.to_bgr(_rows(frame, reader))


def to_gray(frame: Frame, max_width: int | None = None) -> Image:
    """Decode a frame to (H, W) uint8, scaled down to at most `max_width` columns; may be a view.

    Raises:
        ImageError: the frame is damaged, or its encoding is not supported.
    """
    codec = _codec(frame.encoding)
    if codec:
        width, height = _header_size(frame, codec)
        _check_side(frame, width, height)
        gray = _decode(frame, _gray_flag(width, max_width, codec))
    else:
        reader = _reader(frame)
        gray = reader.to_gray(_rows(frame, reader))
    height, width = gray.shape
    if max_width is None or width <= max_width:
        return gray
    size = (max_width, max(1, round(height * max_width / width)))
    return _image(cv2.resize(gray, size, interpolation=cv2.INTER_AREA))


def image_size(frame: Frame) -> tuple[int, int]:
    """Return (width, height) in pixels; of a compressed frame from its header, without decoding.

    Raises:
        ImageError: the header of a compressed frame could not be decoded.
    """
    codec = _codec(frame.encoding)
    return _header_size(frame, codec) if codec else (frame.width, frame.height)


def is_readable(frame: Frame) -> bool:
    """Return whether this module decodes the encoding without cv_bridge."""
    return bool(_codec(frame.encoding)) or frame.encoding in _READERS


# --- cv_bridge ---

_GENERIC = re.compile(r"(?:8U|8S|16U|16S|32S|32F|64F)(?:C[1-4])?")
_BYTES = {"8": 1, "1": 2, "3": 4, "6": 8}  # bytes of a value, by the first digit of the encoding


def bridged(frame: Frame) -> Frame:
    """Convert a frame of a generic encoding (such as 16UC1, 32FC1) with cv_bridge.

    One channel becomes mono8, three become bgr8, four are read as bgra. The upper eight bits of 16
    are used; floating-point values range from 0 to 1.

    Returns:
        The converted frame; or the frame itself if its encoding is not a generic one, so that
        decoding it raises an error that names the supported encodings.

    Raises:
        ImageError: cv_bridge is not installed, or cannot convert the frame.
    """
    if not _GENERIC.fullmatch(frame.encoding):
        return frame
    _check_side(frame, frame.width, frame.height)
    row = frame.width * int(frame.encoding[-1] if "C" in frame.encoding else 1)
    row *= _BYTES[frame.encoding[0]]
    name = f"{frame.encoding} image of {frame.width}x{frame.height}"
    size = memoryview(frame.data).nbytes
    if frame.step < row or size < frame.step * frame.height:
        raise ImageError(f"{name}: {size} bytes with step {frame.step}; a row has {row} bytes")
    try:
        import cv_bridge
    except ImportError as error:
        raise ImageError(
            f"image encoding {frame.encoding} is converted by cv_bridge, which is not installed: "
            "install it (apt install ros-<distribution>-cv-bridge), or let the camera driver send "
            "mono8, mono16 or bgr8"
        ) from error
    # cv_bridge misreads rows whose padding is not a whole number of pixels, and with NumPy 2 it
    # raises AttributeError for big-endian values.
    lines = np.frombuffer(frame.data, np.uint8)[: frame.step * frame.height]
    packed = np.ascontiguousarray(lines.reshape(frame.height, frame.step)[:, :row])
    if frame.is_bigendian:
        packed = packed.view(f"u{_BYTES[frame.encoding[0]]}").byteswap()
    plain = replace(frame, step=row, data=packed.tobytes(), is_bigendian=False)
    try:
        pixels = cv_bridge.CvBridge().imgmsg_to_cv2(plain, "passthrough")
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise ImageError(f"{name}: cv_bridge cannot convert it ({type(error).__name__})") from error
    values = _to_bytes(np.asarray(pixels))
    if values.ndim == 2:
        values = values[..., None]
    values = values[..., :3]
    if values.shape[2] == 2:
        values = values[..., :1]
    encoding = "mono8" if values.shape[2] == 1 else "bgr8"
    data = np.ascontiguousarray(values)
    step = frame.width * data.shape[2]
    return replace(frame, encoding=encoding, step=step, data=data.tobytes(), is_bigendian=False)


def _to_bytes(pixels: Rows) -> Image:
    """Convert values of any type to 0..255."""
    if pixels.dtype == np.uint8:
        return _image(pixels)
    if pixels.dtype.kind == "f":
        shares = np.clip(np.nan_to_num(pixels, posinf=1.0), 0.0, 1.0)
        return np.asarray(np.rint(shares * 255), np.uint8)
    bits = np.iinfo(pixels.dtype).bits - (pixels.dtype.kind == "i")  # without the sign
    positive = np.maximum(pixels, 0).astype(np.uint64)
    return np.asarray(positive << 8 >> bits, np.uint8)


# --- raw encodings ---


class _Reader:
    """Memory layout and converters of one encoding.

    item: NumPy type of a value. values: values per pixel in a row. rows: rows per image row.
    even: divisors of width and height, 1 or 2.
    """

    def __init__(
        self,
        item: str,
        values: int,
        to_bgr: Callable[[Rows], Image],
        to_gray: Callable[[Rows], Image],
        rows: float = 1.0,
        even: tuple[int, int] = (1, 1),
    ) -> None:
        self.item, self.values, self.rows, self.even = item, values, rows, even
        self.to_bgr, self.to_gray = to_bgr, to_gray


def _image(array: object) -> Image:
    """Narrow the type of OpenCV's output, which is uint8 for uint8 input."""
    return np.asarray(array, np.uint8)


def _convert(code: int) -> Callable[[Rows], Image]:
    return lambda rows: _image(cv2.cvtColor(rows, code))


def _high_byte(rows: Rows) -> Image:
    return (np.asarray(rows, np.uint16) >> 8).astype(np.uint8)


def _convert_wide(code: int) -> Callable[[Rows], Image]:
    narrow = _convert(code)
    # convert the high byte only: enough for face detection, and three times faster
    return lambda rows: narrow(_high_byte(rows))


def _as_is(rows: Rows) -> Image:
    return _image(rows)


def _nv24_to_bgr(rows: Rows) -> Image:
    """Convert nv24 (luma, then a pair of chroma values for each pixel).

    OpenCV has no conversion of nv24. The image is read as nv12 of twice the width and height, in
    which a block of 2x2 pixels has the chroma of one pixel.

    Raises:
        ImageError: rows are padded, so that the position of the chroma rows is not known.
    """
    height, width = len(rows) // 3, rows.shape[1]
    if rows.strides[0] != width:
        raise ImageError("nv24 images with padded rows cannot be read; let the driver send nv12")
    luma = np.repeat(np.repeat(rows[:height], 2, axis=0), 2, axis=1)
    chroma = np.ascontiguousarray(rows[height:]).reshape(height, 2 * width)
    image = cv2.cvtColor(np.concatenate([luma, chroma]), cv2.COLOR_YUV2BGR_NV12)
    return np.ascontiguousarray(_image(image)[::2, ::2])


def _readers() -> dict[str, _Reader]:
    readers = {
        "bgr8": _Reader("u1", 3, _as_is, _convert(cv2.COLOR_BGR2GRAY)),
        "rgb8": _Reader("u1", 3, _convert(cv2.COLOR_RGB2BGR), _convert(cv2.COLOR_RGB2GRAY)),
        "bgra8": _Reader("u1", 4, _convert(cv2.COLOR_BGRA2BGR), _convert(cv2.COLOR_BGRA2GRAY)),
        "rgba8": _Reader("u1", 4, _convert(cv2.COLOR_RGBA2BGR), _convert(cv2.COLOR_RGBA2GRAY)),
        "mono8": _Reader("u1", 1, _convert(cv2.COLOR_GRAY2BGR), _as_is),
        "mono16": _Reader("u2", 1, _convert_wide(cv2.COLOR_GRAY2BGR), _high_byte),
    }
    for name, values, bgr, gray in (
        ("rgb16", 3, cv2.COLOR_RGB2BGR, cv2.COLOR_RGB2GRAY),
        ("bgra16", 4, cv2.COLOR_BGRA2BGR, cv2.COLOR_BGRA2GRAY),
        ("rgba16", 4, cv2.COLOR_RGBA2BGR, cv2.COLOR_RGBA2GRAY),
    ):
        readers[name] = _Reader("u2", values, _convert_wide(bgr), _convert_wide(gray))
    readers["bgr16"] = _Reader("u2", 3, _high_byte, _convert_wide(cv2.COLOR_BGR2GRAY))
    uyvy = _Reader(
        "u1", 2, _convert(cv2.COLOR_YUV2BGR_UYVY), _convert(cv2.COLOR_YUV2GRAY_UYVY), even=(2, 1)
    )
    yuyv = _Reader(
        "u1", 2, _convert(cv2.COLOR_YUV2BGR_YUY2), _convert(cv2.COLOR_YUV2GRAY_YUY2), even=(2, 1)
    )
    readers.update(yuv422=uyvy, uyvy=uyvy, yuv422_yuy2=yuyv, yuyv=yuyv)
    readers["nv24"] = _Reader(
        "u1", 1, _nv24_to_bgr, lambda rows: _image(rows[: len(rows) // 3]), rows=3
    )
    luma = _convert(cv2.COLOR_YUV2GRAY_NV12)
    for name, code in (("nv12", cv2.COLOR_YUV2BGR_NV12), ("nv21", cv2.COLOR_YUV2BGR_NV21)):
        readers[name] = _Reader("u1", 1, _convert(code), luma, rows=1.5, even=(2, 2))
    for pattern, shifted in (("rggb", "BG"), ("bggr", "RG"), ("gbrg", "GR"), ("grbg", "GB")):
        bgr, gray_code = (
            getattr(cv2, f"COLOR_Bayer{shifted}2{target}") for target in ("BGR", "GRAY")
        )
        readers[f"bayer_{pattern}8"] = _Reader("u1", 1, _convert(bgr), _convert(gray_code))
        readers[f"bayer_{pattern}16"] = _Reader(
            "u2", 1, _convert_wide(bgr), _convert_wide(gray_code)
        )
    # generic names that image_transport and OpenCV nodes use
    readers.update({"8UC1": readers["mono8"], "8UC3": readers["bgr8"]})
    return readers


_READERS = _readers()


def _reader(frame: Frame) -> _Reader:
    reader = _READERS.get(frame.encoding)
    if reader is None:
        raise ImageError(
            f"image encoding {shown(frame.encoding)} cannot be read; let the camera driver "
            f"send one of {', '.join(_READERS)}, jpeg, png"
        )
    return reader


def _rows(frame: Frame, reader: _Reader) -> Rows:
    """Return a view of the pixels: (rows, width) or (rows, width, values), without padding."""
    _check_side(frame, frame.width, frame.height)
    name = f"{_name(frame)} image of {frame.width}x{frame.height}"
    if frame.width % reader.even[0] or frame.height % reader.even[1]:
        raise ImageError(f"{name}: {frame.encoding} needs an even size; crop it in the driver")
    item = np.dtype(reader.item).newbyteorder(">" if frame.is_bigendian else "<")
    row_bytes = frame.width * reader.values * item.itemsize
    step = frame.step or row_bytes
    if step < row_bytes:
        raise ImageError(
            f"{name}: step {step} is less than the {row_bytes} bytes of a row; "
            "the driver must set step to the bytes of a whole row"
        )
    rows = int(frame.height * reader.rows)
    data = np.frombuffer(frame.data, np.uint8)
    needed = step * (rows - 1) + row_bytes  # the padding of the last row may be missing
    if data.size < needed:
        raise ImageError(
            f"{name}: {data.size} bytes, with step {step} it needs {needed}; "
            "the message was cut short, or width, height or step is wrong"
        )
    shape = (rows, frame.width) if reader.values == 1 else (rows, frame.width, reader.values)
    pixel = reader.values * item.itemsize
    strides = (step, pixel) if reader.values == 1 else (step, pixel, item.itemsize)
    pixels: Rows = np.ndarray(shape, item, data, strides=strides)
    return pixels


def _name(frame: Frame) -> str:
    return "".join(c if c.isprintable() else "?" for c in frame.encoding[:NAME])


def _check_side(frame: Frame, width: int, height: int) -> None:
    is_of_a_size = 0 < width <= SIDE and 0 < height <= SIDE
    if not is_of_a_size or width * height > PIXELS:
        raise ImageError(
            f"{_name(frame)} image of {width}x{height}: 1x1 to {SIDE}x{SIDE} and {PIXELS} pixels "
            "can be read; let the camera driver send smaller ones"
        )


# --- JPEG and PNG ---

_PNG = b"\x89PNG\r\n\x1a\n"


def _codec(encoding: str) -> str:
    """Return "jpeg", "png" or "" (raw) for an encoding, or for a CompressedImage.format.

    Example: "rgb8; jpeg compressed bgr8" is "jpeg".
    """
    words = encoding[:NAME].lower().replace(";", " ").split()
    if "jpeg" in words or "jpg" in words:
        return "jpeg"
    return "png" if "png" in words else ""


def _header_size(frame: Frame, codec: str) -> tuple[int, int]:
    """Return (width, height); check that the data has the codec's signature and end marker."""
    size = memoryview(frame.data).nbytes
    if size > COMPRESSED_BYTES:
        raise ImageError(
            f"{codec} image of {size} bytes, at most {COMPRESSED_BYTES} are read; "
            "let the camera driver compress more"
        )
    data = memoryview(frame.data).tobytes()
    if not data:
        raise ImageError(f"{_name(frame)} image without data; the camera driver sent nothing")
    if data.startswith(b"\xff\xd8"):
        return _jpeg_size(frame, data)
    if data.startswith(_PNG):
        return _png_size(frame, data)
    raise ImageError(
        f"{_name(frame)} image begins with {data[:4].hex()}: neither JPEG nor PNG; "
        "for raw images use the image topic, not image/compressed"
    )


def _cut_short(frame: Frame, size: int) -> ImageError:
    return ImageError(
        f"{_name(frame)} image of {size} bytes is cut short (its end marker is missing); "
        "the message lost data between the camera driver and here"
    )


def _jpeg_size(frame: Frame, data: bytes) -> tuple[int, int]:
    """Return (width, height) from the segments, without those of an EXIF thumbnail."""
    size, at = (0, 0), 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
            size = (
                int.from_bytes(data[at + 7 : at + 9], "big"),
                int.from_bytes(data[at + 5 : at + 7], "big"),
            )
        if marker == 0xDA:  # start of scan
            if data.rfind(b"\xff\xd9", at) < 0:
                break
            if (scans := data.count(b"\xff\xda", at)) > JPEG_SCANS:
                raise ImageError(
                    f"JPEG image of {scans} scans, at most {JPEG_SCANS} are read; "
                    "let the camera driver send baseline JPEGs"
                )
            return size
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    raise _cut_short(frame, len(data))


def _png_size(frame: Frame, data: bytes) -> tuple[int, int]:
    if b"IEND" not in data[-64:] or len(data) < 24:
        raise _cut_short(frame, len(data))
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def _check_png(frame: Frame) -> None:
    """Check the checksums, because libpng prints a warning for each damaged image."""
    data = memoryview(frame.data).cast("B")
    at, kind = len(_PNG), b""
    while at < len(data) and kind != b"IEND":
        kind = bytes(data[at + 4 : at + 8])
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        checksum = int.from_bytes(data[end : end + 4], "big")
        if end + 4 > len(data) or zlib.crc32(data[at + 4 : end]) != checksum:
            raise ImageError(f"{_name(frame)} image is damaged: a checksum is wrong")
        at = end + 4


def _gray_flag(width: int, max_width: int | None, codec: str) -> int:
    """Return the OpenCV flag to decode a JPEG at 1/2, 1/4 or 1/8 of its size, which is faster."""
    for scale, flag in (
        (8, cv2.IMREAD_REDUCED_GRAYSCALE_8),
        (4, cv2.IMREAD_REDUCED_GRAYSCALE_4),
        (2, cv2.IMREAD_REDUCED_GRAYSCALE_2),
    ):
        if codec == "jpeg" and max_width and width // scale >= max_width:
            return int(flag)
    return int(cv2.IMREAD_GRAYSCALE)


def _decode(frame: Frame, flag: int) -> Image:
    if bytes(memoryview(frame.data)[: len(_PNG)]) == _PNG:
        _check_png(frame)
    # EXIF orientation is ignored: all frames of a camera have the same orientation
    flags = flag | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(frame.data, np.uint8), flags)
    except cv2.error as error:
        raise ImageError(f"{_name(frame)} image cannot be decoded: {error}") from error
    if image is None:
        raise ImageError(
            f"{_name(frame)} image of {memoryview(frame.data).nbytes} bytes cannot be decoded; "
            "the data is damaged"
        )
    return _image(image)
