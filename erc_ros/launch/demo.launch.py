"""Plays a small recording into the nodes: emotion recognition without devices.

    ros2 launch erc_ros demo.launch.py                       # makes a recording, plays it, ends
    ros2 launch erc_ros demo.launch.py recording:=BAG mode:=view
    ros2 topic echo /emotions                                # in another terminal

All arguments of emotion.launch.py are accepted. Making the recording needs the extra [demo]
(synthetic voices); a rosbag2 of yours needs none.
"""

import sys
import tempfile
from pathlib import Path

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

ERC = [sys.executable, "-m", "erc_ros.cli"]


def play(context):
    """Make the recording unless one was given, play it, and end."""
    recording = LaunchConfiguration("recording").perform(context)
    rate = LaunchConfiguration("rate").perform(context)
    folder = Path(tempfile.mkdtemp(prefix="erc_demo_"))
    bag = recording or str(folder / "recording")
    player = ExecuteProcess(
        cmd=[*ERC, "replay", bag, "--running-nodes", "--rate", rate, "--out", str(folder / "out")],
        name="player",
        output="screen",
    )
    ended = RegisterEventHandler(
        OnProcessExit(target_action=player, on_exit=[Shutdown(reason="the recording has ended")])
    )
    if recording:
        return [ended, player]
    maker = ExecuteProcess(cmd=[*ERC, "make-bag", bag], name="maker", output="screen")

    def made(event, context):
        if event.returncode:
            return [Shutdown(reason="there is no recording: give recording:=BAG")]
        return [player]

    return [ended, RegisterEventHandler(OnProcessExit(target_action=maker, on_exit=made)), maker]


def generate_launch_description():
    """What ros2 launch calls."""
    emotion = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(Path(__file__).with_name("emotion.launch.py"))),
        launch_arguments={
            "use_sim_time": "true",
            "deployment_context": LaunchConfiguration("deployment_context"),
        }.items(),
    )
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "recording", default_value="", description="a rosbag2; empty: it is made"
            ),
            DeclareLaunchArgument(
                "deployment_context", default_value="research", description="as for the robot"
            ),
            DeclareLaunchArgument("rate", default_value="1.0", description="speed of the player"),
            OpaqueFunction(function=play),
            emotion,
        ]
    )
