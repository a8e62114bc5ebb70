"""Nodes, replay, files and documentation agree with the declared parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import Field
from pathlib import Path
from typing import get_type_hints

import pytest
import yaml
from node_bench import Bench
from rclpy.context import Context
from rclpy.exceptions import InvalidParameterValueException, ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter

from erc_ros.nodes.emotion_node import EmotionNode
from erc_ros.nodes.parameters import with_tables
from erc_ros.nodes.utterance_node import UtteranceNode
from erc_ros.parameter_reference import parameter_reference, tuning_reference
from erc_ros.parameters import (
    NODES,
    EmotionNodeConfig,
    RobotConfig,
    UtteranceNodeConfig,
    current_name,
    read_parameters,
    robot_config,
    shared_parameters,
)
from erc_ros.pipeline import PipelineConfig, read_tuning
from erc_ros.resources import config_file
from erc_ros.values.deployment import DeploymentConfig
from erc_ros.values.settings import entries, parameters, values_of

ASSETS = Path(__file__).parents[1] / "assets"
REPOSITORY = Path(__file__).parents[2]
MakeBench = Callable[..., Bench]


def test_the_file_and_the_documentation_show_exactly_the_parameters_that_there_are() -> None:
    assert config_file("parameters.yaml").read_text(encoding="utf-8") == parameter_reference()
    assert config_file("tuning.yaml").read_text(encoding="utf-8") == tuning_reference()
    page = (REPOSITORY / "docs" / "reference" / "parameters.md").read_text(encoding="utf-8")
    assert with_tables(page) == page and all(f"### {node}\n\n|" in page for node in NODES)


def test_an_integrator_has_at_most_50_parameters() -> None:
    names = {name for config in NODES.values() for name in parameters(config)}
    assert len(names) <= 50
    assert len(parameter_reference().splitlines()) <= 350


def test_the_file_has_the_type_default_and_range_of_every_parameter() -> None:
    content = yaml.safe_load(parameter_reference())
    for node, config in NODES.items():
        declared = parameters(config)
        assert set(content[node]) == set(declared)
        for name, told in content[node].items():
            assert type(told["default"]) is type(declared[name].default)
            assert told["default"] == declared[name].default
            if declared[name].setting.range is not None:
                least, greatest = told["range"]
                assert least <= told["default"] <= greatest


def fields(config: type, name: str = "") -> Iterator[tuple[str, Field]]:
    """Every field of a config and of the configs in it."""
    types = get_type_hints(config)
    for field in dataclasses.fields(config):
        if dataclasses.is_dataclass(types[field.name]):
            yield from fields(types[field.name], f"{name}{field.name}.")
        elif "erc_ros.derived" not in field.metadata:
            yield f"{name}{field.name}", field


@pytest.mark.parametrize("node", NODES)
def test_every_field_of_every_config_is_a_setting(node: str) -> None:
    missing = [
        name for name, field in fields(NODES[node]) if "erc_ros.setting" not in field.metadata
    ]
    assert missing == []
    assert len(list(fields(NODES[node]))) == len(list(entries(NODES[node])))


WRONG = [
    ("face_rate", 99.0, r"face_rate must be in \[0.5, 30\], got 99.0"),
    ("face_rate", "fast", "face_rate must be a number, got 'fast'|face_rate must be a float"),
    ("audio_channels", 2.5, "audio_channels must be an? int.*, got 2.5"),
    ("expect_text", "often", "expect_text must be one of auto, always, never, got 'often'"),
    ("text_timout", 2.0, "there is no parameter text_timout; did you mean text_timeout?"),
]


@pytest.mark.parametrize(("name", "value", "complaint"), WRONG)
def test_a_wrong_parameter_is_refused_alike_everywhere(
    name: str, value: object, complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=complaint):
        PipelineConfig.from_parameters({name: value})
    file = tmp_path / "robot.yaml"
    file.write_text(yaml.safe_dump({"/**/utterance_node": {"ros__parameters": {name: value}}}))
    with pytest.raises(ValueError, match=rf"robot\.yaml: utterance_node: ({complaint})"):
        read_parameters(file)
    context = Context()
    context.init()
    try:
        with pytest.raises((InvalidParameterValueException, ParameterException), match=complaint):
            UtteranceNode(context=context, parameter_overrides=[Parameter(name, value=value)])
    finally:
        context.try_shutdown()


def test_an_integer_is_no_float_in_ros_and_so_in_no_file(tmp_path: Path) -> None:
    file = tmp_path / "robot.yaml"
    file.write_text("utterance_node: {ros__parameters: {face_rate: 5}}")
    with pytest.raises(ValueError, match=r"face_rate.*5.*5\.0"):
        read_parameters(file)
    assert PipelineConfig(face_rate=5).perception.face_rate == 5.0  # a script may


FILE = """
emotion_node:
  ros__parameters: {bundle: a, device: cpu}
