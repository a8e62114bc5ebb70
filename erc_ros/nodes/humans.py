"""What ROS4HRI (REP-155) publishes about people: faces, voices, and what belongs together."""

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

# As deep as is right for what they carry; the rest as their publishers offer it: a person's face_id
# and voice_id are published once, and kept for late subscribers (REP-155).
PICTURE_QOS = QoSProfile(depth=20, reliability=QoSReliabilityPolicy.BEST_EFFORT)
QOS = QoSProfile(depth=50, reliability=QoSReliabilityPolicy.RELIABLE)
SOUND_QOS = QoSProfile(depth=100, reliability=QoSReliabilityPolicy.RELIABLE)
INPUTS = ("humans", "voice_sound")  # of the inbox
# Ids come and go, and a topic whose publisher is gone is given up first. Images, landmarks and
# audio cost time and memory; the rest are a few bytes, and say whose images are wanted.
MOST_MEDIA, MOST_SMALL = 64, 256
MOST_TOPICS = MOST_MEDIA + MOST_SMALL
MOST_REGIONS = 16  # faces that are cropped here
MEDIA = ("/cropped", "/landmarks", "/audio")
SPOKE = 10.0  # s that a face counts as speaking after it was last said to speak
NAMES_AT_ONCE, ASKED_AT_ONCE = 256, 16  # topics that are looked at in a step
MEDIA_AT_ONCE = 4  # of those, that are left to images, landmarks and audio at least
SHARE = 0.05  # of the executor's time that looking may take
LONGEST_PAUSE = 2.0  # s between two looks, also on a machine that is busy with other things


