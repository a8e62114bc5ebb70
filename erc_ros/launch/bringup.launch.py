"""Start devices, speech recognition, ROS4HRI and emotion recognition.

    ros2 launch erc_ros bringup.launch.py                      # installed parts, without ASR
    ros2 launch erc_ros bringup.launch.py speech_recognition:=whisper audio_capture:=none
    ros2 launch erc_ros bringup.launch.py camera:=my_robot/camera.launch.py image:=/head/image

Each part is an argument: a name of config/bringup.yaml, PACKAGE/FILE.launch.py,
PACKAGE/EXECUTABLE, or none. PART_arguments passes arguments to it ("device:=hw:1 channels:=2").
All arguments of emotion.launch.py are accepted; topics default to those of the parts.
"""

from pathlib import Path

import yaml
from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
)
from launch.launch_description_sources import (
    AnyLaunchDescriptionSource,
    PythonLaunchDescriptionSource,
)
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node, SetRemap

from erc_ros.resources import config_file

PARTS = yaml.safe_load(config_file("bringup.yaml").read_text(encoding="utf-8"))
TOPICS = ("audio", "audio_info", "image", "speech", "humans")
NONE = "none"


def chosen(part, value):
    """Return the entry of config/bringup.yaml for the value of an argument, None for `none`.

    Raises:
        ValueError: it is neither a known name nor PACKAGE/NAME.
    """
    if value in ("", NONE):
        return None
    choices = PARTS[part]["choices"]
    if value in choices:
        return choices[value]
    package, slash, name = value.partition("/")
    if not (package and slash and name):
        known = ", ".join([*choices, NONE])
        raise ValueError(f"{part} is {value!r}: give {known}, PACKAGE/FILE or PACKAGE/EXECUTABLE")
    return {"start": value}


def pairs(text):
    """Parse "name:=value name:=value" to {name: value}.

    Raises:
        ValueError: a word has a different form.
    """
    words = [word.partition(":=") for word in text.split()]
    if wrong := [name for name, sign, _ in words if not (name and sign)]:
        raise ValueError(f"{wrong[0]!r} is not of the form NAME:=VALUE")
    return {name: value for name, _, value in words}


def action(entry, arguments):
    """Return the launch action that starts a part.

    Raises:
        PackageNotFoundError: its package is not installed.
        FileNotFoundError: the package has no such launch file.
    """
    package, _, name = entry["start"].partition("/")
    share = Path(get_package_share_directory(package))
    values = {**entry.get("arguments", {}), **arguments}
    if ".launch." not in name:
        return Node(package=package, executable=name, output="screen", parameters=[values])
    files = [share / "launch" / name, share / name]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        raise FileNotFoundError(f"package {package} has no launch file {name}")
    return IncludeLaunchDescription(
        AnyLaunchDescriptionSource(str(file)), launch_arguments=values.items()
    )


def start(context):
    """Return the actions of all parts and of emotion recognition."""
    given = {name: LaunchConfiguration(name).perform(context) for name in TOPICS}
    topics, notes, parts = {}, [], []
    for part, about in PARTS.items():
        value = LaunchConfiguration(part).perform(context)
        entry = chosen(part, value)
        if entry is None:
            continue
        arguments = pairs(LaunchConfiguration(f"{part}_arguments").perform(context))
        try:
            started = action(entry, arguments)
        except PackageNotFoundError as error:
            if value != about["default"]:
                raise
            text = f"{part} is not started: package {error.args[0]} is not installed"
            notes.append(LogInfo(msg=f"bringup.launch.py: {text}"))
            continue
        topics.update(entry.get("topics", {}))
        parts.append((part, started))
    topics.update({name: value for name, value in given.items() if value})
    groups = []
    for part, started in parts:
        remaps = [SetRemap("image", topics["image"])] if "image" in topics else []
        own = remaps if part == "face_detection" else []
        groups.append(GroupAction([*own, started], scoped=True, forwarding=False))
    emotion = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(Path(__file__).with_name("emotion.launch.py"))),
        launch_arguments=topics.items(),
    )
    return [*notes, *groups, emotion]


def generate_launch_description():
    """Return the launch description, called by ros2 launch."""
    arguments = []
    for part, about in PARTS.items():
        names = ", ".join([*about["choices"], NONE])
        arguments += [
            DeclareLaunchArgument(
                part,
                default_value=about["default"],
                description=f"{about['description']}: {names}, PACKAGE/FILE or PACKAGE/EXECUTABLE",
            ),
            DeclareLaunchArgument(
                f"{part}_arguments",
                default_value="",
                description=f"arguments (for an executable: parameters) of {part}",
            ),
        ]
    arguments += [
        DeclareLaunchArgument(
            topic,
            default_value="",
            description="as in emotion.launch.py; empty: the topic of the part",
        )
        for topic in TOPICS
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=start)])
