"""A process that holds nodes: spins them until SIGINT or SIGTERM, then ends them in order."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
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
from erc_ros.parameters import shared_parameters
from erc_ros.values.errors import redacted_traceback, safe_message


def run_nodes(make: Callable[..., Sequence[ManagedNode]], args: list[str] | None = None) -> int:
    """Run until a signal comes; the nodes are deactivated and cleaned up in their order.

    A signal while the nodes load ends the process within `Spinning.stop`'s patience: nothing has
    been received that would have to be published. Later signals change nothing: SIGINT and SIGTERM
    stay ignored until the process has ended.

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
        return _spin(lambda: make(shared=shared_parameters(_parameter_files(args))), stop)
    finally:
        rclpy.try_shutdown()
        # Python restores the default handlers before libraries end: a second Ctrl-C, or launch's
        # SIGTERM after its SIGINT, would then report a clean end as a crash.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def tell_no_words() -> None:
    """Errors that end a thread or the process, and crashes, are told without their messages.

    Those may quote what was said. Of a crash the stacks of all threads are told.
    """
    faulthandler.enable()

    def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            return
        print(f"erc_ros: ended by an error\n{redacted_traceback(error, trace)}", file=sys.stderr)

    def tell_of_thread(hook: threading.ExceptHookArgs) -> None:
        if hook.exc_value is not None:
            tell(hook.exc_type, hook.exc_value, hook.exc_traceback)

    sys.excepthook = tell
    threading.excepthook = tell_of_thread


def _parameter_files(args: Sequence[str] | None) -> list[Path]:
    """The files of `--params-file` on a command line."""
    line = sys.argv if args is None else args
    return [Path(file) for option, file in pairwise(line) if option == "--params-file"]


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
    for node in nodes:
        node.ending = True
    if not spinning.stop():
        if not any(node.active for node in nodes) and spinning.failure is None:
            print("erc_ros: ended while loading", file=sys.stderr, flush=True)
            os._exit(0)  # the loading thread cannot be interrupted, and has nothing to save
        print("erc_ros: a callback does not return, the nodes are not closed", file=sys.stderr)
        return 1
    for node in nodes:
        node.close()
    if spinning.failure is not None:
        print(f"erc_ros: the executor failed: {safe_message(spinning.failure)}", file=sys.stderr)
    return 0 if spinning.failure is None else 1
