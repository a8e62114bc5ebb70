"""A process that holds nodes: spins them until SIGINT or SIGTERM, then ends them in order."""

from __future__ import annotations

import faulthandler
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import TracebackType

import rclpy
from rclpy.exceptions import (
    InvalidParameterTypeException,
    InvalidParameterValueException,
    ParameterException,
)
from rclpy.signals import SignalHandlerOptions

from erc_ros.nodes.managed_node import ManagedNode
from erc_ros.nodes.spinning import Spinning
from erc_ros.values.errors import in_words, without_words


def run_nodes(make: Callable[[], Sequence[ManagedNode]], args: list[str] | None = None) -> int:
    """Run until a signal comes; the nodes are deactivated and cleaned up in their order.

    Returns:
        0 after a signal, 1 where a parameter was refused or the executor failed.
    """
    tell_no_words()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    # Without rclpy's own handlers: they end the context at once, and what was heard until then
    # could not be published any more.
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # a log level or a file that there is not
        print(f"erc_ros: {_first_line(error)}", file=sys.stderr)
        return 1
    try:
        return _spin(make, stop)
    finally:
        rclpy.try_shutdown()


def tell_no_words() -> None:
    """Errors that end a thread or the process, and crashes, are told without their messages.

    Those may quote what was said. Of a crash the stacks of all threads are told.
    """
    faulthandler.enable()

    def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            return
        print(f"erc_ros: ended by an error\n{without_words(error, trace)}", file=sys.stderr)

    def tell_of_thread(found: threading.ExceptHookArgs) -> None:
        if found.exc_value is not None:
            tell(found.exc_type, found.exc_value, found.exc_traceback)

    sys.excepthook = tell
    threading.excepthook = tell_of_thread


def _first_line(error: Exception) -> str:
    """rcl's errors go on with its own source files."""
    return str(error).partition(", at ")[0].partition("\n")[0]


def _spin(make: Callable[[], Sequence[ManagedNode]], stop: threading.Event) -> int:
    try:
        nodes = make()
    except (
        ParameterException,
        InvalidParameterTypeException,
        InvalidParameterValueException,
    ) as error:
        print(f"erc_ros: {error}", file=sys.stderr)
        return 1
    spinning = Spinning(nodes, ended=stop.set)
    stop.wait()
    if not spinning.stop():
        print("erc_ros: a callback does not return, the nodes are not closed", file=sys.stderr)
        return 1
    for node in nodes:
        node.close()
    if spinning.failure is not None:
        print(f"erc_ros: the executor failed: {in_words(spinning.failure)}", file=sys.stderr)
    return 0 if spinning.failure is None else 1
