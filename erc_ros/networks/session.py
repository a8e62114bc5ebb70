"""ONNX files as functions, with the same session options for every network.

Sessions have one thread and do not spin: two sessions with spinning threads took 2.5 times as long
for an utterance. Networks that can run in parallel run in separate worker threads.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erc_ros.networks.installed import mixed_builds
from erc_ros.values.errors import ErcRuntimeError

if mixed_builds():
    warnings.warn(mixed_builds(), RuntimeWarning, stacklevel=2)
try:
    import onnxruntime as ort
except ImportError as error:
    if mixed_builds():
        raise ImportError(f"{error}; {mixed_builds()}") from error
    raise

Shape = tuple["int | None", ...]  # None = any size
Port = tuple[str, Shape]  # ONNX element type ("float", "int64", "bool") and shape

Run = Callable[[dict[str, NDArray[Any]]], dict[str, NDArray[np.float32]]]

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
TOLERANCE = 2e-2  # relative to the largest output: float16, TF32 or other rounding of int8


class NetworkError(ErcRuntimeError):
    """A network or a device cannot be used."""


@dataclass(frozen=True)
class Signature:
    """Names, element types and shapes of a network's inputs and outputs."""

    inputs: Mapping[str, Port]
    outputs: Mapping[str, Port]

    def difference(self, actual: Signature) -> str:
        """Return the first difference of `actual` from this signature as text; "" if none."""
        return _ports_differ("input", self.inputs, actual.inputs) or _ports_differ(
            "output", self.outputs, actual.outputs
        )


def _ports_differ(kind: str, expected: Mapping[str, Port], actual: Mapping[str, Port]) -> str:
    if set(expected) != set(actual):
        return f"{kind}s are {', '.join(actual) or 'none'}, expected {', '.join(expected)}"
    for name, (element, shape) in expected.items():
        other_element, other_shape = actual[name]
        if element != other_element:
            return f"{kind} {name} is of type {other_element}, expected {element}"
        if tuple(shape) != tuple(other_shape):
            return f"{kind} {name} has shape {_text(other_shape)}, expected {_text(shape)}"
    return ""


def _text(shape: Shape) -> str:
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"


def signature(file: Path) -> Signature:
    """Return the signature of an ONNX file.

    Raises:
        NetworkError: ONNX Runtime cannot read the file.
    """
    options = session_options()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = _open(file, options, [PROVIDERS["cpu"]])
    return Signature(
        {port.name: _port(port) for port in session.get_inputs()},
        {port.name: _port(port) for port in session.get_outputs()},
    )


def _port(port: Any) -> Port:
    # Dynamic sizes are names or None; element types have the form "tensor(float)".
    shape = tuple(size if isinstance(size, int) else None for size in port.shape)
    return port.type[len("tensor(") : -1], shape


def on_cpu(file: Path | bytes, as_written: bool = False) -> Run:
    """Open a network with ONNX Runtime on the CPU.

    Args:
        file: the ONNX file, or its content.
        as_written: whether to compute Q/DQ pairs as in the graph. Otherwise ONNX Runtime fuses
            them, partly with int8 activations where the graph has floats.

    Raises:
        NetworkError: the file cannot be read.
    """
    options = session_options()
    if as_written:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return _function(_open(file, options, [PROVIDERS["cpu"]]))


def on_cuda(file: Path) -> Run:
    """Open a network with ONNX Runtime on CUDA; the first output is compared with the CPU's.

    A listed provider may not work: the wheel for aarch64 lists CUDA on GPUs for which it has no
    kernels, and fails at the first call. Therefore the first call also runs on the CPU, and raises
    NetworkError if the outputs differ by more than `TOLERANCE`.

    Raises:
        NetworkError: the file cannot be read, or CUDA does not start.
    """
    provider, available = PROVIDERS["cuda"], ort.get_available_providers()
    if provider not in available:
        raise NetworkError(
            f"device 'cuda' needs {provider}, this onnxruntime has {', '.join(available)}; "
            + (
                mixed_builds()
                or "replace onnxruntime by onnxruntime-gpu or set device to 'cpu'"
                " (docs/how-to/gpu.md)"
            )
        )
    if find_spec("nvidia") is not None:  # CUDA libraries in wheels are not on the search path
        ort.preload_dlls()
    session = _open(file, session_options(), [provider, PROVIDERS["cpu"]])
    # ONNX Runtime falls back to the CPU without an error if the CUDA libraries cannot be loaded.
    if provider not in session.get_providers():
        raise NetworkError(
            f"device 'cuda' did not start (running: {', '.join(session.get_providers())}); check "
            "the driver and the CUDA libraries, or set device to 'cpu'"
        )
    return Compared(_function(session), lambda: on_cpu(file))


class Compared:
    """A network whose first output is compared with that of a reference. Thread-safe.

    Args:
        run: the network.
        reference: opens the reference; called once.
    """

    def __init__(self, run: Run, reference: Callable[[], Run]) -> None:
        self._run = run
        self._reference: Callable[[], Run] | None = reference
        self._comparing = threading.Lock()

    def __call__(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Run the network: input name -> array, to output name -> array.

        Raises:
            NetworkError: the first outputs differ, or are not finite.
        """
        outputs = self._run(inputs)
        if self._reference is None:
            return outputs
        with self._comparing:
            if self._reference is not None:
                worst = largest_difference(outputs, self._reference()(inputs))
                if worst > TOLERANCE:
                    raise NetworkError(
                        f"its outputs differ from the CPU's by {worst:.2%} of the largest one; at "
                        f"most {TOLERANCE:.0%} are allowed"
                    )
                self._reference = None
        return outputs


def largest_difference(
    actual: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]]
) -> float:
    """Return the largest difference of an output, relative to its largest expected value.

    Raises:
        NetworkError: the shape of an output differs, or it is not finite.
    """
    worst = 0.0
    for name, values in expected.items():
        if actual[name].shape != values.shape:
            raise NetworkError(
                f"output {name} has shape {actual[name].shape}, expected {values.shape}"
            )
        if not np.isfinite(actual[name]).all():
            raise NetworkError(f"output {name} is not finite")
        if values.size:
            size = max(float(np.abs(values).max()), 1e-6)
            worst = max(worst, float(np.abs(actual[name] - values).max()) / size)
    return worst


def session_options() -> Any:
    """Return the session options: one thread, no spinning, no log output."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def _function(session: Any) -> Run:
    outputs = [port.name for port in session.get_outputs()]

    def run(inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        return dict(zip(outputs, session.run(None, inputs), strict=True))

    return run


def _open(file: Path | bytes, options: Any, providers: list[str]) -> Any:
    source = file if isinstance(file, bytes) else str(file)
    try:
        return ort.InferenceSession(source, options, providers=providers)
    except Exception as error:  # onnxruntime's exceptions share no base class of its own
        reason = " ".join(str(error).split())
        name = "the model" if isinstance(file, bytes) else file
        raise NetworkError(f"{name} cannot be loaded by ONNX Runtime ({reason})") from error
