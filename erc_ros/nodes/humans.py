"""Subscriptions to the people of ROS4HRI (REP-155): faces, voices, and their matches."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import QoSProfile, QoSReliabilityPolicy

from erc_ros.adapters import Adapter, humans_adapter, message_class, size_of
from erc_ros.input_reader import InputReader
from erc_ros.nodes import diagnostics
from erc_ros.nodes.diagnostics import Lossiness, Meter
from erc_ros.nodes.face_regions import FaceRegions
from erc_ros.nodes.inbox import Inbox
from erc_ros.nodes.managed_node import ManagedNode
from erc_ros.nodes.matching_qos import MatchingSubscription
from erc_ros.nodes.tracked_faces import TrackedFaces
from erc_ros.pipeline import TrackedFace
from erc_ros.sensing.frames import Frame

# The depth depends on the content. Durability follows the publishers: the face_id and voice_id of a
# person are published once and kept for late subscribers (REP-155).
IMAGE_QOS = QoSProfile(depth=20, reliability=QoSReliabilityPolicy.BEST_EFFORT)
QOS = QoSProfile(depth=50, reliability=QoSReliabilityPolicy.RELIABLE)
AUDIO_QOS = QoSProfile(depth=100, reliability=QoSReliabilityPolicy.RELIABLE)
INPUTS = ("humans", "voice_sound")  # queues of the inbox
# Bounds, as ids come and go; topics without a publisher are unsubscribed first. Images, landmarks
# and audio need time and memory; other topics are small and tell whose images are needed.
MAX_MEDIA, MAX_SMALL = 64, 256
MAX_TOPICS = MAX_MEDIA + MAX_SMALL
MAX_REGIONS = 16  # faces that are cropped by this node
MEDIA = ("/cropped", "/landmarks", "/audio")
SPOKE = 10.0  # s for which a face counts as speaking after its last `is_speaking`
NAMES_AT_ONCE, QUERIES_AT_ONCE = 256, 16  # topics that one step examines and queries
MEDIA_AT_ONCE = 4  # queries of a step that are reserved for images, landmarks and audio
SHARE = 0.05  # maximum share of the executor's time for `look`
LONGEST_PAUSE = 2.0  # s between two steps, also on a busy machine


class Humans:
    """Subscribes to the topics of faces, voices and matches as they appear and disappear.

    Args:
        reader: selects the images and landmarks to process.
        namespace: namespace of ROS4HRI, resolved by the node; "": ROS4HRI is not used.
        unused: suffixes of topics that are not subscribed to.
    """

    def __init__(
        self,
        node: ManagedNode,
        inbox: Inbox,
        reader: InputReader,
        namespace: str,
        unused: tuple[str, ...] = (),
    ) -> None:
        self._unused = unused
        self.bad = 0
        self._node, self._inbox = node, inbox
        self._namespace = node.resolve_topic_name(namespace).rstrip("/") if namespace else ""
        self._reader = reader
        self._faces = TrackedFaces(node, self._namespace)
        self._regions = FaceRegions(node, self._namespace)
        # topic -> subscription, least recently queried first
        self._topics: dict[str, MatchingSubscription] = {}
        self._offers: dict[str, tuple[Adapter, str]] = {}  # adapters and types of topics
        self._known: set[str] = set()  # topics whose names were examined
        self._spoke: dict[str, float] = {}  # face -> last time it spoke (s, monotonic clock)
        self._due = 0.0  # s on the monotonic clock, time of the next step
        self._meter, self._lossiness = Meter(), Lossiness()
        self._bad_before = 0

    @property
    def has_voices(self) -> bool:
        """Whether texts arrive per voice; a topic of all texts would then duplicate them."""
        return any(re.search(r"/voices/[^/]+/speech$", topic) for topic in self._topics)

    def look(self) -> None:
        """Subscribe to new topics, unsubscribe from those without a publisher.

        Works in small steps, and less often if they take longer: thousands of topics must not keep
        the executor from receiving audio and images.
        """
        start = time.monotonic()
        if not self._namespace or start < self._due:
            return
        published = {
            topic: types
            for topic, types in self._node.get_topic_names_and_types()
            if topic.startswith(f"{self._namespace}/") and not topic.endswith(self._unused)
        }
        self._faces.look()
        self._look_for_regions(published)
        self._read_names(published)
        for topic in [topic for topic in self._topics if topic not in published]:
            self._unsubscribe(topic)
        self._query()
        self._due = start + min((time.monotonic() - start) / SHARE, LONGEST_PAUSE)

    def crops(self, frame: Frame) -> list[TrackedFace]:
        """Crop the faces of a camera image whose detector publishes regions, but no crops.

        Raises:
            ImageError: the image could not be decoded.
        """
        return self._regions.crops(frame)

    def _look_for_regions(self, published: Mapping[str, Sequence[str]]) -> None:
        """Subscribe to the regions of tracked faces without published crops."""
        folders = {face: f"{self._namespace}/faces/{face}" for face in self._faces.ids}
        self._regions.look(
            [
                face
                for face, folder in folders.items()
                if f"{folder}/roi" in published and f"{folder}/cropped" not in published
            ][:MAX_REGIONS]
        )

    def _read_names(self, published: Mapping[str, Sequence[str]]) -> None:
        """Find the adapters of new topics, a limited number per step."""
        self._known &= published.keys()
        for topic in [topic for topic in self._offers if topic not in published]:
            del self._offers[topic]
        new = [topic for topic in published if topic not in self._known]
        for topic in new[:NAMES_AT_ONCE]:
            self._known.add(topic)
            for type_name in published[topic]:
                adapter = humans_adapter(topic, type_name, self._namespace)
                if adapter is not None and message_class(type_name) is not None:
                    self._offers[topic] = (adapter, type_name)

    def _query(self) -> None:
        """Query whether topics have publishers, a limited number of each kind per step."""
        for topic in list(self._topics)[:QUERIES_AT_ONCE]:
            self._topics[topic] = self._topics.pop(topic)  # the next step starts with others
            if not self._topics[topic].look():
                self._unsubscribe(topic)
        ranks = self._ranks()
        queries = QUERIES_AT_ONCE - 1  # one of them was for the list of tracked faces
        queries -= self._subscribe_to_best(False, MAX_SMALL, ranks, queries - MEDIA_AT_ONCE)
        self._subscribe_to_best(True, MAX_MEDIA, ranks, queries)

    def _subscribe_to_best(
        self, is_media: bool, max_topics: int, ranks: Mapping[str, int], max_queries: int
    ) -> int:
        """Subscribe to the topics of one kind with the best ranks; return the number of queries."""
        subscribed = [topic for topic in self._topics if topic.endswith(MEDIA) == is_media]
        waiting = [
            topic
            for topic in self._offers
            if topic not in self._topics and topic.endswith(MEDIA) == is_media
        ]
        waiting = sorted(waiting, key=lambda topic: _rank(topic, ranks))[:max_queries]
        free = max_topics - len(subscribed)
        subscribed.sort(key=lambda topic: _rank(topic, ranks))
        count = 0
        for topic in waiting:
            if free <= 0:  # a topic with a worse rank is unsubscribed
                if not subscribed or _rank(subscribed[-1], ranks) <= _rank(topic, ranks):
                    break
                self._unsubscribe(subscribed.pop())
                free += 1
            count += 1
            adapter, type_name = self._offers[topic] = self._offers.pop(topic)
            kind = message_class(type_name)
            if kind is None:
                continue
            subscription = self._subscription(topic, adapter, kind)
            if subscription.look():
                self._topics[topic] = subscription
                free -= 1
        return count

    def _ranks(self) -> dict[str, int]:
        """Return face -> rank; 0: it speaks, 1: it is tracked. Other faces come last."""
        ranks = dict.fromkeys(self._faces.ids, 1)
        end = time.monotonic() - SPOKE
        self._spoke = {face: at for face, at in self._spoke.items() if at > end}
        return ranks | dict.fromkeys(self._spoke, 0)

    def _unsubscribe(self, topic: str) -> None:
        self._topics.pop(topic).close()

    def _subscription(self, topic: str, adapter: Adapter, kind: type) -> MatchingSubscription:
        clock, put, meter = self._node.get_clock(), self._inbox.put, self._meter
        is_audio = adapter.input == "voice_sound"
        speaks = re.fullmatch(r".*/faces/([^/]+)/is_speaking", topic)

        def receive(message: Any) -> None:
            now, arrival = time.monotonic_ns(), clock.now().nanoseconds
            meter.tick(now)
            if speaks and message.data:
                self._spoke[speaks[1]] = time.monotonic()
            if self._reader.wants(adapter, topic, message, arrival):
                put(adapter.input, (adapter, message, arrival), now, size_of(message))

        qos = AUDIO_QOS if is_audio else IMAGE_QOS if adapter.is_throttled else QOS
        return MatchingSubscription(self._node, kind, topic, receive, qos)

    def close(self) -> None:
        """Destroy the subscriptions."""
        for subscription in self._topics.values():
            subscription.close()
        self._faces.close()
        self._regions.close()
        self._topics.clear()
        self._offers.clear()
        self._known.clear()

    def status(self, now: int) -> DiagnosticStatus:
        """Return the diagnostics of the subscriptions."""
        problems = []
        if new := self.bad - self._bad_before:
            problems.append(diagnostics.warning(f"{new} unusable messages; see the log"))
        self._bad_before = self.bad
        media = sum(topic.endswith(MEDIA) for topic in self._offers)
        if media > MAX_MEDIA or len(self._offers) - media > MAX_SMALL:
            text = (
                f"{len(self._offers)} topics of ROS4HRI exceed the limit; {len(self._topics)} are "
                "subscribed to, those of speaking and tracked faces first"
            )
            problems.append(diagnostics.warning(text))
        dropped = sum(map(self._inbox.dropped, INPUTS))
        problems += self._lossiness.problems(self._meter.count, dropped, 0, now)
        values = {
            "namespace": self._namespace,
            "topics": len(self._topics),
            "offered": len(self._offers),
            "rate_hz": self._meter.hertz(now),
            "received": self._meter.count,
            "queued": sum(map(self._inbox.depth, INPUTS)),
            "queued_bytes": sum(map(self._inbox.bytes, INPUTS)),
            "dropped": dropped,
            "unusable": self.bad,
        }
        fine = "ok" if self._topics else "no topic of ROS4HRI is published"
        return diagnostics.status("humans", values, problems, fine if self._namespace else "off")


def _rank(topic: str, ranks: Mapping[str, int]) -> int:
    """Return the rank of a topic, 0 (first) for topics of speaking faces.

    Among small topics, those that do not concern faces (voices, persons, matches) come next.
    """
    face = re.search(r"/faces/([^/]+)/", topic)
    if face is None:
        return 1
    return ranks.get(face[1], 2 if any(ranks.values()) else 1)
