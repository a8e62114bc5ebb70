"""The command `erc`: results and error messages."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

import pytest

import erc_ros
from erc_ros import resources
from erc_ros.cli import main
from erc_ros.inference.bundle import read_manifest
from erc_ros.resources import model_folder, package_version


def test_without_a_command_it_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert main(["--help"]) == 0
    assert "replay" in capsys.readouterr().out


def test_an_unknown_command_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fly"]) == 2
    assert "unknown command 'fly'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("eval", ["evaluate", "evaluate-bag", "evaluate-run"]),
        ("evaluate_bag", ["evaluate-bag"]),
        ("relpay", ["replay"]),
        ("make", ["make-bag", "make-corpus"]),
        ("analyze", ["replay"]),
        ("--verison", ["--version"]),
        ("fly", []),
    ],
)
def test_a_misspelled_command_gets_suggestions(
    typed: str, meant: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([typed]) == 2
    first = capsys.readouterr().err.splitlines()[0]
    _, _, suggested = first.partition("did you mean ")
    assert sorted(suggested.rstrip("?").split(" or ")) == (meant or [""])


def test_the_version_names_package_commit_and_default_bundle(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--version"]) == 0
    line = capsys.readouterr().out
    package = package_version()
    manifest = read_manifest(model_folder("edge-small"))
    assert line.startswith(f"erc_ros {package}")
    assert line.endswith(f"bundle edge-small {manifest.version}\n")
    root = Path(erc_ros.__file__).parents[1]
    if (root / ".git").exists():
        git = ["git", "-C", str(root), "rev-parse", "HEAD"]
        head = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
        assert f"(commit {head[:12]}" in line


def test_the_commit_of_what_pip_installed_from_a_repository_is_pips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "erc_ros-0.1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: erc_ros\nVersion: 0.1.0\n")
    vcs = {"vcs": "git", "commit_id": "0123456789abcdef0123"}
    (folder / "direct_url.json").write_text(json.dumps({"url": "x", "vcs_info": vcs}))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(resources, "_SOURCE", tmp_path)  # as in site-packages: no .git
    assert resources.commit() == "0123456789ab"
    (folder / "direct_url.json").unlink()
    assert resources.commit() == ""


def on_a_terminal(arguments: list[str]) -> str:
    """Return the output of a command on a standard error that is a terminal."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))  # rows, columns
    line = [sys.executable, "-m", "erc_ros.cli", *arguments]
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=slave) as process:
        os.close(slave)
        written = b""
        with suppress(OSError):  # the other end was closed
            while part := os.read(master, 4096):
                written += part
    os.close(master)
    assert process.returncode == 0, written.decode()
    return written.decode()


@pytest.mark.parametrize("command", ["replay", "annotate", "make-corpus"])
def test_long_commands_show_how_far_they_are_on_a_terminal_only(
    command: str, tmp_path: Path
) -> None:
    for module in ("rosbags", "tqdm", "av", "jinja2", "espeakng_loader"):
        pytest.importorskip(module, reason="an extra is not installed")
    from bundles import write_tiny_bundle

    from erc_ros.replay.bag import BagWriter

    if command == "make-corpus":
        arguments = [command, "iemocap", str(tmp_path), "--dialogues", "8"]
    else:
        kind = "std_msgs/msg/String"
        with BagWriter(tmp_path / "bag") as writer:
            for number in range(3):
                stamp = 10**18 + number * 10**9
                writer.write("/speech", kind, stamp, writer.new(kind, data="Hello."))
        bundle = str(write_tiny_bundle(tmp_path / "bundle"))
        arguments = [command, str(tmp_path / "bag"), "--bundle", bundle]
        arguments += ["--speaker-model", "none", "--out", str(tmp_path / "out")]
    shown = on_a_terminal(arguments)
    assert "0%|" in shown and "100%|" in shown, shown
    if command == "replay":
        line = [sys.executable, "-m", "erc_ros.cli", *arguments]
        done = subprocess.run(line, capture_output=True, text=True, check=True)
        assert "%|" not in done.stderr


def test_the_example_of_erc_run_has_arguments_that_it_knows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from erc_ros.nodes.run import given_arguments
    from erc_ros.nodes.system import read_system

    main(["--help"])
    (line,) = (
        line for line in capsys.readouterr().out.splitlines() if line.startswith("  erc run")
    )
    words = line.partition("  the nodes")[0].split()[2:]
    assert read_system().values(given_arguments(words))


