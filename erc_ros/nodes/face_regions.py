"""Regions of the faces that ROS4HRI tracks: `faces/<id>/roi`, normalized to the image (REP-155).

`message_filters.Cache` keeps the last regions of each face. For an image, the region nearest to its
stamp is looked up without waiting, so no input delays another.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from builtin_interfaces.msg import Time as TimeMessage
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.time import Time

from erc_ros.adapters import message_class, stamp_of
from erc_ros.nodes.managed_node import ManagedNode
from erc_ros.nodes.matching_qos import MatchingSubscription
from erc_ros.nodes.messages import to_time
from erc_ros.pipeline import TrackedFace
from erc_ros.sensing.faces import Box, FaceObservation
from erc_ros.sensing.frames import Frame
from erc_ros.sensing.images import image_size, to_bgr
from erc_ros.values.nanoseconds import seconds

REGION = "hri_msgs/msg/NormalizedRegionOfInterest2D"
REGION_QOS = QoSProfile(depth=5, reliability=QoSReliabilityPolicy.BEST_EFFORT)
KEPT = 30  # regions per face: one second of most detectors
APART = seconds(0.2)  # maximum distance of an image and the region used to crop it, as faces move
MISSING = (
    "faces/<id>/roi of ROS4HRI needs the ROS package message_filters, which is not installed: "
    "apt install ros-<distribution>-message-filters"
)


class _Region:
    """Cache of a face's regions, with the filter that feeds it."""

    def __init__(self, filters: Any) -> None:
        self._filter = filters.SimpleFilter()
        self.cache = filters.Cache(self._filter, KEPT)

    def add(self, message: Any) -> None:
        self._filter.signalMessage(message)

    def nearest(self, stamp: int, max_distance: int) -> Any:
        """Return the region nearest to `stamp`, at most `max_distance` ns from it, or None."""
        at = Time.from_msg(to_time(stamp))
        near = (self.cache.getElemBeforeTime(at), self.cache.getElemAfterTime(at))
        apart = [(abs(_stamp(m) - stamp), number) for number, m in enumerate(near) if m is not None]
        return near[min(apart)[1]] if apart and min(apart)[0] <= max_distance else None


class FaceRegions:
    """The last regions of each subscribed face; empty without message_filters."""

    def __init__(self, node: ManagedNode, namespace: str) -> None:
        self._node, self._namespace = node, namespace
        self._kind: Any = message_class(REGION) if namespace else None
        self._filters: Any = None
        self._subscriptions: dict[str, MatchingSubscription] = {}
        self._regions: dict[str, _Region] = {}

    def look(self, faces: Iterable[str]) -> None:
        """Subscribe to exactly these faces; call it periodically in the executor."""
        wanted = set(faces) if self._kind is not None else set()
        if wanted and self._filters is None:
            try:
                import message_filters
            except ImportError:
                self._node.complain("faces/roi", MISSING)
                return
            self._filters = message_filters
        for face in self._subscriptions.keys() - wanted:
            self._subscriptions.pop(face).close()
            self._regions.pop(face, None)
        for face in wanted:
            if face not in self._subscriptions:
                self._regions[face] = _Region(self._filters)
                topic = f"{self._namespace}/faces/{face}/roi"
                self._subscriptions[face] = MatchingSubscription(
                    self._node, self._kind, topic, partial(self._receive, face), REGION_QOS
                )
            self._subscriptions[face].look()

    def near(self, stamp: int, max_distance: int, width: int, height: int) -> list[FaceObservation]:
        """Return faces within `max_distance` ns of `stamp`, in an image of this size."""
        nearest = [(f, r.nearest(stamp, max_distance)) for f, r in list(self._regions.items())]
        return [
            FaceObservation(face, _stamp(region), _box(region, width, height), None)
            for face, region in nearest
            if region is not None
        ]

    def crops(self, frame: Frame) -> list[TrackedFace]:
        """Crop the faces of an image, as if their detector had published `faces/<id>/cropped`.

        Raises:
            ImageError: the image could not be decoded.
        """
        near = self.near(frame.stamp, APART, *image_size(frame)) if self._regions else []
        if not near:
            return []
        image, faces = to_bgr(frame), []
        for face in near:
            x, y = face.box.x, face.box.y
            pixels = image[y : y + face.box.height, x : x + face.box.width]
            if pixels.size:
                height, width = pixels.shape[:2]
                data = pixels.tobytes()
                crop = Frame(frame.stamp, "bgr8", width, height, 0, data, frame.frame_id)
                faces.append(TrackedFace(face.track_id, crop))
        return faces

    def close(self) -> None:
        """Destroy the subscriptions."""
        self.look(())

    def _receive(self, face: str, message: Any) -> None:
        edges = message.xmin, message.ymin, message.xmax, message.ymax
        if not (edges[0] < edges[2] and edges[1] < edges[3]):  # false for NaN as well
            self._node.complain("faces/roi", f"a region of a face has invalid edges: {edges}")
            return
        if stamp_of(message.header) is None:
            now = self._node.get_clock().now().nanoseconds
            message.header.stamp = to_time(now)
        if region := self._regions.get(face):
            region.add(message)


def _stamp(message: Any) -> int:
    """Return the stamp in ns."""
    time: TimeMessage = message.header.stamp
    return int(Time.from_msg(time).nanoseconds)


def _box(region: Any, width: int, height: int) -> Box:
    """Return the region in pixels, clipped to an image of this size."""
    x, right = (round(min(max(e, 0.0), 1.0) * width) for e in (region.xmin, region.xmax))
    y, bottom = (round(min(max(e, 0.0), 1.0) * height) for e in (region.ymin, region.ymax))
    return Box(x, y, right - x, bottom - y)
