"""The contents of config/system.yaml: processes of each mode and start arguments.

The launch file and `erc run` both use it, so that they start the same system.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import yaml

from erc_ros.resources import config_file
from erc_ros.values.errors import ErcValueError

RESPAWN_DELAY = 2.0  # s until a process that ended is restarted, with `respawn`
NONE = "none"  # the value that switches off an argument with `can_be_none`
PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")


class Used(str):
    """The value of a launch configuration that a former include of our launch file has used.

    Launch keeps the arguments of an include for everything that follows. A second include ignores
    a value that is marked by this class, as it was not passed to that include.
    """

    __slots__ = ()


@dataclass(frozen=True)
class Argument:
    """One start argument. remap, parameter: the topic or parameter that it sets; "": none.

    choices: allowed values; (): any. can_be_none: `none` represents an empty value, which a command
    line of launch cannot express.
    """

    name: str
    default: str
    description: str
    remap: str = ""
    parameter: str = ""
    choices: tuple[str, ...] = ()
    can_be_none: bool = False


@dataclass(frozen=True)
class NodeProcesses:
    """The system. modes: mode -> executables; arguments: name -> Argument.

    mode_parameters: mode -> parameter -> value as text.
    """

    modes: Mapping[str, tuple[str, ...]]
    arguments: Mapping[str, Argument]
    mode_parameters: Mapping[str, Mapping[str, str]]

    def values(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return all arguments with their values, choices in the spelling of system.yaml.

        Raises:
            ValueError: an unknown argument, mode or choice; the message lists the known ones.
        """
        if unknown := sorted(set(given) - set(self.arguments)):
            raise ErcValueError(
                f"unknown argument {unknown[0]!r}; known are {list(self.arguments)}"
            )
        values = {
            name: given.get(name, argument.default) for name, argument in self.arguments.items()
        }
        if values["mode"] not in self.modes:
            raise ErcValueError(f"mode must be one of {list(self.modes)}, got {values['mode']!r}")
        for name, value in values.items():
            choices = self.arguments[name].choices
            if not choices or not value:
                continue
            if value.lower() not in choices:
                raise ErcValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
            values[name] = value.lower()  # Python's True and False as well
        return values

    def is_possible(self, name: str, value: str) -> bool:
        """Whether `values` accepts this value of an argument."""
        if name == "mode":
            return value in self.modes
        choices = self.arguments[name].choices
        return not choices or not value or value.lower() in choices

    def remaps(self, values: Mapping[str, str]) -> list[tuple[str, str]]:
        """Return the remappings (topic of the nodes, new topic)."""
        return [
            (argument.remap, values[name])
            for name, argument in self.arguments.items()
            if argument.remap and values[name]
        ]

    def parameters(self, values: Mapping[str, str]) -> dict[str, str]:
        """Return parameter -> value as YAML; a node without the parameter ignores it."""
        return {
            argument.parameter: "''"
            if argument.can_be_none and values[name] == NONE
            else values[name]
            for name, argument in self.arguments.items()
            if argument.parameter and values[name]
        }

    def parameter_options(self, values: Mapping[str, str]) -> list[str]:
        """Return the options after --ros-args: mode, file, arguments; later ones override.

        Raises:
            FileNotFoundError: the params_file does not exist.
        """
        options = []
        for name, value in self.mode_parameters.get(values["mode"], {}).items():
            options += ["-p", f"{name}:={value}"]
        if file := values["params_file"]:
            if not Path(file).is_file():
                raise FileNotFoundError(f"params_file {file} does not exist or is not a file")
            options += ["--params-file", file]
        for name, value in self.parameters(values).items():
            options += ["-p", f"{name}:={value}"]
        return options


def read_system() -> NodeProcesses:
    """Read the system of config/system.yaml."""
    content = yaml.safe_load(config_file("system.yaml").read_text())
    arguments = {
        name: Argument(
            name,
            entry.get("default", ""),
            entry["description"],
            entry.get("remap", ""),
            entry.get("parameter", ""),
            tuple(entry.get("choices", ())),
            entry.get("can_be_none", False),
        )
        for name, entry in content["arguments"].items()
    }
    modes = {mode: tuple(names) for mode, names in content["modes"].items()}
    return NodeProcesses(modes, arguments, content["mode_parameters"])


def mistyped(given: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Return unknown argument -> the known one that was probably meant.

    Launch also passes the arguments of other launch files and its own (`ros_namespace`, ...), so
    only names that are similar to a known one are returned.
    """
    known = list(known)
    others = [name for name in given if name not in known and not name.startswith("ros_")]
    near = {name: get_close_matches(name, known, 1, 0.75) for name in others}
    return {name: matches[0] for name, matches in near.items() if matches}


def environment(fastdds_profile: str) -> dict[str, str]:
    """Return the environment variable for the Fast DDS profile, unless one is set already.

    fastdds_profile: a file, or the name of one in config/; "" or `none`: no profile.

    Raises:
        FileNotFoundError: the profile does not exist.
    """
    is_set = any(name in os.environ for name in PROFILE_VARIABLES)
    if fastdds_profile in ("", NONE) or is_set:
        return {}
    file = Path(fastdds_profile)
    if not file.is_file() and file.name == fastdds_profile:
        file = config_file(fastdds_profile)
    if not file.is_file():
        raise FileNotFoundError(f"Fast DDS profile {fastdds_profile} does not exist")
    return {profile_variable(): str(file.resolve())}


def profile_variable() -> str:
    """Return the environment variable from which the installed Fast DDS reads its profile.

    Fast DDS 3 (Kilted and later, ROS package `fastdds`) warns about the variable that Fast DDS 2
    (Humble and Jazzy, ROS package `fastrtps`) needs.
    """
    prefixes = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    is_third = any(Path(prefix, "share", "fastdds").is_dir() for prefix in prefixes if prefix)
    return PROFILE_VARIABLES[0 if is_third else 1]
