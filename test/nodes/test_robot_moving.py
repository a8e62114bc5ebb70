"""`robot_moving` over DDS: audio during motion is not used for emotions, or ignored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from node_bench import Bench, finals, play
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from tones import scene

MakeBench = Callable[..., Bench]
QUIET: dict[str, Any] = {"expect_text": "never", "publish_media": True}


def test_audio_during_robot_motion_is_not_used(make_bench: MakeBench, tones: None) -> None:
    bench = make_bench(parameters=QUIET)
    robot = bench.talker(Bool, "robot_moving")
    robot.publish(Bool(data=True))
    moving = "utterance_node: robot_moving"
    bench.wait(lambda: bench.value(moving, "received") == "1", "it moves")
    start = bench.now()
    play(bench, scene((0.5, 3, 4), end=5), start)
    bench.wait(lambda: finals(bench), "an utterance")
    assert not len(finals(bench)[0].audio)
    bench.wait(lambda: bench.estimates, "an estimate")
    assert not bench.estimates[0].modalities[1]
    robot.publish(Bool(data=False))
    bench.wait(lambda: bench.value(moving, "received") == "2", "it stands")
    bench.wait(
        lambda: bench.value("utterance_node: dialogue", "voices_while_moving") == "1", "a count"
    )
    play(bench, scene((0.5, 3, 4), end=5), max(bench.now(), start) + 10 * 10**9)
    bench.wait(lambda: len(finals(bench)) > 1, "another utterance")
    assert len(finals(bench)[1].audio)


def test_speech_is_ignored_while_joints_move_if_the_microphone_is_muted(
    make_bench: MakeBench, tones: None
) -> None:
    bench = make_bench(parameters={**QUIET, "while_moving": "mute"})
    joints = bench.talker(JointState, "robot_moving", 10)
    start = bench.now()
    for number in range(50):  # of each 0.1 s, until after the sound
        message = JointState(position=[0.0], velocity=[1.0 if number < 35 else 0.0])
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(
            start + number * 10**8, 10**9
        )
        joints.publish(message)
    bench.wait(
        lambda: bench.value("utterance_node: robot_moving", "received") == "50", "all have come"
    )
    play(bench, scene((0.5, 3, 4), (4.5, 7, 4), end=9), start)
    bench.wait(lambda: finals(bench), "what was said later")
    (said,) = finals(bench)
    assert said.start.sec * 10**9 + said.start.nanosec > start + 4 * 10**9


@pytest.mark.parametrize("mode", ["ignore"])
def test_motion_can_be_ignored(make_bench: MakeBench, mode: str) -> None:
    bench = make_bench(parameters={"while_moving": mode})
    bench.wait(lambda: "utterance_node: robot_moving" in bench.diagnoses, "a status")
    assert bench.diagnoses["utterance_node: robot_moving"].message == "switched off"
