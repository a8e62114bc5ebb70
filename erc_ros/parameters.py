"""Parameters of the two nodes and ROS parameter files, without using ROS.

Parameters of the pipeline are declared in its configs, those of a node only are declared here.
`erc_ros.parameter_reference` generates their documentation.
"""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import yaml

from erc_ros import plugins
from erc_ros.adapters import speech_type, types_of
from erc_ros.pipeline import (
    TUNING_FILE,
    FromParameters,
    PerceptionConfig,
    PipelineConfig,
    RecognitionConfig,
    with_tuning,
)
from erc_ros.values.deployment import RESEARCH, DeploymentConfig
from erc_ros.values.errors import ErcValueError
from erc_ros.values.opt_outs import listed
from erc_ros.values.settings import (
    Composed,
    SettingEntry,
    Value,
    check,
    configured,
    entries,
    flattened,
    parameter,
    section,
    values_of,
)

_logger = logging.getLogger(__name__)
_AUTOSTART = "configure and activate at the start, without launch or `ros2 lifecycle`"
_RECORDING = (
    "whether texts, audio and images may be published, and voices be enrolled, until a message on "
    "the topic `recording_allowed` says otherwise"
)
_OPTED_OUT = "ids of people who opted out, separated by commas; more by `~/opt_out`"
_EVENT_LOG = (
    "file for events without content (start, stop, consent, opt-outs), JSON per line; empty: none"
)
_CHANGES = "false refuses the services `enrol`, `forget_person` and `set_bundle`"
_TUNING = "YAML file of internal settings, see config/tuning.yaml; empty: their defaults"


@dataclass(frozen=True, init=False)
class UtteranceNodeConfig(Composed, FromParameters):
    """Parameters of utterance_node."""

    perception: PerceptionConfig = section(PerceptionConfig)
    deployment: DeploymentConfig = section(DeploymentConfig)
    opted_out: str = parameter("", _OPTED_OUT, changes="start")
    event_log: str = parameter("", _EVENT_LOG, changes="start")
    tuning_file: str = parameter("", _TUNING)
    autostart: bool = parameter(True, _AUTOSTART, changes="start")
    audio_type: str = parameter(
        "auto",
        "message type of `audio`; auto: that of its publisher, none: no microphone",
        choices=("auto", "none", *types_of("audio")),
    )
    image_type: str = parameter(
        "auto",
        "message type of the camera; auto: `image`, else `image/compressed`, whichever has a "
        "publisher; none: no camera",
        choices=("auto", "none", *types_of("image")),
    )
    speech_type: str = parameter(
        "auto",
        "message type of `speech`; auto: that of its publisher, none: no speech recognizer; "
        "module:Class: one that reads messages of another package",
    )
    humans_namespace: str = parameter(
        "humans",
        "namespace of ROS4HRI, relative to that of the node: its faces, voices and matches are "
        "used if published, instead of the camera and `speech`; empty: ROS4HRI is not used",
    )
    publish_voices: bool = parameter(
        False,
        "also publish ROS4HRI voices: `voices/tracked`, `voices/<id>/is_speaking`, `speech`, and "
        "their faces and persons in `candidate_matches`; needs hri_msgs",
    )
    publish_view: bool = parameter(
        False,
        "also publish `image_emotions` (drawn while it has a subscriber) and "
        "`emotion_markers`; `mode:=view` sets it",
    )
    publish_voice_audio: bool = parameter(
        False, "with `publish_voices`: the audio of each utterance on `voices/<id>/audio`"
    )
    recording_allowed: bool = parameter(True, _RECORDING, changes="start")
    allow_changes: bool = parameter(True, _CHANGES, changes="start")
    publish_text: bool = parameter(
        True,
        "false: no words in `utterances`; with two processes the emotion node then has no text",
        changes="anytime",
    )
    publish_media: bool = parameter(
        False,
        "audio and face crops in `utterances`; the executable `utterance_node` starts with "
        "true, since the emotion node needs them there",
        changes="anytime",
    )
    dead_after: float = parameter(
        3.0,
        "time without a message after which a camera or microphone is reported",
        "s",
        (0.5, 60.0),
        changes="anytime",
    )

    def __post_init__(self) -> None:
        check(self)

    @property
    def used_perception(self) -> PerceptionConfig:
        """Return the config for `Perception`: permitted modalities only, faces only with a camera.

        Raises:
            DeploymentError: no modality is permitted.
        """
        modalities = self.deployment.permitted()
        detector = self.perception.face_detector
        if self.image_type == "none" or "visual" not in modalities:
            detector = "none"
        return replace(
            self.perception,
            face_detector=detector,
            sensed=modalities,
            excluded_people=tuple(listed(self.opted_out)),
        )


