"""`erc run`: replaces `ros2 launch erc_ros emotion.launch.py` if launch is not installed.

Takes the same arguments in the same form, NAME:=VALUE, and ends with SIGINT or SIGTERM.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec

from erc_ros.nodes.restart_memory import memory
from erc_ros.nodes.system import RESPAWN_DELAY, NodeProcesses, environment, read_system
from erc_ros.values.errors import ErcValueError

_PR_SET_PDEATHSIG = 1  # constant of <sys/prctl.h>
NEEDED = (
    "rclpy",
    "diagnostic_msgs",
    "lifecycle_msgs",
    "sensor_msgs",
    "std_msgs",
    "std_srvs",
    "erc_msgs",
)
PATIENCE = 10.0  # s for a node to end after SIGTERM


def main(argv: Sequence[str] | None = None) -> int:
    """Run until a signal, or until a process ends.

    Returns:
        0 after a signal, 1 if a process ended without one (and is not restarted), 2 for wrong
        arguments.

    Raises:
        ModuleNotFoundError: ROS 2 or the messages are not installed.
    """
    system = read_system()
    parser = _parser(system)
    args, others = parser.parse_known_args(argv)
    if others:
        name = others[0].lstrip("-").partition("=")[0].replace("-", "_")
        meant = f": write {name}:=VALUE" if name in system.arguments else ""
        parser.error(f"unrecognized option {others[0]}{meant}")
    for package in NEEDED:
        spec = find_spec(package)
        if spec is None or spec.origin is None:  # a folder of definitions has no origin
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    try:
        given = given_arguments(args.arguments)
        values = system.values(given)
        variables = environment(values["fastdds_profile"])
        commands = {name: command(system, name, values) for name in system.modes[values["mode"]]}
    except (ValueError, FileNotFoundError) as error:
        print(f"erc run: {error}", file=sys.stderr)
        return 2
    respawn = values["respawn"] == "true"
    return _watch(commands, {**os.environ, **variables}, args.seconds, respawn)


def _parser(system: NodeProcesses) -> argparse.ArgumentParser:
    lines = "\n".join(
        f"  {argument.name:18}{argument.description}"
        + (f" (default: {argument.default})" if argument.default else "")
        for argument in system.arguments.values()
    )
    parser = argparse.ArgumentParser(
        prog="erc run",
        description="Start the nodes.",
        epilog=f"arguments:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, help="end after this time (s)")
    parser.add_argument("arguments", nargs="*", metavar="NAME:=VALUE")
    return parser


def given_arguments(arguments: Sequence[str]) -> dict[str, str]:
    """Parse arguments of the form NAME:=VALUE.

    Raises:
        ValueError: an argument has a different form.
    """
    given = {}
    for argument in arguments:
        name, sign, value = argument.partition(":=")
        if not sign:
            raise ErcValueError(f"{argument!r} is not of the form NAME:=VALUE")
        given[name] = value
    return given


def command(system: NodeProcesses, executable: str, values: Mapping[str, str]) -> list[str]:
    """Return the command line of one process, as launch would create it."""
    line = [sys.executable, "-m", "erc_ros.nodes.executables", executable, "--ros-args"]
    if values["namespace"]:
        line += ["-r", f"__ns:=/{values['namespace'].strip('/')}"]
    for topic, other in system.remaps(values):
        line += ["-r", f"{topic}:={other}"]
    line += system.parameter_options(values)
    if values["log_level"]:
        line += ["--log-level", values["log_level"]]
    return line


def _watch(
    commands: Mapping[str, list[str]],
    variables: Mapping[str, str],
    seconds: float | None,
    respawn: bool = False,
) -> int:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())

    memories = {name: memory() if respawn else {} for name in commands}

    def start(name: str) -> subprocess.Popen[bytes]:
        parent = os.getpid()
        # A separate session, so that only this process forwards Ctrl-C, once and in order.
        return subprocess.Popen(
            commands[name],
            env={**variables, **memories[name]},
            start_new_session=True,
            preexec_fn=_end_with(parent),
        )

    processes = {name: start(name) for name in commands}
    end = time.monotonic() + seconds if seconds else float("inf")
    while not stop.wait(0.1) and time.monotonic() < end:
        ended = [name for name, process in processes.items() if process.poll() is not None]
        if ended and not (respawn and not stop.wait(RESPAWN_DELAY)):
            break
        for name in ended:
            status = processes[name].returncode
            print(f"erc run: {name} ended with status {status}: restarting", file=sys.stderr)
            processes[name] = start(name)
    statuses = {n: p.returncode for n, p in processes.items() if p.poll() is not None}
    if respawn and stop.is_set():
        statuses = {}  # a restart was pending
    for process in processes.values():
        _end(process)
    for name, status in statuses.items():
        print(f"erc run: {name} ended with status {status}", file=sys.stderr)
    return 1 if statuses else 0


def _end_with(parent: int) -> Callable[[], None] | None:
    """Return a function for the child that requests SIGTERM when its parent ends."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)  # loaded before the fork

    def request() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it ended before the request
            os._exit(1)

    return request


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(PATIENCE)


if __name__ == "__main__":
    raise SystemExit(main())
