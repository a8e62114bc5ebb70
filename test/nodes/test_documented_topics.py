"""docs/reference/topics.md has each topic and service of the nodes, with type and QoS."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from audio_common_msgs.msg import AudioDataStamped, AudioInfo
from node_bench import Bench
from rclpy.qos import QoSDurabilityPolicy, QoSReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Bool, String

from erc_ros.nodes.utterance_node import STREAM_EVENTS

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "reference" / "topics.md"
MakeBench = Callable[..., Bench]
# Everybody's, and what rclpy opens for parameters and the lifecycle.
NOT_OURS = {"/rosout", "/parameter_events", "/clock"}
STANDARD = re.compile(
    r".*/(transition_event|\w+_parameters(_atomically)?|get_parameter_types|change_state"
    r"|get_(state|available_\w+|transition_graph|type_description))"
)


@dataclass(frozen=True)
class Row:
    """A row of the table of topics."""

    type: str
    qos: str

    def fits(self, info: Any) -> bool:
        """Is an endpoint what the row says?"""
        is_late = info.qos_profile.durability == QoSDurabilityPolicy.TRANSIENT_LOCAL
        is_reliable = info.qos_profile.reliability == QoSReliabilityPolicy.RELIABLE
        promised = self.qos.startswith(("reliable", "as its publishers offer"))
        name = info.topic_type.replace("/msg/", "/")
        said = name.partition("/")[2] in self.type and name.partition("/")[0] in self.type
        return said and is_late == ("transient local" in self.qos) and is_reliable == promised


def rows(published: bool) -> dict[str, Row]:
    """Topic -> its row, of those that are published, or of the others; ROS4HRI's are left out."""
    section = PAGE.read_text(encoding="utf-8").partition("\n## Topics\n")[2].partition("\n## ")[0]
    topics = {}
    for name, kind, qos in re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|", section, re.M):
        topic = re.search(r"`(/?[\w/]+)`", name)
        if topic and name.startswith("→") == published:
            kind = f"{kind} std_msgs/String" if "[Texts]" in kind else kind
            topics["/" + topic[1].lstrip("/")] = Row(kind, qos)
    return topics


def services() -> set[str]:
    section = PAGE.read_text(encoding="utf-8").partition("\n## Services\n")[2].partition("\n## ")[0]
    return {f"/{name}" for name in re.findall(r"^\| `(\w+/\w+)` \|", section, re.M)}


def test_every_topic_is_in_the_documentation_as_it_is(make_bench: MakeBench) -> None:
    pytest.importorskip("visualization_msgs", reason="visualization_msgs is not installed")
    bench = make_bench(split=True, parameters={"publish_view": True, "autostart": True})
    sources = (
        *((Image, "image"), (CompressedImage, "image/compressed"), (AudioInfo, "audio_info")),
        *((AudioDataStamped, "audio"), (String, "speech"), (Bool, "robot_speaking")),
        *((Bool, "recording_allowed"), (Bool, "robot_moving")),
    )
    for kind, topic in sources:
        bench.probe.create_publisher(kind, topic, 5)

    def endpoints(subscribed: bool) -> dict[str, list[Any]]:
        """Topic -> those of our nodes."""
        of_nodes = bench.probe.get_subscriptions_info_by_topic
        ask = of_nodes if subscribed else bench.probe.get_publishers_info_by_topic
        by_topic: dict[str, list[Any]] = {}
        for topic, _ in bench.probe.get_topic_names_and_types():
            ours = [i for i in ask(topic) if i.node_name in ("utterance_node", "emotion_node")]
            if ours and topic not in NOT_OURS and not STANDARD.fullmatch(topic):
                by_topic[topic] = ours
        return by_topic

    inputs, outputs = rows(published=False), rows(published=True)
    # A camera is heard on one of its two topics. What goes from node to node is an output.
    heard = inputs.keys() - {"/image/compressed"}
    bench.wait(lambda: endpoints(True).keys() >= heard, f"{heard} are listened to")

    def wrong() -> list[str]:
        return [
            topic
            for topic, infos in endpoints(True).items()
            if not all((inputs.get(topic) or outputs[topic]).fits(info) for info in infos)
        ]

    bench.wait(lambda: not wrong(), "QoS that fits that of the publishers")
    made = endpoints(False)
    assert {name for name in made if "/humans/" not in name} == {
        name for name in outputs if "/humans/" not in name
    }
    for topic, infos in made.items():
        assert all(outputs[topic].fits(info) for info in infos), (topic, outputs[topic], infos)
    offered = {
        name
        for node in ("utterance_node", "emotion_node")
        for name, _ in bench.probe.get_service_names_and_types_by_node(node, "/")
        if not STANDARD.fullmatch(name)
    }
    assert offered == services()
    bench.wait(lambda: "emotion_node: recognizer" in bench.diagnoses, "diagnoses")
    page = (DOCS / "reference" / "diagnostics.md").read_text(encoding="utf-8")
    section = page.partition("# Diagnostics\n")[2]
    told = {
        name
        for names in re.findall(r"^\| (`[^|]+) \|", section.partition("\n## ")[0], re.M)
        for name in re.findall(r"`(\w+)`", names)
    }
    assert {name.partition(": ")[2] for name in bench.diagnoses} <= told


def test_every_counter_of_the_microphone_is_in_the_documentation() -> None:
    page = (DOCS / "how-to" / "microphone.md").read_text(encoding="utf-8")
    assert not [kind.__name__ for kind in STREAM_EVENTS if f"`{kind.__name__}`" not in page]
