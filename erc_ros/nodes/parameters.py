"""The nodes' ROS parameters: declared from the configs and checked when they are set.

`python -m erc_ros.nodes.parameters` prints the tables of the documentation; `--write` writes
config/parameters.yaml, config/tuning.yaml and the parameter reference of the documentation.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    ParameterType,
    SetParametersResult,
)
from rclpy.exceptions import InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from erc_ros.parameter_reference import (
    parameter_reference,
    parameter_tables,
    tuning_reference,
)
from erc_ros.parameters import (
    NODES,
    complaint,
    current_name,
    former_name,
    problem_with_class,
    unknown,
)
from erc_ros.pipeline import FromParameters
from erc_ros.resources import config_file
from erc_ros.values.settings import SettingEntry, Value, entries, parameters

_TYPES = {
    bool: ParameterType.PARAMETER_BOOL,
    int: ParameterType.PARAMETER_INTEGER,
    float: ParameterType.PARAMETER_DOUBLE,
    str: ParameterType.PARAMETER_STRING,
}
_SHOWN = 10  # ignored parameters that are logged
Made = TypeVar("Made", bound=FromParameters)


def descriptor(entry: SettingEntry) -> ParameterDescriptor:
    """Return the descriptor that `ros2 param describe` shows."""
    setting = entry.setting
    unit = f" ({setting.unit})" if setting.unit else ""
    description = ParameterDescriptor(
        name=entry.name,
        type=_TYPES[entry.kind],
        description=setting.description + unit,
        read_only=setting.changes == "start",
    )
    if setting.choices:
        description.additional_constraints = "one of " + ", ".join(setting.choices)
    if setting.range is not None and entry.kind is int:
        first, last = (int(bound) for bound in setting.range)
        description.integer_range = [IntegerRange(from_value=first, to_value=last)]
    elif setting.range is not None:
        low, high = (float(bound) for bound in setting.range)
        description.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    return description


class NodeParameters:
    """The declared parameters of one node, checked when set.

    Args:
        node: the node that declares them.
        kind: which of the two nodes, regardless of its name.
        is_configured: whether to refuse parameters that are read at configure.
        defaults: defaults that replace those of the config, for an executable that differs.
        shared: names that a robot-wide section (`/**`) of a parameter file sets on every node. An
            unknown one may belong to another node: it is logged instead of refused.

    Raises:
        InvalidParameterValueException: the command line, or a section that names this node, sets a
            parameter that does not exist; or a value is refused.
    """

    def __init__(
        self,
        node: Node,
        kind: str,
        is_configured: Callable[[], bool],
        defaults: Mapping[str, Value] | None = None,
        shared: Collection[str] = (),
    ) -> None:
        self._node = node
        self._is_configured = is_configured
        self._replaced = ""  # the parameter that `replace` sets at present
        self._is_declared = False
        self._entries = parameters(NODES[kind])
        settings = {entry.name: entry for entry in entries(NODES[kind])}
        self._former: dict[str, Value] = {}  # set under names of the former release
        others = []
        for name, given in node._parameter_overrides.items():
            entry = settings.get(current_name(name))
            reason = complaint(entry, given.value) if entry else unknown(name)
            if reason and entry is None and name in shared:
                others.append(reason)
            elif reason:  # before rclpy refuses it with another message, or ignores it
                raise InvalidParameterValueException(name, given.value, reason)
            elif entry is not None and (advice := former_name(name)):
                node.get_logger().warning(advice)
                self._former[entry.name] = given.value
        if others:
            text = "; ".join(others[:_SHOWN]) + (" ..." if len(others) > _SHOWN else "")
            node.get_logger().warning(f"ignored in a section that applies to every node: {text}")
        # Registered before declaring, so that values from the command line are checked as well.
        node.add_on_set_parameters_callback(self._check)
        for entry in self._entries.values():
            default = {**(defaults or {}), **self._former}.get(entry.name, entry.default)
            node.declare_parameter(entry.name, default, descriptor(entry))
        self._is_declared = True  # at start, a wrong class makes `configure` fail instead

    def __getitem__(self, name: str) -> Any:
        return self._node.get_parameter(name).value

    def replace(self, name: str, value: Value) -> None:
        """Set a parameter that is read at configure and whose new value is already in use."""
        self._replaced = name
        try:
            self._node.set_parameters([Parameter(name, value=value)])
        finally:
            self._replaced = ""

    def config(self, kind: type[Made]) -> Made:
        """Return the config with the current values.

        Raises:
            ValueError: values are inconsistent.
        """
        return kind.from_parameters(
            {**self._former, **{name: self[name] for name in self._entries}}
        )

    def _check(self, changes: Iterable[Parameter]) -> SetParametersResult:
        for parameter in changes:
            entry = self._entries.get(parameter.name)
            if entry is None:
                continue  # use_sim_time, qos_overrides, ...: declared by rclpy
            reason = complaint(entry, parameter.value)
            fixed = entry.setting.changes == "configure" and parameter.name != self._replaced
            if not reason and fixed and self._is_configured():
                reason = (
                    f"{entry.name} is read when the node is configured: "
                    "deactivate and clean up first, then set it and configure again"
                )
            if not reason and self._is_declared:
                reason = problem_with_class(entry.name, parameter.value)
            if reason:
                return SetParametersResult(successful=False, reason=reason)
        return SetParametersResult(successful=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Print or write the parameter reference."""
    parser = argparse.ArgumentParser(description="The parameters of the nodes.")
    parser.add_argument("--write", action="store_true", help="write them into config and docs")
    if not parser.parse_args(argv).write:
        for node in NODES:
            print(f"### {node}\n\n{parameter_tables(node)}")
        return
    folder = config_file("parameters.yaml").parent
    (folder / "parameters.yaml").write_text(parameter_reference(), encoding="utf-8")
    (folder / "tuning.yaml").write_text(tuning_reference(), encoding="utf-8")
    page = folder.parents[1] / "docs" / "reference" / "parameters.md"
    if page.is_file():
        page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")


def with_tables(text: str) -> str:
    """Replace the content of each node's section (`### <node>`) of a document by its table."""
    for node in NODES:
        heading = re.compile(rf"(^### {node}\n\n)\|.*?(?=^#|\Z)", re.MULTILINE | re.DOTALL)
        match = heading.search(text)
        if match is not None:
            text = f"{text[: match.end(1)]}{parameter_tables(node)}\n{text[match.end() :]}"
    return text.rstrip("\n") + "\n"


if __name__ == "__main__":
    main()
