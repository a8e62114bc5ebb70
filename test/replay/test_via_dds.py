"""The same recording through the real nodes over DDS."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("rosbags", reason="the extra [replay] is not installed")
pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("erc_msgs.msg._utterance", reason="the interfaces are not built")

from erc_ros.demo.conversation_bag import (
    START,
    Phrase,
    SimulatedRecognizer,
    portrait,
    write_conversation,
)
from erc_ros.parameters import RobotConfig
from erc_ros.replay.bag import Bag, BagWriter
from erc_ros.replay.offline import replay
from erc_ros.replay.via_dds import NodesError, play, recognizable_speech, start_failure

pytestmark = pytest.mark.dds
PHRASES = [Phrase(0.5, 1.5, "I am so happy!"), Phrase(2.5, 3.5, "Why, what happened?")]


def test_the_nodes_say_the_same_as_the_replay(
    tmp_path: Path, robot: RobotConfig, noise: object
) -> None:
    path = write_conversation(
        tmp_path / "bag",
        noise,
        PHRASES,
        portrait(PHRASES[:1]),
        recognizer=SimulatedRecognizer(type=recognizable_speech()),
        frames_per_second=5,
    )
    with Bag(path) as bag:
        offline = replay(bag, {}, robot)
    shown = []
    with Bag(path) as bag:
        live = play(bag, {}, robot, rate=1.0, on_row=lambda row, origin: shown.append(row.text))
    assert live.counts["audio received"] == live.counts["audio played"] == 300
    assert live.counts["image received"] == live.counts["image played"]
    assert shown == [row.text for row in live.rows] == [row.text for row in offline.rows]
    for mine, theirs in zip(live.rows, offline.rows, strict=True):
        assert mine.label == theirs.label
        assert mine.start == pytest.approx(theirs.start, abs=50_000_000)
        assert mine.overlap == theirs.overlap
    assert live.bundle == offline.bundle
    assert live.timing["latency_ms"]["max"] > 0


def test_a_broken_bundle_is_an_error_with_its_reason(
    tmp_path: Path, robot: RobotConfig, noise: object
) -> None:
    path = write_conversation(tmp_path / "bag", noise, PHRASES[:1])
    (tmp_path / "broken").mkdir()
    with Bag(path) as bag, pytest.raises(NodesError, match=r"bundle\.yaml"):
        play(bag, {}, robot.changed(bundle=str(tmp_path / "broken")))
    with Bag(path) as bag, pytest.raises(FileNotFoundError, match="nowhere"):
        play(bag, {}, robot.changed(bundle="nowhere"))


def test_a_start_fails_by_an_error_of_the_state_and_not_by_a_warning() -> None:
    from diagnostic_msgs.msg import DiagnosticStatus

    def status(name: str, level: bytes) -> DiagnosticStatus:
        return DiagnosticStatus(name=name, level=level, message="why")

    silent = status("utterance_node: state", DiagnosticStatus.WARN)  # before the first /clock
    other = status("emotion_node: bundle", DiagnosticStatus.ERROR)
    assert start_failure([silent, other, status("emotion_node: state", DiagnosticStatus.OK)]) == ""
    failed = status("emotion_node: state", DiagnosticStatus.ERROR)
    assert start_failure([silent, failed]) == "emotion_node why"


def test_a_rate_of_zero_is_refused(tmp_path: Path, robot: RobotConfig, noise: object) -> None:
    path = write_conversation(tmp_path / "bag", noise, [])
    with Bag(path) as bag, pytest.raises(ValueError, match=r"rate.*positive"):
        play(bag, {}, robot, rate=0.0)


def test_what_may_not_be_recorded_is_in_no_row(tmp_path: Path, robot: RobotConfig) -> None:
    text, allowed = "std_msgs/msg/String", "std_msgs/msg/Bool"
    with BagWriter(tmp_path / "bag") as writer:
        for number, may in enumerate((True, False)):
            time = START + number * 2 * 10**9
            message = writer.new(allowed, data=may)
            writer.write("/recording_allowed", allowed, time, message)
            said = writer.new(text, data=f"Text {number}.")
            writer.write("/speech", text, time + 10**9, said)
    with Bag(tmp_path / "bag") as bag:
        live = play(bag, {}, robot, rate=2.0)
    assert [row.text for row in live.rows] == ["Text 0.", ""]
    assert live.counts["speech played"] == 2 and not live.counts["robot_speaking played"]
