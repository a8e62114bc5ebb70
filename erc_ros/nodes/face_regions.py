"""Where ROS4HRI sees the faces that it tracks: `faces/<id>/roi`, shares of an image (REP-155)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from rclpy.qos import QoSProfile, QoSReliabilityPolicy

from erc_ros.adapters import message_class, stamp_of
from erc_ros.nodes.managed_node import ManagedNode
from erc_ros.nodes.matching_qos import MatchingSubscription
from erc_ros.sensing.faces import Box, FaceObservation

REGION = "hri_msgs/msg/NormalizedRegionOfInterest2D"
REGION_QOS = QoSProfile(depth=5, reliability=QoSReliabilityPolicy.BEST_EFFORT)


@dataclass(frozen=True, slots=True)
class FaceRegion:
    """A face in an image taken at `stamp` (ns); edges are shares of its width and height."""

    stamp: int
    left: float
    top: float
    right: float
    bottom: float

    def box(self, width: int, height: int) -> Box:
        """In pixels, within an image of this size."""
        x, right = (round(min(max(edge, 0.0), 1.0) * width) for edge in (self.left, self.right))
        y, bottom = (round(min(max(edge, 0.0), 1.0) * height) for edge in (self.top, self.bottom))
        return Box(x, y, right - x, bottom - y)


class FaceRegions:
    """The last region of each face that is listened to."""

    def __init__(self, node: ManagedNode, namespace: str) -> None:
        self._node, self._namespace = node, namespace
        self._kind: Any = message_class(REGION) if namespace else None
        self._subscriptions: dict[str, MatchingSubscription] = {}
        self._regions: dict[str, FaceRegion] = {}

    def look(self, faces: Iterable[str]) -> None:
        """Listen to these faces, and to no others; to be called now and then, in the executor."""
        wanted = set(faces) if self._kind is not None else set()
        for face in self._subscriptions.keys() - wanted:
            self._subscriptions.pop(face).close()
            self._regions.pop(face, None)
        for face in wanted:
            if face not in self._subscriptions:
                topic = f"{self._namespace}/faces/{face}/roi"
                self._subscriptions[face] = MatchingSubscription(
                    self._node, self._kind, topic, partial(self._hear, face), REGION_QOS
                )
            self._subscriptions[face].look()

    def near(self, stamp: int, most: int, width: int, height: int) -> list[FaceObservation]:
        """Faces that were seen at most `most` ns from `stamp`, in an image of this size."""
        return [
            FaceObservation(face, region.stamp, region.box(width, height), None)
            for face, region in list(self._regions.items())
            if abs(region.stamp - stamp) <= most
        ]

    def close(self) -> None:
        """Stop listening."""
        self.look(())

    def _hear(self, face: str, message: Any) -> None:
        stamp = stamp_of(message.header) or self._node.get_clock().now().nanoseconds
        edges = message.xmin, message.ymin, message.xmax, message.ymax
        if not (edges[0] < edges[2] and edges[1] < edges[3]):  # false for NaN as well
            self._node.complain("faces/roi", f"a region of a face has the edges {edges}")
            return
        self._regions[face] = FaceRegion(stamp, *edges)
