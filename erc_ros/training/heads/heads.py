"""The fusion heads by the name that a recipe uses."""

from __future__ import annotations

from erc_ros.training.heads.base import Head, HeadConfig
from erc_ros.training.heads.concat import Concat, ConcatConfig
from erc_ros.training.heads.lpgnet import Lpgnet, LpgnetConfig
from erc_ros.training.heads.magt import Magt, MagtConfig
from erc_ros.training.heads.residual import Residual, ResidualConfig
from erc_ros.training.heads.summer import Summer, SummerConfig

HEADS: dict[str, tuple[type[HeadConfig], type[Head]]] = {
    "concat": (ConcatConfig, Concat),
    "magt": (MagtConfig, Magt),
    "summer": (SummerConfig, Summer),
    "lpgnet": (LpgnetConfig, Lpgnet),
    "residual": (ResidualConfig, Residual),
}
"""name -> (configuration, model); the model is made from one and keeps it as `config`."""
