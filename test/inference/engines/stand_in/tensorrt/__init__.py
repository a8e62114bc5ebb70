"""A stand-in for NVIDIA's package `tensorrt`, for machines without one.

It has the names of NVIDIA's Python reference that we use, and no others; an "engine" is the ONNX
model and its profiles, and ONNX Runtime computes it on the CPU. It shows that our side of the
conversation is right, not that TensorRT agrees. STAND_IN makes it misbehave: "crash" ends the
process at the first use, "wrong" changes the answers, "refuse" builds nothing, "fail" does not run,
"sleepy" runs slowly, "slow" does not end building, "fatal" ends the process while it builds what
takes faces. An engine that was made under another STAND_IN_PATCH ends the process as well.

The GPU that it stands for is faster than the CPU: STAND_IN_CPU_MS slows every run of ONNX Runtime.
What is slow puts `time.perf_counter` forward and does not wait: a busy machine takes any time.
"""

from __future__ import annotations

import ctypes
import enum
import json
import os
import signal
import time

import numpy as np
import onnxruntime as ort

__version__ = os.environ.get("STAND_IN_VERSION", "10.3.0")
_NAMES = {"float": "FLOAT", "float16": "HALF", "int64": "INT64", "int32": "INT32", "bool": "BOOL"}
_NUMPY = {"FLOAT": "f4", "HALF": "f2", "INT64": "i8", "INT32": "i4", "BOOL": "?"}


_Session, _clock = ort.InferenceSession, time.perf_counter
_forward = 0.0  # seconds


def _spend(milliseconds: float) -> None:
    global _forward
    _forward += milliseconds / 1000


class _SlowSession(_Session):
    def run(self, *arguments):
        _spend(float(os.environ["STAND_IN_CPU_MS"]))
        return super().run(*arguments)


if os.environ.get("STAND_IN_CPU_MS"):
    ort.InferenceSession = _SlowSession
time.perf_counter = lambda: _clock() + _forward


def _mode() -> str:
    return os.environ.get("STAND_IN", "")


def _patch() -> str:
    return os.environ.get("STAND_IN_PATCH", "")


class DataType(enum.Enum):
    FLOAT = 0
    HALF = 1
    INT32 = 3
    BOOL = 4
    INT64 = 8


class TensorIOMode(enum.Enum):
    INPUT = 1
    OUTPUT = 2


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class ILogger:
    class Severity(enum.Enum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2


class _Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, list[tuple[int, ...]]] = {}

    def set_shape(self, input, min, opt, max) -> None:
        assert all(a <= b <= c for a, b, c in zip(min, opt, max, strict=True))
        self.shapes[input] = [tuple(min), tuple(opt), tuple(max)]


class _Config:
    def __init__(self) -> None:
        self.profiles: list[_Profile] = []

    def add_optimization_profile(self, profile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1


class _Network:
    model = b""


class OnnxParser:
    num_errors = 0

    def __init__(self, network, logger) -> None:
        self._network = network

    def parse(self, model: bytes) -> bool:
        _Session(model, providers=["CPUExecutionProvider"])
        self._network.model = model
        return True


class Builder:
    def __init__(self, logger) -> None:
        self._logger = logger

    def create_network(self, flags: int) -> _Network:
        assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return _Network()

    def create_builder_config(self) -> _Config:
        return _Config()

    def create_optimization_profile(self) -> _Profile:
        return _Profile()

    def build_serialized_network(self, network, config):
        while _mode() == "slow":
            time.sleep(1)
        if _mode() == "fatal" and b"faces" in network.model:
            os.kill(os.getpid(), signal.SIGSEGV)
        if _mode() == "refuse":
            self._logger.log(ILogger.Severity.ERROR, "no implementation for node /layer.0/MatMul")
            return None
        profiles = [profile.shapes for profile in config.profiles]
        return (
            json.dumps({"version": __version__, "profiles": profiles, "patch": _patch()}).encode()
            + b"\n"
            + (network.model)
        )


class Runtime:
    def __init__(self, logger) -> None:
        if _mode() == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes):
        header, _, model = serialized_engine.partition(b"\n")
        if json.loads(header)["patch"] != _patch():
            os.kill(os.getpid(), signal.SIGSEGV)
        if json.loads(header)["version"] != __version__:
            self._logger.log(ILogger.Severity.ERROR, "the plan is of another version")
            return None
        return _Engine(json.loads(header)["profiles"], model)


class _Engine:
    def __init__(self, profiles, model: bytes) -> None:
        self._profiles = profiles
        self.known = {}  # shapes of outputs
        self.session = _Session(model, providers=["CPUExecutionProvider"])
        self.inputs = {p.name: p for p in self.session.get_inputs()}
        self.outputs = {p.name: p for p in self.session.get_outputs()}
        self._names = [*self.inputs, *self.outputs]
        self.num_io_tensors, self.num_optimization_profiles = len(self._names), len(profiles)

    def get_tensor_name(self, index: int) -> str:
        return self._names[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType[_NAMES[(self.inputs | self.outputs)[name].type[len("tensor(") : -1]]]

    def get_tensor_profile_shape(self, name: str, profile_index: int):
        return self._profiles[profile_index][name]

    def create_execution_context(self):
        return _Context(self, self._profiles)


class _Context:
    def __init__(self, engine: _Engine, profiles) -> None:
        self._engine, self._profiles = engine, profiles
        self._profile = profiles[0]
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        self._profile = self._profiles[profile_index]
        return stream_handle == 2

    def set_input_shape(self, name: str, shape) -> bool:
        least, _, greatest = self._profile[name]
        self._shapes[name] = tuple(shape)
        return all(a <= b <= c for a, b, c in zip(least, shape, greatest, strict=True))

    def get_tensor_shape(self, name: str):
        key = (name, tuple(sorted(self._shapes.items())))
        if key not in self._engine.known:
            inputs = {n: np.zeros(s, self._element(n)) for n, s in self._shapes.items()}
            self._engine.known[key] = self._engine.session.run([name], inputs)[0].shape
        return self._engine.known[key]

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return memory != 0

    def execute_async_v3(self, stream_handle: int) -> bool:
        if _mode() == "fail":
            return False
        if _mode() == "sleepy":
            _spend(1000)
        inputs = {n: self._memory(n, s).copy() for n, s in self._shapes.items()}
        for name, array in zip(
            self._engine.outputs, self._engine.session.run(None, inputs), strict=True
        ):
            self._memory(name, array.shape)[...] = array * 1.5 if _mode() == "wrong" else array
        return True

    def _element(self, name: str) -> str:
        return _NUMPY[self._engine.get_tensor_dtype(name).name]

    def _memory(self, name: str, shape) -> np.ndarray:
        element = np.dtype(self._element(name))
        size = int(np.prod(shape)) * element.itemsize
        memory = (ctypes.c_char * max(size, 1)).from_address(self._addresses[name])
        return np.frombuffer(memory, element, int(np.prod(shape))).reshape(shape)
