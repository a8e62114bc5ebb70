"""Networks as functions, run by TensorRT, or by ONNX Runtime with CUDA or on the CPU.

`auto` takes the first of these that is really there. What is not there is passed over without a
word; what is there and fails is passed over with one warning. Either way `Network.note` says why.

On the CPU one thread per session and no spinning: two sessions whose threads spin against each
other took 2.5 times as long for a whole utterance. The modalities run side by side in the
recogniser's workers.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from erc_ros.inference import gpu
from erc_ros.inference.engines import store
from erc_ros.inference.engines.store import EngineError, Key

Shape = tuple["int | None", ...]  # None = any size
Port = tuple[str, Shape]  # element type as ONNX names it ("float", "int64", "bool"), shape

Run = Callable[[dict[str, NDArray[Any]]], dict[str, NDArray[np.float32]]]

DEVICES = ("cpu", "cuda", "tensorrt", "auto")
_BEST_FIRST = ["tensorrt", "cuda", "cpu"]
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
        device: one of DEVICES. "auto": the best that works, also when one fails while it runs.

    Attributes:
        device: what it runs on now: "tensorrt", "cuda" or "cpu".
        note: why it is not a better one, in words; "" where it is what was asked for.

    Raises:
        BackendError: the file cannot be read; or not for "auto": the device is not there.
    """

    def __init__(self, file: Path, device: str = "cpu") -> None:
        if device not in DEVICES:
            raise BackendError(f"device {device!r} is unknown; known are {', '.join(DEVICES)}")
        self._file = file
        self._falling = threading.Lock()
        found = _open_first(file, _BEST_FIRST if device == "auto" else [device])
        self.device, self._run, self._next, self._notes = found

    @property
    def note(self) -> str:
        return "; ".join(self._notes)

    def __call__(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Named arrays in, named arrays out."""
        for observer in _observers:
            observer(self._file, inputs)
        run = self._run
        try:
            return run(inputs)
        except Exception as error:
            with self._falling:
                if run is not self._run:  # another thread was here first
                    return self._run(inputs)
                if not self._next:
                    raise
                return self._fall(inputs, error)

    def _fall(
        self, inputs: dict[str, NDArray[Any]], error: Exception
    ) -> dict[str, NDArray[np.float32]]:
        """Answer with the next device that can, and stay with it.

        Raises:
            Exception: the last one cannot either, so the inputs are to blame; nothing changes.
        """
        reasons, notes, after = {self.device: _words(error)}, list(self._notes), self._next
        while True:
            device, run, after, more = _open_first(self._file, after)
            notes += more
            try:
                outputs = run(inputs)
                break
            except Exception as another:
                if not after:
                    raise
                reasons[device] = _words(another)
        for failed, reason in reasons.items():
            notes.append(f"{failed}: {reason}")
            _warn(f"{failed} failed while it ran ({reason}); going on with {device}")
        self.device, self._run, self._next, self._notes = device, run, after, notes
        return outputs


def _open_first(file: Path, devices: list[str]) -> tuple[str, Run, list[str], list[str]]:
    """The first of `devices` that opens; those after it; why those before it do not.

    The error of the last one is raised.
    """
    notes, failures = [], {}
    for number, device in enumerate(devices, start=1):
        is_last = number == len(devices)
        if not is_last and (reason := _absent(device, file)):
            notes.append(f"{device}: {reason}")
            continue
        try:
            run = _OPEN[device](file)
        except Exception as error:
            if is_last:
                raise
            notes.append(f"{device}: {error}")
            failures[device] = error
            continue
        for failed, why in failures.items():
            _warn(f"{failed} cannot be used ({why}); going on with {device}")
        return device, run, devices[number:], notes
    raise AssertionError("devices must not be empty")


_observers: list[Callable[[Path, Mapping[str, NDArray[Any]]], None]] = []


@contextlib.contextmanager
def observed(observer: Callable[[Path, Mapping[str, NDArray[Any]]], None]) -> Iterator[None]:
    """Show every call of every network to `observer`: the file, and what it gets."""
    _observers.append(observer)
    try:
        yield
    finally:
        _observers.remove(observer)


_said: set[str] = set()


def _warn(text: str) -> None:
    """Warn, but once: four networks fail for the same reason."""
    if text not in _said:
        _said.add(text)
        logging.getLogger(__name__).warning(text)


def _words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _absent(device: str, file: Path) -> str:
    """Why there is no point in trying `device`; "" if there is."""
    if device == "tensorrt":
        if not store.engine_file(file, "tensorrt").exists():
            return "no engine was built (erc build-engines)"
        from erc_ros.inference.engines import tensorrt_engine

        return tensorrt_engine.missing()
    if _PROVIDERS[device] not in ort.get_available_providers():
        return "this onnxruntime is built without it"
    if gpu.driver() is None:
        return f"no NVIDIA driver ({gpu.LIBRARY})"
    if b"DynamicQuantizeLinear" in file.read_bytes():
        # Without a kernel for it there, every layer would travel to the CPU and back.
        return "the model's int8 is made for CPUs"
    return ""


def _open_tensorrt(file: Path) -> Run:
    from erc_ros.inference.engines import tensorrt_engine

    try:
        network = tensorrt_engine.usable(file)
    except (EngineError, gpu.GpuError) as error:
        raise BackendError(str(error)) from error
    if network is None:
        raise BackendError(
            f"device 'tensorrt': no engine of {file} was built; run `erc build-engines "
            f"{file.parent}` on this machine, or set device to 'auto'"
        )
    return network


def _open_cuda(file: Path) -> Run:
    provider, available = _PROVIDERS["cuda"], ort.get_available_providers()
    if provider not in available:
        raise BackendError(
            f"device 'cuda' needs {provider}, this onnxruntime has {', '.join(available)}; "
            "install onnxruntime-gpu or set device to 'cpu'"
        )
    if find_spec("nvidia") is not None:  # CUDA's libraries as wheels, which nobody else finds
        ort.preload_dlls()
    session = _open(file, _options(), [provider, _PROVIDERS["cpu"]])
    # ONNX Runtime falls back to the CPU without an error when CUDA's libraries do not load.
    if provider not in session.get_providers():
        raise BackendError(
            f"device 'cuda' did not start (running: {', '.join(session.get_providers())}); check "
            "the driver and the CUDA libraries, or set device to 'cpu'"
        )
    return _function(session)


def _open_cpu(file: Path) -> Run:
    try:
        saved = store.find(file, "onnxruntime", cpu_key(file))
    except EngineError as error:
        _warn(str(error))
        saved = None
    return on_cpu(file) if saved is None else on_cpu(saved.file, optimized=True)


def on_cpu(file: Path | bytes, optimized: bool = False) -> Run:
    """ONNX Runtime on the CPU, nothing else tried.

    Args:
        file: the ONNX file, or what is in it.
        optimized: `file` comes from `save_optimized`, on this processor by this version.
    """
    options = _options()
    if optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return _function(_open(file, options, [_PROVIDERS["cpu"]]))


_OPEN: dict[str, Callable[[Path], Run]] = {
    "tensorrt": _open_tensorrt,
    "cuda": _open_cuda,
    "cpu": _open_cpu,
}


def cpu_key(file: Path) -> Key:
    """What a saved graph of `file` has to be made for."""
    builder = f"onnxruntime {ort.__version__}"
    return Key(store.bundle_hash(file), store.processor(), builder, "as in the model")


def save_optimized(file: Path, target: Path) -> None:
    """Write what ONNX Runtime makes of `file` on this processor.

    Raises:
        BackendError: the file cannot be read.
    """
    options = _options()
    options.optimized_model_filepath = str(target)
    _open(file, options, [_PROVIDERS["cpu"]])


def _function(session: Any) -> Run:
    outputs = [port.name for port in session.get_outputs()]

    def run(inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        return dict(zip(outputs, session.run(None, inputs), strict=True))

    return run


def _options() -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors only; they come as exceptions as well
    return options


def _open(file: Path | bytes, options: Any, providers: list[str]) -> Any:
    source = file if isinstance(file, bytes) else str(file)
    try:
        return ort.InferenceSession(source, options, providers=providers)
    except Exception as error:  # onnxruntime's exceptions share no base class of its own
        reason = " ".join(str(error).split())
        name = "the model" if isinstance(file, bytes) else file
        raise BackendError(f"{name} cannot be loaded by ONNX Runtime ({reason})") from error
