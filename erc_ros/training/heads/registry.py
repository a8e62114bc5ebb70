"""The fusion heads by the name that a recipe uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from erc_ros.training.heads.base import Head, HeadConfig
from erc_ros.training.heads.concat import Concat, ConcatConfig
from erc_ros.training.heads.ddvlm import Ddvlm, DdvlmConfig
from erc_ros.training.heads.lpgnet import Lpgnet, LpgnetConfig
from erc_ros.training.heads.magtkd import Magtkd, MagtkdConfig
from erc_ros.training.heads.pooling import Pooling, PoolingConfig
from erc_ros.training.heads.summer import Summer, SummerConfig
from erc_ros.values import tables

HEADS: dict[str, tuple[type[HeadConfig], type[Head]]] = {
    "concat": (ConcatConfig, Concat),
    "magtkd": (MagtkdConfig, Magtkd),
    "summer": (SummerConfig, Summer),
    "lpgnet": (LpgnetConfig, Lpgnet),
    "ddvlm": (DdvlmConfig, Ddvlm),
    "pooling": (PoolingConfig, Pooling),
}
"""name -> (configuration, model); the model is made from one and keeps it as `config`."""
FORMER = {"magt": "magtkd", "residual": "ddvlm"}
"""Names of earlier versions."""


def check_name(name: str) -> None:
    """Raises ValueError for a head that does not exist, or has another name now."""
    if name in FORMER:
        raise ValueError(f"the fusion head {name!r} is called {FORMER[name]!r} now")
    if name not in HEADS:
        raise ValueError(f"no fusion head is called {name!r}; there are {list(HEADS)}")


def make_head(name: str, values: Mapping[str, Any], where: str = "") -> Head:
    """A head with new weights.

    Args:
        name: one of HEADS.
        values: of its configuration.
        where: how they are called in errors.

    Raises:
        ValueError: no such head, or values that its configuration refuses.
    """
    check_name(name)
    config, head = HEADS[name]
    return head(tables.build(config, values, where or f"head {name}"))