class Humans:
    """Subscribes to the topics of faces, voices and matches as they come and go.

    Args:
        reader: selects the images and landmarks that are worth reading.
        namespace: of ROS4HRI, as the node resolves it; "": it is not used.
        unused: endings of topics that are not subscribed to.
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
        # topic -> subscription, the longest not asked first
        self._topics: dict[str, MatchingSubscription] = {}
        self._offers: dict[str, tuple[Adapter, str]] = {}  # how topics are read, and their types
        self._known: set[str] = set()  # topics whose names were read
        self._spoke: dict[str, float] = {}  # face -> s on the monotonic clock, when it spoke last
        self._due = 0.0  # s on the monotonic clock, when to look again
        self._meter, self._lossiness = Meter(), Lossiness()
        self._bad_before = 0

    @property
    def has_voices(self) -> bool:
        """Do texts come per voice? Then a topic of all texts would only say them twice."""
        return any(re.search(r"/voices/[^/]+/speech$", topic) for topic in self._topics)

    def look(self) -> None:
        """Subscribe to what is new, give up what is gone.

        In small steps, and the more rarely the longer it takes: thousands of topics must not take
        the executor's time from audio and images.
        """
        begin = time.monotonic()
        if not self._namespace or begin < self._due:
            return
        there = {
            topic: types
            for topic, types in self._node.get_topic_names_and_types()
            if topic.startswith(f"{self._namespace}/") and not topic.endswith(self._unused)
        }
        self._faces.look()
        self._look_for_regions(there)
        self._read_names(there)
        for topic in [topic for topic in self._topics if topic not in there]:
            self._give_up(topic)
        self._ask()
        self._due = begin + min((time.monotonic() - begin) / SHARE, LONGEST_PAUSE)

    def crops(self, frame: Frame) -> list[TrackedFace]:
        """The faces in a camera image whose detector publishes regions and no images.

        Raises:
            ImageError: the image could not be decoded.
        """
        return self._regions.crops(frame)

    def _look_for_regions(self, there: Mapping[str, Sequence[str]]) -> None:
        """Listen to the regions of tracked faces of which there is no image."""
        folders = {face: f"{self._namespace}/faces/{face}" for face in self._faces.ids}
        self._regions.look(
            [
                face
                for face, folder in folders.items()
                if f"{folder}/roi" in there and f"{folder}/cropped" not in there
            ][:MOST_REGIONS]
        )

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
        ranks = self._ranks()
        asked = ASKED_AT_ONCE - 1  # one of them was the list of tracked faces
        asked -= self._subscribe_to_best(False, MOST_SMALL, ranks, asked - MEDIA_AT_ONCE)
        self._subscribe_to_best(True, MOST_MEDIA, ranks, asked)

    def _subscribe_to_best(
        self, is_media: bool, most: int, ranks: Mapping[str, int], asked: int
    ) -> int:
        """Subscribe to what matters most of one kind, at most `asked` topics; how many it asked."""
        there = [topic for topic in self._topics if topic.endswith(MEDIA) == is_media]
        waiting = [
            topic
            for topic in self._offers
            if topic not in self._topics and topic.endswith(MEDIA) == is_media
        ]
        waiting = sorted(waiting, key=lambda topic: _rank(topic, ranks))[:asked]
        free = most - len(there)
        there.sort(key=lambda topic: _rank(topic, ranks))
        count = 0
        for topic in waiting:
            if free <= 0:  # what matters less makes room
                if not there or _rank(there[-1], ranks) <= _rank(topic, ranks):
                    break
                self._give_up(there.pop())
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
        """face -> 0: it speaks, 1: it is tracked. Others come last, where a tracked list exists."""
        ranks = dict.fromkeys(self._faces.ids, 1)
        end = time.monotonic() - SPOKE
        self._spoke = {face: at for face, at in self._spoke.items() if at > end}
        return ranks | dict.fromkeys(self._spoke, 0)

    def _give_up(self, topic: str) -> None:
        self._topics.pop(topic).close()

    def _subscription(self, topic: str, adapter: Adapter, kind: type) -> MatchingSubscription:
        clock, put, meter = self._node.get_clock(), self._inbox.put, self._meter
        is_sound = adapter.input == "voice_sound"
        speaks = re.fullmatch(r".*/faces/([^/]+)/is_speaking", topic)

        def receive(message: Any) -> None:
            now, arrival = time.monotonic_ns(), clock.now().nanoseconds
            meter.tick(now)
            if speaks and message.data:
                self._spoke[speaks[1]] = time.monotonic()
            if self._reader.wants(adapter, topic, message, arrival):
                put(adapter.input, (adapter, message, arrival), now, size_of(message))

        qos = SOUND_QOS if is_sound else PICTURE_QOS if adapter.is_throttled else QOS
        return MatchingSubscription(self._node, kind, topic, receive, qos)

    def close(self) -> None:
        """Stop listening."""
        for subscription in self._topics.values():
            subscription.close()
        self._faces.close()
        self._regions.close()
        self._topics.clear()
        self._offers.clear()
        self._known.clear()

    def status(self, now: int) -> DiagnosticStatus:
        """How many faces and voices are listened to."""
        problems = []
        if new := self.bad - self._bad_before:
            problems.append(diagnostics.warning(f"{new} unusable messages, see the log"))
        self._bad_before = self.bad
        media = sum(topic.endswith(MEDIA) for topic in self._offers)
        if media > MOST_MEDIA or len(self._offers) - media > MOST_SMALL:
            text = (
                f"{len(self._offers)} topics of ROS4HRI, of which {len(self._topics)} are listened "
                "to: those of faces that speak or are tracked first"
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
        fine = "ok" if self._topics else "nothing of ROS4HRI is published"
        return diagnostics.status("humans", values, problems, fine if self._namespace else "off")


def _rank(topic: str, ranks: Mapping[str, int]) -> int:
    """How little a topic matters: 0 for those of speaking faces.

    Of topics with few bytes those come next that are not of faces: voices, persons, matches.
    """
    face = re.search(r"/faces/([^/]+)/", topic)
    if face is None:
        return 1
    return ranks.get(face[1], 2 if any(ranks.values()) else 1)
