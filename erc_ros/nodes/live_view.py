"""Visualization: camera images annotated with emotions, and markers at faces.

An image is drawn only while it has a subscriber and `recording_allowed` is true.
"""

from __future__ import annotations

import time
import zlib
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from erc_msgs.msg import EmotionEstimate
from numpy.typing import NDArray
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import Image

from erc_ros.adapters import check_id, message_class
from erc_ros.nodes.face_regions import FaceRegions
from erc_ros.nodes.managed_node import ManagedNode
from erc_ros.nodes.messages import to_time
from erc_ros.nodes.tracked_faces import TrackedFaces
from erc_ros.sensing.faces import FaceObservation
from erc_ros.sensing.frames import Frame
from erc_ros.sensing.images import ImageError, to_bgr
from erc_ros.values.nanoseconds import NS
from erc_ros.values.why import brief, indicated, why_of_message

MARKERS, MARKER = "visualization_msgs/msg/MarkerArray", "visualization_msgs/msg/Marker"
IMAGE_QOS = QoSProfile(depth=2, reliability=QoSReliabilityPolicy.RELIABLE)
ESTIMATE_QOS = QoSProfile(depth=50, reliability=QoSReliabilityPolicy.RELIABLE)
SHOWN_FOR = 10 * NS  # an older estimate is not shown
WHY_LETTERS = 110  # maximum length of a line
MAX_PEOPLE = 16  # whose last estimate is shown
BOX_SHOWN_FOR = NS  # an older box of a face is not drawn
UNPLEASANT, PLEASANT = (60, 60, 230), (80, 200, 80)  # BGR
GRAY = (190, 190, 190)


