"""`erc replay --from --to`: a part of a recording."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from erc_ros.cli import main
from erc_ros.demo.conversation_bag import START
from erc_ros.parameters import RobotConfig
from erc_ros.replay.bag import Bag, BagWriter
from erc_ros.replay.part import PartOfRecording, TimeRange
from erc_ros.values.nanoseconds import seconds

INFO, BOOL = "audio_common_msgs/msg/AudioInfo", "std_msgs/msg/Bool"


@pytest.fixture
def replayed(robot: RobotConfig, tmp_path: Path) -> Any:
    """A function that runs the command and returns its status and the rows of its table."""
    bundle = robot.emotion_node.recognition.bundle

    def run(path: Path, *options: str) -> tuple[int, list[dict[str, str]]]:
        out = tmp_path / "out"
        usual = ["--bundle", bundle, "--speaker-model", "none", "--out", str(out)]
        status = main(["replay", str(path), *usual, *options])
        table = out / "estimates.csv"
        return status, list(csv.DictReader(table.open())) if table.is_file() else []

    return run


def with_messages(bag: Path, path: Path, *changes: tuple[float, str, bool]) -> Path:
    """Copy a recording with one `audio_info`, at its start, and (s, topic, value) messages."""
    with Bag(bag) as whole, BagWriter(path) as writer:
        records = list(whole.messages({topic.name for topic in whole.topics}))
        infos = [record for record in records if record.type == INFO]
        entries = [(r.time, r.topic, r.type, r.message) for r in records if r not in infos[1:]]
        for time, topic, value in changes:
            entries.append((START + seconds(time), topic, BOOL, writer.new(BOOL, data=value)))
        for time_of, topic, kind, message in sorted(entries, key=lambda entry: entry[0]):
            writer.write(topic, kind, time_of, message)
    return path


def test_only_the_part_of_a_rosbag_is_analyzed(
    recording: Path, replayed: Any, tmp_path: Path
) -> None:
    status, whole = replayed(recording)
    texts = [row["text"] for row in whole]
    assert status == 0 and len(texts) == 3 and all(texts)
    origin = json.loads((tmp_path / "out" / "summary.json").read_text())["origin_ns"]
    status, part = replayed(recording, "--from", "2.4", "--to", "4")
    assert status == 0 and [row["text"] for row in part] == texts[1:2]
    # times are those of the whole recording
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["origin_ns"] == origin
    assert float(part[0]["start_s"]) == pytest.approx(float(whole[1]["start_s"]), abs=0.01)
    status, rest = replayed(recording, "--from", "4")
    assert status == 0 and [row["text"] for row in rest] == texts[2:]


def test_only_the_part_of_a_media_file_is_analyzed(replayed: Any, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="the extra [media] is not installed")
    from media_clips import write_media

    noise = np.random.default_rng(0).standard_normal(6 * 16000).astype(np.float32) * 1e-3
    path = write_media(tmp_path / "talk.wav", [noise], rate=16_000)
    cues = [
        f"{n}\n00:00:0{n},500 --> 00:00:0{n + 1},300\n{text}\n" for n, text in enumerate("abc", 1)
    ]
    path.with_suffix(".srt").write_text("\n".join(cues))
    status, part = replayed(path, "--from", "2.0", "--to", "4")
    assert status == 0 and [row["text"] for row in part] == ["a", "b"]  # 0.3 s after their ends
    status, part = replayed(path, "--from", "3")
    assert status == 0 and [row["text"] for row in part] == ["b", "c"]
    assert 2 < float(part[0]["start_s"]) < 3.7


@pytest.mark.parametrize(
    "options",
    [
        ("--from", "90"),
        ("--from", "3", "--to", "2"),
        ("--from", "3", "--to", "3"),
        ("--to", "-1"),
        ("--from", "nan"),
        ("--to", "inf"),
        ("--from", "1", "--via-dds"),
    ],
)
def test_a_part_that_does_not_exist_is_refused_without_results(
    options: tuple[str, ...],
    recording: Path,
    replayed: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert replayed(recording, *options) == (1, [])
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "out" / "summary.json").exists()


@pytest.mark.parametrize("options", [("--from", "soon"), ("--to",)])
def test_a_time_that_is_no_number_is_a_wrong_option(
    options: tuple[str, ...], recording: Path, replayed: Any
) -> None:
    with pytest.raises(SystemExit) as stopped:
        replayed(recording, *options)
    assert stopped.value.code == 2


def test_what_was_not_allowed_before_the_part_is_not_allowed_in_it(
    recording: Path, replayed: Any, tmp_path: Path
) -> None:
    path = with_messages(recording, tmp_path / "talk", (0.1, "/recording_allowed", False))
    status, part = replayed(path, "--from", "2.4")
    assert status == 0 and len(part) == 2 and {row["text"] for row in part} == {""}


def test_the_state_before_the_part_applies_at_its_start(recording: Path, tmp_path: Path) -> None:
    path = with_messages(
        recording,
        tmp_path / "talk",
        (0.1, "/robot_speaking", False),
        (1.0, "/robot_speaking", True),
        (3.0, "/robot_speaking", False),
    )
    with Bag(path) as bag:
        part = PartOfRecording(bag, TimeRange(seconds(2), seconds(5)))
        records = list(part.messages({topic.name for topic in bag.topics}))
    times = [record.time for record in records]
    assert times == sorted(times) and times[0] - START >= seconds(2)
    assert [record.type for record in records].count(INFO) == 1  # of the start of the recording
    assert [r.message.data for r in records if r.topic == "/robot_speaking"] == [True, False]
    ((start, end),) = part.robot()
    assert (start / 1e9, end / 1e9) == (pytest.approx(2, abs=0.1), pytest.approx(3, abs=0.1))
