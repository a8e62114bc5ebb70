"""Every command reports an error in one line, leaves no partial files, and ends with status 1."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from erc_ros.cli import _COMMANDS, main

LIMIT = 100_000  # bytes of a file; as on a disk that is full, but for the number of the error


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("rosbags", reason="the extra [replay] is not installed")
    from erc_ros.replay.bag import BagWriter

    folder = tmp_path_factory.mktemp("recording") / "bag"
    kind = "std_msgs/msg/String"
    with BagWriter(folder) as writer:
        for number in range(3):
            time = 10**18 + number * 10**9
            writer.write("/speech", kind, time, writer.new(kind, data=f"Hello {number}."))
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from bundles import write_tiny_bundle

    return write_tiny_bundle(tmp_path_factory.mktemp("bundle"))


def replay(recording: Path, bundle: Path, out: Path) -> list[str]:
    return [
        "replay", str(recording), "--bundle", str(bundle), "--speaker-model", "", "--out", str(out)
    ]  # fmt: skip


def on_a_full_disk(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Context in which no file can grow beyond `LIMIT`."""

    def limit() -> None:
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT))

    line = [sys.executable, "-m", "erc_ros.cli", *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False, preexec_fn=limit)


def test_a_report_that_does_not_fit_leaves_nothing(
    recording: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "timeline.png")

    monkeypatch.setattr("erc_ros.replay.report.draw", full)
    assert main(replay(recording, bundle, tmp_path / "out")) == 1
    error = capsys.readouterr().err
    assert "No space" in error and "make room" in error and "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["file", "file/inner"])
def test_out_onto_a_file_is_named_before_the_work(
    recording: Path, bundle: Path, tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    assert main(replay(recording, bundle, tmp_path / place)) == 1
    error = capsys.readouterr().err
    assert "choose another name" in error and error.count("\n") == 1
    assert (tmp_path / "file").read_text() == "mine" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(
    os.geteuid() == 0 and shutil.which("setpriv") is None, reason="root may write everywhere"
)
def test_a_folder_that_may_not_be_written_is_named(
    recording: Path, bundle: Path, tmp_path: Path
) -> None:
    tmp_path.chmod(0o500)
    bound = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"]
    line = [sys.executable, "-m", "erc_ros.cli", *replay(recording, bundle, tmp_path / "out")]
    line = [*bound, *line] if os.geteuid() == 0 else line  # root would be allowed everything
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "Permission denied" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["replay", "annotate", "evaluate", "import"])
def test_a_folder_that_cannot_be_written_is_named_before_the_work(
    recording: Path, bundle: Path, tmp_path: Path, command: str,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def work(*_: object, **__: object) -> None:
        raise AssertionError("work was done")

    monkeypatch.setattr("erc_ros.replay.offline.Pipeline", work)
    line = [command, *replay(recording, bundle, Path("/proc/erc/out"))[1:]]
    if command == "import":
        line = [command, str(sound(tmp_path / "talk.wav")), "--out", "/proc/erc/out"]
    assert main(line) == 1
    error = capsys.readouterr().err
    assert "/proc/erc/out" in error and "Traceback" not in error and error.count("\n") == 1


def test_a_recording_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader", reason="the extra [demo] is not installed")
    done = on_a_full_disk(["make-bag", str(tmp_path / "bag")])
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []


def sound(file: Path, seconds: float = 6.0) -> Path:
    with wave.open(str(file), "wb") as stream:
        stream.setparams((1, 2, 16_000, 0, "NONE", ""))
        samples = np.random.default_rng(0).integers(-9000, 9000, int(16_000 * seconds))
        stream.writeframes(samples.astype("<i2").tobytes())
    return file


def test_enrolling_with_files_that_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    voices, pipe = str(tmp_path / "voices.json"), str(tmp_path / "pipe")
    for arguments in (
        ["Ada", pipe, "--voices", voices],  # would wait for ever
        ["Ada", "/dev/zero", "--voices", voices],  # would never end
        ["Ada", "--remove", "--voices", pipe],
        ["Ada", "--remove", "--voices", "/dev/zero"],
        ["Ada", "--remove", "--voices", str(tmp_path)],
        ["Ada", str(sound(tmp_path / "long.wav", 601.0)), "--voices", voices],
        ["Ada", str(sound(tmp_path / "noise.wav")), "--voices", voices],
    ):
        assert main(["enrol", *arguments]) == 1, arguments
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "Ada" not in error
    assert not Path(voices).exists()


def test_a_voice_is_removed_in_one_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "voices.json"
    content = {"format": 2, "model_sha256": "a", "voices": {"Ada": {}, "Bob": {}}}
    file.write_text(json.dumps(content))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("erc_ros.values.files.os.fsync", full)
        assert main(["enrol", "Ada", "--remove", "--voices", str(file)]) == 1
    assert "make room" in capsys.readouterr().err
    assert json.loads(file.read_text()) == content and len(list(tmp_path.iterdir())) == 1
    assert main(["enrol", "Ada", "--remove", "--voices", str(file)]) == 0
    assert list(json.loads(file.read_text())["voices"]) == ["Bob"]
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", _COMMANDS)
def test_an_error_of_the_system_is_a_line_of_any_command(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: Sequence[str]) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/results")

    monkeypatch.setitem(_COMMANDS, name, (full, ""))
    assert main([name]) == 1
    error = capsys.readouterr().err
    assert (
        error
        == f"erc {name}: /results: No space left on device; make room, or choose another disk\n"
    )


def test_a_closed_pipe_ends_a_command_silently() -> None:
    line = f"{sys.executable} -m erc_ros.cli --help | head -c 1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.stderr == ""
