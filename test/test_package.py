"""The installed package: files, versions, and imports."""

from __future__ import annotations

import configparser
import email
import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import erc_ros
from erc_ros.resources import installed, package_version, shared

REPOSITORY = Path(__file__).resolve().parent.parent
RUNTIME = [
    "erc_ros.sensing.audio",
    "erc_ros.sensing.faces",
    "erc_ros.dialogue.assembler",
    "erc_ros.encoders.text",
    "erc_ros.encoders.audio",
    "erc_ros.encoders.face",
    "erc_ros.inference.emotion_recognizer",
    "erc_ros.cli",
]
NODES = ["erc_ros.nodes.emotion", "erc_ros.nodes.utterance_node", "erc_ros.nodes.emotion_node"]
HEAVY = ["torch", "transformers", "onnx", "scipy", "sklearn", "matplotlib"]


def imported_with(modules: list[str], unwanted: list[str]) -> set[str]:
    """Return which of `unwanted` a new interpreter has loaded after importing `modules`."""
    code = f"import sys, {', '.join(modules)}; print(*(m for m in {unwanted} if m in sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


def test_the_core_runs_without_torch_without_ros_and_without_downloads() -> None:
    assert not imported_with(RUNTIME, [*HEAVY, "rclpy", "rosbags", "huggingface_hub"])


def test_the_nodes_run_without_torch() -> None:
    pytest.importorskip("rclpy", reason="no ROS 2 here")
    pytest.importorskip("erc_msgs.msg._utterance", reason="erc_msgs is not built")
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
def test_what_the_nodes_read_is_in_the_package(path: str) -> None:
    assert (Path(erc_ros.__file__).parent / path).is_file()


def test_every_command_is_an_executable_for_ros2_run() -> None:
    folder = REPOSITORY / "scripts"
    if not folder.is_dir():
        share = installed("erc_ros")
        assert share is not None
        folder = share.parent.parent / "lib" / "erc_ros"
    for name in ("erc", "emotion", "utterance_node", "emotion_node"):
        assert os.access(folder / name, os.X_OK), f"{folder / name} is missing"


LOCK = REPOSITORY / "requirements" / "lock.txt"
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
in_source_tree = pytest.mark.skipif(not LOCK.is_file(), reason="not a source tree")


def pins(text: str, python: str, machine: str = "x86_64") -> dict[str, str]:
    """Return name -> pinned version in a requirements file for a Python on Linux."""
    packaging = pytest.importorskip("packaging.requirements")
    utils = pytest.importorskip("packaging.utils")
    environment = {"python_version": python, "python_full_version": f"{python}.20"}
    environment |= {"sys_platform": "linux", "platform_machine": machine, "os_name": "posix"}
    environment |= {"platform_system": "Linux", "implementation_name": "cpython"}
    environment |= {"platform_python_implementation": "CPython"}
    pinned: dict[str, str] = {}
    for line in re.findall(r"^[A-Za-z0-9][^#\\\n]*", text, re.MULTILINE):
        requirement = packaging.Requirement(line.strip())
        if requirement.marker and not requirement.marker.evaluate({**environment, "extra": ""}):
            continue
        (specifier,) = requirement.specifier
        name = utils.canonicalize_name(requirement.name)
        assert specifier.operator == "==" and name not in pinned, line
        pinned[name] = specifier.version
    return pinned


def project() -> dict[str, Any]:
    """Return the project table of pyproject.toml."""
    tomllib = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    table = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    return dict(table["project"])


@in_source_tree
@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_has_one_fitting_version_of_everything_for_each_python(python: str) -> None:
    packaging = pytest.importorskip("packaging.requirements")
    utils = pytest.importorskip("packaging.utils")
    given = project()
    torch = (REPOSITORY / "requirements" / "torch.txt").read_text(encoding="utf-8")
    locked = pins(LOCK.read_text(encoding="utf-8") + torch, python)
    extras = {name: of for name, of in given["optional-dependencies"].items() if name != "tensorrt"}
    for line in [*given["dependencies"], *(line for of in extras.values() for line in of)]:
        requirement = packaging.Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({"python_version": python}):
            continue
        name = utils.canonicalize_name(requirement.name)
        assert requirement.specifier.contains(locked[name], prereleases=True), (line, locked[name])
    assert {"numpy", "torch", "sympy", "huggingface-hub", "ros-rmw-fastrtps-cpp"} <= set(locked)


