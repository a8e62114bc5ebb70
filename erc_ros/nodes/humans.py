"""What ROS4HRI (REP-155) publishes about people: faces, voices, and what belongs together."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import QoSProfile, QoSReliabilityPolicy

from erc_ros.adapters import Adapter, humans_adapter, message_class, size_of, stamp_of
from erc_ros.nodes import diagnostics
from erc_ros.nodes.diagnostics import Meter
from erc_ros.nodes.inbox import Inbox
from erc_ros.nodes.managed_node import ManagedNode
from erc_ros.nodes.matching_qos import MatchingSubscription
from erc_ros.nodes.tracked_faces import TrackedFaces
from erc_ros.sensing.frame_throttle import FrameThrottle

# As deep as is right for what they carry; the rest as their publishers offer it: a person's face_id
# and voice_id are published once, and kept for late subscribers (REP-155).
PICTURE_QOS = QoSProfile(depth=20, reliability=QoSReliabilityPolicy.BEST_EFFORT)
QOS = QoSProfile(depth=50, reliability=QoSReliabilityPolicy.RELIABLE)
SOUND_QOS = QoSProfile(depth=100, reliability=QoSReliabilityPolicy.RELIABLE)
INPUTS = ("humans", "voice_sound")  # of the inbox
MOST_TOPICS = 64  # ids come and go; those of a publisher that is gone are given up first
NAMES_AT_ONCE, ASKED_AT_ONCE = 256, 16  # topics that are looked at in a step
THROTTLED = ("/cropped", "/landmarks")  # of a face: as often as faces are searched
SHARE = 0.05  # of the executor's time that looking may take


class Humans:
    """Subscribes to the topics of faces, voices and matches as they come and go.

    Args:
        namespace: where ROS4HRI lives, as the node resolves it; "" = nobody listens.
        face_rate: pictures of each face per second.
    """

    def __init__(self, node: ManagedNode, inbox: Inbox, namespace: str, face_rate: float) -> None:
        self.bad = 0
        self._node, self._inbox = node, inbox
        self._namespace = node.resolve_topic_name(namespace).rstrip("/") if namespace else ""
        self._face_rate = face_rate
        self._faces = TrackedFaces(node, self._namespace)
        # topic -> subscription, the longest not asked first
        self._topics: dict[str, MatchingSubscription] = {}
        self._offers: dict[str, tuple[Adapter, str]] = {}  # how topics are read, and their types
        self._known: set[str] = set()  # topics whose names were read
        self._due = 0.0  # s on the monotonic clock, when to look again
        self._meter = Meter()
        self._bad_before = 0

    @property
    def has_voices(self) -> bool:
        """Do texts come per voice? Then a topic of all texts would only say them twice."""
        return any(re.search(r"/voices/[^/]+/speech$", topic) for topic in self._topics)

    def look(self) -> None:
        """Subscribe to what is new, give up what is gone.

        In small steps, and the more rarely the longer it takes: whoever makes topics by the
        thousands must not take the executor's time from sound and pictures.
        """
        begin = time.monotonic()
        if not self._namespace or begin < self._due:
            return
        there = {
            topic: types
            for topic, types in self._node.get_topic_names_and_types()
            if topic.startswith(f"{self._namespace}/")
        }
        self._faces.look()
        self._read_names(there)
        for topic in [topic for topic in self._topics if topic not in there]:
            self._give_up(topic)
        self._ask()
        self._due = begin + (time.monotonic() - begin) / SHARE

    def _read_names(self, there: Mapping[str, Sequence[str]]) -> None:
        """What the new topics are, some of them in a step."""
        self._known &= there.keys()
        for topic in [topic for topic in self._offers if topic not in there]:
            del self._offers[topic]
        new = [topic for topic in there if topic not in self._known]
        for topic in new[:NAMES_AT_ONCE]:
            self._known.add(topic)
            for type_name in there[topic]:
                adapter = humans_adapter(topic, type_name, self._namespace)
                if adapter is not None and message_class(type_name) is not None:
                    self._offers[topic] = (adapter, type_name)

    def _ask(self) -> None:
        """Whether topics still, or by now, have publishers; some of each kind in a step."""
        for topic in list(self._topics)[:ASKED_AT_ONCE]:
            self._topics[topic] = self._topics.pop(topic)  # the next ones next time
            if not self._topics[topic].look():
                self._give_up(topic)
        waiting = self._waiting()
        free = MOST_TOPICS - len(self._topics)
        # one of them was the list of tracked faces
        for topic in waiting[: ASKED_AT_ONCE - 1 if free else 0]:
            adapter, type_name = self._offers[topic] = self._offers.pop(topic)
            kind = message_class(type_name)
            if kind is None:
                continue
            subscription = self._subscription(topic, adapter, kind)
            if not subscription.look():
                continue
            self._topics[topic] = subscription
            free -= 1
            if not free:
                break

    def _waiting(self) -> list[str]:
        """Topics that are not listened to yet; where there is no room for all, tracked faces first.

        Those of faces that nobody tracks any more make room for them.
        """
        waiting = [topic for topic in self._offers if topic not in self._topics]
        if len(self._offers) <= MOST_TOPICS or not self._faces.ids:
            return waiting
        tracked = {f"{self._namespace}/faces/{face}" for face in self._faces.ids}
        wanted = [topic for topic in waiting if topic.rpartition("/")[0] in tracked]
        for topic in [
            topic
            for topic in self._topics
            if topic.startswith(f"{self._namespace}/faces/")
            and topic.rpartition("/")[0] not in tracked
        ][: min(len(wanted), ASKED_AT_ONCE)]:
            self._give_up(topic)
        first = set(wanted)
        return [*wanted, *(topic for topic in waiting if topic not in first)]

    def _give_up(self, topic: str) -> None:
        self._topics.pop(topic).close()

    def _subscription(self, topic: str, adapter: Adapter, kind: type) -> MatchingSubscription:
        clock, put, meter = self._node.get_clock(), self._inbox.put, self._meter
        throttle = FrameThrottle(self._face_rate) if topic.endswith(THROTTLED) else None
        is_sound = adapter.input == "voice_sound"

        def receive(message: Any) -> None:
            now, arrival = time.monotonic_ns(), clock.now().nanoseconds
            meter.tick(now)
            if throttle is None or throttle.takes(stamp_of(message.header) or arrival):
                put(adapter.input, (adapter, message, arrival), now, size_of(message))

        qos = SOUND_QOS if is_sound else QOS if throttle is None else PICTURE_QOS
        return MatchingSubscription(self._node, kind, topic, receive, qos)

    def close(self) -> None:
        """Stop listening."""
        for subscription in self._topics.values():
            subscription.close()
        self._faces.close()
        self._topics.clear()
        self._offers.clear()
        self._known.clear()

    def status(self, now: int) -> DiagnosticStatus:
        """How many faces and voices are listened to."""
        problems = []
        if new := self.bad - self._bad_before:
            problems.append(diagnostics.warning(f"{new} unusable messages, see the log"))
        self._bad_before = self.bad
        if len(self._offers) > MOST_TOPICS:
            text = f"{len(self._offers)} topics of ROS4HRI, {MOST_TOPICS} of them are listened to"
            problems.append(diagnostics.warning(text))
        values = {
            "namespace": self._namespace,
            "topics": len(self._topics),
            "offered": len(self._offers),
            "rate_hz": self._meter.hertz(now),
            "received": self._meter.count,
            "queued": sum(map(self._inbox.depth, INPUTS)),
            "queued_bytes": sum(map(self._inbox.bytes, INPUTS)),
            "dropped": sum(map(self._inbox.dropped, INPUTS)),
            "unusable": self.bad,
        }
        fine = "ok" if self._topics else "nothing of ROS4HRI is published"
        return diagnostics.status("humans", values, problems, fine if self._namespace else "off")
