"""A bundle of a paper's system in the nodes over DDS: waveforms, clips, prompts."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")
pytest.importorskip("av", reason="needs the extra [train]")
pytest.importorskip("rosbags", reason="the extra [replay] is not installed")
pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("erc_msgs.msg._utterance", reason="the interfaces are not built")
pytest.importorskip("espeakng_loader", reason="the extra [demo] is not installed")

from system_runs import write_system_run

from erc_ros.cli import main
from erc_ros.demo.conversation_bag import SimulatedRecognizer
from erc_ros.demo.generated_corpora import write_recording
from erc_ros.parameters import RobotConfig
from erc_ros.replay.bag import Bag
from erc_ros.replay.offline import replay
from erc_ros.replay.via_dds import play, recognizable_speech
from erc_ros.training.export.system_bundle import export_bundle

pytestmark = pytest.mark.dds
SIDE = 112  # pixels; more than the nodes keep without being told


@pytest.mark.parametrize(
    ("head", "without"),
    [
        ("magtkd", ()),
        pytest.param("summer", (), marks=pytest.mark.long),
        pytest.param("lpgnet", ("visual",), marks=pytest.mark.long),
        pytest.param("ddvlm", ("audio",), marks=pytest.mark.long),
    ],
)
def test_a_system_runs_in_the_nodes_as_in_the_replay(
    head: str, without: tuple[str, ...], generated_meld: Path, tmp_path: Path, robot: RobotConfig
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "MELD.Raw").symlink_to(generated_meld / "MELD.Raw")
    assert main(["cut-faces", "meld", "--data", str(data), "--crops", "4", "--size", "64"]) == 0
    run = write_system_run(tmp_path / "run", data, "meld-faces", head, side=SIDE)
    bundle, _ = export_bundle(run, tmp_path / "bundle", data, without=without)
    assert bundle.visual is None if "visual" in without else bundle.visual.size == SIDE
    recognizer = SimulatedRecognizer(type=recognizable_speech())
    path = write_recording("meld", tmp_path / "bag", dialogues=1, recognizer=recognizer)
    system = robot.changed(bundle=str(bundle.folder))
    with Bag(path) as bag:
        offline = replay(bag, {}, system)
    with Bag(path) as bag:
        live = play(bag, {}, system, rate=2.0)
    assert [row.text for row in live.rows] == [row.text for row in offline.rows]
    assert len(live.rows) == 8
    for mine, theirs in zip(live.rows, offline.rows, strict=True):
        assert {name for name, seen in mine.modalities.items() if not seen} == set(without)
        assert set(mine.probabilities) == set(bundle.labels)
        assert mine.label == theirs.label
    assert live.bundle.sha256 == bundle.sha256
