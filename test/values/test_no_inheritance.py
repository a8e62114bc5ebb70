"""Configs are composed: no config inherits the settings of another."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import erc_ros

PACKAGES = ("values", "sensing", "dialogue", "encoders", "inference", "pipeline", "parameters")


def configs() -> Iterator[type]:
    """Yield every dataclass of the runtime modules."""
    names = [f"erc_ros.{name}" for name in PACKAGES]
    for name in names:
        module = importlib.import_module(name)
        if hasattr(module, "__path__"):
            names += [f"{name}.{entry.name}" for entry in pkgutil.iter_modules(module.__path__)]
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if dataclasses.is_dataclass(kind) and kind.__module__.startswith(erc_ros.__name__):
                yield kind


def test_no_config_inherits_from_another() -> None:
    names = {kind for kind in configs() if kind.__name__.endswith("Config")}
    assert len(names) > 20
    assert [k for k in names if any(dataclasses.is_dataclass(base) for base in k.__mro__[1:])] == []
