"""The parameters of the two nodes, and files of them, without ROS.

What the pipeline reads is declared in its configs; what only a node reads is declared here.
`erc_ros.parameter_reference` writes the documentation of them.
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
_AUTOSTART = "configure and activate by itself, without launch or `ros2 lifecycle`"
_RECORDING = (
    "whether texts, audio and images may be published, and voices be enrolled, until a message on "
    "the topic `recording_allowed` says otherwise"
)
_OPTED_OUT = (
    "ids of people about whom nothing is inferred, separated by commas; more by `~/opt_out`"
)
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
        "where ROS4HRI publishes faces, voices and matches, relative to the namespace of the node: "
        "they are used where they come, instead of the camera and of `speech`; empty: they are not "
        "looked for",
    )
    publish_voices: bool = parameter(
        False,
        "also tell ROS4HRI of voices: `voices/tracked`, `voices/<id>/is_speaking`, `speech`, and "
        "whose face and who they may be in `candidate_matches`; needs hri_msgs",
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
        "false keeps what was said out of `utterances`; with two processes the emotion node then "
        "has no text",
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
        "time without a message after which a camera or microphone that was alive is reported",
        "s",
        (0.5, 60.0),
        changes="anytime",
    )

    def __post_init__(self) -> None:
        check(self)

    @property
    def used_perception(self) -> PerceptionConfig:
        """For `Perception`: with the modalities that are permitted, and faces if there is a camera.

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
    publish_text: bool = parameter(
        True, "false keeps what was said out of `emotions`", changes="anytime"
    )
    publish_expression: bool = parameter(
        False, "also send hri_msgs/Expression for each known face; needs hri_msgs"
    )
    humans_namespace: str = parameter(
        "humans",
        "where `faces/<id>/expression` is published, relative to the namespace of the node",
    )
    build_engines: bool = parameter(
        True,
        "with device auto, where there is TensorRT: build its engines in the background at the "
        "first start, and use those that are faster",
    )

    def __post_init__(self) -> None:
        check(self)

    @property
    def used_recognition(self) -> RecognitionConfig:
        """For `Recognition`: with the modalities that are permitted.

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
    """What both nodes are told."""

    utterance_node: UtteranceNodeConfig = field(default_factory=UtteranceNodeConfig)
    emotion_node: EmotionNodeConfig = field(default_factory=EmotionNodeConfig)

    def changed(self, **parameters: Value) -> RobotConfig:
        """With other values of some parameters; each node takes those that it has.

        Raises:
            ValueError: a parameter that neither has, or a value that is refused.
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
        """With `deployment_context` research where it is not set.

        Who analyzes a recording has it lawfully, or does not; a robot meets people.
        """
        context: dict[str, Value] = {"deployment_context": RESEARCH}
        hears, feels = self.utterance_node, self.emotion_node
        return RobotConfig(
            hears if hears.deployment.is_set else _changed(hears, context),
            feels if feels.deployment.is_set else _changed(feels, context),
        )

    @property
    def pipeline(self) -> PipelineConfig:
        """For a `Pipeline` that gives the same estimates as the two nodes, see `for_recordings`.

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
    """Why a node refuses `value` for a parameter, "" where it takes it.

    As the setting's own, but ROS does not take an integer for a float.
    """
    if entry.kind is float and type(value) is int:
        return f"{entry.name} must be a float, got {value!r}: write {float(value)!r}"
    try:
        entry.setting.checked(entry.name, value, entry.kind)
    except ValueError as error:
        return str(error)
    return ""


def problem_with_class(name: str, value: object) -> str:
    """Why a node refuses the class that a parameter names, "" where it takes it.

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


# --- names of the former release ---


def current_name(name: str) -> str:
    """Return the current name of a parameter that was renamed."""
    return _RENAMED.get(name, name)


