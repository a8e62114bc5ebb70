"""An executor in a separate thread that always terminates."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.task import Future


class BoundedExecutor(SingleThreadedExecutor):
    """Skips messages and requests that exceed a bound of their type.

    On Humble (and if ROS_PYTHON_CHECK_FIELDS is 1), rclpy checks bounded fields with assertions
    while it takes a message. A failed assertion would end the node; publishers in C++ do not
    check the length of strings.
    """

    def _take_subscription(self, *arguments: Any) -> Any:
        return self._within_bounds(super()._take_subscription, *arguments)

    def _take_service(self, *arguments: Any) -> Any:
        return self._within_bounds(super()._take_service, *arguments)

    def _within_bounds(self, take: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return take(*arguments)
        except AssertionError:
            return None  # as for a subscription that was destroyed during the take
        except RuntimeError as error:
            if type(error) is not RuntimeError:  # errors of rclpy are subclasses
                raise
            return None  # raised by pybind11 after a failed assertion


class Spinning:
    """Spins nodes until `stop`.

    `Executor.spin` is not used: `Executor.shutdown`, called from another thread, removes the nodes
    and the guard condition. If that happens after the executor checked for shutdown and before it
    waits, nothing can wake it. A completed future ends the spinning without this race; the executor
    is shut down after its thread has ended.

    Args:
        ended: called last in the thread.
    """

    def __init__(
        self,
        nodes: Iterable[Node],
        context: Context | None = None,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self.failure: BaseException | None = None
        self._ended = ended
        self._executor = BoundedExecutor(context=context)
        for node in nodes:
            self._executor.add_node(node)
        self._stop: Future[None] = Future(executor=self._executor)
        self._thread = threading.Thread(target=self._spin, name="executor", daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        try:
            self._executor.spin_until_future_complete(self._stop)
        except ExternalShutdownException:
            pass  # the context was shut down: a normal end
        except BaseException as error:  # noqa: BLE001  (reported when the thread is stopped)
            self.failure = error
        finally:
            self._ended()

    def stop(self, patience: float = 10.0) -> bool:
        """End after the callback that runs now; False if it did not return within `patience` s."""
        self._stop.set_result(None)
        self._thread.join(patience)
        if self._thread.is_alive():
            return False
        self._executor.shutdown(timeout_sec=patience)
        return True
