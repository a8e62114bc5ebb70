"""What config/system.yaml says: which processes run, and what the start arguments mean.

The launch file and `erc run` both ask here, so that they start the same system.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
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
    """modes: mode -> executables; arguments: name -> Argument."""

    modes: Mapping[str, tuple[str, ...]]
    arguments: Mapping[str, Argument]

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
        """What follows --ros-args: the file first, then the arguments, which go over it.

        Raises:
            FileNotFoundError: there is no such params_file.
        """
        options = []
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
    return NodeProcesses(
        {mode: tuple(names) for mode, names in content["modes"].items()}, arguments
    )


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