def former_name(name: str) -> str:
    """Return what to do about a parameter of the former release; "" for one of today.

    Both kinds are accepted with a warning in this release: parameters that have another name now,
    and internal settings that are in the tuning file now.
    """
    if name in _RENAMED:
        return f"{name} is called {_RENAMED[name]} now; the former name ends with the next release"
    if name in _TUNED:
        return (
            f"{name} is a setting of the {TUNING_FILE} now (see config/tuning.yaml); as a "
            "parameter it ends with the next release"
        )
    return ""


_ENTRIES = {entry.name: entry for config in NODES.values() for entry in entries(config)}
_RENAMED = {e.setting.former: e.name for e in _ENTRIES.values() if e.setting.former}
_TUNED = {entry.name for entry in _ENTRIES.values() if not entry.setting.is_parameter}


# Parameters that every node has, or that rclpy reads: no settings, and no mistakes.
_OF_ROS = re.compile(r"use_sim_time|start_type_description_service|qos_overrides\..*")


def unknown(name: str) -> str:
    """Why a parameter that was given to a node is a mistake, "" if it is not.

    Parameters of the other node are accepted: files and tests may give all of them to both.
    """
    if current_name(name) in _ENTRIES or _OF_ROS.fullmatch(name):
        return ""
    near = difflib.get_close_matches(name, _ENTRIES, 1)
    return f"there is no parameter {name}" + (f"; did you mean {near[0]}?" if near else "")


# --- files of parameters, as ROS reads them ---


def read_parameters(file: Path, namespace: str = "") -> RobotConfig:
    """The nodes' configuration from a ROS parameter file (`--params-file`).

    Sections are names of nodes: `/**`, `/*/emotion_node`, `utterance_node`, ...; where several
    fit a node, the later one counts. A section for every node (`/**`) may hold parameters of other
    nodes: what is unknown there is skipped with a warning.

    Args:
        namespace: of the nodes.

    Raises:
        ValueError: the file is no such file, or a parameter in it does not exist or is refused;
            names the file, the node, the parameter, the value and what is allowed.
        FileNotFoundError: there is no such file.
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
    """Return the nodes' configuration from a file and from options that override it (None: not).

    Raises:
        ValueError, FileNotFoundError: see `read_parameters`.
    """
    robot = RobotConfig() if params_file is None else read_parameters(params_file)
    return robot.changed(**{name: value for name, value in changes.items() if value is not None})


def shared_parameters(files: Iterable[Path]) -> frozenset[str]:
    """Parameters that files give to every node (`/**`, `/*`), and to none of ours by its name.

    Files that are no parameter files are skipped: rcl reports those.
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
    """The parameters in those sections."""
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
    except (ValueError, FileNotFoundError) as error:  # the tuning file; a combination of values
        raise ErcValueError(f"{file}: {node}: {error}") from error


def _sections(file: Path) -> dict[str, dict[str, Value]]:
    """Name of a section -> its parameters, nested ones with dots."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ErcValueError(f"{file} is no YAML: {error}") from error
    if not isinstance(content, dict):
        raise ErcValueError(f"{file} must hold names of nodes with `ros__parameters`")
    sections: dict[str, dict[str, Value]] = {}
    for name, parameters in _nodes(file, content):
        sections.setdefault(name, {}).update(flattened(parameters))
    return sections


def _nodes(file: Path, content: Mapping[Any, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """(name of a node, its parameters); namespaces may be written around the nodes."""
    for key, inner in content.items():
        name = f"{path}/{str(key).strip('/')}"
        if not isinstance(inner, dict):
            raise ErcValueError(f"{file}: {name.strip('/')} must hold `ros__parameters`")
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
    """Is a section meant for a node? `*` is one part of a name, `**` any number of them."""
    parts = [part for part in section.split("/") if part]
    pattern = "".join(
        r"(/[^/]+)*" if part == "**" else "/" + re.escape(part).replace(r"\*", "[^/]+")
        for part in parts
    )
    return re.fullmatch(pattern, node) is not None
