"""The package as it is installed: files, versions, and what an import brings along."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from xml.etree import ElementTree

import pytest

import erc_ros
from erc_ros.resources import shared

REPOSITORY = Path(__file__).resolve().parent.parent
RUNTIME = [
    "erc_ros.sensing.audio",
    "erc_ros.sensing.faces",
    "erc_ros.dialogue.assembler",
    "erc_ros.encoders.text",
    "erc_ros.encoders.audio",
    "erc_ros.encoders.face",
    "erc_ros.inference.recogniser",
    "erc_ros.cli",
]
NODES = ["erc_ros.nodes.emotion", "erc_ros.nodes.utterance_node", "erc_ros.nodes.emotion_node"]
HEAVY = ["torch", "transformers", "onnx", "scipy", "sklearn", "matplotlib"]


def imported_with(modules: list[str], unwanted: list[str]) -> set[str]:
    """Which of `unwanted` a fresh interpreter has loaded after importing `modules`."""
    code = f"import sys, {', '.join(modules)}; print(*(m for m in {unwanted} if m in sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


def test_the_core_runs_without_torch_and_without_ros() -> None:
    assert not imported_with(RUNTIME, [*HEAVY, "rclpy", "rosbags"])


def test_the_nodes_run_without_torch() -> None:
    pytest.importorskip("rclpy", reason="no ROS 2 here")
    pytest.importorskip("erc_msgs", reason="erc_msgs is not built")
    assert not imported_with(NODES, HEAVY)


@pytest.mark.parametrize(
    "path",
    [
        "package.xml",
        "config/parameters.yaml",
        "config/system.yaml",
        "config/fastdds_camera.xml",
        "launch/emotion.launch.py",
        "models/edge-small/bundle.yaml",
        "models/segmentation/segmentation.yaml",
        "models/speaker-campplus/speaker.yaml",
    ],
)
def test_what_the_nodes_read_lies_in_the_share_folder(path: str) -> None:
    share = shared("config").parent
    assert (share / path).is_file()


def test_every_command_is_an_executable_for_ros2_run() -> None:
    share = shared("config").parent
    installed = share.parent.parent / "lib" / "erc_ros"
    folder = REPOSITORY / "scripts" if (REPOSITORY / "scripts").is_dir() else installed
    for name in ("erc", "emotion", "utterance_node", "emotion_node"):
        assert os.access(folder / name, os.X_OK), f"{folder / name} is missing"


@pytest.mark.parametrize(
    ("hashed", "plain"), [("ros", "ros"), ("replay", "replay"), ("all", "tested")]
)
def test_what_is_installed_by_hash_is_what_is_pinned(hashed: str, plain: str) -> None:
    folder = REPOSITORY / "requirements"
    if not folder.is_dir():
        pytest.skip("not a source tree")

    def pins(text: str) -> set[str]:
        found = re.findall(r"^([A-Za-z0-9._-]+==[^\s;\\]+)", text, re.MULTILINE)
        return {name.lower().replace("_", "-").replace(".", "-") for name in found}

    text = (folder / "hashed" / f"{hashed}.txt").read_text(encoding="utf-8")
    pinned = pins((folder / f"{plain}.txt").read_text(encoding="utf-8"))
    without = {pin for pin in pinned if pin.startswith("torch==")}
    assert pins(text) == pinned - without
    for requirement in re.split(r"^(?=[A-Za-z])", text, flags=re.MULTILINE):
        lines = [line for line in requirement.splitlines() if not line.startswith("#")]
        assert not lines or re.search(r"--hash=sha256:[0-9a-f]{64}", requirement), lines[0]


def test_what_replay_adds_to_a_ros_machine_is_tested_and_leaves_its_libraries_alone() -> None:
    if not (REPOSITORY / "requirements").is_dir():
        pytest.skip("not a source tree")

    def pins(file: str) -> set[str]:
        lines = (REPOSITORY / "requirements" / file).read_text(encoding="utf-8").splitlines()
        return {line.partition(";")[0].strip() for line in lines if line and line[0] != "#"}

    assert pins("replay.txt") <= pins("tested.txt")
    named = {pin.partition("==")[0] for pin in pins("replay.txt")}
    assert not named & {"numpy", "opencv-python", "opencv-python-headless", "PyYAML", "matplotlib"}


@pytest.mark.parametrize("has_hri_msgs", [True, False])
def test_what_has_no_rosdep_key_is_installed_by_a_script(
    has_hri_msgs: bool, tmp_path: Path
) -> None:
    """With stand-ins for apt and pip: neither a ROS installation nor its packages are here."""
    script = REPOSITORY / "scripts" / "ros_dependencies"
    if not script.is_file():
        pytest.skip("not a source tree")
    for name in ("apt-get", "apt-cache", "python3", "sudo"):
        status = int(name == "apt-cache" and not has_hri_msgs)
        stand_in = tmp_path / name
        stand_in.write_text(f'#!/bin/sh\necho {name} "$@" >> "{tmp_path}/log"\nexit {status}\n')
        stand_in.chmod(0o755)

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        line = ["bash", str(script), *arguments]
        environment = {"PATH": path, **variables}
        return subprocess.run(line, env=environment, capture_output=True, text=True, check=False)

    refused = run()
    assert refused.returncode == 1 and "source ROS 2 first" in refused.stderr
    done = run("replay", "--break-system-packages", ROS_DISTRO="jazzy")
    assert done.returncode == 0, done.stderr
    assert ("no ros-jazzy-hri-msgs" in done.stderr) != has_hri_msgs
    log = (tmp_path / "log").read_text()
    assert ("opencv-data python3-pip python3-matplotlib" in log) and "--no-deps" in log
    assert ("matplotlib ros-jazzy-hri-msgs" in log) == has_hri_msgs
    (line,) = [line for line in log.splitlines() if line.startswith("python3")]
    files = [str(REPOSITORY / "requirements" / name) for name in ("ros.txt", "replay.txt")]
    options = ["--no-deps", "--break-system-packages"]
    assert line.split()[1:] == ["-m", "pip", "install", *options, "-r", files[0], "-r", files[1]]


def test_the_installed_version_is_that_of_package_xml() -> None:
    share = shared("config").parent
    written = ElementTree.parse(share / "package.xml").findtext("version")
    try:
        installed = version("erc_ros")
    except PackageNotFoundError:
        pytest.skip("not installed")
    assert installed == written


def test_the_package_is_typed() -> None:
    assert Path(erc_ros.__file__).with_name("py.typed").is_file()


def test_the_licence_is_there_and_named_the_same_everywhere() -> None:
    if not (REPOSITORY / "LICENSE").is_file():
        pytest.skip("not a source tree")
    assert "Apache License" in (REPOSITORY / "LICENSE").read_text(encoding="utf-8")
    for file in REPOSITORY.glob("**/package.xml"):
        if {"build", "install"} & set(file.relative_to(REPOSITORY).parts) or ".venv" in str(file):
            continue
        assert ElementTree.parse(file).findtext("license") == "Apache-2.0", file
