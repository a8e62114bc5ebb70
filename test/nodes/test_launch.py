"""The launch files under the real `ros2 launch`, and the commands of docs/how-to/launch.md.

PyPI has neither. On a ROS installation `ros2` is on PATH; elsewhere `make launch-tests` builds it
from sources (scripts/ros_tools) where ERC_ROS_TOOLS names their folder.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from erc_msgs.msg import EmotionLabels
from node_bench import LATCHED, Bench
from test_processes import children

from erc_ros.nodes.system import PROFILE_VARIABLES

needs_ros2 = pytest.mark.skipif(
    shutil.which("ros2") is None, reason="needs the ros2 command: make launch-tests"
)
pytestmark = needs_ros2
REPOSITORY = Path(__file__).parents[2]
EMOTION = REPOSITORY / "erc_ros" / "launch" / "emotion.launch.py"
PATIENCE = 60.0  # s until nodes run on a busy machine
MakeBench = Callable[..., Bench]


class Launch:
    """`ros2 launch` of a file, in a process group of its own as in a terminal."""

    def __init__(self, file: Path, *arguments: str) -> None:
        environment = {k: v for k, v in os.environ.items() if k not in PROFILE_VARIABLES}
        known = environment.get("AMENT_PREFIX_PATH", "")
        environment["AMENT_PREFIX_PATH"] = os.pathsep.join(p for p in (known, sys.prefix) if p)
        self.process = subprocess.Popen(
            ["ros2", "launch", str(file), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(self.process.stdout)

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def nodes(self) -> list[int]:
        """Process ids, in the order of the start."""
        return sorted(children(self.process.pid)) if self.process.poll() is None else []

    def commands(self) -> list[str]:
        return [
            Path(f"/proc/{node}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            for node in self.nodes()
        ]

    def interrupt(self) -> None:
        """Ctrl-C."""
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self) -> str:
        """Ctrl-C, and what was printed until the end."""
        if self.process.poll() is None:
            self.interrupt()
        self.process.wait(60)
        self._reader.join(10)
        return self.output


@pytest.fixture
def launch() -> Iterator[Callable[..., Launch]]:
    started: list[Launch] = []

    def start(file: Path, *arguments: str) -> Launch:
        started.append(Launch(file, *arguments))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.interrupt()
            try:
                one.process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(one.process.pid, signal.SIGKILL)
        print(one.output)  # pytest shows it if the test failed


def labels_of(bench: Bench, *namespaces: str) -> list[list[Any]]:
    """What those nodes' `emotion_labels` bring: they are active."""
    return [bench.listen(EmotionLabels, f"{ns}/emotion_labels", LATCHED) for ns in namespaces]


PARENT = """
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, LogInfo
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import PushRosNamespace

def include(**arguments):
    source = PythonLaunchDescriptionSource({emotion!r})
    return IncludeLaunchDescription(source, launch_arguments=arguments.items())

def generate_launch_description():
    return LaunchDescription([
        DeclareLaunchArgument("mode", default_value="mapping"),
        DeclareLaunchArgument("params_file", default_value={parameters!r}),
        PushRosNamespace("fleet"),
        include(namespace="one", audio="/mic1", bundle={bundle!r}),
        include(namespace="two", bundle={bundle!r}),
        LogInfo(msg=["mode of the parent: ", LaunchConfiguration("mode")]),
    ])
"""


def test_two_includes_in_a_foreign_bringup_keep_apart(
    make_bench: MakeBench, launch: Callable[..., Launch], bundle: Path, tmp_path: Path
) -> None:
    parameters = tmp_path / "nav2_params.yaml"
    parameters.write_text(
        "amcl: {ros__parameters: {alpha1: 0.2}}\n/**: {ros__parameters: {robot_radius: 0.2}}\n"
    )
    parent = tmp_path / "bringup.launch.py"
    parent.write_text(
        PARENT.format(emotion=str(EMOTION), parameters=str(parameters), bundle=str(bundle))
    )
    bench = make_bench(nodes=lambda **_: [])
    one, two = labels_of(bench, "/fleet/one", "/fleet/two")
    bringup = launch(parent)
    bench.wait(lambda: one and two, "both robots' nodes are active", PATIENCE)
    first, second = bringup.commands()
    assert "audio:=/mic1" in first and "audio:=" not in second
    output = bringup.end()
    assert "mode of the parent: mapping" in output
    assert "unknown argument" not in output and "process has died" not in output
    assert "robot_radius" in output  # ignored, and logged


