"""Executors with a controlled speed, without a clock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any


class Postponed(Executor):
    """Computes tasks at once if `is_ready` is true, otherwise when a result is requested."""

    def __init__(self, is_ready: Callable[[], bool] = lambda: False) -> None:
        self._is_ready = is_ready
        self._work: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, function: Callable[..., Any], /, *args: Any, **more: Any) -> Future[Any]:
        future = _Awaited(self)
        self._work.append((future, lambda: function(*args, **more)))
        if self._is_ready():
            self.compute()
        return future

    def compute(self) -> None:
        """Compute all submitted tasks."""
        work, self._work = self._work, []
        for future, function in work:
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(function())
            except (ArithmeticError, LookupError, OSError, ValueError) as error:
                future.set_exception(error)


class _Awaited(Future[Any]):
    def __init__(self, executor: Postponed) -> None:
        super().__init__()
        self._executor = executor

    def result(self, timeout: float | None = None) -> Any:
        self._executor.compute()
        return super().result(timeout)


class Held:
    """A function that waits until it is released; `begun` is set when it runs."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.begun, self.may_go_on = threading.Event(), threading.Event()

    def __call__(self, *args: Any) -> Any:
        self.begun.set()
        if not self.may_go_on.wait(60):
            raise TimeoutError("nobody let it go on")
        return self._function(*args)
