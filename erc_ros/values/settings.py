"""Configuration: frozen dataclasses whose fields say what they mean, and in which range they lie.

A field is declared once, with `setting`; from there come the checks of its value, the ROS parameter
of its name with descriptor and range, and the tables in the documentation:

    @dataclass(frozen=True, slots=True)
    class TextMatchingConfig:
        text_timeout: float = setting(1.5, "speech waits this long for its text", "s", (0.0, 30.0))

        def __post_init__(self) -> None:
            check(self)

Configs nest: a field that holds another config makes its settings `<field>.<setting>`, unless the
field says otherwise (`section`) or a setting has a name of its own (`parameter`).
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from erc_ros.values.tables import build, convert, shown

Value = bool | int | float | str
T = TypeVar("T")

Changes = Literal["start", "configure", "anytime"]

_KEY = "erc_ros.setting"
_SECTION = "erc_ros.section"


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known of one value of a configuration.

    description: what it does, in one sentence, for `ros2 param describe`.
    unit: "s", "Hz", ...; "" for counts, names and shares.
    range: (least, greatest), both allowed.
    source: the command that the default was found with, or "by hand".
    parameter: name as a ROS parameter where it is another than the path of its fields.
    changes: when a node takes another value: "start" (never, once it runs), "configure" (while it
        is unconfigured) or "anytime" (at once).
    """

    description: str
    unit: str = ""
    range: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    source: str = "by hand"
    parameter: str = ""
    changes: Changes = "configure"

    def checked(self, name: str, value: object, kind: type) -> Any:
        """`value`, as a `kind`.

        Raises:
            ValueError: of a wrong type, outside the range or not among the choices.
        """
        found = convert(value, kind, name)
        if self.choices and found not in self.choices:
            raise ValueError(f"{name} must be one of {', '.join(self.choices)}, got {shown(value)}")
        if self.range is not None:
            least, greatest = self.range
            if not least <= found <= greatest:
                raise ValueError(f"{name} must be in [{least:g}, {greatest:g}], got {shown(value)}")
        return found


def setting(
    default: Value,
    description: str,
    unit: str = "",
    range: tuple[float, float] | None = None,
    *,
    choices: tuple[str, ...] = (),
    source: str = "by hand",
    parameter: str = "",
    changes: Changes = "configure",
) -> Any:
    """A field of a config dataclass; see `Setting`."""
    known = Setting(description, unit, range, choices, source, parameter, changes)
    return dataclasses.field(default=default, metadata={_KEY: known})


def section(config: type[Any], name: str) -> Any:
    """A field that holds another config, whose settings are called `<name>.<setting>`.

    name: "" makes them settings of the config that has the field.
    """
    return dataclasses.field(default_factory=config, metadata={_SECTION: name})


@dataclass(frozen=True, slots=True)
class SettingEntry:
    """A setting at its place: `name` as a parameter, `path` of fields, type and default."""

    name: str
    path: tuple[str, ...]
    kind: type
    default: Value
    setting: Setting


def entries(cls: type[Any]) -> Iterator[SettingEntry]:
    """Every setting of a config and of the configs in it."""
    return _entries(cls, (), ())


def _entries(
    cls: type[Any], path: tuple[str, ...], names: tuple[str, ...]
) -> Iterator[SettingEntry]:
    types = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        known = field.metadata.get(_KEY)
        here = (*path, field.name)
        if known is not None:
            name = known.parameter or ".".join((*names, field.name))
            default: Value = field.default  # type: ignore[assignment]
            yield SettingEntry(name, here, type(default), default, known)
        elif dataclasses.is_dataclass(types[field.name]):
            inner = field.metadata.get(_SECTION, field.name)
            yield from _entries(types[field.name], here, (*names, inner) if inner else names)


def check(config: Any) -> None:
    """Check the settings of `config` itself (configs in it have checked theirs).

    Raises:
        ValueError: a value of a wrong type, outside its range or not among its choices; the message
            names the setting, the value and what is allowed.
    """
    for field in dataclasses.fields(config):
        known = field.metadata.get(_KEY)
        if known is not None:
            name = known.parameter or field.name
            known.checked(name, getattr(config, field.name), type(field.default))


def configured(cls: type[T], values: Mapping[str, Value]) -> T:
    """A config with these values by name (see `SettingEntry`), the others as they are by default.

    Raises:
        ValueError: a name that does not exist (with the nearest one that does), or what `check`
            refuses, with the full name.
    """
    known = {entry.name: entry for entry in entries(cls)}
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"there is no parameter {name}{hint}")
    changed: dict[str, Any] = {}
    for name, value in values.items():
        entry = known[name]
        inner = changed
        for step in entry.path[:-1]:
            inner = inner.setdefault(step, {})
        inner[entry.path[-1]] = entry.setting.checked(name, value, entry.kind)
    return build(cls, changed, "")


def values_of(config: Any) -> dict[str, Value]:
    """The value of every setting by name, as `configured` takes them.

    Example:
        >>> values_of(TextMatchingConfig(text_timeout=2.0))
        {'text_timeout': 2.0}
    """
    found: dict[str, Value] = {}
    for entry in entries(type(config)):
        value = config
        for step in entry.path:
            value = getattr(value, step)
        found[entry.name] = value
    return found
