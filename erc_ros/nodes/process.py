"""A process that holds nodes: spins them until SIGINT or SIGTERM, then ends them in order."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Sequence

import rclpy
from rclpy.exceptions import (
    InvalidParameterTypeException,
    InvalidParameterValueException,
    ParameterException,
)
from rclpy.signals import SignalHandlerOptions

from erc_ros.nodes.managed_node import ManagedNode
from erc_ros.nodes.spinning import Spinning


def run_nodes(make: Callable[[], Sequence[ManagedNode]], args: list[str] | None = None) -> int:
    """Run until a signal comes; the nodes are deactivated and cleaned up in their order.

    Returns:
        0 after a signal, 1 where a parameter was refused or the executor failed.
    """
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
        print(f"erc_ros: the executor failed: {spinning.failure!r}", file=sys.stderr)
    return 0 if spinning.failure is None else 1
