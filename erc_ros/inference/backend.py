"""Networks as functions, run by ONNX Runtime.

One thread per session and no spinning: two sessions whose threads spin against each other took 2.5
times as long for a whole utterance. The modalities run side by side in the recogniser's workers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

Shape = tuple["int | None", ...]  # None = any size
Port = tuple[str, Shape]  # element type as ONNX names it ("float", "int64", "bool"), shape

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class BackendError(RuntimeError):
    """A network or a device cannot be used; the message says which, why, and the way out."""


@dataclass(frozen=True)
class Signature:
    """Names, element types and shapes of a network's inputs and outputs."""

    inputs: Mapping[str, Port]
    outputs: Mapping[str, Port]

    def difference(self, found: Signature) -> str:
        """What in `found` does not fit this signature, in words; "" if all fits."""
        return _ports_differ("input", self.inputs, found.inputs) or _ports_differ(
            "output", self.outputs, found.outputs
        )


def _ports_differ(kind: str, expected: Mapping[str, Port], found: Mapping[str, Port]) -> str:
    if set(expected) != set(found):
        return f"{kind}s are {', '.join(found) or 'none'}, expected {', '.join(expected)}"
    for name, (element, shape) in expected.items():
        other_element, other_shape = found[name]
        if element != other_element:
            return f"{kind} {name} is of type {other_element}, expected {element}"
        if tuple(shape) != tuple(other_shape):
            return f"{kind} {name} has shape {_text(other_shape)}, expected {_text(shape)}"
    return ""


def _text(shape: Shape) -> str:
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"


def signature(file: Path) -> Signature:
    """The signature of an ONNX file.

    Raises:
        BackendError: ONNX Runtime cannot read the file.
    """
    options = _options()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = _open(file, options, ["CPUExecutionProvider"])
    return Signature(
        {port.name: _port(port) for port in session.get_inputs()},
        {port.name: _port(port) for port in session.get_outputs()},
    )


def _port(port: Any) -> Port:
    # Dynamic sizes are names or None; element types read "tensor(float)".
    shape = tuple(size if isinstance(size, int) else None for size in port.shape)
    return port.type[len("tensor(") : -1], shape


class Network:
    """One ONNX file, ready to run. Thread-safe.

    Args:
        file: the ONNX file.
        device: "cpu" or "cuda".

    Raises:
        BackendError: the file cannot be read, or the device is not there.
    """

    def __init__(self, file: Path, device: str = "cpu") -> None:
        self._session = _open(file, _options(), _providers(device))
        # ONNX Runtime falls back to the CPU without an error when CUDA's libraries do not load.
        active = self._session.get_providers()
        if _PROVIDERS[device] not in active:
            raise BackendError(
                f"device {device!r} did not start (running: {', '.join(active)}); check the "
                "driver and the CUDA libraries, or set device to 'cpu'"
            )
        self._outputs = [port.name for port in self._session.get_outputs()]

    def __call__(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Named arrays in, named arrays out."""
        return dict(zip(self._outputs, self._session.run(None, inputs), strict=True))


def _providers(device: str) -> list[str]:
    if device not in _PROVIDERS:
        raise BackendError(f"device {device!r} is unknown; known are {', '.join(_PROVIDERS)}")
    available = ort.get_available_providers()
    if _PROVIDERS[device] not in available:
        raise BackendError(
            f"device {device!r} needs {_PROVIDERS[device]}, this onnxruntime has "
            f"{', '.join(available)}; install onnxruntime-gpu or set device to 'cpu'"
        )
    return list(dict.fromkeys([_PROVIDERS[device], _PROVIDERS["cpu"]]))


def _options() -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors only; they come as exceptions as well
    return options


def _open(file: Path, options: Any, providers: list[str]) -> Any:
    try:
        return ort.InferenceSession(str(file), options, providers=providers)
    except Exception as error:  # onnxruntime's exceptions share no base class of its own
        reason = " ".join(str(error).split())
        raise BackendError(f"{file} cannot be loaded by ONNX Runtime ({reason})") from error