@dataclass(frozen=True, init=False)
class EmotionNodeConfig(Composed, FromParameters):
    """Parameters of emotion_node."""

    recognition: RecognitionConfig = section(RecognitionConfig)
    deployment: DeploymentConfig = section(DeploymentConfig)
    opted_out: str = parameter("", _OPTED_OUT, changes="start")
    event_log: str = parameter("", _EVENT_LOG, changes="start")
    tuning_file: str = parameter("", _TUNING)

    autostart: bool = parameter(True, _AUTOSTART, changes="start")
    recording_allowed: bool = parameter(True, _RECORDING, changes="start")
    allow_changes: bool = parameter(True, _CHANGES, changes="start")
    publish_text: bool = parameter(True, "false: no words in `emotions`", changes="anytime")
    publish_expression: bool = parameter(
        False, "also send hri_msgs/Expression for each known face; needs hri_msgs"
    )
    humans_namespace: str = parameter(
        "humans",
        "namespace of ROS4HRI for `faces/<id>/expression`, relative to that of the node",
    )
    omit_disengaged: bool = parameter(
        False,
        "`~/annotated_speech` omits people whom ROS4HRI's `engagement_status` reports as "
        "disengaged; needs hri_msgs",
    )
    build_engines: bool = parameter(
        True,
        "with device auto and TensorRT: build its engines in the background at the "
        "first start, and use those that are faster",
    )

    def __post_init__(self) -> None:
        check(self)

    @property
    def used_recognition(self) -> RecognitionConfig:
        """Return the config for `Recognition`, with the permitted modalities.

        Raises:
            DeploymentError: no modality is permitted.
        """
        return replace(self.recognition, used=self.deployment.permitted())


NODES: dict[str, type[UtteranceNodeConfig] | type[EmotionNodeConfig]] = {
    "utterance_node": UtteranceNodeConfig,
    "emotion_node": EmotionNodeConfig,
}


@dataclass(frozen=True)
class RobotConfig:
    """Parameters of both nodes."""

    utterance_node: UtteranceNodeConfig = field(default_factory=UtteranceNodeConfig)
    emotion_node: EmotionNodeConfig = field(default_factory=EmotionNodeConfig)

    def changed(self, **parameters: Value) -> RobotConfig:
        """Return the config with changed parameters; each node takes those that it has.

        Raises:
            ValueError: neither node has a parameter, or a value is invalid.
        """
        for name in parameters:
            if reason := unknown(name):
                raise ErcValueError(reason)
        changes = {current_name(name): value for name, value in parameters.items()}
        return RobotConfig(
            _changed(self.utterance_node, changes), _changed(self.emotion_node, changes)
        )

    @property
    def for_recordings(self) -> RobotConfig:
        """Return the config with `deployment_context` research if it is not set.

        Analyzing a recording is not an interaction with people, unlike running on a robot.
        """
        context: dict[str, Value] = {"deployment_context": RESEARCH}
        hears, feels = self.utterance_node, self.emotion_node
        return RobotConfig(
            hears if hears.deployment.is_set else _changed(hears, context),
            feels if feels.deployment.is_set else _changed(feels, context),
        )

    @property
    def pipeline(self) -> PipelineConfig:
        """Return the config of a `Pipeline` with the same estimates as the two nodes.

        Raises:
            DeploymentError: no modality is permitted.
        """
        robot = self.for_recordings
        return PipelineConfig(
            perception=robot.utterance_node.used_perception,
            recognition=robot.emotion_node.used_recognition,
        )


