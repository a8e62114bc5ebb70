"""What ROS4HRI (REP-155) publishes about people: faces, voices, and what belongs together."""

from __future__ import annotations

import re
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import QoSProfile, QoSReliabilityPolicy

from erc_ros.adapters import Adapter, humans_adapter, message_class, size_of, stamp_of
from erc_ros.nodes import diagnostics
from erc_ros.nodes.diagnostics import Meter
from erc_ros.nodes.inbox import Inbox
from erc_ros.nodes.managed_node import ManagedNode
from erc_ros.sensing.frame_throttle import FrameThrottle

QOS = QoSProfile(depth=20, reliability=QoSReliabilityPolicy.BEST_EFFORT)
TEXT_QOS = QoSProfile(depth=50, reliability=QoSReliabilityPolicy.RELIABLE)
MOST_TOPICS = 64  # ids come and go; those of a publisher that is gone are given up first


class Humans:
    """Subscribes to the topics of faces, voices and matches as they come and go.

    Args:
        namespace: where ROS4HRI lives, usually /humans; "" = nobody listens.
        face_rate: pictures of each face per second.
    """

    def __init__(self, node: ManagedNode, inbox: Inbox, namespace: str, face_rate: float) -> None:
        self.bad = 0
        self._node, self._inbox = node, inbox
        self._namespace = namespace.rstrip("/")
        self._face_rate = face_rate
        self._topics: dict[str, Any] = {}  # topic -> subscription
        self._meter = Meter()
        self._bad_before = 0

    @property
    def has_voices(self) -> bool:
        """Do texts come per voice? Then a topic of all texts would only say them twice."""
        return any(re.search(r"/voices/[^/]+/speech$", topic) for topic in self._topics)

    def look(self) -> None:
        """Subscribe to what is new, give up what is gone."""
        if not self._namespace:
            return
        offered = {
            topic: (adapter, type_name)
            for topic, types in self._node.get_topic_names_and_types()
            for type_name in types
            if (adapter := humans_adapter(topic, type_name, self._namespace))
            and self._node.count_publishers(topic)
        }
        for topic in [topic for topic in self._topics if topic not in offered]:
            self._node.destroy_subscription(self._topics.pop(topic))
        for topic, (adapter, type_name) in offered.items():
            kind = message_class(type_name)
            if topic not in self._topics and kind is not None and len(self._topics) < MOST_TOPICS:
                self._topics[topic] = self._subscribe(topic, adapter, type_name, kind)

    def _subscribe(self, topic: str, adapter: Adapter, type_name: str, kind: type) -> Any:
        clock, put, meter = self._node.get_clock(), self._inbox.put, self._meter
        throttle = FrameThrottle(self._face_rate) if topic.endswith("/cropped") else None

        def receive(message: Any) -> None:
            now, arrival = time.monotonic_ns(), clock.now().nanoseconds
            meter.tick(now)
            if throttle is None or throttle.takes(stamp_of(message.header) or arrival):
                put(adapter.input, (adapter, message, arrival), now, size_of(message))

        qos = QOS if throttle is not None else TEXT_QOS
        return self._node.subscribe_to(kind, topic, receive, qos)

    def close(self) -> None:
        """Stop listening."""
        for subscription in self._topics.values():
            self._node.destroy_subscription(subscription)
        self._topics.clear()

    def status(self, now: int) -> DiagnosticStatus:
        """How many faces and voices are listened to."""
        problems = []
        if new := self.bad - self._bad_before:
            problems.append(diagnostics.warning(f"{new} unusable messages, see the log"))
        self._bad_before = self.bad
        values = {
            "namespace": self._namespace,
            "topics": len(self._topics),
            "rate_hz": self._meter.hertz(now),
            "received": self._meter.count,
            "queued": self._inbox.depth("humans"),
            "queued_bytes": self._inbox.bytes("humans"),
            "dropped": self._inbox.dropped("humans"),
            "unusable": self.bad,
        }
        fine = "ok" if self._topics else "nothing of ROS4HRI is published"
        return diagnostics.status("humans", values, problems, fine if self._namespace else "off")
