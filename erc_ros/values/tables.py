"""Frozen dataclasses from mappings of plain values, as in YAML files and ROS parameters.

Recipes, manifests and parameters are all built here and report wrong values with the same message:

    @dataclass(frozen=True)
    class Trainer:
        epochs: int
        learning_rate: float = 1e-4

    build(Trainer, {"epochs": "three"}, "trainer")
    # ValueError: trainer.epochs must be an int, got 'three'
"""

from __future__ import annotations

import dataclasses
import re
import reprlib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from erc_ros.values.errors import ErcValueError

T = TypeVar("T")
LARGEST = 4 << 20  # bytes of a YAML file; recipes and manifests have a few thousand

_KINDS = {bool: "a bool", int: "an int", float: "a float", str: "a string"}
_shortly = reprlib.Repr()
_shortly.maxlevel, _shortly.maxstring, _shortly.maxother = 2, 80, 80
_WITHOUT_POINT = re.compile(r"[-+]?\d+[eE][-+]?\d+")  # YAML 1.1 reads 1e-4 as a string


def read_table(path: Path) -> dict[str, Any]:
    """Read a mapping from a YAML file with the safe loader.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file cannot be read, or does not contain a YAML mapping; the message begins
            with `path`.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise ErcValueError(
                f"{path} has {path.stat().st_size} bytes, at most {LARGEST} are read"
            )
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} does not exist") from error
    except OSError as error:
        raise ErcValueError(f"{path} cannot be read: {error.strerror}") from error
    return parse_table(data, str(path))


def parse_table(data: bytes, where: str) -> dict[str, Any]:
    """Parse a mapping from YAML in UTF-8.

    Args:
        data: the YAML document.
        where: its source, for error messages.

    Raises:
        ValueError: `data` is not YAML, or not a mapping with strings as keys.
    """
    try:
        content = yaml.safe_load(data)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ErcValueError(f"{where} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ErcValueError(f"{where} must be a mapping, got {shown(content)}")
    if wrong := [key for key in content if not isinstance(key, str)]:
        raise ErcValueError(f"{where}: names must be text, got {shown(wrong[0])}")
    return content


def build(cls: type[T], table: Mapping[str, Any], where: str) -> T:
    """Build a dataclass from a mapping; nested mappings become nested dataclasses.

    Types are checked without conversion: "3" is not accepted as a number, nor `yes` as a string.
    An int is accepted as a float, a list as a tuple.

    Args:
        cls: the dataclass to build.
        table: field -> value; fields without a default are required.
        where: name of the mapping in errors, in which a key is called `where.key`; may be empty.

    Raises:
        ValueError: keys are unknown or missing (all are named), a type is wrong, or `cls` rejects
            a value; the message names the key, the value and what is allowed.
    """
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    place = where or cls.__name__
    if unknown := sorted(str(key) for key in table if key not in fields):
        raise ErcValueError(f"{place} has no {unknown}; it has {sorted(fields)}")
    needed = [name for name, field in fields.items() if _is_required(field)]
    if missing := [name for name in needed if name not in table]:
        raise ErcValueError(f"{place} lacks {missing}")
    wanted = typing.get_type_hints(cls)
    prefix = f"{where}." if where else ""
    values = {key: convert(value, wanted[key], prefix + key) for key, value in table.items()}
    try:
        return cls(**values)
    except ValueError as error:
        raise ErcValueError(f"{where}: {error}" if where else str(error)) from error


def convert(value: Any, wanted: Any, name: str) -> Any:
    """Check a value against a type annotation and return it as that type.

    Raises:
        ValueError: the type does not match; the message begins with `name`.
    """
    if wanted in _KINDS:
        return _simple(value, wanted, name)
    if dataclasses.is_dataclass(wanted) and isinstance(wanted, type):
        return build(wanted, _table(value, name), name)
    origin, inner = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (tuple, list):
        return _sequence(value, origin, inner, name)
    if origin in (dict, Mapping):
        table = _table(value, name)
        return {key: convert(each, inner[1], f"{name}.{key}") for key, each in table.items()}
    if origin in (typing.Union, types.UnionType) and value is None and type(None) in inner:
        return None
    if origin in (typing.Union, types.UnionType):
        (only,) = [each for each in inner if each is not type(None)]
        return convert(value, only, name)
    return value


def shown(value: object) -> str:
    """Return a value as one line of limited length, for an error."""
    return _shortly.repr(value)


def _simple(value: Any, wanted: type, name: str) -> Any:
    if type(value) is wanted:
        return value
    numeric = type(value) is int or (isinstance(value, str) and _WITHOUT_POINT.fullmatch(value))
    if wanted is float and numeric:
        try:
            return float(value)
        except OverflowError:
            raise ErcValueError(f"{name} is too large for a float: {shown(value)}") from None
    raise ErcValueError(f"{name} must be {_KINDS[wanted]}, got {shown(value)}")


def _sequence(value: Any, origin: Any, inner: tuple[Any, ...], name: str) -> Any:
    if not isinstance(value, (list, tuple)):
        raise ErcValueError(f"{name} must be a list, got {shown(value)}")
    kinds: Sequence[Any] = inner
    if origin is list or inner[1:] == (...,):
        kinds = [inner[0]] * len(value)
    if len(kinds) != len(value):
        raise ErcValueError(f"{name} must have {len(kinds)} values, got {shown(value)}")
    pairs = zip(value, kinds, strict=True)
    return origin(convert(each, kind, f"{name}[{n}]") for n, (each, kind) in enumerate(pairs))


def _table(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ErcValueError(f"{name} must be a mapping, got {shown(value)}")
    if wrong := [key for key in value if not isinstance(key, str)]:
        raise ErcValueError(f"{name}: names must be text, got {shown(wrong[0])}")
    return value


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
