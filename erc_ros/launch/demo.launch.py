"""Play a small recording into the nodes: emotion recognition without devices.

    ros2 launch erc_ros demo.launch.py                       # create and play a recording, then end
    ros2 launch erc_ros demo.launch.py recording:=BAG mode:=view
    ros2 topic echo /emotions                                # in another terminal

Arguments of emotion.launch.py are accepted, except for topics and namespace. Creating the recording
requires the extra [demo] (synthetic voices). It and the results are deleted at the end.
"""

import atexit
import shutil
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

from erc_ros.nodes.system import read_system

ERC = [sys.executable, "-m", "erc_ros.cli"]


def check(given):
    """Check the launch arguments (name -> value).

    Raises:
        ValueError: one of them would give the nodes other topics than those of the player.
    """
    arguments = read_system().arguments.values()
    for name in ("namespace", *(argument.name for argument in arguments if argument.remap)):
        if given.get(name):
            raise ValueError(
                f"{name} is {given[name]!r}: the demo plays to the default topics; omit {name}"
            )


def play(context):
    """Create the recording unless one is given, play it, and end."""
    check(context.launch_configurations)
    recording = LaunchConfiguration("recording").perform(context)
    rate = LaunchConfiguration("rate").perform(context)
    folder = Path(tempfile.mkdtemp(prefix="erc_demo_"))
    # Launch ends after its processes, so that the player has written its results.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
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
    """Return the launch description, called by ros2 launch."""
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
                "recording", default_value="", description="a rosbag2; empty: one is created"
            ),
            DeclareLaunchArgument(
                "deployment_context",
                default_value="research",
                description="as in emotion.launch.py",
            ),
            DeclareLaunchArgument("rate", default_value="1.0", description="playback speed"),
            OpaqueFunction(function=play),
            emotion,
        ]
    )
