"""Start emotion recognition: ros2 launch erc_ros emotion.launch.py [NAME:=VALUE ...].

Arguments and processes are defined in config/system.yaml, which `erc run` reads as well; show them
with `ros2 launch erc_ros emotion.launch.py --show-args`. The nodes configure and activate
themselves (parameter autostart), which also works on Humble, where launch_ros does not support it.

To include it in another launch file, see launch/two_robots.launch.py.
"""

import sys
from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from erc_ros.nodes.restart_memory import memory
from erc_ros.nodes.system import RESPAWN_DELAY, Used, environment, mistyped, read_system

SYSTEM = read_system()
SIGTERM_TIMEOUT = "15"  # s; loading on a busy machine takes longer than the default of 5 s


class Scope:
    """Separates the arguments of one include of this file from those of others.

    Launch has one set of configurations for all launch files of a bringup. The arguments of this
    file are removed at its end, and earlier values are restored and marked as used, so that a later
    include of this file ignores them.
    """

    def __init__(self):
        self._former = {}
        self._left = {}  # values of an earlier include of this file

    def begin(self, context):
        """Remove values of earlier includes, before the arguments are declared."""
        configurations = context.launch_configurations
        names = [name for name in SYSTEM.arguments if name in configurations]
        self._former = {name: configurations[name] for name in names}
        self._left = {n: value for n, value in self._former.items() if isinstance(value, Used)}
        for name in self._left:
            del configurations[name]

    def values(self, context):
        """Return the values of the arguments, and warnings about them."""
        given = {name: LaunchConfiguration(name).perform(context) for name in SYSTEM.arguments}
        notes = [
            f"{name} is {value!r} in an earlier include and is ignored here: "
            f"pass {name} to each include that needs it"
            for name, value in self._left.items()
            if value != SYSTEM.arguments[name].default
        ]
        is_included = Path(__file__).name not in {Path(argument).name for argument in sys.argv}
        for name, value in given.items():
            if is_included and not SYSTEM.is_possible(name, value):
                given[name] = SYSTEM.arguments[name].default
                notes.append(
                    f"WARNING: {name} is {value!r} in the launch file that includes this one and "
                    f"is ignored here: pass {name} to the include"
                )
        for name, near in mistyped(context.launch_configurations, SYSTEM.arguments).items():
            notes.append(f"WARNING: unknown argument {name} is ignored; did you mean {near}?")
        return SYSTEM.values(given), notes

    def end(self, context):
        """Restore the configurations after the nodes were started."""
        for name in SYSTEM.arguments:
            context.launch_configurations.pop(name, None)
        for name, value in self._former.items():
            context.launch_configurations[name] = Used(value)


def start(context, scope):
    """Return a node per process for the given arguments."""
    values, notes = scope.values(context)
    variables = environment(values["fastdds_profile"])
    # Not `parameters`: launch_ros would append the file, so that it overrides the arguments.
    options = ["--ros-args", *SYSTEM.parameter_options(values)]
    if values["log_level"]:
        options += ["--log-level", values["log_level"]]
    nodes = [
        # No name: it would rename both nodes of the process `emotion`.
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
            # only for these processes
            additional_env={**variables, **(memory() if values["respawn"] == "true" else {})},
        )
        for executable in SYSTEM.modes[values["mode"]]
    ]
    return [*(LogInfo(msg=f"emotion.launch.py: {note}") for note in notes), *nodes]


def generate_launch_description():
    """Return the launch description, called by ros2 launch."""
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
