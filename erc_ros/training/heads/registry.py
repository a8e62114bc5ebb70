"""The fusion heads by the name that a recipe uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from erc_ros import plugins
from erc_ros.training.heads.base import Head, HeadConfig
from erc_ros.values import tables

FORMER = {"magt": "magtkd", "residual": "ddvlm"}
"""Names of earlier versions."""


def head_class(name: str) -> type[Head]:
    """Return the fusion model of a name: ours, an entry point's, module:Class or file.py:Class.

    Raises:
        PluginError: there is no such class, or it is no `Head`.
        ValueError: it has another name now.
    """
    if name in FORMER:
        raise ValueError(f"the fusion head {name!r} is called {FORMER[name]!r} now")
    cls = plugins.find(plugins.FUSION_MODELS, name)
    if not (isinstance(cls, type) and issubclass(cls, Head)):
        raise plugins.PluginError(
            f"fusion model {name!r} is no subclass of erc_ros.training.heads.base.Head"
        )
    return cls


def title_of(name: str) -> str:
    """Return how tables, cards and folders call a fusion model: a class without its place."""
    return name.rpartition(":")[2]


def make_head(name: str, values: Mapping[str, Any], where: str = "") -> Head:
    """A head with new weights.

    Args:
        name: see `head_class`.
        values: of its configuration.
        where: how they are called in errors.

    Raises:
        ValueError: no such head, or values that its configuration refuses.
    """
    head = head_class(name)
    return head(tables.build(head.CONFIG, values, where or f"head {name}"))


HEADS: dict[str, tuple[type[HeadConfig], type[Head]]] = {
    name: (head_class(name).CONFIG, head_class(name)) for name in plugins.FUSION_MODELS.own
}
"""This package's: name -> (configuration, model)."""
