"""Access to the NVIDIA driver for TensorRT: GPU name, memory and one stream.

Uses ctypes, because the driver library exists on every computer with an NVIDIA GPU, and Python
bindings on some of them only. The library is loaded at the first use.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import Any

from numpy.typing import NDArray

from erc_ros.values.errors import ErcRuntimeError

LIBRARY = "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*


class GpuError(ErcRuntimeError):
    """A call of the driver failed; the text has the function and the code."""


@dataclass(frozen=True)
class GpuName:
    """GPU model. capability: compute capability, such as "8.7" for a Jetson AGX Orin."""

    name: str
    capability: str


@cache
def driver() -> Any:
    """Return the driver's library, or None without a driver."""
    try:
        return ctypes.CDLL(LIBRARY)
    except OSError:
        return None


class Gpu:
    """The first GPU, with a stream. Every method may be called from any thread.

    Raises:
        GpuError: there is no driver or no GPU, or a call failed.
    """

    def __init__(self) -> None:
        self._driver = driver()
        if self._driver is None:
            raise GpuError(f"there is no NVIDIA driver ({LIBRARY} cannot be loaded)")
        self._call("cuInit", 0)
        self._device = ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(self._device), 0)
        # TensorRT uses the primary context.
        self._context = ctypes.c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._device)
        self._enter()
        self._stream = ctypes.c_void_p()
        self._call("cuStreamCreate", ctypes.byref(self._stream), 1)  # waits for no other stream

    @property
    def stream(self) -> int:
        """The handle of the stream."""
        return self._stream.value or 0

    @property
    def name(self) -> GpuName:
        """Name and compute capability."""
        text = ctypes.create_string_buffer(256)
        self._call("cuDeviceGetName", text, len(text), self._device)
        major, minor = self._attribute(_MAJOR), self._attribute(_MINOR)
        return GpuName(text.value.decode(errors="replace"), f"{major}.{minor}")

    @property
    def driver(self) -> str:
        """Latest CUDA version that the driver supports, such as "12.6"."""
        number = ctypes.c_int()
        self._call("cuDriverGetVersion", ctypes.byref(number))
        return f"{number.value // 1000}.{number.value % 1000 // 10}"

    def allocate(self, size: int) -> Memory:
        """Allocate `size` bytes on the GPU; they are freed with the returned object."""
        self._enter()
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(1, size)))
        return Memory(self, address.value, size)

    def upload(self, array: NDArray[Any], memory: Memory) -> None:
        """Copy a contiguous array to `memory`, in stream order."""
        self._enter()
        pointer = ctypes.c_void_p(array.ctypes.data)
        size = ctypes.c_size_t(array.nbytes)
        address = ctypes.c_uint64(memory.address)
        self._call("cuMemcpyHtoDAsync_v2", address, pointer, size, self._stream)

    def download(self, memory: Memory, array: NDArray[Any]) -> None:
        """Copy `memory` to a contiguous array, which is complete after `wait`."""
        self._enter()
        pointer = ctypes.c_void_p(array.ctypes.data)
        size = ctypes.c_size_t(array.nbytes)
        address = ctypes.c_uint64(memory.address)
        self._call("cuMemcpyDtoHAsync_v2", pointer, address, size, self._stream)

    def wait(self) -> None:
        """Wait until all work in the stream is done."""
        self._enter()
        self._call("cuStreamSynchronize", self._stream)

    def free(self, address: int) -> None:
        """Free memory."""
        self._enter()
        self._call("cuMemFree_v2", ctypes.c_uint64(address))

    def _enter(self) -> None:
        self._call("cuCtxSetCurrent", self._context)  # a context is current per thread

    def _attribute(self, number: int) -> int:
        value = ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(value), number, self._device)
        return value.value

    def _call(self, function: str, *arguments: object) -> None:
        code = getattr(self._driver, function)(*arguments)
        if code != 0:
            raise GpuError(f"the NVIDIA driver refused {function} with code {code}")


class Memory:
    """Allocated memory on the GPU."""

    def __init__(self, gpu: Gpu, address: int, size: int) -> None:
        self._gpu, self.address, self.size = gpu, address, size

    def __del__(self) -> None:
        self._gpu.free(self.address)
