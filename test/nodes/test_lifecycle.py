"""Lifecycle transitions; a node is usable after a failed one."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from erc_msgs.msg import Utterance
from lifecycle_msgs.msg import Transition
from node_bench import Bench
from rcl_interfaces.srv import SetParameters
from rclpy.exceptions import InvalidParameterValueException
from rclpy.lifecycle.node import LifecycleNodeMixin
from rclpy.parameter import Parameter
from std_msgs.msg import Bool

from erc_ros.nodes.emotion import both
from erc_ros.nodes.managed_node import ManagedNode

MakeBench = Callable[..., Bench]
NODES = ("utterance_node", "emotion_node")


def set_parameter(bench: Bench, node: str, name: str, value: object):
    request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
    return bench.call(SetParameters, f"{node}/set_parameters", request).results[0]


def test_a_node_that_leaves_a_transition_open_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="abstract"):
        ManagedNode("utterance_node")


def test_without_autostart_the_nodes_wait_for_their_transitions(make_bench: MakeBench) -> None:
    bench = make_bench(running=False, parameters={"autostart": False})
    assert [bench.state(node) for node in NODES] == ["unconfigured"] * 2
    for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
        assert all(bench.change(node, transition) for node in NODES)
    assert [bench.state(node) for node in NODES] == ["active"] * 2
    assert bench.say("hello").is_final


def test_down_and_up_again(make_bench: MakeBench) -> None:
    bench = make_bench()
    first = bench.say("hello")
    down = (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP)
    up = (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE)
    for transition in (*down, *up):
        assert all(bench.change(node, transition) for node in NODES), transition
    bench.wait(lambda: bench._text.get_subscription_count() == 1, "it listens again")
    assert list(bench.say("hello").probabilities) == list(first.probabilities)


def test_an_inactive_node_neither_subscribes_nor_publishes(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.say("hello")
    assert bench.change("utterance_node", Transition.TRANSITION_DEACTIVATE)
    bench.wait(lambda: bench._text.get_subscription_count() == 0, "nobody listens")
    assert bench.state("emotion_node") == "active"
    assert bench.change("utterance_node", Transition.TRANSITION_ACTIVATE)
    bench.wait(lambda: bench._text.get_subscription_count() == 1, "it listens again")
    assert bench.say("and again").is_final


def test_a_broken_bundle_fails_to_configure_and_the_node_stays_usable(
    make_bench: MakeBench, bundle: Path, tmp_path: Path
) -> None:
    for file in bundle.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "face.onnx").unlink()
    bench = make_bench(running=False, parameters={"bundle": str(tmp_path)})
    status = bench.wait_for_diagnosis("emotion_node: state", "face.onnx")
    assert status.level == status.ERROR
    assert bench.state("emotion_node") == "unconfigured"
    assert not bench.change("emotion_node", Transition.TRANSITION_CONFIGURE)
    assert set_parameter(bench, "emotion_node", "bundle", str(bundle)).successful
    for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
        assert bench.change("emotion_node", transition)
    assert bench.say("hello").is_final


@pytest.mark.parametrize(
    ("parameters", "word"),
    [
        ({"bundle": "no-such-bundle"}, "no-such-bundle"),
        ({"publish_expression": True, "bundle": "/nowhere"}, "/nowhere"),
        ({"speaker_model": "/nowhere"}, "/nowhere"),
        ({"face_model": "/nowhere"}, "/nowhere"),
        ({"known_voices": "/nowhere"}, "speaker_model"),
        ({"known_voices": "/nowhere", "speaker_model": "speaker-campplus"}, "/nowhere"),
    ],
)
def test_a_missing_file_is_named(
    make_bench: MakeBench, parameters: dict[str, object], word: str
) -> None:
    if "publish_expression" in parameters:
        pytest.importorskip("hri_msgs.msg", reason="hri_msgs is not installed: it is named first")
    bench = make_bench(running=False, parameters=parameters)
    node = "emotion_node" if "bundle" in parameters else "utterance_node"
    assert bench.wait_for_diagnosis(f"{node}: state", word).level == b"\x02"


def test_parameters_are_checked_when_they_are_set(make_bench: MakeBench) -> None:
    bench = make_bench()
    refused = set_parameter(bench, "utterance_node", "text_timeout", 3.0)
    assert not refused.successful and "clean up" in refused.reason
    refused = set_parameter(bench, "utterance_node", "autostart", False)
    assert not refused.successful
    refused = set_parameter(bench, "utterance_node", "dead_after", 1000.0)
    assert not refused.successful and "dead_after" in refused.reason
    assert set_parameter(bench, "utterance_node", "dead_after", 1.0).successful
    assert set_parameter(bench, "emotion_node", "publish_text", False).successful
    assert bench.say("hello").text == ""


def test_a_wrong_parameter_at_the_start_is_refused(make_bench: MakeBench) -> None:
    with pytest.raises(InvalidParameterValueException, match="audio_format"):
        make_bench(parameters={"audio_format": "MP3"})


def test_a_transition_that_is_not_possible_is_refused_and_ends_nothing(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change_state(node: ManagedNode, transition_id: int) -> object:  # as before rclpy 9
        node._state_machine.trigger_transition_by_id(transition_id, True)
        raise AssertionError("this transition is possible")

    name = "_LifecycleNodeMixin__change_state"
    bench = make_bench(running=False, parameters={"autostart": False})
    with monkeypatch.context() as patch:
        patch.setattr(LifecycleNodeMixin, name, change_state)
        assert not bench.change("emotion_node", Transition.TRANSITION_ACTIVATE)
    assert not bench.change("emotion_node", Transition.TRANSITION_ACTIVATE)
    assert bench.state("emotion_node") == "unconfigured"


def test_a_node_that_was_shut_down_reports_its_state(make_bench: MakeBench) -> None:
    bench = make_bench()
    assert bench.change("emotion_node", Transition.TRANSITION_ACTIVE_SHUTDOWN)
    bench.wait_for_diagnosis("emotion_node: state", "finalized")
    assert bench.state("emotion_node") == "finalized"


class LifecycleManager:
    """As Nav2's with `bond_timeout: 0`: configures all, then activates all, and back in reverse."""

    def __init__(self, bench: Bench, nodes: tuple[str, ...]) -> None:
        self._bench, self._nodes = bench, nodes

    def _change_all(self, nodes: tuple[str, ...], transition: int, label: str) -> bool:
        return all(
            self._bench.change(node, transition) and self._bench.state(node) == label
            for node in nodes
        )

    def startup(self) -> bool:
        return self._change_all(
            self._nodes, Transition.TRANSITION_CONFIGURE, "inactive"
        ) and self._change_all(self._nodes, Transition.TRANSITION_ACTIVATE, "active")

    def pause(self) -> bool:
        return self._change_all(self._nodes[::-1], Transition.TRANSITION_DEACTIVATE, "inactive")

    def resume(self) -> bool:
        return self._change_all(self._nodes, Transition.TRANSITION_ACTIVATE, "active")

    def shutdown(self) -> bool:
        nodes = self._nodes[::-1]
        return (
            self.pause()
            and self._change_all(nodes, Transition.TRANSITION_CLEANUP, "unconfigured")
            and self._change_all(nodes, Transition.TRANSITION_UNCONFIGURED_SHUTDOWN, "finalized")
        )


