"""Configuration dataclasses whose fields declare a description, unit and range.

The declaration of a field is used to check its value, to name it in a tuning file or as a ROS
parameter, to describe that parameter, and to generate the reference documentation:

    @dataclass(frozen=True, slots=True)
    class TextMatchingConfig:
        text_timeout: float = parameter(1.5, "speech waits this long for its text", "s", (0, 30))
        speech_timeout: float = setting(0.5, "a text waits this long for its audio", "s", (0, 10))

        def __post_init__(self) -> None:
            check(self)

A `parameter` is a ROS parameter, for robot integrators. A `setting` is an internal constant that
can be changed in a tuning file only.

Configs are composed and do not inherit from each other. The settings of a config in a field are
named `<field>.<setting>`; `section` sets another prefix, or none with the name "". A parameter
always has the plain name of its field.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from erc_ros.values.errors import ErcTypeError, ErcValueError
from erc_ros.values.tables import build, convert, shown

Value = bool | int | float | str
T = TypeVar("T")

Changes = Literal["start", "configure", "anytime"]

_KEY = "erc_ros.setting"
_SECTION = "erc_ros.section"
_DERIVED = "erc_ros.derived"
_CHECKED = "erc_ros.checked"  # metadata key of a field of a manifest or recipe


@dataclass(frozen=True, slots=True)
class Setting:
    """The declaration of one value of a configuration.

    description: effect of the value, in one sentence, for `ros2 param describe`.
    unit: "s", "Hz", ...; "" for counts, names and fractions.
    range: (minimum, maximum), inclusive.
    source: the command that determined the default, or "by hand".
    is_parameter: whether it is a ROS parameter; otherwise it is changed in a tuning file.
    name: name of the parameter; "": the name of the field.
    former: name in an earlier release, accepted with a warning for one release.
    changes: when a node accepts a new value: "start" (only at its start), "configure" (while it is
        unconfigured) or "anytime" (takes effect immediately).
    """

    description: str
    unit: str = ""
    range: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    source: str = "by hand"
    is_parameter: bool = False
    name: str = ""
    former: str = ""
    changes: Changes = "configure"

    def checked(self, name: str, value: object, kind: type) -> Any:
        """Check a value and return it as type `kind`.

        Raises:
            ValueError: `value` has a wrong type, is outside the range or not among the choices.
        """
        converted = convert(value, kind, name)
        if self.choices and converted not in self.choices:
            raise ErcValueError(
                f"{name} must be one of {', '.join(self.choices)}, got {shown(value)}"
            )
        if self.range is not None:
            minimum, maximum = self.range
            if not minimum <= converted <= maximum:
                raise ErcValueError(
                    f"{name} must be in [{minimum:g}, {maximum:g}], got {shown(value)}"
                )
        return converted


def setting(
    default: Value,
    description: str,
    unit: str = "",
    range: tuple[float, float] | None = None,
    *,
    choices: tuple[str, ...] = (),
    source: str = "by hand",
) -> Any:
    """Declare a field that is changed in a tuning file; see `Setting`."""
    declared = Setting(description, unit, range, choices, source)
    return dataclasses.field(default=default, metadata={_KEY: declared})


def parameter(
    default: Value,
    description: str,
    unit: str = "",
    range: tuple[float, float] | None = None,
    *,
    choices: tuple[str, ...] = (),
    source: str = "by hand",
    name: str = "",
    former: str = "",
    changes: Changes = "configure",
) -> Any:
    """Declare a field that is a ROS parameter; see `Setting`."""
    declared = Setting(description, unit, range, choices, source, True, name, former, changes)
    return dataclasses.field(default=default, metadata={_KEY: declared})


def required(
    range: tuple[float, float] | None = None,
    *,
    choices: tuple[str, ...] = (),
    default: Any = dataclasses.MISSING,
) -> Any:
    """Declare a field of a manifest or recipe with a range; required unless it has a default.

    `check` checks the range, `values.tables.build` the annotated type.
    """
    metadata = {_CHECKED: Setting("", "", range, choices)}
    return dataclasses.field(default=default, metadata=metadata)


def derived(default: Any) -> Any:
    """Declare a field that is computed from settings of other configs and is not a setting."""
    return dataclasses.field(default=default, metadata={_DERIVED: True})


def section(config: type[Any], name: str = "") -> Any:
    """Declare a field that holds another config, whose settings are named `<name>.<setting>`.

    name: with "", the settings are named without a prefix.
    """
    return dataclasses.field(default_factory=config, metadata={_SECTION: name})


@dataclass(frozen=True, slots=True)
class SettingEntry:
    """A setting of a nested config: full name, path of fields, type and default."""

    name: str
    path: tuple[str, ...]
    kind: type
    default: Value
    setting: Setting


def entries(cls: type[Any]) -> tuple[SettingEntry, ...]:
    """Return every setting of a config and of its nested configs."""
    return tuple(_entries(cls, (), ()))


def parameters(cls: type[Any]) -> dict[str, SettingEntry]:
    """Return the settings that are ROS parameters, by name."""
    return {entry.name: entry for entry in entries(cls) if entry.setting.is_parameter}


def _entries(
    cls: type[Any], path: tuple[str, ...], names: tuple[str, ...]
) -> Iterator[SettingEntry]:
    types = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        declared = field.metadata.get(_KEY)
        here = (*path, field.name)
        if declared is not None:
            flat = (declared.name or field.name) if declared.is_parameter else ""
            name = flat or ".".join((*names, field.name))
            default: Value = field.default  # type: ignore[assignment]
            yield SettingEntry(name, here, type(default), default, declared)
        elif dataclasses.is_dataclass(types[field.name]):
            inner = field.metadata.get(_SECTION, field.name)
            yield from _entries(types[field.name], here, (*names, inner) if inner else names)


def check(config: Any) -> None:
    """Check the settings of `config`; nested configs have checked theirs.

    Raises:
        ValueError: a value has a wrong type, is outside its range or not among its choices; the
            message names the setting, the value and what is allowed.
    """
    for field in dataclasses.fields(config):
        declared = field.metadata.get(_KEY)
        if declared is not None:
            name = declared.name or field.name
            declared.checked(name, getattr(config, field.name), type(field.default))
        elif _CHECKED in field.metadata:
            value = getattr(config, field.name)
            field.metadata[_CHECKED].checked(field.name, value, type(value))


class Composed:
    """Mixin for a config that is composed of other configs by `section(Part, "")`.

    The dataclass is declared with `init=False`. Its constructor accepts its own fields and the
    fields of its sections:

        >>> PipelineConfig(bundle="edge-small", face_rate=10.0).perception.face_rate
        10.0
    """

    def __init__(self, **values: Any) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = values.pop(field.name) if field.name in values else _default_of(field)
            if field.metadata.get(_SECTION) == "":
                names = _fields_of(type(value)) & set(values)
                if names:
                    value = dataclasses.replace(value, **{name: values.pop(name) for name in names})
            object.__setattr__(self, field.name, value)
        for name in values:
            raise ErcTypeError(f"{type(self).__name__} has no setting {_named(name, type(self))}")
        post_init = getattr(self, "__post_init__", None)
        if post_init is not None:
            post_init()

    if not typing.TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            # Until 1.1 the configs inherited from each other, so that all fields were on one level.
            for field in dataclasses.fields(self):
                if field.metadata.get(_SECTION) != "" or field.name not in vars(self):
                    continue
                part = getattr(self, field.name)
                if name in _fields_of(type(part)):
                    warnings.warn(
                        f"{type(self).__name__}.{name} is now .{field.name}.{name}",
                        DeprecationWarning,
                        stacklevel=2,
                    )
                    return getattr(part, name)
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def _default_of(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _fields_of(cls: type[Any]) -> set[str]:
    """Return the names of the fields of a config and of its unnamed sections."""
    names: set[str] = set()
    for field in dataclasses.fields(cls):
        names.add(field.name)
        if field.metadata.get(_SECTION) == "":
            names |= _fields_of(typing.get_type_hints(cls)[field.name])
    return names


def _named(name: str, cls: type[Any]) -> str:
    near = difflib.get_close_matches(name, [entry.name for entry in entries(cls)], 1)
    return name + (f"; did you mean {near[0]}?" if near else "")


def configured(cls: type[T], values: Mapping[str, Value]) -> T:
    """Return a config with the given values, by full name (see `SettingEntry`).

    Raises:
        ValueError: a name does not exist (the message suggests the nearest one), or `check`
            rejects a value.
    """
    by_name = {entry.name: entry for entry in entries(cls)}
    changed: dict[str, Any] = {}
    for name, value in values.items():
        if name not in by_name:
            raise ErcValueError(f"there is no parameter {_named(name, cls)}")
        entry = by_name[name]
        inner = changed
        for step in entry.path[:-1]:
            inner = inner.setdefault(step, {})
        inner[entry.path[-1]] = entry.setting.checked(name, value, entry.kind)
    return build(cls, changed, "")


def values_of(config: Any) -> dict[str, Value]:
    """Return the value of every setting by full name, the inverse of `configured`.

    Example:
        >>> values_of(TextMatchingConfig(text_timeout=2.0))
        {'text_timeout': 2.0}
    """
    values: dict[str, Value] = {}
    for entry in entries(type(config)):
        value = config
        for step in entry.path:
            value = getattr(value, step)
        values[entry.name] = value
    return values


def flattened(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (name, value) of nested mappings, such as ("alignment.slack", 0.3)."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