@dataclass(frozen=True, slots=True)
class ShownEstimate:
    """The last estimate of a person.

    arrived: ns on the monotonic clock. why: lines that explain the estimate.
    """

    who: str
    face_id: str
    label: str
    confidence: float
    valence: float
    arrived: int
    why: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The text that is drawn, in ASCII for OpenCV."""
        return f"{_ascii(self.who, 30)}: {self.label or 'unknown'} {self.confidence:.0%}"

    @property
    def color(self) -> tuple[int, int, int]:
        """BGR color, from unpleasant to pleasant."""
        share = (max(-1.0, min(1.0, self.valence)) + 1) / 2
        pairs = zip(UNPLEASANT, PLEASANT, strict=True)
        b, g, r = (round(a + share * (z - a)) for a, z in pairs)
        return b, g, r


def draw(
    image: NDArray[np.uint8], faces: Iterable[FaceObservation], shown: Sequence[ShownEstimate]
) -> NDArray[np.uint8]:
    """Return (H, W, 3) BGR with boxes of faces and the last estimate of each person."""
    drawn: NDArray[np.uint8] = np.array(image)
    scale = max(0.4, image.shape[1] / 1280)
    by_face = {one.face_id: one for one in shown if one.face_id}
    for face in faces:
        one, box = by_face.get(face.track_id), face.box
        color = one.color if one else GRAY
        corner = (box.x + box.width, box.y + box.height)
        cv2.rectangle(drawn, (box.x, box.y), corner, color, 2)
        text = one.text if one else face.track_id
        _write(drawn, text, (box.x, max(12, box.y - 6)), scale, color)
    line = round(36 * scale)
    bottom = image.shape[0] - line // 2
    for one in reversed(shown):
        for text in reversed(one.why):  # below the estimate, smaller
            _write(drawn, _ascii(text, WHY_LETTERS), (8, bottom), 0.7 * scale, one.color)
            bottom -= round(0.7 * line)
        _write(drawn, one.text, (8, bottom), scale, one.color)
        bottom -= line
    return drawn


def _ascii(text: str, max_length: int) -> str:
    """Truncate a text and replace the characters that OpenCV cannot draw."""
    return text[:max_length].encode("ascii", "replace").decode()


def _write(
    image: NDArray[np.uint8],
    text: str,
    place: tuple[int, int],
    scale: float,
    color: tuple[int, int, int],
) -> None:
    for shade, width in (((0, 0, 0), 3), (color, 1)):
        cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, shade, width, cv2.LINE_AA)


def _why(message: EmotionEstimate) -> tuple[str, ...]:
    """Return lines that explain an estimate."""
    why = why_of_message(message)
    best = message.label
    if not best and len(message.labels) == len(message.probabilities) > 0:
        best = message.labels[int(np.argmax(message.probabilities))]
    return tuple(line for line in (indicated(why), brief(best, why)) if line)


class LiveView:
    """Publishes `image_emotions` and, where visualization_msgs is installed, `emotion_markers`.

    Markers are texts in the frame `face_<id>` of faces that ROS4HRI tracks (REP-155).

    Args:
        humans: namespace of ROS4HRI.
    """

    def __init__(self, node: ManagedNode, humans: str) -> None:
        self._node = node
        self._shown: OrderedDict[str, ShownEstimate] = OrderedDict()  # person -> last estimate
        self._faces = TrackedFaces(node, humans)
        self._regions = FaceRegions(node, humans)
        self._images = node.create_publisher(Image, "image_emotions", IMAGE_QOS)
        self._marker: Any = message_class(MARKER)
        kind = message_class(MARKERS)
        self._markers = None
        if kind is not None and self._marker is not None:
            self._markers = node.create_publisher(kind, "emotion_markers", IMAGE_QOS)
        self._kind: Any = kind
        self._subscription = node.subscribe_to(
            EmotionEstimate, "emotions", self._receive, ESTIMATE_QOS
        )

    def look(self) -> None:
        """Update which faces are tracked and, with a subscriber, where they are."""
        self._faces.look()
        is_watched = self._images.get_subscription_count() > 0
        self._regions.look(self._faces.ids[:MAX_PEOPLE] if is_watched else ())

    def show(self, frame: Frame, faces: Iterable[FaceObservation]) -> None:
        """Publish an annotated camera image if it has a subscriber.

        Args:
            faces: the last detections of this package; those of ROS4HRI are known here.
        """
        if not self._images.get_subscription_count():
            return
        try:
            image = to_bgr(frame)
        except ImageError:
            return  # already reported by the face detection
        height, width = image.shape[:2]
        near = [face for face in faces if abs(frame.stamp - face.stamp) <= BOX_SHOWN_FOR]
        near += self._regions.near(frame.stamp, BOX_SHOWN_FOR, width, height)
        drawn = draw(image, near, self._now())
        message = Image(height=height, width=width, encoding="bgr8", step=3 * width)
        message.header.stamp = to_time(frame.stamp)
        message.header.frame_id = frame.frame_id
        message.data = array("B", drawn.tobytes())
        self._images.publish(message)

    def close(self) -> None:
        """Destroy the topics."""
        self._faces.close()
        self._regions.close()
        self._node.destroy_subscription(self._subscription)
        self._node.destroy_publisher(self._images)
        if self._markers is not None:
            self._node.destroy_publisher(self._markers)

    def _now(self) -> list[ShownEstimate]:
        """Return the recent estimates, the latest last."""
        now = time.monotonic_ns()
        return [one for one in list(self._shown.values()) if now - one.arrived <= SHOWN_FOR]

    def _receive(self, message: EmotionEstimate) -> None:
        who = message.person_id or message.face_id or f"speaker {message.speaker_id or '?'}"
        try:
            check_id("who", who)
            check_id("label", message.label)
        except ValueError as error:
            self._node.complain("live view", str(error))
            return
        shown = ShownEstimate(
            who,
            message.face_id,
            message.label,
            message.confidence,
            message.valence,
            time.monotonic_ns(),
            _why(message),
        )
        self._shown.pop(who, None)
        self._shown[who] = shown
        if len(self._shown) > MAX_PEOPLE:
            self._shown.popitem(last=False)
        if self._markers is not None and message.face_id in self._faces.ids:
            self._mark(message, shown)

    def _mark(self, message: EmotionEstimate, shown: ShownEstimate) -> None:
        assert self._markers is not None
        marker = self._marker(ns="emotions", type=self._marker.TEXT_VIEW_FACING, text=shown.text)
        marker.header.stamp = message.header.stamp
        marker.header.frame_id = f"face_{shown.face_id}"
        marker.id = zlib.crc32(shown.face_id.encode()) % 2**31
        marker.pose.position.y = -0.2  # above the face: y is down in an optical frame
        marker.pose.orientation.w = 1.0
        marker.scale.z = 0.08  # m, height of a letter
        blue, green, red = shown.color
        marker.color.r, marker.color.g, marker.color.b = red / 255, green / 255, blue / 255
        marker.color.a = 1.0
        marker.lifetime.sec = SHOWN_FOR // NS
        marker.frame_locked = True
        self._markers.publish(self._kind(markers=[marker]))
