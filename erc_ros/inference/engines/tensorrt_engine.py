"""TensorRT 10.3 to 11.4: detection, and building and running of engines.

Nothing here was run on a GPU: the calls are those of NVIDIA's Python reference. The package is
imported late and only if there is a driver; without one it ends the whole process at its first use.
So does a broken installation: `probe` tries everything in a process of its own first.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erc_ros.inference.engines import store
from erc_ros.inference.engines.agreement import disagreement, kept
from erc_ros.inference.engines.profiles import Profile, Shape, fitting
from erc_ros.inference.engines.store import EngineError, Key
from erc_ros.networks import gpu

SHAPES = 2  # version of `profiles.ranges`; engines of other versions are not used
PROBE_TIMEOUT = 120.0  # s; the first use of CUDA on a Jetson is slow
_ELEMENTS = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT64": "int64",
    "INT32": "int32",
    "INT8": "int8",
    "BOOL": "bool",
}


@dataclass(frozen=True)
class Machine:
    """Identification of this computer. gpu: name, compute capability and driver."""

    gpu: str
    tensorrt: str

    def key(self, model: Path) -> Key:
        """Return the key of an engine of `model`."""
        return Key(store.bundle_hash(model), self.gpu, self.tensorrt, precision(model))


@dataclass(frozen=True)
class Probe:
    """Result of running TensorRT in another process.

    problems: ONNX file -> reason why its engine cannot be used. failure: reason why TensorRT does
    not work, or "".
    """

    machine: Machine | None
    problems: Mapping[str, str]
    failure: str = ""


def missing() -> str:
    """Return what is missing to use TensorRT, or "". Loads only the library of the driver."""
    if gpu.driver() is None:
        return f"no NVIDIA driver ({gpu.LIBRARY})"
    if find_spec("tensorrt") is None:
        return "no TensorRT for Python (package tensorrt)"
    return ""


def precision(model: Path) -> str:
    """Return the precision of an engine of this ONNX file."""
    quantized = b"DequantizeLinear" in model.read_bytes()
    return "float16, int8 where it is symmetric" if quantized else "float16"


def machine() -> Machine:
    """Return the identification of this computer; uses TensorRT in this process.

    Raises:
        EngineError, GpuError: TensorRT or the GPU is not usable.
    """
    here = gpu.Gpu()
    return Machine(
        f"{here.name.name}, compute {here.name.capability}, driver {here.driver}",
        f"TensorRT {_trt().__version__}, shapes {SHAPES}",
    )


@cache
def probe(bundle: Path) -> Probe:
    """Run every engine of a bundle on its stored inputs in another process.

    A crash of that process is reported in the result. Runs once per process and folder.
    """
    command = [sys.executable, "-m", __name__, str(bundle), gpu.LIBRARY]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_TIMEOUT)
    except subprocess.TimeoutExpired:
        return Probe(None, {}, f"TensorRT did not respond within {PROBE_TIMEOUT:.0f} s")
    if run.returncode < 0:
        return Probe(None, {}, f"TensorRT ended its process with signal {-run.returncode}")
    try:
        answer = json.loads(run.stdout.splitlines()[-1])
        return Probe(Machine(**answer["machine"]), answer["problems"])
    except (IndexError, ValueError, KeyError, TypeError):
        lines = run.stderr.strip().splitlines() or [f"exit status {run.returncode}"]
        return Probe(None, {}, f"TensorRT does not work: {lines[-1]}")


def _answer(bundle: Path) -> dict[str, Any]:
    """Return the result of `probe`, in the other process."""
    here = machine()
    problems = {}
    for model in sorted(bundle.glob("*.onnx")):
        try:
            file = store.find(model, here.key(model))
            if file is not None:
                disagreement(TensorRtNetwork(file.read_bytes()), kept(model))
        except Exception as error:  # noqa: BLE001 - after any error, the engine is not used
            problems[model.name] = str(error)
    return {"machine": asdict(here), "problems": problems}


def usable(model: Path) -> TensorRtNetwork | None:
    """Open the engine of `model`; None if it was not built.

    Raises:
        EngineError: the engine may not be used, or TensorRT does not work.
        GpuError: the GPU is not usable.
    """
    if not store.engine_file(model).exists():
        return None
    probed = probe(model.parent)
    if probed.machine is None:
        raise EngineError(probed.failure)
    if problem := probed.problems.get(model.name):
        raise EngineError(problem)
    file = store.find(model, probed.machine.key(model))
    if file is None:
        return None
    network = TensorRtNetwork(file.read_bytes())
    disagreement(network, kept(model))  # also makes the slow first call
    return network


def build(model: bytes, profiles: Sequence[Profile]) -> bytes:
    """Build an engine.

    Args:
        model: strongly typed ONNX (`graph.strongly_typed`).

    Raises:
        EngineError: TensorRT rejects the model.
    """
    trt = _trt()
    log = _log(trt)
    builder = trt.Builder(log)
    # In TensorRT 11 every network is strongly typed, and the flag may not exist.
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if flag is None else 1 << int(flag))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(model):
        reasons = "; ".join(str(parser.get_error(i).desc()) for i in range(parser.num_errors))
        raise EngineError(f"TensorRT cannot read the model ({reasons})")
    config = builder.create_builder_config()
    for profile in profiles:
        made = builder.create_optimization_profile()
        for name, shapes in profile.items():
            made.set_shape(name, *shapes)
        config.add_optimization_profile(made)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        reason = log.errors[-1] if log.errors else "no reason given"
        raise EngineError(f"TensorRT could not build the engine ({reason})")
    return bytes(plan)


class TensorRtNetwork:
    """An engine in an execution context. Thread-safe: one call at a time.

    Args:
        data: the engine. It is code: pass only engines from `store.find`.

    Raises:
        EngineError: TensorRT cannot load the engine.
        GpuError: the GPU is not usable.
    """

    def __init__(self, data: bytes) -> None:
        trt = _trt()
        self._gpu = gpu.Gpu()
        self._log = _log(trt)
        self._runtime = trt.Runtime(self._log)
        self._engine = engine = self._runtime.deserialize_cuda_engine(data)
        if engine is None:
            reason = self._log.errors[-1] if self._log.errors else "no reason given"
            raise EngineError(f"TensorRT cannot load the engine ({reason})")
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        inputs = [n for n in names if engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT]
        self._outputs = [name for name in names if name not in inputs]
        self._elements = {n: _ELEMENTS[engine.get_tensor_dtype(n).name] for n in names}
        self._profiles: list[Profile] = [
            {name: _shapes(engine.get_tensor_profile_shape(name, number)) for name in inputs}
            for number in range(engine.num_optimization_profiles)
        ]
        self._contexts: dict[int, Any] = {}
        self._memory: dict[str, gpu.Memory] = {}
        self._lock = threading.Lock()

    def __call__(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Run the engine: input name -> array, to output name -> array.

        Raises:
            EngineError: no profile covers the shapes, or TensorRT fails.
        """
        with self._lock:
            return self._run(inputs)

    def _run(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        context = self._context({name: array.shape for name, array in inputs.items()})
        arrays = {n: np.ascontiguousarray(a, self._elements[n]) for n, a in inputs.items()}
        for name, array in arrays.items():
            _must(context.set_input_shape(name, array.shape), f"the shape of {name}")
            self._gpu.upload(array, self._bound(context, name, array.nbytes))
        outputs = {}
        for name in self._outputs:
            shape = tuple(context.get_tensor_shape(name))
            if any(size < 0 for size in shape):
                raise EngineError(f"TensorRT does not know the shape of output {name}: {shape}")
            outputs[name] = np.empty(shape, self._elements[name])
            self._bound(context, name, outputs[name].nbytes)
        _must(context.execute_async_v3(self._gpu.stream), "to run")
        for name, array in outputs.items():
            self._gpu.download(self._memory[name], array)
        self._gpu.wait()
        return outputs

    def _context(self, shapes: Mapping[str, Shape]) -> Any:
        number = fitting(self._profiles, shapes)
        if number is None:
            raise EngineError(f"the engine has no profile for inputs of the shapes {dict(shapes)}")
        if number not in self._contexts:
            context = self._engine.create_execution_context()
            if context is None:
                raise EngineError("TensorRT cannot create an execution context (out of memory?)")
            chosen = context.set_optimization_profile_async(number, self._gpu.stream)
            _must(chosen, f"profile {number}")
            self._gpu.wait()
            self._contexts[number] = context
        return self._contexts[number]

    def _bound(self, context: Any, name: str, size: int) -> gpu.Memory:
        """Return memory of at least `size` bytes that is bound to the tensor `name`."""
        if name not in self._memory or self._memory[name].size < size:
            self._memory[name] = self._gpu.allocate(size)
        _must(context.set_tensor_address(name, self._memory[name].address), f"memory for {name}")
        return self._memory[name]


def _must(done: bool, what: str) -> None:
    if not done:
        raise EngineError(f"TensorRT refused {what}")


def _shapes(profile: Sequence[Sequence[int]]) -> tuple[Shape, Shape, Shape]:
    smallest, typical, largest = (tuple(shape) for shape in profile)
    return smallest, typical, largest


def _trt() -> Any:
    if reason := missing():
        raise EngineError(f"TensorRT is not available: {reason}")
    try:
        return import_module("tensorrt")
    except (ImportError, OSError) as error:
        raise EngineError(f"TensorRT cannot be imported ({error})") from error


def _log(trt: Any) -> Any:
    class Log(trt.ILogger):  # type: ignore[misc]
        """Keeps error messages, because failed calls only return None."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(msg)

    return Log()


if __name__ == "__main__":
    gpu.LIBRARY = sys.argv[2]
    print(json.dumps(_answer(Path(sys.argv[1]))))
