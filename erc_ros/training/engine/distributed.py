"""One process on one device, or one process per GPU with the gradients averaged (Accelerate).

Several processes are forked from the caller for the training only, so that the code around it does
not change. Tests use the CPU instead of GPUs.
"""

from __future__ import annotations

import logging
import multiprocessing
import random
import socket
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

T = TypeVar("T")
_logger = logging.getLogger(__name__)


class OneProcess:
    """The device of a training in one process, with the interface of `SeveralProcesses`."""

    rank, count = 0, 1

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)

    def together(self, module: nn.Module) -> nn.Module:
        """Return the module with gradients averaged over all processes."""
        return module

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean over all processes."""
        return value

    def first(self, value: T) -> T:
        """Return the value of the first process."""
        return value

    def all(self, value: T) -> list[T]:
        """Return the values of all processes."""
        return [value]

    def end(self) -> None:
        """End the communication between processes."""


class SeveralProcesses(OneProcess):
    """One of several processes; Accelerate provides its device and rank."""

    def __init__(self, device: str) -> None:
        from accelerate import Accelerator
        from accelerate.utils import DistributedDataParallelKwargs

        # Some weights may get no gradient: a modality may be missing in the whole batch.
        unused = DistributedDataParallelKwargs(find_unused_parameters=True)
        self._accelerator = Accelerator(cpu=device == "cpu", kwargs_handlers=[unused])
        self.device = torch.device("cpu") if device == "cpu" else self._accelerator.device
        self.rank, self.count = self._accelerator.process_index, self._accelerator.num_processes
        if device == "cpu":
            # The thread pool does not exist after the fork.
            torch.set_num_threads(1)

    def together(self, module: nn.Module) -> nn.Module:
        result: nn.Module = self._accelerator.prepare_model(module)
        return result

    def mean(self, value: Tensor) -> Tensor:
        result: Tensor = self._accelerator.reduce(value.to(self.device), "mean")
        return result

    def first(self, value: T) -> T:
        from accelerate.utils import broadcast_object_list

        result: T = broadcast_object_list([value])[0]
        return result

    def all(self, value: T) -> list[T]:
        from accelerate.utils import gather_object

        result: list[T] = gather_object([value])
        return result

    def end(self) -> None:
        self._accelerator.end_training()


def launch(function: Callable[[OneProcess], Any], count: int, device: str) -> None:
    """Run `function` in `count` processes, each with its process object.

    Raises:
        ValueError: the device does not exist, or there are fewer than `count`.
        RuntimeError: one of several processes failed; with its traceback. The exception of a
            single process is not changed.
    """
    if device == "cuda":
        gpus = torch.cuda.device_count()
        if gpus < count:
            raise ValueError(
                f"{count} GPUs are required and {gpus} found: set trainer.device to cpu, or"
                " trainer.processes to this number"
            )
    if count == 1:
        function(OneProcess(device))
        return
    from accelerate import debug_launcher, notebook_launcher

    arguments = (function, device, random.getstate())
    if device == "cpu":
        debug_launcher(_in_one_of_several, arguments, count)
    else:  # a free port, as several trainings may run on one machine
        notebook_launcher(_in_one_of_several, arguments, count, use_port=_free_port())


def aside(function: Callable[[], T], count: int) -> T:
    """Return `function()`, from a separate process if trainings use several (`count`) processes.

    A process that has used a GPU cannot start a training by a fork. Therefore code that uses a GPU
    between two trainings runs in this function.

    Raises:
        RuntimeError: the separate process was killed, or its result or exception cannot be sent.
            Other exceptions of `function` are not changed.
    """
    if count == 1:
        return function()
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_alone, args=(function, sender))
    process.start()
    sender.close()
    result: T | None = None
    error: Exception | None = None
    try:
        result, error = receiver.recv()
    except (EOFError, TypeError, AttributeError):
        process.join()
        error = RuntimeError(f"the process for {function} ended with {process.exitcode}")
    process.join()
    if error is not None:
        raise error
    return cast("T", result)


def placement(section: Any) -> tuple[str, int]:
    """Return device and number of processes of the section of a stage."""
    trainer = getattr(section, "trainer", None)
    device = getattr(trainer, "device", getattr(section, "device", "cpu"))
    return device, int(getattr(trainer, "processes", 1))


def _alone(function: Callable[[], Any], sender: Connection) -> None:
    torch.set_num_threads(1)  # the thread pool does not exist after the fork
    answer: tuple[Any, Exception | None]
    try:
        answer = function(), None
    except Exception as error:
        _logger.exception("in the process for %s", function)
        answer = None, error
    try:
        sender.send(answer)
    except Exception as unsent:  # noqa: BLE001  (various types, for example of a local class)
        failure = answer[1] or unsent
        sender.send((None, RuntimeError(f"{type(failure).__name__}: {failure}")))


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def _in_one_of_several(function: Callable[[OneProcess], Any], device: str, state: Any) -> None:
    random.setstate(state)  # Python changes the seed in a fork
    process = SeveralProcesses(device)
    function(process)
    process.end()
