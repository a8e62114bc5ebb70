"""Starts emotion recognition: ros2 launch erc_ros emotion.launch.py [NAME:=VALUE ...].

Arguments and processes are those of config/system.yaml, the same that `erc run` reads; show them
with `ros2 launch erc_ros emotion.launch.py --show-args`. The nodes configure and activate
themselves (parameter autostart), which works on Humble as well, where launch_ros cannot do it.
"""

from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from erc_ros.nodes.system import RESPAWN_DELAY, environment, mistyped, read_system
from launch import LaunchDescription

SYSTEM = read_system()


def start(context):
    """A node per process, for the arguments that were given."""
    given = {name: LaunchConfiguration(name).perform(context) for name in SYSTEM.arguments}
    values = SYSTEM.values(given)
    variables = environment(values["fastdds_profile"])
    # The file goes in here: launch_ros would put it behind the other arguments, and it would win.
    options = ["--ros-args", *SYSTEM.parameter_options(values)]
    if values["log_level"]:
        options += ["--log-level", values["log_level"]]
    warnings = [
        LogInfo(msg=f"WARNING: there is no argument {name}, it changes nothing: {near}?")
        for name, near in mistyped(context.launch_configurations, SYSTEM.arguments).items()
    ]
    nodes = [
        # No name: the process `emotion` holds two nodes, a name would rename both.
        Node(
            package="erc_ros",
            executable=executable,
            namespace=values["namespace"],
            output="screen",
            remappings=SYSTEM.remaps(values),
            arguments=options,
            respawn=values["respawn"] == "true",
            respawn_delay=RESPAWN_DELAY,
            additional_env=variables,  # for these processes, not for what is launched later
        )
        for executable in SYSTEM.modes[values["mode"]]
    ]
    return [*warnings, *nodes]


def generate_launch_description():
    """What ros2 launch calls."""
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(
                    argument.name,
                    default_value=argument.default,
                    description=argument.description,
                )
                for argument in SYSTEM.arguments.values()
            ),
            OpaqueFunction(function=start),
        ]
    )