NodeConfig = TypeVar("NodeConfig", UtteranceNodeConfig, EmotionNodeConfig)


def _changed(config: NodeConfig, changes: Mapping[str, Value]) -> NodeConfig:
    names = {entry.name for entry in entries(type(config))}
    own = {name: value for name, value in changes.items() if name in names}
    return configured(type(config), {**values_of(config), **with_tuning(type(config), own)})


def complaint(entry: SettingEntry, value: object) -> str:
    """Return why `value` is invalid for a parameter, or "".

    Like the check of the setting, but ROS does not accept an integer for a float.
    """
    if entry.kind is float and type(value) is int:
        return f"{entry.name} must be a float, got {value!r}: write {float(value)!r}"
    try:
        entry.setting.checked(entry.name, value, entry.kind)
    except ValueError as error:
        return str(error)
    return ""


def problem_with_class(name: str, value: object) -> str:
    """Return why the class named by a parameter is invalid, or "".

    Only parameters that name a class or a message type are checked.
    """
    try:
        if name in _CLASSES and value != "none":
            _CLASSES[name](str(value))
    except plugins.PluginError as error:
        return f"{name}: {error}"
    return ""


_CLASSES: Mapping[str, Callable[[str], object]] = {
    "face_detector": partial(plugins.find, plugins.FACE_DETECTORS),
    "voice_activity_model": partial(plugins.find, plugins.VOICE_ACTIVITY),
    "speech_type": speech_type,
}


# --- names of the previous release ---


def current_name(name: str) -> str:
    """Return the current name of a parameter that was renamed."""
    return _RENAMED.get(name, name)


def former_name(name: str) -> str:
    """Return a warning for a parameter of the previous release; "" for a current one.

    Renamed parameters, and internal settings that have moved to the tuning file, are accepted with
    this warning in this release.
    """
    if name in _RENAMED:
        return f"{name} is now called {_RENAMED[name]}; the next release removes the former name"
    if name in _TUNED:
        return (
            f"{name} is now a setting of the {TUNING_FILE} (see config/tuning.yaml); the next "
            "release removes the parameter"
        )
    return ""


_ENTRIES = {entry.name: entry for config in NODES.values() for entry in entries(config)}
_RENAMED = {e.setting.former: e.name for e in _ENTRIES.values() if e.setting.former}
_TUNED = {entry.name for entry in _ENTRIES.values() if not entry.setting.is_parameter}


# Parameters of every node, which rclpy reads.
_OF_ROS = re.compile(r"use_sim_time|start_type_description_service|qos_overrides\..*")


def unknown(name: str) -> str:
    """Return an error for an unknown parameter of a node, or "".

    Parameters of the other node are accepted, so that one file can configure both.
    """
    if current_name(name) in _ENTRIES or _OF_ROS.fullmatch(name):
        return ""
    near = difflib.get_close_matches(name, _ENTRIES, 1)
    return f"there is no parameter {name}" + (f"; did you mean {near[0]}?" if near else "")


# --- ROS parameter files ---


def read_parameters(file: Path, namespace: str = "") -> RobotConfig:
    """Read the configuration of the nodes from a ROS parameter file (`--params-file`).

    Sections are node names: `/**`, `/*/emotion_node`, `utterance_node`, ...; if several match a
    node, the last one takes precedence. A section for every node (`/**`) may contain parameters of
    other nodes: unknown ones are skipped with a warning.

    Args:
        file: the YAML file.
        namespace: namespace of the nodes.

    Raises:
        ValueError: the file is not a parameter file, or a parameter in it is unknown or invalid;
            the message names the file, the node, the parameter, the value and what is allowed.
        FileNotFoundError: the file does not exist.
    """
    sections = _sections(file)
    configs = {}
    for node in NODES:
        path = "/".join(part for part in (namespace.strip("/"), node) if part)
        values: dict[str, Value] = {}
        for name, parameters in sections.items():
            if _fits(name, f"/{path}"):
                values.update(parameters)
        for name in _only_in_shared(sections):
            if name in values and (reason := unknown(name)):
                _logger.warning("%s: %s: %s; skipped", file, node, reason)
                del values[name]
        configs[node] = _config_of(node, values, file)
    utterance_node, emotion_node = configs["utterance_node"], configs["emotion_node"]
    assert isinstance(utterance_node, UtteranceNodeConfig)
    assert isinstance(emotion_node, EmotionNodeConfig)
    return RobotConfig(utterance_node, emotion_node)


