"""The nodes' parameters, read from config/parameters.yaml: the only place that says what exists.

`python -m erc_ros.nodes.parameters` prints the tables of docs/ros.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    ParameterType,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from erc_ros.resources import config_file

Value = bool | int | float | str

_TYPES: dict[str, tuple[type, int]] = {
    "bool": (bool, ParameterType.PARAMETER_BOOL),
    "int": (int, ParameterType.PARAMETER_INTEGER),
    "float": (float, ParameterType.PARAMETER_DOUBLE),
    "string": (str, ParameterType.PARAMETER_STRING),
}
_KEYS = {"type", "default", "changes", "range", "choices", "description"}
_CHANGES = {"start", "configure", "anytime"}


@dataclass(frozen=True)
class Spec:
    """One parameter as config/parameters.yaml describes it."""

    name: str
    type: str
    default: Value
    changes: str
    description: str
    range: tuple[float, float] | None = None
    choices: tuple[str, ...] | None = None

    def complaint(self, value: object) -> str:
        """Why `value` is refused, "" where it is fine."""
        kind = _TYPES[self.type][0]
        if type(value) is not kind:
            return f"{self.name} must be a {self.type}, got {value!r}"
        if self.choices is not None and value not in self.choices:
            return f"{self.name} must be one of {', '.join(self.choices)}, got {value!r}"
        if self.range is not None:
            least, greatest = self.range
            if not least <= float(value) <= greatest:  # type: ignore[arg-type]
                return f"{self.name} must be in [{least:g}, {greatest:g}], got {value!r}"
        return ""

    def descriptor(self) -> ParameterDescriptor:
        """The same for ROS: `ros2 param describe` shows it."""
        descriptor = ParameterDescriptor(
            name=self.name,
            type=_TYPES[self.type][1],
            description=self.description,
            read_only=self.changes == "start",
        )
        if self.choices is not None:
            descriptor.additional_constraints = "one of " + ", ".join(self.choices)
        if self.range is not None and self.type == "int":
            least, greatest = (int(bound) for bound in self.range)
            descriptor.integer_range = [IntegerRange(from_value=least, to_value=greatest)]
        elif self.range is not None:
            least, greatest = (float(bound) for bound in self.range)
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=least, to_value=greatest)
            ]
        return descriptor


def read(file: Path) -> dict[str, dict[str, Spec]]:
    """node name -> parameter name -> Spec.

    Raises:
        ValueError: an unknown key or type, or a default outside its own range.
    """
    content = yaml.safe_load(file.read_text())
    return {
        node: {name: _spec(file, node, name, entry) for name, entry in entries.items()}
        for node, entries in content.items()
    }


def _spec(file: Path, node: str, name: str, entry: Mapping[str, Any]) -> Spec:
    where = f"{file.name}: {node}.{name}"
    if unknown := set(entry) - _KEYS:
        raise ValueError(f"{where} has unknown keys {sorted(unknown)}")
    if entry.get("type") not in _TYPES or entry.get("changes") not in _CHANGES:
        raise ValueError(f"{where} needs a type of {list(_TYPES)} and changes of {list(_CHANGES)}")
    spec = Spec(
        name=name,
        type=entry["type"],
        default=entry["default"],
        changes=entry["changes"],
        description=entry["description"],
        range=tuple(entry["range"]) if "range" in entry else None,
        choices=tuple(entry["choices"]) if "choices" in entry else None,
    )
    if complaint := spec.complaint(spec.default):
        raise ValueError(f"{where}: {complaint}")
    return spec


class Parameters:
    """The declared parameters of one node, checked when set, as plain values.

    Args:
        node: declares them on this node.
        kind: name of the node in config/parameters.yaml (the node may be renamed).
        is_configured: parameters that are read at configure are refused while this is true.
        defaults: other defaults than the file's, for an executable that differs.
    """

    def __init__(
        self,
        node: Node,
        kind: str,
        is_configured: Callable[[], bool],
        defaults: Mapping[str, Value] | None = None,
    ) -> None:
        self._node = node
        self._is_configured = is_configured
        self._specs = read(config_file("parameters.yaml"))[kind]
        # Registered before declaring, so that values from the command line are checked as well.
        node.add_on_set_parameters_callback(self._check)
        for spec in self._specs.values():
            default = (defaults or {}).get(spec.name, spec.default)
            node.declare_parameter(spec.name, default, spec.descriptor())

    def __getitem__(self, name: str) -> Any:
        return self._node.get_parameter(name).value

    def _check(self, parameters: Iterable[Parameter]) -> SetParametersResult:
        for parameter in parameters:
            spec = self._specs.get(parameter.name)
            if spec is None:
                continue  # use_sim_time, qos_overrides, ...: not ours
            reason = spec.complaint(parameter.value)
            if not reason and spec.changes == "configure" and self._is_configured():
                reason = (
                    f"{spec.name} is read when the node is configured: "
                    "deactivate and clean up first, then set it and configure again"
                )
            if reason:
                return SetParametersResult(successful=False, reason=reason)
        return SetParametersResult(successful=True)


def table(specs: Mapping[str, Spec]) -> str:
    """The parameters as a Markdown table."""
    lines = ["| parameter | default | allowed | changes | |", "|---|---|---|---|---|"]
    for spec in specs.values():
        allowed = spec.type
        if spec.choices is not None:
            allowed = ", ".join(f"`{choice}`" for choice in spec.choices)
        elif spec.range is not None:
            allowed = f"{spec.type} in [{spec.range[0]:g}, {spec.range[1]:g}]"
        default = yaml.safe_dump(spec.default).splitlines()[0]
        lines.append(
            f"| `{spec.name}` | `{default}` | {allowed} | {spec.changes} | {spec.description} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the tables of docs/ros.md."""
    for node, specs in read(config_file("parameters.yaml")).items():
        print(f"### Parameters of {node}\n\n{table(specs)}")


if __name__ == "__main__":
    main()
