"""Example: emotion recognition in a launch file, here for two robots.

    ros2 launch erc_ros two_robots.launch.py bundle:=edge-small

Each include is in a separate group that forwards nothing, so that it receives neither arguments of
the other include nor configurations of this file (`params_file`, `mode`, ...) by accident. The
`launch_configurations` of the group name what it receives from this file.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

EMOTION = str(Path(__file__).with_name("emotion.launch.py"))


def recognition(namespace, **arguments):
    """Return the emotion recognition of one robot."""
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
    """Return the launch description, called by ros2 launch."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "bundle", default_value="", description="model bundle of both robots"
            ),
            recognition("robot1", audio="/robot1/microphone/audio", image="/robot1/camera/image"),
            recognition("robot2", audio="/robot2/microphone/audio", image="/robot2/camera/image"),
        ]
    )