def robot_config(params_file: Path | None = None, **changes: Value | None) -> RobotConfig:
    """Return the configuration of the nodes from a file and options that override it (None: not).

    Raises:
        ValueError, FileNotFoundError: see `read_parameters`.
    """
    robot = RobotConfig() if params_file is None else read_parameters(params_file)
    return robot.changed(**{name: value for name, value in changes.items() if value is not None})


def shared_parameters(files: Iterable[Path]) -> frozenset[str]:
    """Return the parameters that files set for every node (`/**`, `/*`) only.

    Invalid parameter files are skipped, because rcl reports them.
    """
    sections: dict[str, dict[str, Value]] = {}
    for file in files:
        try:
            for section, values in _sections(file).items():
                sections.setdefault(section, {}).update(values)
        except (ValueError, OSError):
            continue
    return frozenset(_only_in_shared(sections))


def _only_in_shared(sections: Mapping[str, Mapping[str, Value]]) -> set[str]:
    shared = _names(sections, lambda section: section.endswith("*"))
    return shared - _names(sections, lambda section: section.rpartition("/")[2] in NODES)


def _names(sections: Mapping[str, Mapping[str, Value]], takes: Callable[[str], bool]) -> set[str]:
    """Return the parameters in the sections that `takes` accepts."""
    return {name for section, values in sections.items() if takes(section) for name in values}


def _config_of(
    node: str, values: Mapping[str, Value], file: Path
) -> UtteranceNodeConfig | EmotionNodeConfig:
    config = NODES[node]
    own = {entry.name: entry for entry in entries(config)}
    given: dict[str, Value] = {}
    for name, value in values.items():
        current = current_name(name)
        reason = complaint(own[current], value) if current in own else unknown(name)
        if reason:
            raise ErcValueError(f"{file}: {node}: {reason}")
        if current not in own:
            continue
        if advice := former_name(name):
            _logger.warning("%s: %s: %s", file, node, advice)
        if name == current or current not in values:
            given[current] = value
    try:
        return config.from_parameters(given)
    except (ValueError, FileNotFoundError) as error:  # tuning file, or a combination of values
        raise ErcValueError(f"{file}: {node}: {error}") from error


def _sections(file: Path) -> dict[str, dict[str, Value]]:
    """Return name of a section -> its parameters, with dots in the names of nested ones."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ErcValueError(f"{file} is no YAML: {error}") from error
    if not isinstance(content, dict):
        raise ErcValueError(f"{file} must contain names of nodes with `ros__parameters`")
    sections: dict[str, dict[str, Value]] = {}
    for name, parameters in _nodes(file, content):
        sections.setdefault(name, {}).update(flattened(parameters))
    return sections


def _nodes(file: Path, content: Mapping[Any, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (name of a node, its parameters), with namespaces from nested mappings."""
    for key, inner in content.items():
        name = f"{path}/{str(key).strip('/')}"
        if not isinstance(inner, dict):
            raise ErcValueError(f"{file}: {name.strip('/')} must contain `ros__parameters`")
        if "ros__parameters" in inner:
            parameters = inner["ros__parameters"]
            if not isinstance(parameters, dict):
                raise ErcValueError(
                    f"{file}: ros__parameters of {name.strip('/')} must be a mapping"
                )
            yield name, parameters
        else:
            yield from _nodes(file, inner, name)


def _fits(section: str, node: str) -> bool:
    """Return whether a section matches a node. `*` is one part of a name, `**` any number."""
    parts = [part for part in section.split("/") if part]
    pattern = "".join(
        r"(/[^/]+)*" if part == "**" else "/" + re.escape(part).replace(r"\*", "[^/]+")
        for part in parts
    )
    return re.fullmatch(pattern, node) is not None
