"""Every parameter of the two nodes, and files of them, without ROS.

What the pipeline reads is declared in its configs; what only a node reads is declared here.
"""

from __future__ import annotations

import difflib
import logging
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from erc_ros.inference.emotion_state import EmotionStateConfig
from erc_ros.pipeline import PerceptionConfig, PipelineConfig, RecognitionConfig
from erc_ros.values.settings import SettingEntry, Value, entries, setting, values_of

_logger = logging.getLogger(__name__)
_AUTOSTART = "configure and activate by itself, without launch or `ros2 lifecycle`"
_RECORDING = (
    "whether texts, audio and images may be published, and voices be enrolled, until a message on "
    "the topic `recording_allowed` says otherwise"
)


@dataclass(frozen=True)
class UtteranceNodeConfig(PerceptionConfig):
    """Parameters of utterance_node."""

    autostart: bool = setting(True, _AUTOSTART, changes="start")
    audio_type: str = setting(
        "auto",
        "message type of `audio`; auto: that of its publisher, none: no microphone",
        choices=(
            "auto",
            "none",
            "audio_common_msgs/msg/AudioData",
            "audio_common_msgs/msg/AudioDataStamped",
            "audio_common_msgs/msg/AudioStamped",
        ),
    )
    image_type: str = setting(
        "auto",
        "message type of the camera; auto: `image`, else `image/compressed`, whichever has a "
        "publisher; none: no camera",
        choices=("auto", "none", "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"),
    )
    speech_type: str = setting(
        "auto",
        "message type of `speech`; auto: that of its publisher, none: no speech recognizer; "
        "module:Class: one that reads messages of another package",
    )
    humans_namespace: str = setting(
        "humans",
        "where ROS4HRI publishes faces, voices and matches, relative to the namespace of the node: "
        "they are used where they come, instead of the camera and of `speech`; empty: they are not "
        "looked for",
    )
    publish_voices: bool = setting(
        False,
        "also tell ROS4HRI of voices: `voices/tracked`, `voices/<id>/is_speaking`, `speech`, and "
        "whose face and who they may be in `candidate_matches`; needs hri_msgs",
    )
    publish_view: bool = setting(
        False,
        "also publish `image_emotions` (drawn while somebody looks at it) and `emotion_markers`; "
        "`mode:=view` sets it",
    )
    publish_voice_audio: bool = setting(
        False, "with `publish_voices`: the sound of each utterance on `voices/<id>/audio`"
    )
    recording_allowed: bool = setting(True, _RECORDING, changes="start")
    publish_text: bool = setting(
        True,
        "false keeps what was said out of `utterances`; with two processes the emotion node then "
        "has no text",
        changes="anytime",
    )
    publish_media: bool = setting(
        False,
        "sound and face crops in `utterances`; the executable `utterance_node` starts with true, "
        "since the emotion node needs them there",
        changes="anytime",
    )
    image_queue: int = setting(
        10,
        "frames that may wait for the worker; the oldest is dropped and counted",
        range=(1, 100),
    )
    speech_queue: int = setting(
        100,
        "texts that may wait for the worker; the oldest is dropped and counted",
        range=(1, 1000),
    )
    dead_after: float = setting(
        3.0,
        "time without a message after which a camera or microphone that was alive is reported",
        "s",
        (0.5, 60.0),
        changes="anytime",
    )

    @property
    def perception(self) -> PerceptionConfig:
        """For `Perception`: without a camera nobody looks for faces."""
        values = _of(PerceptionConfig, self)
        if self.image_type == "none":
            values["face_detector"] = "none"
        return PerceptionConfig.from_parameters(values)


