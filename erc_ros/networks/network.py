"""A network that runs on the best device that is there, and falls to the next when one fails.

What is not there is passed over without a word; what is there and fails is passed over with one
warning. Either way `Network.note` says why.
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
    """One way to run an ONNX file.

    absent: why there is no point in trying it with this file; "" if there is.
    open: the file as a function; raises NetworkError.
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
        # Without a kernel for it there, every layer would travel to the CPU and back.
        return "the model's int8 is made for CPUs"
    return ""


CUDA = Device("cuda", _no_cuda, on_cuda)
CPU = Device("cpu", lambda _: "", on_cpu)


def choose(device: str, best_first: Sequence[Device]) -> list[Device]:
    """The device of this name, or for "auto" all of them.

    Raises:
        NetworkError: an unknown name.
    """
    if device == "auto":
        return list(best_first)
    if chosen := [each for each in best_first if each.name == device]:
        return chosen
    known = ", ".join([*(each.name for each in reversed(best_first)), "auto"])
    raise NetworkError(f"device {device!r} is unknown; known are {known}")


class Network:
    """One ONNX file, ready to run. Thread-safe.

    Args:
        file: the ONNX file.
        devices: in the order in which they are tried. Another one is taken where the first is not
            there, and also when it fails while it runs.

    Attributes:
        device: the name of the one that it runs on now.
        note: why it is not a better one, in words; "" where it is the first.

    Raises:
        NetworkError: the file cannot be read, or the last of the devices is not there.
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

    def reopen(self) -> None:
        """Select the best device again: an engine may have been built. Calls continue.

        Raises:
            NetworkError: as when it was made.
        """
        opened = _open_first(self._file, list(self._devices))
        with self._falling:
            self.device, self._run, self._next, self._notes = opened

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
            warn_once(f"{failed} failed while it ran ({reason}); going on with {device}")
        self.device, self._run, self._next, self._notes = device, run, after, notes
        return outputs


def _open_first(file: Path, devices: list[Device]) -> tuple[str, Run, list[Device], list[str]]:
    """The first of `devices` that opens; those after it; why those before it do not.

    The error of the last one is raised.
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
            warn_once(f"{failed} cannot be used ({why}); going on with {device.name}")
        return device.name, run, devices[number:], notes
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


def warn_once(text: str) -> None:
    """Warn, but once: four networks fail for the same reason."""
    if text not in _said:
        _said.add(text)
        logging.getLogger(__name__).warning(text)


def _words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
