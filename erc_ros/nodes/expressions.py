"""Expressions of the faces of ROS4HRI: a latched topic for each tracked face.

A topic exists as long as its face is tracked, so that subscribers can find it before the
first estimate, and late subscribers receive the last one.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from typing import Any

from erc_ros.adapters import message_class
from erc_ros.inference.estimate import Estimate
from erc_ros.nodes.managed_node import ManagedNode
from erc_ros.nodes.matching_qos import LATCHED_QOS
from erc_ros.nodes.messages import expression_message
from erc_ros.nodes.tracked_faces import TrackedFaces
from erc_ros.values.errors import ErcValueError

EXPRESSION = "hri_msgs/msg/Expression"
MAX_FACES = 64  # topics at the same time; then the least recently published one is removed


class Expressions:
    """Publishes `faces/<id>/expression`. Call `look` periodically in the executor.

    Args:
        namespace: namespace of ROS4HRI.

    Raises:
        ValueError: hri_msgs is not installed.
    """

    def __init__(self, node: ManagedNode, namespace: str) -> None:
        kind = message_class(EXPRESSION)
        if kind is None:
            raise ErcValueError("publish_expression needs hri_msgs, which is not installed here")
        self._node, self._kind, self._namespace = node, kind, namespace
        self._faces = TrackedFaces(node, namespace)
        self._publishers: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.Lock()  # the worker publishes, the executor destroys publishers

    def look(self) -> None:
        """Create topics for the tracked faces, and destroy all others."""
        self._faces.look()
        tracked = self._faces.ids
        with self._lock:
            for face in [face for face in self._publishers if face not in tracked]:
                self._node.destroy_publisher(self._publishers.pop(face))
            for face in tracked:
                if len(self._publishers) == MAX_FACES:
                    break
                self._ensure(face)

    def tell(self, estimate: Estimate) -> None:
        """Publish an estimate if its face is tracked and hri_msgs has a constant for its label."""
        face = estimate.utterance.face_id
        if face not in self._faces.ids or not estimate.label:
            return  # own tracks, ended tracks, and labels below min_confidence
        message = expression_message(self._kind, estimate)
        if message is None:
            self._node.complain(
                f"expression {estimate.label}",
                f"hri_msgs/Expression has no constant for {estimate.label!r}: it is not published",
            )
            return
        with self._lock:
            self._ensure(face)
            if len(self._publishers) > MAX_FACES:
                self._node.destroy_publisher(self._publishers.popitem(last=False)[1])
            self._publishers.move_to_end(face)
            self._publishers[face].publish(message)

    def close(self) -> None:
        """Destroy all topics."""
        self._faces.close()
        self.withdraw()

    def withdraw(self) -> None:
        """Destroy the publishers and their latched messages; `look` creates them again.

        An empty message replaces each latched one first: a subscriber that discovered a publisher
        shortly before its end may still receive what it kept.
        """
        empty = self._kind(valence=math.nan, arousal=math.nan)
        with self._lock:
            for publisher in self._publishers.values():
                publisher.publish(empty)
                self._node.destroy_publisher(publisher)
            self._publishers.clear()

    def _ensure(self, face: str) -> None:
        if face not in self._publishers:
            topic = f"{self._namespace}/faces/{face}/expression"
            self._publishers[face] = self._node.create_publisher(self._kind, topic, LATCHED_QOS)