@in_source_tree
def test_extras_have_ranges_and_never_a_second_build_of_onnxruntime() -> None:
    extras = project()["optional-dependencies"]
    lines = [line for of in extras.values() for line in of]
    assert not [line for line in lines if "==" in line.partition(";")[0]]
    assert not [line for line in lines if line.startswith("onnxruntime")]
    assert any(line.startswith("tensorrt") for line in extras["tensorrt"])


@in_source_tree
def test_every_locked_file_has_its_hash_and_no_address() -> None:
    text = LOCK.read_text(encoding="utf-8")
    for requirement in re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", requirement), requirement
    assert "://" not in text and "index-url" not in text and "find-links" not in text


@in_source_tree
@pytest.mark.parametrize("file", ["ros.txt", "replay.txt"])
@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_what_pip_adds_to_a_ros_machine_is_locked_and_leaves_its_libraries_alone(
    file: str, python: str, machine: str
) -> None:
    locked = pins(LOCK.read_text(encoding="utf-8"), python, machine)
    text = (REPOSITORY / "requirements" / file).read_text(encoding="utf-8")
    named = pins(text, python, machine)
    assert named.items() <= locked.items()
    assert not set(named) & {"numpy", "opencv-python", "opencv-python-headless", "pyyaml"}
    assert "matplotlib" not in named


@in_source_tree
def test_the_constraints_are_the_lock_without_hashes() -> None:
    script = REPOSITORY / "scripts" / "constraints"
    printed = subprocess.run([str(script)], capture_output=True, text=True, check=True).stdout
    assert "hash" not in printed and "\\" not in printed
    torch = (REPOSITORY / "requirements" / "torch.txt").read_text(encoding="utf-8")
    locked = pins(LOCK.read_text(encoding="utf-8") + torch, "3.11")
    assert pins(printed, "3.11") == locked


def test_each_bundle_has_its_license_which_names_the_data_it_learned_from() -> None:
    yaml = pytest.importorskip("yaml")
    models = shared("models")
    folders = sorted(folder for folder in models.iterdir() if folder.is_dir())
    assert {"edge-open", "edge-small", "segmentation", "speaker-campplus"} <= {
        folder.name for folder in folders
    }
    for folder in folders:
        text = " ".join((folder / "LICENSE").read_text(encoding="utf-8").split())
        manifest = folder / "bundle.yaml"
        if manifest.is_file():
            training = yaml.safe_load(manifest.read_text(encoding="utf-8"))["training"]
            assert all(title in text for title in training["data"]), folder
            limited = "non-commercial" in training["licence"]
            assert limited == ("non-commercial purposes only" in text), folder
            assert limited != ("SPDX: Apache-2.0" in text), folder


@in_source_tree
def test_the_first_screen_of_the_readme_says_language_and_license_of_the_default_bundle() -> None:
    first = (REPOSITORY / "README.md").read_text(encoding="utf-8")[:1500].lower()
    assert "english only" in first and "non-commercial" in first
    assert "models/edge-small/license" in first


