"""The command `erc`: what it does, and what it says when it cannot."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from erc_ros.cli import main


def test_without_a_command_it_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert main(["--help"]) == 0
    assert "replay" in capsys.readouterr().out


def test_an_unknown_command_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fly"]) == 2
    assert "unknown command 'fly'" in capsys.readouterr().err


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
        ("export-speaker", "torch", "'.[train]'"),
    ],
)
def test_a_missing_extra_is_named(command: str, module: str, way_out: str, tmp_path: Path) -> None:
    arguments = (
        [command] if command in ("run", "export-speaker") else [command, str(tmp_path / "b")]
    )
    code = (
        f"import sys; sys.modules[{module!r}] = None; "
        f"from erc_ros.cli import main; sys.exit(main({arguments!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert way_out in done.stderr
    assert "Traceback" not in done.stderr


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
    assert main([*command, "--bundle", str(bundle), "--out", str(tmp_path / "none")]) == 0
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
