"""Fusion models by the name that a recipe uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from erc_ros import plugins
from erc_ros.training.heads.base import FusionModel, FusionModelConfig
from erc_ros.values import tables

FORMER = {"magt": "magtkd", "residual": "ddvlm", "pooling": "late-fusion"}
"""Name in an earlier version -> current name."""


def head_class(name: str) -> type[FusionModel]:
    """Return a fusion model: built-in name, entry point, module:Class or file.py:Class.

    Raises:
        PluginError: there is no such class, or it is not a `FusionModel`.
        ValueError: a name of an earlier version.
    """
    if name in FORMER:
        raise ValueError(f"fusion model {name!r} is now {FORMER[name]!r}")
    cls = plugins.find(plugins.FUSION_MODELS, name)
    if not (isinstance(cls, type) and issubclass(cls, FusionModel)):
        raise plugins.PluginError(
            f"fusion model {name!r} is not a subclass of erc_ros.training.heads.base.FusionModel"
        )
    return cls


def reads_context(name: str, options: Mapping[str, Any]) -> bool:
    """Whether a fusion model with these options reads other utterances of the conversation."""
    return head_class(name).READS_CONTEXT or bool(options.get("context"))


def title_of(name: str) -> str:
    """Return the name for tables, cards and folders: a class without its module."""
    return name.rpartition(":")[2]


def make_head(name: str, values: Mapping[str, Any], where: str = "") -> FusionModel:
    """Return a fusion model with new weights.

    Args:
        name: see `head_class`.
        values: values of its configuration.
        where: their origin, for error messages.

    Raises:
        ValueError: no such model, or values that its configuration refuses.
    """
    head = head_class(name)
    return head(tables.build(head.CONFIG, values, where or f"head {name}"))


HEADS: dict[str, tuple[type[FusionModelConfig], type[FusionModel]]] = {
    name: (head_class(name).CONFIG, head_class(name)) for name in plugins.FUSION_MODELS.own
}
"""Built-in models: name -> (configuration, model)."""