@in_source_tree
def test_the_metadata_of_the_wheel_have_every_license_and_the_readme(tmp_path: Path) -> None:
    setuptools = pytest.importorskip("setuptools")
    if int(setuptools.__version__.partition(".")[0]) < 77:
        pytest.skip("setuptools is too old for license expressions; pip builds with a newer one")
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in (
        "LICENSE",
        "README.md",
        "erc_msgs",
        "erc_ros",
        "interfaces",
        "pyproject.toml",
        "resource",
        "scripts",
    ):
        (copy / name).symlink_to(REPOSITORY / name)
    code = "from setuptools import build_meta; build_meta.prepare_metadata_for_build_wheel('..')"
    subprocess.run([sys.executable, "-c", code], cwd=copy, check=True, capture_output=True)
    (folder,) = tmp_path.glob("*.dist-info")
    metadata = email.message_from_string((folder / "METADATA").read_text(encoding="utf-8"))
    expression = metadata["License-Expression"]
    assert "Apache-2.0" in expression and "LicenseRef-erc-edge-small" in expression
    files = set(metadata.get_all("License-File") or ())
    assert files == {
        "LICENSE",
        "erc_ros/dialogue/assets/LICENSE",
        *(f"erc_ros/models/{folder.name}/LICENSE" for folder in shared("models").iterdir()),
    }
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert str(metadata.get_payload()).strip() == readme.strip()
    classifiers = metadata.get_all("Classifier") or ()
    pythons = {name.rpartition(" ")[2] for name in classifiers if ":: Python ::" in name}
    assert {f"3.{minor}" for minor in range(10, 14)} == pythons


def test_what_has_no_rosdep_key_is_installed_by_a_script(tmp_path: Path) -> None:
    """With stand-ins for apt and pip, without a ROS installation."""
    script = REPOSITORY / "scripts" / "ros_dependencies"
    if not script.is_file():
        pytest.skip("not a source tree")
    for name in ("apt-get", "python3", "sudo"):
        stand_in = tmp_path / name
        stand_in.write_text(f'#!/bin/sh\necho {name} "$@" >> "{tmp_path}/log"\n')
        stand_in.chmod(0o755)

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        line = ["bash", str(script), *arguments]
        environment = {"PATH": path, **variables}
        return subprocess.run(line, env=environment, capture_output=True, text=True, check=False)

    refused = run()
    assert refused.returncode == 1 and "source ROS 2 first" in refused.stderr
    done = run("replay", "--user", ROS_DISTRO="jazzy")
    assert done.returncode == 0, done.stderr
    log = (tmp_path / "log").read_text()
    assert "opencv-data python3-pip" in log
    (line,) = [line for line in log.splitlines() if line.startswith("python3")]
    files = [str(REPOSITORY / "requirements" / name) for name in ("ros.txt", "replay.txt")]
    options = ["--no-deps", "--user"]
    assert line.split()[1:] == ["-m", "pip", "install", *options, "-r", files[0], "-r", files[1]]


@in_source_tree
def test_version_description_and_executables_are_the_same_for_pip_and_ros() -> None:
    pip, setup = project(), configparser.ConfigParser()
    assert setup.read(REPOSITORY / "erc_ros" / "setup.cfg")
    lines = setup["options.entry_points"]["console_scripts"].strip().splitlines()
    assert dict(line.split(" = ") for line in lines) == pip["scripts"]
    for name in ("erc_msgs", "erc_ros"):
        package = ElementTree.parse(REPOSITORY / name / "package.xml")
        assert package.findtext("version") == pip["version"], name
        history = (REPOSITORY / name / "CHANGELOG.rst").read_text(encoding="utf-8")
        releases = re.findall(r"^(\d+\.\d+\.\d+) \(\d{4}-\d\d-\d\d\)\n-+$", history, re.MULTILINE)
        assert releases[0] == pip["version"], name
        assert package.findtext("author") and package.findtext("url"), name
    assert package.findtext("description") == pip["description"]


@in_source_tree
def test_colcon_rosdep_and_bloom_find_two_packages_that_need_nothing_around_them() -> None:
    """They search folders up to the first package, except those with COLCON_IGNORE."""
    found = []
    for path, folders, files in os.walk(REPOSITORY):
        folders[:] = [name for name in folders if not name.startswith((".", "build", "install"))]
        if "COLCON_IGNORE" in files:
            folders.clear()
        elif {"package.xml", "CMakeLists.txt", "setup.py", "setup.cfg"} & set(files):
            found.append(Path(path).relative_to(REPOSITORY).as_posix())
            folders.clear()
    assert sorted(found) == ["erc_msgs", "erc_ros"]
    own = (REPOSITORY / "LICENSE").read_bytes()
    assert all((REPOSITORY / name / "LICENSE").read_bytes() == own for name in found)
    outside = [path for path in REPOSITORY.glob("erc_*/**/*") if path.is_symlink()]
    assert not outside