/**:
  ros__parameters:
    bundle: b
    use_sim_time: true
    qos_overrides: {/image: {subscription: {reliability: reliable}}}
/*/emotion_node:
  ros__parameters: {min_confidence: 0.25}
/**/emotion_node:
  ros__parameters: {publish_text: false}
/robot/emotion_node:
  ros__parameters: {publish_provisional: true}
robot:
  emotion_node:
    ros__parameters: {publish_expression: true}
/*:
  ros__parameters: {device: auto}
"""


@pytest.mark.parametrize("namespace", ["", "/robot", "/other/robot"])
def test_sections_of_a_file_reach_the_nodes_that_rcl_gives_them_to(
    namespace: str, tmp_path: Path
) -> None:
    file = tmp_path / "robot.yaml"
    file.write_text(FILE)
    options = ["--ros-args", "--params-file", str(file)]
    options += ["-r", f"__ns:={namespace}"] if namespace else []
    context = Context()
    context.init(args=options)
    node = Node("emotion_node", context=context)
    try:
        told = {name: p.value for name, p in node._parameter_overrides.items()}
    finally:
        node.destroy_node()
        context.try_shutdown()
    values = values_of(read_parameters(file, namespace).emotion_node)
    expected = {**values_of(RobotConfig().emotion_node), **told}
    assert values == {name: expected[name] for name in values}


ROBOT_WIDE = """
/**: {ros__parameters: {robot_radius: 0.2, face_rat: 3.0, face_rate: 3.0}}
amcl: {ros__parameters: {robot_radius: 0.3, alpha1: 0.2}}
"""


def test_a_section_for_every_node_may_hold_parameters_of_other_nodes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "robot.yaml"
    file.write_text(ROBOT_WIDE)
    assert read_parameters(file).utterance_node.perception.face_rate == 3.0
    (node,) = started(["--params-file", str(file), "-p", "autostart:=false"])
    assert node == 3.0
    assert "did you mean face_rate?" in capfd.readouterr().err
    file.write_text(ROBOT_WIDE + "utterance_node: {ros__parameters: {face_rat: 3.0}}")
    with pytest.raises(ValueError, match="face_rate"):
        read_parameters(file)
    with pytest.raises(InvalidParameterValueException, match="face_rate"):
        started(["--params-file", str(file)])


def started(options: list[str]) -> list[float]:
    """The `face_rate` of an utterance_node that is started with these options of ROS."""
    context = Context()
    context.init(args=["--ros-args", *options])
    try:
        files = [Path(value) for value in options if value.endswith(".yaml")]
        node = UtteranceNode(context=context, shared=shared_parameters(files))
        rate = node.parameters["face_rate"]
        node.destroy_node()
        return [rate]
    finally:
        context.try_shutdown()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("just a text", "must contain names of nodes"),
        ("a: [1, 2", "is no YAML"),
        ("utterance_node: 3", "utterance_node must contain `ros__parameters`"),
        ("utterance_node: {ros__parameters: [1]}", "must be a mapping"),
        ("utterance_node: {ros__parameters: {face_rate: [5.0]}}", "face_rate must be a"),
    ],
)
def test_a_file_that_is_no_parameter_file_is_refused(
    text: str, complaint: str, tmp_path: Path
) -> None:
    file = tmp_path / "robot.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=complaint):
        read_parameters(file)


def test_the_example_file_is_valid_and_has_the_default_values() -> None:
    robot = read_parameters(config_file("emotion.yaml"))
    assert robot.emotion_node == RobotConfig().changed(deployment_context="home").emotion_node
    assert robot.utterance_node == UtteranceNodeConfig(
        deployment=DeploymentConfig(deployment_context="home")
    )


def test_values_that_do_not_go_together_fail_at_configure(make_bench: MakeBench) -> None:
    bench = make_bench(running=False, parameters={"provisional_period": 0.05})
    status = bench.wait_for_diagnosis("utterance_node: state", "provisional_period")
    assert status.level == status.ERROR


# --- the tuning file ---

TUNING = "alignment: {slack: 0.25}\ndiarization: {local: {min_link: 0.5}}\nutterance_queue: 7\n"
TUNED = {"alignment.slack": 0.25, "diarization.local.min_link": 0.5, "utterance_queue": 7}


@pytest.fixture
def tuning(tmp_path: Path) -> Path:
    file = tmp_path / "tuning.yaml"
    file.write_text(TUNING)
    return file


def test_the_shipped_tuning_file_holds_every_setting_with_its_default() -> None:
    defaults = values_of(PipelineConfig())
    values = read_tuning(config_file("tuning.yaml"))
    assert set(values) == set(defaults) - set(parameters(PipelineConfig))
    assert values == {name: defaults[name] for name in values}


def test_python_files_options_and_nodes_read_a_tuning_file_alike(
    tuning: Path, tmp_path: Path, make_context: Callable[[], Context]
) -> None:
    expected = PipelineConfig.from_parameters(TUNED)  # type: ignore[arg-type]
    assert expected != PipelineConfig()
    assert PipelineConfig.from_parameters({"tuning_file": str(tuning)}) == expected
    file = tmp_path / "robot.yaml"
    file.write_text(yaml.safe_dump({"/**": {"ros__parameters": {"tuning_file": str(tuning)}}}))
    assert read_parameters(file).pipeline == expected
    assert robot_config(None, tuning_file=str(tuning)).pipeline == expected
    given = [Parameter("tuning_file", value=str(tuning)), Parameter("autostart", value=False)]
    hears = UtteranceNode(context=make_context(), parameter_overrides=given)
    feels = EmotionNode(context=make_context(), parameter_overrides=given)
    assert hears.parameters.config(UtteranceNodeConfig).perception == expected.perception
    assert feels.parameters.config(EmotionNodeConfig).recognition == expected.recognition


def test_a_setting_by_name_overrides_the_tuning_file(tuning: Path) -> None:
    values = {"alignment.slack": 0.75, "tuning_file": str(tuning)}
    config = PipelineConfig.from_parameters(values)
    assert config.perception.dialogue.texts.alignment.slack == 0.75
    assert config.recognition.utterance_queue == 7


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("alignment: {slak: 0.2}", "did you mean alignment.slack"),
        ("alignment: {slack: 99.0}", r"alignment.slack must be in"),
        ("face_rate: 3.0", "face_rate is a ROS parameter"),
        ("- 1", "must be a mapping"),
    ],
)
def test_a_wrong_tuning_file_is_refused_and_named(
    text: str, complaint: str, tmp_path: Path
) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=rf"wrong\.yaml.*{complaint}"):
        PipelineConfig.from_parameters({"tuning_file": str(file)})
    with pytest.raises(FileNotFoundError):
        robot_config(None, tuning_file=str(tmp_path / "none.yaml"))


def test_a_missing_tuning_file_fails_at_configure(make_bench: MakeBench, tmp_path: Path) -> None:
    missing = str(tmp_path / "none.yaml")
    bench = make_bench(running=False, parameters={"tuning_file": missing})
    status = bench.wait_for_diagnosis("utterance_node: state", missing)
    assert status.level == status.ERROR


# --- names of the former release ---

FORMER = yaml.safe_load((ASSETS / "former_parameters.yaml").read_text())


def settings_of(config: object, names: Iterable[str]) -> dict[str, object]:
    values = values_of(config)
    return {name: values[current_name(name)] for name in names if current_name(name) in values}


@pytest.mark.parametrize("node", NODES)
def test_every_parameter_of_the_former_release_is_still_read_from_a_file(
    node: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "robot.yaml"
    file.write_text(yaml.safe_dump({node: {"ros__parameters": FORMER[node]}}))
    config = getattr(read_parameters(file), node)
    expected = {name: value for name, value in FORMER[node].items() if name != "bundle"}
    assert settings_of(config, expected) == expected
    for name in FORMER[node]:
        is_changed = name not in parameters(NODES[node]) and name != "bundle"
        assert is_changed == (f" {name} is " in caplog.text), name


@pytest.mark.parametrize("node", NODES)
def test_every_parameter_of_the_former_release_is_still_taken_from_the_command_line(
    node: str, make_context: Callable[[], Context], capfd: pytest.CaptureFixture[str]
) -> None:
    made: type = UtteranceNode if node == "utterance_node" else EmotionNode
    given = [Parameter(name, value=value) for name, value in FORMER[node].items()]
    given = [Parameter("autostart", value=False) if p.name == "autostart" else p for p in given]
    context = make_context()
    config = made(context=context, parameter_overrides=given).parameters.config(NODES[node])
    expected = {p.name: p.value for p in given if p.name != "bundle" or node == "emotion_node"}
    assert settings_of(config, expected) == expected
    warned = capfd.readouterr().err
    for name in FORMER[node]:
        if name not in parameters(NODES[node]) and name != "bundle":
            assert f" {name} is " in warned


@pytest.fixture
def make_context() -> Iterator[Callable[[], Context]]:
    contexts: list[Context] = []

    def make() -> Context:
        contexts.append(Context())
        contexts[-1].init()
        return contexts[-1]

    yield make
    for context in contexts:
        context.try_shutdown()
