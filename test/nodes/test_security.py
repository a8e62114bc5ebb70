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
from erc_msgs.srv import Enrol, ForgetPerson, SetBundle
from node_bench import LATCHED, Bench, engagement_level
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from erc_ros.cli import main
from erc_ros.resources import config_file

hri = pytest.importorskip("hri_msgs.msg", reason="hri_msgs is not installed")
pytest.importorskip("visualization_msgs", reason="visualization_msgs is not installed")

MakeBench = Callable[..., Bench]
NODES = ("utterance_node", "emotion_node")
RIGHTS = ("subscribe", "publish", "reply")
# Before Iron nodes have no descriptions of types; rclpy's nodes do not listen to parameter events.
NOT_EVERYWHERE = {"/parameter_events"} | {f"/{node}/get_type_description" for node in NODES}


def policy(text: str = "", enclave: str = "/erc_ros") -> dict[tuple[str, str], set[str]]:
    """(node, right) -> names."""
    permissions = {}
    root = ElementTree.fromstring(text or config_file("security/policy.xml").read_text())
    for profile in root.iterfind(f"enclaves/enclave[@path='{enclave}']//profile"):
        node, ns = profile.attrib["node"], profile.attrib["ns"]
        for group in (*profile.iter("topics"), *profile.iter("services")):
            (right,) = group.attrib
            assert group.attrib[right] == "ALLOW"
            ns = ns.rstrip("/") + "/"
            names = [(entry.text or "").replace("~", f"{ns}{node}") for entry in group]
            own = {n if n.startswith("/") else f"{ns}{n}" for n in names}
            assert len(own) == len(names), "named twice"
            permissions[node, right] = permissions.get((node, right), set()) | own
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


def people(bench: Bench, level: Any) -> list[Any]:
    """All topics of ROS4HRI about a person."""
    made = [
        bench.talker(level, "/humans/persons/p1/engagement_status", 5),
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
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    level = engagement_level(monkeypatch)
    everything = {
        "publish_voices": True,
        "publish_view": True,
        "publish_expression": True,
        "omit_disengaged": True,
    }
    seen: dict[tuple[str, str], set[str]] = {
        (node, right): set() for node in NODES for right in RIGHTS
    }
    for split in (False, True):
        bench = make_bench(
            split=split, parameters={**everything, "use_sim_time": split}, running=False
        )
        bench.wait(lambda b=bench: all(n.active for n in b.nodes), "both are active")
        made = people(bench, level)
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


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["security-policy", *arguments]) == 0
    return capsys.readouterr().out


def test_the_command_prints_the_policy_as_it_is_without_arguments(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for enclave in ("/erc_ros", "/erc_ros_operator"):
        assert policy(printed(capsys), enclave) == policy("", enclave)


def test_the_policy_follows_namespace_and_remapped_topics(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["namespace:=robot1", "image:=/camera/image_raw", "emotions:=felt"]
    text = printed(capsys, *arguments, "humans:=/humans", "image_compressed:=front/jpeg")
    rights = policy(text)
    subscribed = rights["utterance_node", "subscribe"]
    assert {"/camera/image_raw", "/robot1/front/jpeg", "/robot1/audio"} <= subscribed
    assert {"/humans/faces/*", "/robot1/felt", "/clock"} <= subscribed
    assert not {"/robot1/image", "/robot1/emotions", "/robot1/humans/faces/*"} & subscribed
    assert "/robot1/felt" in rights["emotion_node", "publish"]
    assert "/robot1/emotion_node/set_bundle" in rights["emotion_node", "reply"]
    called = policy(text, "/erc_ros_operator")["operator", "request"]
    assert "/robot1/emotion_node/set_bundle" in called


def test_the_policy_without_ros4hri_has_no_topic_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    names = set().union(*policy(printed(capsys, "humans:=none")).values())
    assert not [name for name in names if "humans" in name]


@pytest.mark.parametrize("argument", ["imgae:=/camera", "image", "mode:=triple"])
def test_an_argument_that_run_does_not_have_is_refused(
    argument: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["security-policy", argument]) != 0
    assert argument.partition(":=")[0] in capsys.readouterr().err


def test_only_the_operator_may_call_what_changes_models_persons_or_states() -> None:
    changing = {"change_state", "enrol", "forget_person", "opt_out", "set_bundle", "set_parameters"}
    changing |= {"list_opt_outs"}
    offered = {name for (_, right), names in policy().items() if right == "reply" for name in names}
    requested = policy("", "/erc_ros_operator")["operator", "request"]
    assert requested <= offered
    assert {n for n in offered if n.rpartition("/")[2] in changing} <= requested
    assert not [key for key in policy() if key[1] == "request"]


def test_changes_by_services_can_be_switched_off(make_bench: MakeBench) -> None:
    bench = make_bench(parameters={"allow_changes": False})
    for kind, name in (
        (Enrol, "utterance_node/enrol"),
        (ForgetPerson, "utterance_node/forget_person"),
        (ForgetPerson, "emotion_node/forget_person"),
        (SetBundle, "emotion_node/set_bundle"),
    ):
        answer = bench.call(kind, name, kind.Request())
        assert not answer.success and "allow_changes" in answer.message
    assert bench.call(Trigger, "utterance_node/reset", Trigger.Request()).success
    (result,) = bench.nodes[1].set_parameters([Parameter("allow_changes", value=True)])
    assert not result.successful