@in_source_tree
def test_catkin_pkg_reads_both_packages_without_a_warning() -> None:
    """The parser of colcon, rosdep and bloom."""
    catkin_pkg = pytest.importorskip("catkin_pkg.package", reason="make colcon has catkin_pkg")
    for name in ("erc_msgs", "erc_ros"):
        warnings: list[str] = []
        package = catkin_pkg.parse_package(REPOSITORY / name, warnings=warnings)
        assert (package.name, warnings) == (name, [])
        for distribution in ("humble", "jazzy", "lyrical"):
            package.evaluate_conditions({"ROS_DISTRO": distribution, "ROS_VERSION": "2"})
            used = {each.name for each in package.exec_depends if each.evaluated_condition}
            assert ("hri_msgs" in used) == (name == "erc_ros")
            assert ("python3-onnxruntime-pip" in used) == (
                name == "erc_ros" and distribution != "humble"
            )


@in_source_tree
def test_the_changelog_of_the_messages_names_each_of_them() -> None:
    history = (REPOSITORY / "erc_msgs" / "CHANGELOG.rst").read_text(encoding="utf-8")
    files = [*REPOSITORY.glob("erc_msgs/msg/*.msg"), *REPOSITORY.glob("erc_msgs/srv/*.srv")]
    assert files and not [
        file.stem
        for file in files
        if f"{file.stem}," not in history and f"{file.stem}." not in history
    ]


def test_the_installed_version_is_that_of_package_xml() -> None:
    try:
        installed_version = version("erc_ros")
    except PackageNotFoundError:
        pytest.skip("not installed")
    share = installed("erc_ros")
    assert share is not None
    assert installed_version == ElementTree.parse(share / "package.xml").findtext("version")
    assert package_version().count(".") == 2


def test_the_package_is_typed() -> None:
    assert Path(erc_ros.__file__).with_name("py.typed").is_file()


def test_package_xml_names_the_licenses_of_the_wheel() -> None:
    folder = Path(erc_ros.__file__).parent
    elements = ElementTree.parse(folder / "package.xml").findall("license")
    names = [element.text for element in elements]
    assert len(names) == len(set(names)) >= 4 and "LicenseRef-erc-edge-small" in names
    for element in elements:
        if file := element.get("file"):
            assert (folder / file).is_file()
    if LOCK.is_file():
        assert project()["license"] == " AND ".join(map(str, names))


def test_the_licence_is_there_and_named_the_same_everywhere() -> None:
    if not (REPOSITORY / "LICENSE").is_file():
        pytest.skip("not a source tree")
    assert "Apache License" in (REPOSITORY / "LICENSE").read_text(encoding="utf-8")
    for file in REPOSITORY.glob("**/package.xml"):
        if {"build", "install"} & set(file.relative_to(REPOSITORY).parts) or ".venv" in str(file):
            continue
        assert ElementTree.parse(file).findtext("license") == "Apache-2.0", file


@in_source_tree
def test_the_interfaces_of_jazzy_ask_for_no_package_of_kilted() -> None:
    folder = REPOSITORY / "interfaces"
    arguments = ["sed", "-f", str(folder / "for_jazzy.sed"), str(folder / "pyproject.toml")]
    changed = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
    wanted = (REPOSITORY / "requirements" / "jazzy.txt").read_text(encoding="utf-8")
    for name in ("ros-sensor-msgs", "ros-std-msgs"):
        versions = set(re.findall(rf"{name}[~=]=([\d.]+)", changed))
        assert versions == set(re.findall(rf"{name}==([\d.]+)", wanted)), name
    assert "1.7.1" not in changed  # rosidl-default-*


def test_a_former_public_name_is_accepted_with_a_warning() -> None:
    with pytest.warns(DeprecationWarning):
        assert erc_ros.SoundChunk is erc_ros.AudioChunk
