"""No library of this package sends telemetry: no file in HOME, no connection.

Each test starts a process as a user does, with an empty HOME and without the variable CI, which
disables the telemetry of ONNX Runtime.
"""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from bundles import write_tiny_bundle

REPOSITORY = Path(__file__).resolve().parents[1]
SCRIPT = """
import time
from erc_ros import EstimateEvent, Pipeline, PipelineConfig, Transcript

with Pipeline(PipelineConfig(bundle={bundle!r}, speaker_model="none")) as pipeline:
    events = pipeline.feed(Transcript("I got the job!", arrival=10**18)) + pipeline.flush()
    assert any(isinstance(event, EstimateEvent) for event in events)
    time.sleep(12)  # ONNX Runtime's first attempt to connect comes some seconds after its start
"""
MULTICAST = ipaddress.ip_network("224.0.0.0/4")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def environment(home: Path) -> dict[str, str]:
    """Return the environment of a new user's shell in which this package is found."""
    kept = ("LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "ROS_DOMAIN_ID", "AMENT_PREFIX_PATH")
    found = {name: os.environ[name] for name in kept if name in os.environ}
    return {**found, "HOME": str(home), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


def run(arguments: Sequence[str], home: Path, before: Sequence[str] = ()) -> None:
    done = subprocess.run(
        [*before, sys.executable, *arguments],
        cwd=REPOSITORY,
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def files(home: Path) -> list[str]:
    return sorted(str(file.relative_to(home)) for file in home.rglob("*") if file.is_file())


def nodes(bundle: Path) -> list[str]:
    """Run `erc run` for some seconds."""
    arguments = [f"bundle:={bundle}", "mode:=single"]
    return ["-m", "erc_ros.cli", "run", "--seconds", "15", *arguments]


def test_a_pipeline_leaves_no_file_in_the_home(bundle: Path, home: Path) -> None:
    run(["-c", SCRIPT.format(bundle=str(bundle)).replace("sleep(12)", "sleep(0)")], home)
    assert files(home) == []


def test_a_replay_leaves_no_file_in_the_home_but_the_font_cache(
    bundle: Path, home: Path, tmp_path: Path
) -> None:
    pytest.importorskip("rosbags", reason="the extra [replay] is not installed")
    from erc_ros.replay.bag import BagWriter

    kind = "std_msgs/msg/String"
    with BagWriter(tmp_path / "bag") as writer:
        writer.write("/speech", kind, 10**18, writer.new(kind, data="Hello."))
    command = ["-m", "erc_ros.cli", "replay", str(tmp_path / "bag"), "--bundle", str(bundle)]
    run([*command, "--speaker-model", "none", "--out", str(tmp_path / "out")], home)
    left = [name for name in files(home) if not name.startswith(".cache/matplotlib/fontlist")]
    assert left == [] and (tmp_path / "out" / "estimates.jsonl").is_file()


@pytest.mark.dds
def test_the_nodes_leave_no_file_in_the_home_but_logs(bundle: Path, home: Path) -> None:
    pytest.importorskip("rclpy", reason="no ROS 2 here")
    pytest.importorskip("erc_msgs.msg._utterance", reason="erc_msgs is not built")
    run(nodes(bundle), home)
    left = files(home)
    assert left and all(name.startswith(".ros/log/") for name in left), left


@pytest.mark.parametrize("entry", ["pipeline", pytest.param("nodes", marks=pytest.mark.dds)])
def test_nothing_is_connected_to_but_this_machine(
    entry: str, bundle: Path, home: Path, tmp_path: Path
) -> None:
    if entry == "nodes":
        pytest.importorskip("rclpy", reason="no ROS 2 here")
        pytest.importorskip("erc_msgs.msg._utterance", reason="erc_msgs is not built")
    trace = tmp_path / "trace"
    strace = [
        "strace",
        "-f",
        "-qq",
        "-e",
        "trace=connect,sendto,sendmsg,sendmmsg",
        "-o",
        str(trace),
    ]
    if not shutil.which("strace"):
        pytest.skip("strace is not installed: connections cannot be observed")
    if subprocess.run([*strace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace may not trace processes here")
    script = SCRIPT.format(bundle=str(bundle))
    run(nodes(bundle) if entry == "nodes" else ["-c", script], home, strace)
    written = trace.read_text()
    addresses = set(re.findall(r'inet_addr\("([\d.]+)"\)|inet_pton\(AF_INET6, "([^"]+)"', written))
    hosts = {ipaddress.ip_address(four or six) for four, six in addresses}
    own = {ipaddress.ip_address(text) for text in own_addresses()}
    foreign = {host for host in hosts if not host.is_loopback and host not in own}
    assert not {host for host in foreign if entry == "pipeline" or host not in MULTICAST}


def own_addresses() -> list[str]:
    """Return the IPv4 addresses of this computer, which DDS uses between its processes."""
    table = Path("/proc/net/fib_trie").read_text()
    return re.findall(r"\|-- ([\d.]+)\n\s+/32 host LOCAL", table)


def test_every_process_that_imports_the_package_or_is_started_by_it_has_no_telemetry() -> None:
    from erc_ros import NO_TELEMETRY

    names = list(NO_TELEMETRY)
    child = f"import os; print([os.environ[name] for name in {names}])"
    code = f"import erc_ros, subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    given = {**os.environ, **dict.fromkeys(names, "")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=given, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(list(NO_TELEMETRY.values()))


def test_the_variables_are_those_that_the_libraries_read() -> None:
    code = (
        "import erc_ros\n"
        "from huggingface_hub import constants\n"
        "assert constants.HF_HUB_DISABLE_TELEMETRY\n"
    )
    pytest.importorskip("huggingface_hub", reason="comes with tokenizers from PyPI")
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_an_import_of_onnxruntime_that_came_first_is_reported() -> None:
    given = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    for first, reported in (("onnxruntime, erc_ros", True), ("erc_ros, onnxruntime", False)):
        done = subprocess.run(
            [sys.executable, "-c", f"import {first}"],
            env={**given, "CI": "true"},  # this process itself shall not report either
            capture_output=True,
            text=True,
            check=True,
        )
        assert ("ORT_DISABLE_TELEMETRY=1" in done.stderr) == reported
