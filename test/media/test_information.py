"""Commands that describe recordings, model packages and the machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from media_clips import image, tone, write_media

from erc_ros import cli
from erc_ros.cli import main
from erc_ros.demo.conversation_bag import DIALOGUE, perform, portrait
from erc_ros.demo.voices import synthesiser
from erc_ros.media.doctor import EXTRAS, PURPOSES, checks
from erc_ros.replay.bag import Bag
from erc_ros.replay.offline import replay
from erc_ros.replay.recording import open_recording


def test_info_lists_tracks_and_what_would_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [(n / 10, image(9, 9)) for n in range(10)]
    path = write_media(tmp_path / "talk.mkv", [tone(1.0), tone(1.0)], images=images)
    assert main(["info", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    by_name = {line.split()[0]: line for line in lines if line}
    assert by_name["/audio"].endswith("used as audio")
    assert by_name["/audio1"].endswith("not used")
    assert by_name["/image"].endswith("used as image")
    assert any(line.startswith("video: h264, 64 x 48") for line in lines)


def test_info_names_the_transcript_that_would_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_media(tmp_path / "talk.mp3", [tone(3.0)])
    assert main(["info", str(path)]) == 0
    assert "--transcript" in capsys.readouterr().out
    (tmp_path / "talk.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nHello there.\n")
    assert main(["info", str(path)]) == 0
    out = capsys.readouterr().out
    assert "talk.srt, 1 entries" in out and "/speech" in out


def test_info_of_a_missing_recording_fails(tmp_path: Path) -> None:
    assert main(["info", str(tmp_path / "missing.mp4")]) == 1


@pytest.mark.parametrize("name", ["notes.txt", "talk.srt", "folder", "https://example.org/a.mp4"])
def test_a_path_that_is_not_a_recording_is_refused_without_the_library_for_rosbags(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "rosbags", None)
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    for file in ("notes.txt", "talk.srt", "folder/talk.mp4"):
        Path(file).write_text("1\n00:00:01,000 --> 00:00:02,000\nHello.\n")
    for command in ("info", "replay"):
        assert main([command, name]) == 1
        error = capsys.readouterr().err
        assert name.replace("//", "/") in error and "rosbags:" not in error


def test_models_lists_every_bundle_with_its_inputs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert "edge-small" in out
    assert "edge-open" in out
    assert "segmentation" not in [line.split(" ")[0] for line in out.splitlines()]
    assert "text, audio, visual" in out
    assert "license    Apache-2.0" in out  # of edge-open


def test_doctor_names_a_remedy_for_everything_that_is_missing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["doctor"]) == 0
    assert "onnxruntime" in capsys.readouterr().out
    report = checks()
    assert {f"[{extra}]" for extra in EXTRAS} <= {check.name for check in report}
    assert all(check.remedy for check in report if check.state != "ok")


def test_the_extras_of_doctor_are_those_of_the_package() -> None:
    """Each module that doctor looks for is one that the command line can explain."""
    modules = {module for of in EXTRAS.values() for module in of}
    assert modules <= set(cli._EXTRAS)
    assert set(PURPOSES) == set(EXTRAS)


def test_help_needs_no_extra() -> None:
    """Of commands for recordings: with the packages of `pip install .` only."""
    extras = {module for name, of in EXTRAS.items() if name != "train" for module in of}
    commands = ["replay", "annotate", "evaluate", "agreement", "import", "live", "sense", "info"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({sorted(extras)}))\n"
        "from erc_ros.cli import main\n"
        f"for command in {commands}:\n"
        "    try: main([command, '--help'])\n"
        "    except SystemExit as end: assert not end.code\n"
        "    else: raise AssertionError(command)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_every_command_is_in_one_group_of_the_help() -> None:
    names = [name for group in cli._GROUPS.values() for name in group]
    assert sorted(names) == sorted(cli._COMMANDS)


def test_an_imported_film_gives_the_estimates_of_the_film(tmp_path: Path) -> None:
    turns = DIALOGUE[:2]
    audio, phrases = perform(turns, synthesiser())
    camera = portrait(phrases[:1])
    images = [(n / 10, camera(n / 10)) for n in range(round(len(audio) / 1600))]
    path = write_media(tmp_path / "talk.mp4", [audio], rate=16_000, images=images)
    words = tmp_path / "talk.csv"
    lines = [f'{p.start},{p.end},"{p.text}"' for p in phrases]
    words.write_text("start,end,text\n" + "\n".join(lines))
    out = tmp_path / "bag"
    arguments = ["--transcript", str(words), "--out", str(out)]
    assert main(["import", str(path), *arguments]) == 0
    from erc_ros.media.transcripts import read_cues

    with open_recording(path, read_cues(words)) as film, Bag(out) as bag:
        expected, imported = replay(film, {}).rows, replay(bag, {}).rows
        counts = {topic.name: topic.count for topic in bag.topics}
    assert counts.pop("/audio_info") == 1 and counts["/speech"] == len(phrases)
    assert set(counts) == {"/audio", "/image/compressed", "/speech"}
    assert [row.text for row in imported] == [row.text for row in expected] != []
    assert [row.label for row in imported] == [row.label for row in expected]
    assert np.array([row.start for row in imported]) == pytest.approx(
        np.array([row.start for row in expected]), abs=50_000_000
    )
    assert main(["import", str(path), *arguments]) == 1  # the folder exists
