"""A process with nodes: spins them until SIGINT or SIGTERM, then closes them in order."""

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
    """Run until a signal; then deactivate and clean up the nodes in their order.

    A signal while the nodes load ends the process within the patience of `Spinning.stop`, as there
    is no input to finish. Later signals are ignored until the process has ended.

    Returns:
        0 after a signal, 1 if a parameter was refused or the executor failed.
    """
    redact_errors()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    # Without rclpy's handlers, which shut the context down at once, so that input received until
    # then could no longer be published.
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # an invalid log level or a missing file
        print(f"erc_ros: {_first_line(error)}", file=sys.stderr)
        return 1
    try:
        return _spin(lambda: make(shared=shared_parameters(_parameter_files(args))), stop)
    finally:
        rclpy.try_shutdown()
        # Python restores the default handlers before libraries are unloaded: a second Ctrl-C, or
        # launch's SIGTERM after its SIGINT, would then make a clean exit look like a crash.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def redact_errors() -> None:
    """Print errors that end a thread or the process without their messages.

    The messages may quote speech. A crash prints the stacks of all threads.
    """
    faulthandler.enable()

    def report(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if issubclass(kind, KeyboardInterrupt):
            return
        print(f"erc_ros: ended by an error\n{redacted_traceback(error, trace)}", file=sys.stderr)

    def report_in_thread(hook: threading.ExceptHookArgs) -> None:
        if hook.exc_value is not None:
            report(hook.exc_type, hook.exc_value, hook.exc_traceback)

    sys.excepthook = report
    threading.excepthook = report_in_thread


def _parameter_files(args: Sequence[str] | None) -> list[Path]:
    """Return the files of `--params-file` on a command line."""
    line = sys.argv if args is None else args
    return [Path(file) for option, file in pairwise(line) if option == "--params-file"]


def _first_line(error: Exception) -> str:
    """Return the message of an rcl error without its source locations."""
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
        print("erc_ros: a callback did not return, so the nodes were not closed", file=sys.stderr)
        return 1
    for node in nodes:
        node.close()
    if spinning.failure is not None:
        print(f"erc_ros: the executor failed: {safe_message(spinning.failure)}", file=sys.stderr)
    return 0 if spinning.failure is None else 1
