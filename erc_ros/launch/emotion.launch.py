"""Starts emotion recognition: ros2 launch erc_ros emotion.launch.py [NAME:=VALUE ...].

Arguments and processes are those of config/system.yaml, the same that `erc run` reads; show them
with `ros2 launch erc_ros emotion.launch.py --show-args`. The nodes configure and activate
themselves (parameter autostart), which works on Humble as well, where launch_ros cannot do it.

To include it in another launch file, see launch/two_robots.launch.py.
"""

import sys
from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from erc_ros.nodes.system import RESPAWN_DELAY, Used, environment, mistyped, read_system

SYSTEM = read_system()
SIGTERM_TIMEOUT = "15"  # s; launch's default of 5 s is shorter than loading on a busy machine


class Scope:
    """Keeps the arguments of one include of this file apart from those of others.

    Launch has one set of configurations for all launch files of a bringup. What this file declares
    is removed at its end, and what was set before is restored and marked as used, so that a later
    include of this file does not take it for its own.
    """

    def __init__(self):
        self._before = {}
        self._left = {}  # values that an earlier include of this file was started with

    def begin(self, context):
        """Before the arguments are declared."""
        configurations = context.launch_configurations
        names = [name for name in SYSTEM.arguments if name in configurations]
        self._before = {name: configurations[name] for name in names}
        self._left = {n: value for n, value in self._before.items() if isinstance(value, Used)}
        for name in self._left:
            del configurations[name]

    def values(self, context):
        """The values of the arguments, and what to report about them."""
        given = {name: LaunchConfiguration(name).perform(context) for name in SYSTEM.arguments}
        notes = [
            f"{name} is {value!r} from an earlier include, which is not used here: "
            f"give {name} to each include that needs it"
            for name, value in self._left.items()
            if value != SYSTEM.arguments[name].default
        ]
        is_included = Path(__file__).name not in {Path(argument).name for argument in sys.argv}
        for name, value in given.items():
            if is_included and not SYSTEM.is_possible(name, value):
                given[name] = SYSTEM.arguments[name].default
                notes.append(
                    f"WARNING: {name} is {value!r} in the launch file that includes this one; "
                    f"it is not used here: give {name} to the include"
                )
        for name, near in mistyped(context.launch_configurations, SYSTEM.arguments).items():
            notes.append(f"WARNING: there is no argument {name}, it changes nothing: {near}?")
        return SYSTEM.values(given), notes

    def end(self, context):
        """After the nodes were started."""
        for name in SYSTEM.arguments:
            context.launch_configurations.pop(name, None)
        for name, value in self._before.items():
            context.launch_configurations[name] = Used(value)


def start(context, scope):
    """A node per process, for the arguments that were given."""
    values, notes = scope.values(context)
    variables = environment(values["fastdds_profile"])
    # The file goes in here: launch_ros would put it behind the other arguments, and it would win.
    options = ["--ros-args", *SYSTEM.parameter_options(values)]
    if values["log_level"]:
        options += ["--log-level", values["log_level"]]
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
            sigterm_timeout=SIGTERM_TIMEOUT,
            additional_env=variables,  # for these processes, not for what is launched later
        )
        for executable in SYSTEM.modes[values["mode"]]
    ]
    return [*(LogInfo(msg=f"emotion.launch.py: {note}") for note in notes), *nodes]


def generate_launch_description():
    """What ros2 launch calls."""
    scope = Scope()
    return LaunchDescription(
        [
            OpaqueFunction(function=scope.begin),
            *(
                DeclareLaunchArgument(
                    argument.name,
                    default_value=argument.default,
                    description=argument.description,
                )
                for argument in SYSTEM.arguments.values()
            ),
            OpaqueFunction(function=start, args=[scope]),
            OpaqueFunction(function=scope.end),
        ]
    )
