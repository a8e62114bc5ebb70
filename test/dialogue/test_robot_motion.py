"""Motor noise during robot motion: audio is not trusted, or muted."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from erc_ros.adapters import UnusableMessageError, adapter_for
from erc_ros.dialogue.robot_motion import RobotMotion, RobotMotionConfig
from erc_ros.pipeline import RobotJoints, RobotMoving, RobotSpeaking
from erc_ros.values.nanoseconds import NS, seconds

NONE = np.zeros(0)


def motion(**config: str | float) -> RobotMotion:
    return RobotMotion(RobotMotionConfig(**config), seconds(0.5), seconds(60.0))


def test_it_moves_from_until_and_for_the_tail_after() -> None:
    robot = motion()
    robot.announce(NS, True)
    robot.announce(2 * NS, True)  # as before
    assert robot.is_moving(5 * NS) and not robot.is_moving(NS - 1)
    robot.announce(3 * NS, False)
    robot.announce(4 * NS, False)
    assert robot.is_moving(seconds(3.4)) and not robot.is_moving(seconds(3.6))
    robot.announce(10 * NS, True)
    assert robot.is_moving(69 * NS) and not robot.is_moving(71 * NS)  # not believed for ever
    robot.reset()
    assert not robot.is_moving(5 * NS)


def test_a_voice_is_not_trusted_from_a_share_of_its_time_on() -> None:
    robot = motion(share=0.3)
    robot.announce(0, True)
    robot.announce(seconds(0.5), False)  # and half a second of tail
    assert robot.covers(0, 3 * NS) and not robot.covers(0, 4 * NS)
    assert not robot.covers(5 * NS, 6 * NS) and not robot.covers(5 * NS, 5 * NS)
    assert motion().distrusts and not motion().mutes
    assert motion(while_moving="mute").mutes and not motion(while_moving="ignore").distrusts


@pytest.mark.parametrize("has_velocities", [True, False])
def test_joints_move_by_their_velocities_or_positions(has_velocities: bool) -> None:
    robot = motion()

    def tell(second: float, position: float, velocity: float) -> None:
        velocities = np.array([0.0, velocity]) if has_velocities else NONE
        robot.observe_joints(seconds(second), np.array([1.0, position]), velocities)

    tell(1.0, 0.0, 0.0)
    tell(1.1, 0.001, 0.01)
    assert not robot.is_moving(seconds(1.1))
    tell(1.2, 0.1, 1.0)
    assert robot.is_moving(seconds(1.2)) and robot.is_moving(seconds(2.1))
    assert not robot.is_moving(seconds(2.3))  # no message for a second
    tell(1.3, 0.1, 0.0)
    assert not robot.is_moving(seconds(1.9))


def test_joints_without_numbers_and_stamps_that_stand_still_hurt_nothing() -> None:
    robot = motion()
    robot.observe_joints(NS, NONE, NONE)
    robot.observe_joints(NS, np.array([np.nan]), NONE)
    robot.observe_joints(NS, np.array([5.0]), NONE)
    robot.observe_joints(2 * NS, np.array([5.0, 6.0]), np.array([np.inf, np.nan]))
    assert not robot.is_moving(2 * NS)


def test_a_bool_is_what_its_topic_says() -> None:
    message = SimpleNamespace(data=True)
    name = "std_msgs/msg/Bool"
    assert isinstance(adapter_for(name, "/a/robot_moving").read(message, 1), RobotMoving)
    assert isinstance(adapter_for(name, "/a/robot_speaking").read(message, 1), RobotSpeaking)
    read = adapter_for("sensor_msgs/msg/JointState").read
    header = SimpleNamespace(stamp=SimpleNamespace(sec=1, nanosec=2))
    joints = read(SimpleNamespace(header=header, position=[1.0], velocity=[]), 5)
    assert isinstance(joints, RobotJoints) and joints.stamp == NS + 2
    with pytest.raises(UnusableMessageError):
        read(SimpleNamespace(header=header, position=[0.0] * 2000, velocity=[]), 5)
