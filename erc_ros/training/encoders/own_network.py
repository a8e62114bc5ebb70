"""Folders of this project's own encoder networks: sizes in network.json, weights in safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from safetensors.torch import load_file
from torch import nn

from erc_ros.training.engine.runs import read_json, write_json
from erc_ros.training.engine.trainer import save_weights
from erc_ros.values.tables import build

NETWORK, WEIGHTS = "network.json", "model.safetensors"
Sizes = TypeVar("Sizes")


def kind_of(folder: Path) -> str:
    """Return the kind of network in a folder; "": not a network of this project."""
    file = folder / NETWORK
    return str(read_json(file).get("kind", "")) if file.is_file() else ""


def read_sizes(folder: Path, kind: str, cls: type[Sizes], **values: str) -> Sizes:
    """Return the sizes of the network in a folder.

    Args:
        values: further entries that network.json must have.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a network of another kind.
    """
    file = folder / NETWORK
    content = read_json(file)
    for name, value in {"kind": kind, **values}.items():
        if content.get(name) != value:
            raise ValueError(f"{file}: {name} is {content.get(name)!r}, must be {value!r}")
    return build(cls, content.get("sizes", {}), str(file))


def load(network: nn.Module, folder: Path) -> None:
    """Load the weights in a folder, and set eval mode."""
    network.load_state_dict(load_file(folder / WEIGHTS))
    network.eval()


def save(network: nn.Module, folder: Path, kind: str, sizes: Any, **values: str) -> None:
    """Write the files for `read_sizes` and `load`; sizes: a dataclass."""
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(network, folder / WEIGHTS)
    content: Mapping[str, Any] = {"kind": kind, **values, "sizes": asdict(sizes)}
    write_json(folder / NETWORK, content)
