"""What config/system.yaml says: which processes run, and what the start arguments mean.

The launch file and `erc run` both ask here, so that they start the same system.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import yaml

from erc_ros.resources import config_file

RESPAWN_DELAY = 2.0  # s until a process that ended is started again, if it is
PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")


@dataclass(frozen=True)
class Argument:
    """One start argument. remap / parameter: what it changes, "" for neither.

    choices: what it can be; (): anything.
    """

    name: str
    default: str
    description: str
    remap: str = ""
    parameter: str = ""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class NodeProcesses:
    """modes: mode -> executables; arguments: name -> Argument.

    mode_parameters: mode -> parameter -> value as text.
    """

    modes: Mapping[str, tuple[str, ...]]
    arguments: Mapping[str, Argument]
    mode_parameters: Mapping[str, Mapping[str, str]]

    def values(self, given: Mapping[str, str]) -> dict[str, str]:
        """All arguments with their values.

        Raises:
            ValueError: an unknown argument, mode or choice; names what there is.
        """
        if unknown := sorted(set(given) - set(self.arguments)):
            raise ValueError(f"unknown argument {unknown[0]!r}: there are {list(self.arguments)}")
        values = {
            name: given.get(name, argument.default) for name, argument in self.arguments.items()
        }
        if values["mode"] not in self.modes:
            raise ValueError(f"mode must be one of {list(self.modes)}, got {values['mode']!r}")
        for name, value in values.items():
            choices = self.arguments[name].choices
            if choices and value and value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
        return values

    def remaps(self, values: Mapping[str, str]) -> list[tuple[str, str]]:
        """(topic of the nodes, topic instead)."""
        return [
            (argument.remap, values[name])
            for name, argument in self.arguments.items()
            if argument.remap and values[name]
        ]

    def parameters(self, values: Mapping[str, str]) -> dict[str, str]:
        """parameter -> value as text, for every node (one that lacks it ignores it)."""
        return {
            argument.parameter: values[name]
            for name, argument in self.arguments.items()
            if argument.parameter and values[name]
        }

    def parameter_options(self, values: Mapping[str, str]) -> list[str]:
        """What follows --ros-args: the mode, the file, the arguments; the later goes over it.

        Raises:
            FileNotFoundError: there is no such params_file.
        """
        options = []
        for name, value in self.mode_parameters.get(values["mode"], {}).items():
            options += ["-p", f"{name}:={value}"]
        if file := values["params_file"]:
            if not Path(file).is_file():
                raise FileNotFoundError(f"params_file {file} does not exist, or is no file")
            options += ["--params-file", file]
        for name, value in self.parameters(values).items():
            options += ["-p", f"{name}:={value}"]
        return options


def read_system() -> NodeProcesses:
    """The system of config/system.yaml."""
    content = yaml.safe_load(config_file("system.yaml").read_text())
    arguments = {
        name: Argument(
            name,
            entry.get("default", ""),
            entry["description"],
            entry.get("remap", ""),
            entry.get("parameter", ""),
            tuple(entry.get("choices", ())),
        )
        for name, entry in content["arguments"].items()
    }
    modes = {mode: tuple(names) for mode, names in content["modes"].items()}
    return NodeProcesses(modes, arguments, content["mode_parameters"])


def mistyped(given: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Arguments that are not known -> the one that may be meant.

    Launch passes on the arguments of other launch files, too: only what looks like one of ours.
    """
    known = list(known)
    near = {name: get_close_matches(name, known, 1, 0.75) for name in given if name not in known}
    return {name: found[0] for name, found in near.items() if found}


def environment(fastdds_profile: str) -> dict[str, str]:
    """Variables to add for the nodes' processes: the Fast DDS profile, unless one is set already.

    Raises:
        FileNotFoundError: there is no such profile.
    """
    if not fastdds_profile or any(name in os.environ for name in PROFILE_VARIABLES):
        return {}
    file = Path(fastdds_profile)
    if not file.is_file() and file.name == fastdds_profile:
        file = config_file(fastdds_profile)
    if not file.is_file():
        raise FileNotFoundError(f"there is no Fast DDS profile {fastdds_profile}")
    # Humble's Fast DDS knows the older name only.
    return dict.fromkeys(PROFILE_VARIABLES, str(file.resolve()))
