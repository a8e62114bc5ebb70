"""The SROS2 policy allows what the running nodes open, and nothing else.

The wheels' Fast DDS has no security: whether the policy is enforced is not tested here.
"""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any
from xml.etree import ElementTree

import pytest
from audio_common_msgs.msg import AudioData, AudioInfo
from node_bench import LATCHED, Bench
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Bool, String

from erc_ros.resources import config_file

hri = pytest.importorskip("hri_msgs.msg", reason="hri_msgs is not installed")
pytest.importorskip("visualization_msgs", reason="visualization_msgs is not installed")

MakeBench = Callable[..., Bench]
NODES = ("utterance_node", "emotion_node")
RIGHTS = ("subscribe", "publish", "reply")
# Before Iron nodes have no descriptions of types; rclpy's nodes do not listen to parameter events.
NOT_EVERYWHERE = {"/parameter_events"} | {f"/{node}/get_type_description" for node in NODES}


def policy() -> dict[tuple[str, str], set[str]]:
    """(node, right) -> names."""
    permissions = {}
    root = ElementTree.parse(config_file("security/policy.xml"))
    for profile in root.iter("profile"):
        node, ns = profile.attrib["node"], profile.attrib["ns"]
        for group in (*profile.iter("topics"), *profile.iter("services")):
            (right,) = group.attrib
            assert group.attrib[right] == "ALLOW"
            names = [(entry.text or "").replace("~", f"{ns}{node}") for entry in group]
            permissions[node, right] = {n if n.startswith("/") else f"{ns}{n}" for n in names}
            assert len(permissions[node, right]) == len(names), "named twice"
    return permissions


def opened(bench: Bench) -> dict[tuple[str, str], set[str]]:
    """(node, right) -> what it has open now."""
    probe = bench.probe
    endpoints: dict[tuple[str, str], set[str]] = {}
    for node in NODES:
        for right, ask in (
            ("subscribe", probe.get_subscriber_names_and_types_by_node),
            ("publish", probe.get_publisher_names_and_types_by_node),
            ("reply", probe.get_service_names_and_types_by_node),
        ):
            endpoints[node, right] = {name for name, _ in ask(node, "/")}
    return endpoints


def people(bench: Bench) -> list[Any]:
    """Everything that ROS4HRI tells of somebody."""
    made = [
        bench.talker(Image, "/humans/faces/f7/cropped", 5),
        bench.talker(Bool, "/humans/faces/f7/is_speaking", 5),
        bench.talker(hri.LiveSpeech, "/humans/voices/v1/speech", 5),
        bench.talker(String, "/humans/persons/p1/face_id", 5),
        bench.talker(hri.IdsMatch, "/humans/candidate_matches", 5),
        bench.talker(hri.IdsList, "/humans/faces/tracked", LATCHED),
        bench.talker(Bool, "recording_allowed", 5),
    ]
    made[-2].publish(hri.IdsList(ids=["f7"]))
    return made


def test_the_policy_allows_what_the_nodes_open_and_nothing_else(
    make_bench: MakeBench,
) -> None:
    everything = {
        "publish_voices": True,
        "publish_view": True,
        "publish_expression": True,
    }
    seen: dict[tuple[str, str], set[str]] = {
        (node, right): set() for node in NODES for right in RIGHTS
    }
    for split in (False, True):
        bench = make_bench(
            split=split, parameters={**everything, "use_sim_time": split}, running=False
        )
        bench.wait(lambda b=bench: all(n.active for n in b.nodes), "both are active")
        made = people(bench)
        made += [bench.talker(AudioInfo, "audio_info", 5), bench.talker(AudioData, "audio", 5)]
        kind, topic = (CompressedImage, "image/compressed") if split else (Image, "image")
        made += [bench.talker(kind, topic, 5), bench.talker(Bool, "robot_speaking", 5)]
        made += [bench.talker(String, "speech", 5), bench.talker(Bool, "robot_moving", 5)]
        made += [bench.talker(Clock, "/clock", 5)] if split else []
        bench.wait(
            lambda b=bench: b.probe.count_publishers("/humans/faces/f7/expression"), "a face"
        )
        if not split:
            voice = bench.nodes[0]._voices._voice("c1", "0", 1)
            bench.wait(
                lambda b=bench, v=voice: b.probe.count_publishers(f"/humans/voices/{v.id}/speech"),
                "a voice",
            )
        for key, names in opened(bench).items():
            seen[key] |= names
        bench.close()
    for key, allowed in policy().items():
        for name in seen[key]:
            assert any(fnmatchcase(name, each) for each in allowed), f"{key} needs {name}"
        unused = {
            each for each in allowed if not any(fnmatchcase(name, each) for name in seen[key])
        }
        assert unused <= NOT_EVERYWHERE, f"{key} has no use for {unused}"