def test_a_missing_recording_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("rosbags", reason="the extra [replay] is not installed")
    assert main(["replay", str(tmp_path / "nowhere")]) == 1
    error = capsys.readouterr().err
    assert "nowhere does not exist" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "module", "way_out"),
    [
        ("replay", "rosbags", "requirements/replay.txt"),
        ("make-bag", "espeakng_loader", "'.[demo]'"),
        ("export", "safetensors", "'.[train]'"),
        ("run", "rclpy", "ROS 2"),
        ("run", "diagnostic_msgs", "ROS 2"),
        ("run", "erc_msgs", "./interfaces"),
        ("demo", "rclpy", "ROS 2"),
        ("demo", "diagnostic_msgs", "ROS 2"),
        ("demo", "espeakng_loader", "'.[demo]'"),
        ("demo", "rosbags", "requirements/replay.txt"),
        ("replay", "numpy", "pip install numpy"),
    ],
)
def test_a_missing_extra_is_named(command: str, module: str, way_out: str, tmp_path: Path) -> None:
    without_arguments = ("run", "demo")
    arguments = [command] if command in without_arguments else [command, str(tmp_path / "b")]
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "metadata.yaml").touch()  # what replay takes for a rosbag2
    code = (
        f"import sys; sys.modules[{module!r}] = None; "
        f"from erc_ros.cli import main; sys.exit(main({arguments!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    named = module.replace("_", "-") if module == "espeakng_loader" else module
    assert line.startswith("erc") and f"{named}: " in line and way_out in line
    assert not (tmp_path / "out" / "demo" / "bag").exists()


def test_a_replay_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rosbags", reason="the extra [replay] is not installed")
    from bundles import write_tiny_bundle

    from erc_ros.replay.bag import BagWriter

    kind = "std_msgs/msg/String"
    with BagWriter(tmp_path / "bag") as writer:
        writer.write("/speech", kind, 10**18, writer.new(kind, data="Hello."))
    bundle = str(write_tiny_bundle(tmp_path / "bundle"))
    command = ["replay", str(tmp_path / "bag"), "--bundle", bundle, "--speaker-model", ""]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    assert "1 estimates" in capsys.readouterr().out
    assert "Hello." in (tmp_path / "out" / "estimates.jsonl").read_text()
    assert main([*command, "--out", str(tmp_path / "out"), "--no-text"]) == 0
    assert "Hello." not in (tmp_path / "out" / "estimates.jsonl").read_text()


def test_a_replay_takes_the_robots_parameters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rosbags", reason="the extra [replay] is not installed")
    from bundles import write_tiny_bundle

    from erc_ros.replay.bag import BagWriter

    kind = "std_msgs/msg/String"
    with BagWriter(tmp_path / "bag") as writer:
        for number, text in enumerate(("Hello.", "Good bye.")):
            time = 10**18 + number * 5 * 10**9
            writer.write("/speech", kind, time, writer.new(kind, data=text))
    robot = tmp_path / "robot.yaml"
    bundle = write_tiny_bundle(tmp_path / "bundle")
    robot.write_text(
        f"/**: {{ros__parameters: {{bundle: {bundle}, speaker_model: none}}}}\n"
        "utterance_node: {ros__parameters: {conversation_gap: 2.0}}\n"
    )
    command = ["replay", str(tmp_path / "bag"), "--params-file", str(robot)]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "estimates.jsonl").read_text()
    conversations = {json.loads(line)["conversation_id"] for line in text.splitlines()}
    assert len(conversations) == 2  # 5 s apart
    robot.write_text("utterance_node: {ros__parameters: {speech_type: none}}")
    assert main([*command, "--bundle", str(bundle), "--out", str(tmp_path / "none")]) == 1
    assert "speech_type is none" in capsys.readouterr().err
    robot.write_text("utterance_node: {ros__parameters: {conversation_gap: 0.0}}")
    assert main([*command, "--out", str(tmp_path / "no")]) == 1
    complaint = capsys.readouterr().err
    assert (
        "robot.yaml: utterance_node: conversation_gap must be in [1, 86400], got 0.0" in complaint
    )


def test_a_replay_needs_neither_ros_nor_torch() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['rclpy', 'torch', 'erc_msgs'])); "
        "import erc_ros.replay.offline, erc_ros.replay.bag, erc_ros.replay.timeline"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_asking_for_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from erc_ros.cli import main; main(['--help']); "
        "assert not {'torch', 'rclpy', 'rosbags', 'matplotlib', 'onnxruntime'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