@dataclass(frozen=True)
class EmotionNodeConfig(RecognitionConfig):
    """Parameters of emotion_node."""

    autostart: bool = setting(True, _AUTOSTART, changes="start")
    recording_allowed: bool = setting(True, _RECORDING, changes="start")
    publish_text: bool = setting(
        True, "false keeps what was said out of `emotions`", changes="anytime"
    )
    publish_expression: bool = setting(
        False, "also send hri_msgs/Expression for each known face; needs hri_msgs"
    )
    humans_namespace: str = setting(
        "humans",
        "where `faces/<id>/expression` is published, relative to the namespace of the node",
    )
    build_engines: bool = setting(
        True,
        "with device auto, where there is TensorRT: build its engines in the background at the "
        "first start, and use those that are faster",
    )
    emotion_state: EmotionStateConfig = field(default_factory=EmotionStateConfig)
    utterance_queue: int = setting(
        50,
        "utterances that may wait for the worker; the oldest is dropped and counted",
        range=(1, 1000),
    )


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
                raise ValueError(reason)
        return RobotConfig(
            _changed(self.utterance_node, parameters), _changed(self.emotion_node, parameters)
        )

    @property
    def pipeline(self) -> PipelineConfig:
        """For a `Pipeline` that answers as the two nodes do."""
        return PipelineConfig.from_parameters(
            values_of(self.utterance_node.perception) | _of(RecognitionConfig, self.emotion_node)
        )


NodeConfig = TypeVar("NodeConfig", UtteranceNodeConfig, EmotionNodeConfig)


def _changed(config: NodeConfig, parameters: Mapping[str, Value]) -> NodeConfig:
    values = values_of(config)
    told = {name: value for name, value in parameters.items() if name in values}
    return type(config).from_parameters({**values, **told})


def _of(kind: type[Any], config: Any) -> dict[str, Value]:
    """The settings of `config` that a config of this kind has, too."""
    known = {entry.name for entry in entries(kind)}
    return {name: value for name, value in values_of(config).items() if name in known}


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


# Parameters that every node has, or that rclpy reads: no settings, and no mistakes.
_OF_ROS = re.compile(r"use_sim_time|start_type_description_service|qos_overrides\..*")


def unknown(name: str) -> str:
    """Why a parameter that was given to a node is a mistake, "" if it is not.

    Parameters of the other node are accepted: files and tests may give all of them to both.
    """
    known = [entry.name for config in NODES.values() for entry in entries(config)]
    if name in known or _OF_ROS.fullmatch(name):
        return ""
    near = difflib.get_close_matches(name, known, 1)
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
    found = {}
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
        found[node] = _config_of(node, values, file)
    utterance_node, emotion_node = found["utterance_node"], found["emotion_node"]
    assert isinstance(utterance_node, UtteranceNodeConfig)
    assert isinstance(emotion_node, EmotionNodeConfig)
    return RobotConfig(utterance_node, emotion_node)


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
    known = {entry.name: entry for entry in entries(config)}
    for name, value in values.items():
        reason = complaint(known[name], value) if name in known else unknown(name)
        if reason:
            raise ValueError(f"{file}: {node}: {reason}")
    try:
        return config.from_parameters({n: value for n, value in values.items() if n in known})
    except ValueError as error:  # values that do not go together
        raise ValueError(f"{file}: {node}: {error}") from error


