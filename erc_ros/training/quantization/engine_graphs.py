"""The graphs of a bundle's networks for TensorRT, as files that ONNX Runtime can run.

An engine uses float16 for the float32 operations of its ONNX file, and supports one form of int8.
Therefore the gate of `erc quantize --target tensorrt` runs the graphs of `erc build-engines` with
ONNX Runtime, also for parts that remain float32, without fusing the Q/DQ pairs.
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
"""Runs a graph on the CPU without int8 activations where only weights are int8."""


class EngineGraphs:
    """Returns the graph file for TensorRT of a network's file; each is made once.

    Args:
        folder: output folder of the graphs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[Path, Path] = {}

    def __call__(self, network: Path) -> Path:
        """Return the graph file; raises QuantizationError if TensorRT does not support it."""
        if network not in self._made:
            model = graph.load(network)
            if problems := graph.problems(model):
                raise QuantizationError(f"TensorRT does not take {network.name}: {problems[0]}")
            file = self._folder / f"engine-{len(self._made)}-{network.name}"
            onnx.save(graph.strongly_typed(model), str(file))
            self._made[network] = file
        return self._made[network]
