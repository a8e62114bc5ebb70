"""Camera frames as received, not decoded."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TypeAlias

Pixels: TypeAlias = "bytes | bytearray | memoryview | array[int]"


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One camera image, as in sensor_msgs/Image; nothing is checked or decoded before it is used.

    stamp: ns; 0 or less = unknown. encoding: ROS names ("rgb8", "nv12", ...), or "jpeg" / "png"
    (any CompressedImage.format that names one of them): then width, height and step may be 0.
    step: bytes in a row of the first plane, padding included; 0 = no padding.
    data: not copied, so it must not change while the frame is in use.
    """

    stamp: int
    encoding: str
    width: int
    height: int
    step: int
    data: Pixels
    frame_id: str = ""
    is_bigendian: bool = False