def test_the_example_for_two_robots_starts_both(
    make_bench: MakeBench, launch: Callable[..., Launch], bundle: Path
) -> None:
    bench = make_bench(nodes=lambda **_: [])
    one, two = labels_of(bench, "/robot1", "/robot2")
    robots = launch(REPOSITORY / "erc_ros" / "launch" / "two_robots.launch.py", f"bundle:={bundle}")
    bench.wait(lambda: one and two, "both robots' nodes are active", PATIENCE)
    assert [line.count("/robot1/microphone/audio") for line in robots.commands()] == [1, 0]
    assert "process has died" not in robots.end()


def test_a_text_of_the_ros2_command_gets_an_estimate_and_nothing_is_deprecated(
    make_bench: MakeBench, launch: Callable[..., Launch], bundle: Path
) -> None:
    bench = make_bench(nodes=lambda **_: [])
    (labels,) = labels_of(bench, "")
    started = launch(EMOTION, f"bundle:={bundle}", "respawn:=True")
    bench.wait(lambda: labels, "the nodes are active", PATIENCE)
    text = "data: I got the job, I cannot believe it!"
    line = ["ros2", "topic", "pub", "--once", "-w", "1", "/speech", "std_msgs/msg/String", text]
    subprocess.run(line, check=True, capture_output=True, timeout=60)
    bench.wait(lambda: bench.estimates, "an estimate", PATIENCE)
    output = started.end()
    assert "deprecated" not in output and "process has died" not in output


def test_none_switches_profile_and_ros4hri_off(
    make_bench: MakeBench, launch: Callable[..., Launch], bundle: Path
) -> None:
    bench = make_bench(nodes=lambda **_: [])
    started = launch(EMOTION, f"bundle:={bundle}", "fastdds_profile:=none", "humans:=none")
    bench.wait_for_diagnosis("utterance_node: humans", "off")
    (node,) = started.nodes()
    environment = Path(f"/proc/{node}/environ").read_bytes().decode().split("\0")
    assert not [entry for entry in environment if entry.startswith(PROFILE_VARIABLES)]
    assert "process has died" not in started.end()


def handles_signals(process: int) -> bool:
    """Has it installed our handlers? Python itself handles SIGINT only, from an instant after."""
    status = Path(f"/proc/{process}/status").read_text()
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize("delay", [0.0, 1.0, 2.5])
def test_control_c_while_the_nodes_load_ends_them_cleanly(
    delay: float, make_bench: MakeBench, launch: Callable[..., Launch], bundle: Path
) -> None:
    bench = make_bench(nodes=lambda **_: [])
    started = launch(EMOTION, f"bundle:={bundle}", "mode:=split")
    bench.wait(
        lambda: len(started.nodes()) == 2 and all(map(handles_signals, started.nodes())),
        "the processes have begun",
        PATIENCE,
    )
    threading.Event().wait(delay)  # no condition can be waited for: any moment is meant
    started.interrupt()
    output = started.end()
    # A child that ends at once can be reaped by launch's own signal: it then "reports 255".
    unknown = output.count("Unknown child process")
    assert output.count("process has finished cleanly") + unknown == 2, output
    assert "exit code -" not in output


def test_a_wrong_value_ends_the_launch_with_its_name(launch: Callable[..., Launch]) -> None:
    started = launch(EMOTION, "mode:=triple")
    assert started.process.wait(30) == 1
    assert "triple" in started.end()
