"""What our image conversion costs, beside OpenCV's own call: cv_bridge could save no more.

    python -m benchmarks.image_conversion

A picture of 640x480 to colour, as faces are cut out of it, and JPEGs to gray, as they are searched.
With cv_bridge installed its time is there, too.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import cv2
import numpy as np
from sensor_msgs.msg import Image

from erc_ros.sensing.frames import Frame
from erc_ros.sensing.images import to_bgr, to_gray

WIDTH, HEIGHT, REPEATS = 640, 480, 300
SEARCHED = 320  # pixels, width of the picture that the detector gets
# encoding, values per pixel, OpenCV's conversion
RAW = (
    ("bgr8", 3, None),
    ("rgb8", 3, cv2.COLOR_RGB2BGR),
    ("yuv422_yuy2", 2, cv2.COLOR_YUV2BGR_YUY2),
    ("bayer_rggb8", 1, cv2.COLOR_BayerBG2BGR),
)


def milliseconds(run: Callable[..., object]) -> float:
    """The median of many runs."""
    took = []
    for _ in range(REPEATS):
        begin = time.perf_counter_ns()
        run()
        took.append(time.perf_counter_ns() - begin)
    return float(np.median(took)) / 1e6


def bridge() -> Callable[[Frame], Callable[[], Any]] | None:
    """Frame -> cv_bridge's conversion of its message; None where it is not installed."""
    try:
        converter: Any = import_module("cv_bridge").CvBridge()
    except ImportError:
        return None

    def prepare(frame: Frame) -> Callable[[], Any]:
        message = Image(encoding=frame.encoding, width=frame.width, height=frame.height)
        message.step, message.data = frame.step, array("B", bytes(frame.data))
        return lambda: converter.imgmsg_to_cv2(message, "bgr8")

    return prepare


def decoded_whole(data: bytes) -> object:
    """A JPEG in colour, as it comes, then gray and small."""
    picture = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
    size = (SEARCHED, picture.shape[0] * SEARCHED // picture.shape[1])
    gray = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    return cv2.resize(gray, size, interpolation=cv2.INTER_AREA)


def main() -> None:
    """Print the table."""
    random, theirs = np.random.default_rng(0), bridge()
    print(f"{WIDTH}x{HEIGHT} to colour, ms: ours, OpenCV's call alone, cv_bridge")
    for encoding, values, code in RAW:
        shape = (HEIGHT, WIDTH, values) if values > 1 else (HEIGHT, WIDTH)
        pixels = random.integers(0, 256, shape, np.uint8)
        frame = Frame(1, encoding, WIDTH, HEIGHT, WIDTH * values, pixels.tobytes())
        ours = milliseconds(partial(to_bgr, frame))
        bare = 0.0 if code is None else milliseconds(partial(cv2.cvtColor, pixels, code))
        other = "not installed"
        if theirs is not None:
            other = f"{milliseconds(theirs(frame)):.3f}"
        print(f"  {encoding:12} {ours:.3f}  {bare:.3f}  {other}")
    print(f"JPEG to gray for the detector ({SEARCHED} columns), ms: ours, decoded whole and scaled")
    for width, height in ((640, 480), (1920, 1080)):
        small = random.integers(0, 256, (height // 16, width // 16, 3), np.uint8)
        data = cv2.imencode(".jpg", cv2.resize(small, (width, height)))[1].tobytes()
        frame = Frame(1, "jpeg", 0, 0, 0, data)

        reduced, whole = partial(to_gray, frame, SEARCHED), partial(decoded_whole, data)
        print(f"  {width}x{height}  {milliseconds(reduced):.2f}  {milliseconds(whole):.2f}")


if __name__ == "__main__":
    main()
