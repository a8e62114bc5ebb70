"""Reference documentation of ROS parameters and tuning settings, from their declarations.

`python -m erc_ros.nodes.parameters --write` writes `config/parameters.yaml`, `config/tuning.yaml`
and the tables of `docs/reference/parameters.md`; a test compares them. The page of the tuning
settings is generated with the documentation site.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from itertools import groupby
from typing import Any

import yaml

from erc_ros.parameters import NODES
from erc_ros.pipeline import PipelineConfig
from erc_ros.values.settings import SettingEntry, entries, parameters

_PAGE = """# Tuning settings

Internal settings of the pipeline. Most robots need none of them; an integrator changes
[parameters](parameters.md). A tuning file is a YAML file with the settings that differ from their
defaults:

```yaml
alignment:
  slack: 0.3
voice_activity:
  hangover: 0.5
```

The nodes, `erc replay`, `erc annotate`, `erc evaluate` and Python read the same file:

```bash
ros2 launch erc_ros emotion.launch.py tuning_file:=my_tuning.yaml
erc replay talk.mp4 --tuning my_tuning.yaml
```

```python
PipelineConfig.from_parameters({"tuning_file": "my_tuning.yaml"})
```

`config/tuning.yaml` has every setting with its default. Until the next release, a setting is also
accepted as a ROS parameter of the same name, with a warning. *source* is the command that
determined the default."""

_TYPES: dict[type, str] = {bool: "bool", int: "int", float: "float", str: "string"}


def parameter_reference() -> str:
    """Return the text of config/parameters.yaml."""
    lines = [
        "# Every parameter of the two nodes, with its default. Written from the configs in erc_ros",
        "# by `python -m erc_ros.nodes.parameters --write` (a test compares).",
        "# To change some for a robot, see emotion.yaml; internal settings are in tuning.yaml.",
        "#",
        "# changes   start: fixed once the node runs; configure: while the node is unconfigured;",
        "#           anytime: at once",
        "# range     [minimum, maximum], inclusive; choices: the values that are allowed",
    ]
    for node, config in NODES.items():
        lines += ["", f"{node}:"]
        for entry in parameters(config).values():
            lines += _described(entry)
    return "\n".join(lines) + "\n"


def _described(entry: SettingEntry) -> list[str]:
    declared = entry.setting
    content: dict[str, Any] = {"type": _TYPES[entry.kind], "default": entry.default}
    if declared.unit:
        content["unit"] = declared.unit
    if declared.range is not None:
        content["range"] = [entry.kind(bound) for bound in declared.range]
    if declared.choices:
        content["choices"] = list(declared.choices)
    content["changes"] = declared.changes
    content["description"] = declared.description
    text = yaml.safe_dump(
        content, sort_keys=False, default_flow_style=None, width=94, allow_unicode=True
    )
    return [f"  {entry.name}:", textwrap.indent(text, "    ").rstrip()]


def parameter_tables(node: str) -> str:
    """Return the ROS parameters of a node as a Markdown table.

    A description that is the same as for the previous node is replaced by "as above".
    """
    lines = ["| parameter | default | allowed | changes | |", "|---|---|---|---|---|"]
    earlier = {
        (name, entry.setting.description)
        for other in list(NODES)[: list(NODES).index(node)]
        for name, entry in parameters(NODES[other]).items()
    }
    for entry in parameters(NODES[node]).values():
        declared = entry.setting
        description = declared.description
        if (entry.name, description) in earlier:
            description = "as above"
        lines.append(
            f"| `{entry.name}` | `{_default(entry)}` | {_allowed(entry)} | {declared.changes} "
            f"| {description} |"
        )
    return "\n".join(lines) + "\n"


# --- the tuning file ---


def tuning_settings() -> list[SettingEntry]:
    """Return the settings of a tuning file: first those of the whole pipeline, then by part."""
    settings = [entry for entry in entries(PipelineConfig) if not entry.setting.is_parameter]
    return sorted(settings, key=lambda entry: "." in entry.name)


def tuning_reference() -> str:
    """Return the text of config/tuning.yaml, with the default of every setting."""
    lines = [
        "# Every internal setting with its default. Written from the configs in erc_ros by",
        "# `python -m erc_ros.nodes.parameters --write` (a test compares).",
        "# To change some, write a file with these names and set the parameter `tuning_file`, or",
        "# the option `--tuning` of `erc replay`, `erc annotate` or `erc evaluate`.",
        "# The values in brackets are the allowed range.",
        "",
    ]
    before: list[str] = []
    for entry in tuning_settings():
        *groups, name = entry.name.split(".")
        shared = 0
        while shared < min(len(groups), len(before)) and groups[shared] == before[shared]:
            shared += 1
        for depth in range(shared, len(groups)):
            lines.append(f"{'  ' * depth}{groups[depth]}:")
        before = groups
        indent = "  " * len(groups)
        note = " ".join(filter(None, (_range(entry), entry.setting.description)))
        lines += textwrap.wrap(
            note, 96, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# "
        )
        lines.append(f"{indent}{name}: {_default(entry)}")
    return "\n".join(lines) + "\n"


def tuning_page() -> str:
    """Return the documentation page of the tuning settings."""
    lines = [_PAGE]
    for group, members in groupby(tuning_settings(), lambda entry: entry.name.rpartition(".")[0]):
        lines += ["", f"## {group}" if group else "## Whole pipeline", ""]
        lines += ["| setting | default | allowed | source | |", "|---|---|---|---|---|"]
        lines += _rows(members)
    return "\n".join(lines) + "\n"


def _rows(members: Iterable[SettingEntry]) -> list[str]:
    return [
        f"| `{entry.name}` | `{_default(entry)}` | {_allowed(entry)} | {entry.setting.source} "
        f"| {entry.setting.description} |"
        for entry in members
    ]


def _default(entry: SettingEntry) -> str:
    return str(yaml.safe_dump(entry.default).splitlines()[0])


def _range(entry: SettingEntry) -> str:
    if entry.setting.choices:
        return f"[{', '.join(entry.setting.choices)}]"
    if entry.setting.range is None:
        return ""
    low, high = entry.setting.range
    return f"[{low:g}, {high:g}]" + (f" {entry.setting.unit}:" if entry.setting.unit else "")


def _allowed(entry: SettingEntry) -> str:
    declared, kind = entry.setting, _TYPES[entry.kind]
    if declared.choices:
        return ", ".join(f"`{choice}`" for choice in declared.choices)
    if declared.range is not None:
        return f"{kind} in [{declared.range[0]:g}, {declared.range[1]:g}] {declared.unit}".rstrip()
    return f"{kind}, {declared.unit}" if declared.unit else kind