@pytest.mark.parametrize("split", [False, True])
def test_a_lifecycle_manager_takes_the_nodes_up_and_down(
    make_bench: MakeBench, split: bool
) -> None:
    bench = make_bench(split=split, running=False, parameters={"autostart": False})
    manager = LifecycleManager(bench, ("emotion_node", "utterance_node"))
    assert manager.startup()
    assert bench.say("hello").is_final
    assert manager.pause() and manager.resume()
    bench.wait(lambda: bench._text.get_subscription_count() == 1, "it listens again")
    assert bench.say("and again").is_final
    assert manager.shutdown()
    for node in NODES:
        assert bench.wait_for_diagnosis(f"{node}: state", "finalized").message == "finalized"


def test_drafts_of_open_speech_do_not_send_all_audio_repeatedly(
    make_bench: MakeBench,
) -> None:
    parameters = {"provisional_period": 0.1}
    bench = make_bench(split=True, running=False, parameters=parameters)
    status = bench.wait_for_diagnosis("utterance_node: state", "provisional_period")
    assert status.level == status.ERROR and "mode:=single" in status.message
    assert set_parameter(bench, "utterance_node", "publish_media", False).successful
    assert bench.change("utterance_node", Transition.TRANSITION_CONFIGURE)


def test_two_robots_have_diagnostics_of_their_own_and_people_of_their_own(
    make_bench: MakeBench,
) -> None:
    bench = make_bench(
        nodes=lambda **options: [
            *both(namespace="robot1", **options),
            *both(namespace="robot2", **options),
        ]
    )
    for robot in ("robot1", "robot2"):
        status = bench.wait_for_diagnosis(f"{robot}/emotion_node: state", "active")
        assert status.hardware_id == socket.gethostname()
    assert "emotion_node: state" not in bench.diagnoses
    bench.talker(Bool, "/robot1/humans/faces/f1/is_speaking")
    bench.wait_for_diagnosis("robot2/utterance_node: humans", "ROS4HRI")
    assert bench.value("robot1/utterance_node: humans", "namespace") == "/robot1/humans"


def test_two_nodes_that_publish_utterances_on_one_topic_are_reported(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.wait_for_diagnosis("utterance_node: dialogue", "ok")
    second = bench.driver().create_publisher(Utterance, "utterances", 10)
    status = bench.wait_for_diagnosis("utterance_node: dialogue", "other nodes publish on")
    assert status.level == status.WARN and second is not None


def log_with(bench: Bench, capfd: pytest.CaptureFixture[str], *expected: str) -> list[str]:
    """All lines of the log, once it has the expected parts."""
    lines: list[str] = []

    def is_complete() -> bool:
        lines.extend(capfd.readouterr().err.splitlines())
        return all(any(part in line for line in lines) for part in expected)

    bench.wait(is_complete, f"a log of {expected}")
    return lines


def test_the_log_names_inputs_and_device_of_an_active_node(
    make_bench: MakeBench, capfd: pytest.CaptureFixture[str]
) -> None:
    bench = make_bench(split=True, parameters={"device": "auto"})
    lines = log_with(bench, capfd, "/speech", "/utterances", " on ")
    (inputs,) = (line for line in lines if "/speech" in line)
    for topic in ("/audio", "/speech", "/image", "/image/compressed"):
        assert re.search(rf"{topic}(,|$)", inputs)
    (models,) = (line for line in lines if "bundle tiny" in line)
    assert all(device in models for device in bench.nodes[1]._recognition.devices().values())
    assert "auto" not in models


def test_the_log_of_a_failed_configuration_has_the_command_that_repeats_it(
    make_bench: MakeBench, capfd: pytest.CaptureFixture[str]
) -> None:
    bench = make_bench(running=False, parameters={"bundle": "/nowhere"})
    command = "ros2 lifecycle set /emotion_node configure"
    lines = log_with(bench, capfd, command)
    (text,) = (line for line in lines if command in line)
    assert "ERROR" in text and "/nowhere" in text
