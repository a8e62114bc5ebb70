"""One process on one device, or one process per GPU with the gradients averaged (Accelerate).

Training in several processes starts from a fork of the caller: only the training itself runs more
than once, and nothing around it has to know. A CPU can stand in for GPUs, for tests.
"""

from __future__ import annotations

import multiprocessing
import random
import socket
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")


class OneProcess:
    """The device of an ordinary training; everything that several processes share is its own."""

    rank, count = 0, 1

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)

    def together(self, module: nn.Module) -> nn.Module:
        """The module, with gradients that are the mean over all processes."""
        return module

    def mean(self, value: Tensor) -> Tensor:
        """Over all processes."""
        return value

    def first(self, value: T) -> T:
        """What the first process has."""
        return value

    def all(self, value: T) -> list[T]:
        """What every process has."""
        return [value]

    def end(self) -> None:
        """No more to do."""


class SeveralProcesses(OneProcess):
    """One of several, through Accelerate, which tells its device and its rank."""

    def __init__(self, device: str) -> None:
        from accelerate import Accelerator
        from accelerate.utils import DistributedDataParallelKwargs

        # A batch need not reach every weight: a modality may be missing from all of it.
        unused = DistributedDataParallelKwargs(find_unused_parameters=True)
        self._accelerator = Accelerator(cpu=device == "cpu", kwargs_handlers=[unused])
        self.device = torch.device("cpu") if device == "cpu" else self._accelerator.device
        self.rank, self.count = self._accelerator.process_index, self._accelerator.num_processes
        if device == "cpu":
            # The pool of threads does not survive the fork.
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
    """Run `function` with its process, in `count` of them.

    Raises:
        ValueError: no such device here, or not so many.
        RuntimeError: one of several processes failed; with its traceback. A failure in a single
            process is raised as it is.
    """
    if device == "cuda":
        gpus = torch.cuda.device_count()
        if gpus < count:
            raise ValueError(
                f"{count} GPUs are asked for and {gpus} found: set trainer.device to cpu, or"
                " trainer.processes to as many as there are"
            )
    if count == 1:
        function(OneProcess(device))
        return
    from accelerate import debug_launcher, notebook_launcher

    arguments = (function, device, random.getstate())
    if device == "cpu":
        debug_launcher(_in_one_of_several, arguments, count)
    else:  # two recipes may run on one machine
        notebook_launcher(_in_one_of_several, arguments, count, use_port=_free_port())


def aside(function: Callable[[], None], count: int) -> None:
    """Run `function`, in a process of its own if trainings take `count` processes, several.

    A process that has used a GPU can start no more training by a fork. So whatever uses one between
    two trainings runs here.

    Raises:
        RuntimeError: it failed there; its traceback is printed. A failure with one process is
            raised as it is.
    """
    if count == 1:
        function()
        return
    process = multiprocessing.get_context("fork").Process(target=_alone, args=(function,))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"the process for {function} ended with {process.exitcode}")


def _alone(function: Callable[[], None]) -> None:
    torch.set_num_threads(1)  # the pool of threads does not survive the fork
    function()


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def _in_one_of_several(function: Callable[[OneProcess], Any], device: str, state: Any) -> None:
    random.setstate(state)  # which Python seeds again in a fork
    process = SeveralProcesses(device)
    function(process)
    process.end()
