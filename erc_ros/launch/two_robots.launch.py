"""Example: emotion recognition in the launch file of a robot, here for two robots at once.

    ros2 launch erc_ros two_robots.launch.py bundle:=edge-small

Each include is in a group of its own that forwards nothing: neither the arguments of the other
include nor configurations of this file (`params_file`, `mode`, ...) can reach it by accident. What
it shall have from this file is named in `launch_configurations` of the group.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

EMOTION = str(Path(__file__).with_name("emotion.launch.py"))


def recognition(namespace, **arguments):
    """Emotion recognition of one robot."""
    return GroupAction(
        [
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(EMOTION),
                launch_arguments={
                    "namespace": namespace,
                    "deployment_context": "home",
                    **arguments,
                }.items(),
            )
        ],
        scoped=True,
        forwarding=False,
        launch_configurations={"bundle": LaunchConfiguration("bundle")},
    )


def generate_launch_description():
    """What ros2 launch calls."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "bundle", default_value="", description="model bundle of both robots"
            ),
            recognition("robot1", audio="/robot1/microphone/audio", image="/robot1/camera/image"),
            recognition("robot2", audio="/robot2/microphone/audio", image="/robot2/camera/image"),
        ]
    )