def _sections(file: Path) -> dict[str, dict[str, Value]]:
    """Name of a section -> its parameters, nested ones with dots."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is no YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} must hold names of nodes with `ros__parameters`")
    found: dict[str, dict[str, Value]] = {}
    for name, parameters in _nodes(file, content):
        found.setdefault(name, {}).update(_parameters((), parameters))
    return found


def _nodes(file: Path, content: Mapping[Any, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """(name of a node, its parameters); namespaces may be written around the nodes."""
    for key, inner in content.items():
        name = f"{path}/{str(key).strip('/')}"
        if not isinstance(inner, dict):
            raise ValueError(f"{file}: {name.strip('/')} must hold `ros__parameters`")
        if "ros__parameters" in inner:
            parameters = inner["ros__parameters"]
            if not isinstance(parameters, dict):
                raise ValueError(f"{file}: ros__parameters of {name.strip('/')} must be a mapping")
            yield name, parameters
        else:
            yield from _nodes(file, inner, name)


def _parameters(path: tuple[str, ...], content: Mapping[Any, Any]) -> Iterator[tuple[str, Value]]:
    for key, value in content.items():
        here = (*path, str(key))
        if isinstance(value, dict):
            yield from _parameters(here, value)
        else:
            yield ".".join(here), value


def _fits(section: str, node: str) -> bool:
    """Is a section meant for a node? `*` is one part of a name, `**` any number of them."""
    parts = [part for part in section.split("/") if part]
    pattern = "".join(
        r"(/[^/]+)*" if part == "**" else "/" + re.escape(part).replace(r"\*", "[^/]+")
        for part in parts
    )
    return re.fullmatch(pattern, node) is not None


# --- what there is, for people ---


_TUNING = {
    "max_audio",
    "max_backwards",
    "max_faces",
    "max_speaker_corrections",
    "max_text",
    "max_text_corrections",
    "seconds_per_character",
    "sound_timeout",
    "speech_timeout",
}


def is_advanced(entry: SettingEntry) -> bool:
    """Does it tune a part of the pipeline? Most robots never need these."""
    return "." in entry.name or entry.name in _TUNING


def reference() -> str:
    """The text of config/parameters.yaml."""
    lines = [
        "# Every parameter of the two nodes, with its default. Written from the configs in erc_ros",
        "# by `python -m erc_ros.nodes.parameters --write` (a test compares).",
        "# To change some for a robot, see emotion.yaml.",
        "#",
        "# changes   start: fixed once the node runs; configure: while the node is unconfigured;",
        "#           anytime: at once",
        "# range     [least, greatest], inclusive; choices: the values that are allowed",
        "# source    the command that the default was found with, or by hand",
    ]
    for node, config in NODES.items():
        lines += ["", f"{node}:"]
        found = list(entries(config))
        for entry in found:
            if not is_advanced(entry):
                lines += _described(entry)
        advanced = [entry for entry in found if is_advanced(entry)]
        if advanced:
            lines.append("  # --- advanced: how the parts are tuned ---")
        for entry in advanced:
            lines += _described(entry)
    return "\n".join(lines) + "\n"


def _described(entry: SettingEntry) -> list[str]:
    known = entry.setting
    told: dict[str, Any] = {"type": _TYPES[entry.kind], "default": entry.default}
    if known.unit:
        told["unit"] = known.unit
    if known.range is not None:
        told["range"] = [entry.kind(bound) for bound in known.range]
    if known.choices:
        told["choices"] = list(known.choices)
    told["changes"] = known.changes
    if is_advanced(entry):
        told["source"] = known.source
    told["description"] = known.description
    text = yaml.safe_dump(
        told, sort_keys=False, default_flow_style=None, width=94, allow_unicode=True
    )
    return [f"  {entry.name}:", textwrap.indent(text, "    ").rstrip()]


_TYPES: dict[type, str] = {bool: "bool", int: "int", float: "float", str: "string"}


def tables(node: str) -> str:
    """The parameters of a node as Markdown tables: those for everybody, then the advanced ones."""
    found = list(entries(NODES[node]))
    advanced = [entry for entry in found if is_advanced(entry)]
    text = _table([entry for entry in found if not is_advanced(entry)])
    if advanced:
        text += "\nAdvanced: how the parts are tuned.\n\n" + _table(advanced)
    return text


def _table(found: list[SettingEntry]) -> str:
    lines = ["| parameter | default | allowed | changes | |", "|---|---|---|---|---|"]
    for entry in found:
        known, kind = entry.setting, _TYPES[entry.kind]
        allowed = f"{kind}, {known.unit}" if known.unit else kind
        if known.choices:
            allowed = ", ".join(f"`{choice}`" for choice in known.choices)
        elif known.range is not None:
            allowed = f"{kind} in [{known.range[0]:g}, {known.range[1]:g}] {known.unit}".rstrip()
        default = yaml.safe_dump(entry.default).splitlines()[0]
        lines.append(
            f"| `{entry.name}` | `{default}` | {allowed} | {known.changes} | {known.description} |"
        )
    return "\n".join(lines) + "\n"
