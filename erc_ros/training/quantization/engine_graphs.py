"""The graphs that TensorRT gets of a bundle's networks, as files that ONNX Runtime can run.

An engine computes in float16 what its ONNX file has in float32, and takes int8 in one form only. So
the gate of `erc quantize --target tensorrt` asks ONNX Runtime about the very graph that
`erc build-engines` will give to TensorRT, also of parts that stay float32, and lets it compute the
Q/DQ pairs as they stand.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import onnx

from erc_ros.inference.engines import graph
from erc_ros.networks.session import Run, on_cpu
from erc_ros.training.quantization.schemes import QuantizationError

as_written: Callable[[Path], Run] = partial(on_cpu, as_written=True)
"""Runs a graph on the CPU: int8 weights alone are not multiplied by int8 activations there."""


class EngineGraphs:
    """A network's file -> the file of its graph for TensorRT, made once.

    Args:
        folder: where the graphs go.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[Path, Path] = {}

    def __call__(self, network: Path) -> Path:
        """Raises QuantizationError where TensorRT would not take the network; says why."""
        if network not in self._made:
            model = graph.load(network)
            if problems := graph.problems(model):
                raise QuantizationError(f"TensorRT does not take {network.name}: {problems[0]}")
            file = self._folder / f"engine-{len(self._made)}-{network.name}"
            onnx.save(graph.strongly_typed(model), str(file))
            self._made[network] = file
        return self._made[network]
