"""A network that runs on the best available device and falls back to the next if it fails.

A missing device is skipped silently; a device that fails is skipped with one warning.
`Network.note` has the reason in both cases.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from erc_ros.networks import gpu
from erc_ros.networks.installed import mixed_builds
from erc_ros.networks.session import PROVIDERS, NetworkError, Run, on_cpu, on_cuda


@dataclass(frozen=True)
class Device:
    """A way to run an ONNX file.

    absent: returns why the device cannot run a file, or "" if it can.
    open: returns a file as a function; raises NetworkError.
    """

    name: str
    absent: Callable[[Path], str]
    open: Callable[[Path], Run]


def _no_cuda(file: Path) -> str:
    if PROVIDERS["cuda"] not in ort.get_available_providers():
        return mixed_builds() or "this onnxruntime is built without it"
    if gpu.driver() is None:
        return f"no NVIDIA driver ({gpu.LIBRARY})"
    if b"DynamicQuantizeLinear" in file.read_bytes():
        # CUDA has no kernel for it, so that every layer would be copied to the CPU and back.
        return "the model's int8 is made for CPUs"
    return ""


CUDA = Device("cuda", _no_cuda, on_cuda)
CPU = Device("cpu", lambda _: "", on_cpu)


def choose(device: str, best_first: Sequence[Device]) -> list[Device]:
    """Return the device of this name in a list, or all devices for "auto".

    Raises:
        NetworkError: the name is unknown.
    """
    if device == "auto":
        return list(best_first)
    if chosen := [each for each in best_first if each.name == device]:
        return chosen
    known = ", ".join([*(each.name for each in reversed(best_first)), "auto"])
    raise NetworkError(f"device {device!r} is unknown; known are {known}")


class Network:
    """An ONNX file that runs on the first working device. Thread-safe.

    Args:
        file: the ONNX file.
        devices: devices in order of preference. The next one is used if a device is missing or
            fails, also during a call.

    Attributes:
        device: name of the device in use.
        note: why the devices before it are not used; "" for the first one.

    Raises:
        NetworkError: the file cannot be read, or no device works.
    """

    def __init__(self, file: Path, devices: Sequence[Device] = (CPU,)) -> None:
        self._file = file
        self._devices = list(devices)
        self._falling = threading.Lock()
        self.device, self._run, self._next, self._notes = _open_first(file, list(devices))

    @property
    def note(self) -> str:
        return "; ".join(self._notes)

    def __call__(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Run the network: input name -> array, to output name -> array."""
        for observer in _observers:
            observer(self._file, inputs)
        run = self._run
        try:
            return run(inputs)
        except Exception as error:
            with self._falling:
                if run is not self._run:  # another thread has already changed the device
                    return self._run(inputs)
                if not self._next:
                    raise
                return self._fall(inputs, error)

    def reopen(self) -> None:
        """Select the best device again, for example after an engine was built.

        Raises:
            NetworkError: see the class.
        """
        opened = _open_first(self._file, list(self._devices))
        with self._falling:
            self.device, self._run, self._next, self._notes = opened

    def _fall(
        self, inputs: dict[str, NDArray[Any]], error: Exception
    ) -> dict[str, NDArray[np.float32]]:
        """Run on the next device that works, and use it from now on.

        Raises:
            Exception: all devices fail, so that the inputs are the cause; the device is kept.
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
            warn_once(f"{failed} failed during a call ({reason}); using {device} instead")
        self.device, self._run, self._next, self._notes = device, run, after, notes
        return outputs


def _open_first(file: Path, devices: list[Device]) -> tuple[str, Run, list[Device], list[str]]:
    """Open a file on the first working device.

    Returns:
        Name of the device; the network; the remaining devices; the reasons against earlier ones.

    Raises:
        NetworkError: that of the last device, if no device works.
    """
    notes, failures = [], {}
    for number, device in enumerate(devices, start=1):
        is_last = number == len(devices)
        if not is_last and (reason := device.absent(file)):
            notes.append(f"{device.name}: {reason}")
            continue
        try:
            run = device.open(file)
        except Exception as error:
            if is_last:
                raise
            notes.append(f"{device.name}: {error}")
            failures[device.name] = error
            continue
        for failed, why in failures.items():
            warn_once(f"{failed} cannot be used ({why}); using {device.name} instead")
        return device.name, run, devices[number:], notes
    raise AssertionError("devices must not be empty")


_observers: list[Callable[[Path, Mapping[str, NDArray[Any]]], None]] = []


@contextlib.contextmanager
def observed(observer: Callable[[Path, Mapping[str, NDArray[Any]]], None]) -> Iterator[None]:
    """Context manager that passes the file and inputs of every network call to `observer`."""
    _observers.append(observer)
    try:
        yield
    finally:
        _observers.remove(observer)


_said: set[str] = set()


def warn_once(text: str) -> None:
    """Log a warning once, because several networks fail for the same reason."""
    if text not in _said:
        _said.add(text)
        logging.getLogger(__name__).warning(text)


def _words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
