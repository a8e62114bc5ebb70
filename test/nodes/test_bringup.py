"""bringup.launch.py and demo.launch.py under the real `ros2 launch`, with stand-ins for drivers.

`make launch-tests` builds ros2 launch from sources where there is no ROS installation.
"""

from __future__ import annotations

import os
import runpy
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from node_bench import Bench
from test_launch import Launch, launch, needs_ros2
from test_processes import Recorded

from erc_ros.resources import config_file, shared

__all__ = ["launch"]  # a fixture
MakeBench = Callable[..., Bench]
BRINGUP, DEMO = (shared("launch") / f"{name}.launch.py" for name in ("bringup", "demo"))
PATIENCE = 240.0  # s: six processes start, on a busy machine
PARTS = yaml.safe_load(config_file("bringup.yaml").read_text(encoding="utf-8"))

DRIVER = """#!{python}
import sys
import rclpy
from audio_common_msgs.msg import AudioData, AudioInfo
from sensor_msgs.msg import Image
from std_msgs.msg import String

rclpy.init(args=sys.argv)
node = rclpy.create_node({name!r})
print({name!r}, "got", *sys.argv[1:], flush=True)

def publish(topic, message, period):
    publisher = node.create_publisher(type(message), topic, 10)
    node.create_timer(period, lambda: publisher.publish(message))

if {name!r} == "audio":
    info = AudioInfo(channels=1, sample_rate=16000, sample_format="S16LE", coding_format="WAVE")
    publish("/audio/audio_info", info, 0.2)
    publish("/audio/audio", AudioData(data=bytes(3200)), 0.1)
if {name!r} == "camera":
    image = Image(height=48, width=64, step=192, encoding="rgb8", data=bytes(48 * 192))
    publish("image_raw", image, 0.1)
if {name!r} == "speech":
    publish("/whisper/transcription", String(data="I got the job, I cannot believe it!"), 1.0)
if {name!r} == "face":
    node.create_subscription(Image, "image", lambda message: None, 10)
try:
    rclpy.spin(node)
except (KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
    pass
"""
FILE = """
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

def generate_launch_description():
    return LaunchDescription([
        DeclareLaunchArgument("device", default_value="none"),
        DeclareLaunchArgument("stream", default_value="False"),
        Node(package={package!r}, executable="driver", output="screen", arguments=[
            ["device=", LaunchConfiguration("device")], ["stream=", LaunchConfiguration("stream")],
        ]),
    ])
"""


def add_package(prefix: Path, start: str, name: str) -> None:
    """A ROS package whose launch file or executable is a stand-in for a driver."""
    package, _, entry = start.partition("/")
    share, executables = prefix / "share" / package, prefix / "lib" / package
    index = prefix / "share" / "ament_index" / "resource_index" / "packages"
    for folder in (share / "launch", executables, index):
        folder.mkdir(parents=True, exist_ok=True)
    (index / package).touch()
    is_file = ".launch." in entry
    if is_file:
        (share / "launch" / entry).write_text(FILE.format(package=package))
    executable = executables / ("driver" if is_file else entry)
    executable.write_text(DRIVER.format(python=sys.executable, name=name))
    executable.chmod(0o755)


@pytest.fixture
def drivers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The packages of config/bringup.yaml, without the second camera driver."""
    prefix = tmp_path / "drivers"
    names = {
        "audio_capture": "audio",
        "usb_cam": "camera",
        "whisper": "speech",
        "hri_face_detect": "face",
        "hri_person_manager": "person",
    }
    for part in PARTS.values():
        for choice, entry in part["choices"].items():
            if choice in names:
                add_package(prefix, entry["start"], names[choice])
    known = os.environ.get("AMENT_PREFIX_PATH", "")
    monkeypatch.setenv("AMENT_PREFIX_PATH", os.pathsep.join(p for p in (str(prefix), known) if p))
    return prefix


@pytest.fixture
def light(tmp_path: Path) -> Path:
    """Parameters of nodes that load no networks of speakers."""
    file = tmp_path / "light.yaml"
    values = {"speaker_model": "", "segmentation_model": "", "face_detector": "haar"}
    file.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}))
    return file


@needs_ros2
def test_the_whole_chain_starts_and_an_estimate_comes(
    make_bench: MakeBench,
    launch: Callable[..., Launch],
    bundle: Path,
    drivers: Path,
    light: Path,
) -> None:
    bench = make_bench(nodes=lambda **_: [])
    chain = launch(
        BRINGUP,
        f"bundle:={bundle}",
        f"params_file:={light}",
        "deployment_context:=research",
        "device:=cpu",  # of emotion recognition, not of the microphone
        "speech_recognition:=whisper",
        "audio:=/audio/audio",
        "audio_capture_arguments:=device:=hw:1",
    )
    bench.wait(lambda: bench.estimates, "an estimate", PATIENCE)
    bench.wait(
        lambda: all(
            int(bench.value(f"utterance_node: {role}", "received") or 0) > 0
            for role in ("audio", "audio_info", "image", "speech")
        ),
        "messages of every driver",
        PATIENCE,
    )
    assert bench.value("utterance_node: image", "topic") == "/image_raw"
    bench.wait(lambda: "person got" in chain.output, "the person manager", PATIENCE)
    subscribers = [
        info.node_name for info in bench.probe.get_subscriptions_info_by_topic("/image_raw")
    ]
    assert "face" in subscribers  # the face detector is given the camera's topic
    output = chain.end()
    assert "audio got device=hw:1 stream=False" in output
    assert "speech got device=none stream=True" in output
    assert "unknown argument" not in output and "not started" not in output


@needs_ros2
def test_what_is_not_installed_is_named_and_the_rest_starts(
    make_bench: MakeBench, launch: Callable[..., Launch], bundle: Path
) -> None:
    bench = make_bench(nodes=lambda **_: [])
    chain = launch(BRINGUP, f"bundle:={bundle}", "camera:=none")
    bench.wait(lambda: "emotion_node: state" in bench.diagnoses, "the nodes run", PATIENCE)
    output = chain.end()
    assert "usb_cam" not in output and "audio_capture is not started" in output


@needs_ros2
@pytest.mark.parametrize(
    "argument",
    ["camera:=v4l2_camera", "camera:=my_camera", "camera:=usb_cam/no.launch.py"],
)
def test_a_part_that_was_named_and_is_not_there_ends_the_launch(
    argument: str, launch: Callable[..., Launch], drivers: Path
) -> None:
    chain = launch(BRINGUP, argument)
    assert chain.process.wait(PATIENCE) == 1
    assert argument.partition(":=")[2].rpartition("/")[2] in chain.end()


@needs_ros2
def test_the_demo_plays_a_recording_into_the_nodes_and_ends(
    make_bench: MakeBench,
    launch: Callable[..., Launch],
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("rosbags", reason="the extra [replay] is not installed")
    from erc_ros.replay.bag import BagWriter

    kind, begin = "std_msgs/msg/String", 1_700_000_000 * 10**9
    with BagWriter(tmp_path / "bag") as writer:
        for second, text in enumerate(("I got the job!", "That is great.")):
            message = writer.new(kind, data=text)
            writer.write("/speech", kind, begin + 2 * second * 10**9, message)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    bench = make_bench(nodes=lambda **_: [])
    demo = launch(DEMO, f"recording:={tmp_path / 'bag'}", f"bundle:={bundle}", "rate:=2.0")
    assert demo.process.wait(PATIENCE) == 0
    assert {"I got the job!", "That is great."} <= {estimate.text for estimate in bench.estimates}
    assert "process has died" not in demo.end()
    assert not list(temporary.iterdir())


@needs_ros2
def test_the_demo_leaves_no_files_when_it_is_interrupted(
    make_bench: MakeBench,
    launch: Callable[..., Launch],
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    bench = make_bench(nodes=lambda **_: [])
    demo = launch(DEMO, f"recording:={tmp_path / 'none'}", f"bundle:={bundle}")
    bench.wait(lambda: list(tmp_path.glob("erc_demo_*")), "the private folder", PATIENCE)
    demo.end()
    assert not list(tmp_path.glob("erc_demo_*"))


@needs_ros2
@pytest.mark.parametrize("argument", ["namespace:=robot", "audio:=/microphone"])
def test_the_demo_refuses_topics_that_its_player_does_not_have(
    argument: str, launch: Callable[..., Launch]
) -> None:
    demo = launch(DEMO, "recording:=none", argument)
    assert demo.process.wait(PATIENCE) == 1
    assert argument.partition(":=")[0] in demo.end()


def launch_file(monkeypatch: pytest.MonkeyPatch, path: Path = BRINGUP) -> Any:
    """A launch file with stand-ins for launch."""
    names = {
        "launch": ("LaunchDescription",),
        "launch.actions": (
            *("DeclareLaunchArgument", "GroupAction", "IncludeLaunchDescription", "LogInfo"),
            *("OpaqueFunction", "ExecuteProcess", "RegisterEventHandler", "Shutdown"),
        ),
        "launch.event_handlers": ("OnProcessExit",),
        "launch.launch_description_sources": (
            *("AnyLaunchDescriptionSource", "PythonLaunchDescriptionSource"),
        ),
        "launch.substitutions": ("LaunchConfiguration",),
        "launch_ros": (),
        "launch_ros.actions": ("Node", "SetRemap"),
    }
    for module, classes in names.items():
        stand_in = types.ModuleType(module)
        for name in classes:
            setattr(stand_in, name, type(name, (Recorded,), {}))
        monkeypatch.setitem(sys.modules, module, stand_in)
    return types.SimpleNamespace(**runpy.run_path(str(path)))


def test_the_demo_takes_only_arguments_that_keep_the_topics(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = launch_file(monkeypatch, DEMO)
    file.check({"mode": "view", "bundle": "edge-open", "audio": "", "device": "cpu"})
    for name in ("namespace", "audio", "speech", "emotions"):
        with pytest.raises(ValueError, match=name):
            file.check({name: "other"})


def test_a_part_is_a_known_name_or_a_package_and_what_to_start(
    monkeypatch: pytest.MonkeyPatch, drivers: Path
) -> None:
    file = launch_file(monkeypatch)
    assert file.chosen("camera", "none") is None
    assert file.chosen("camera", "usb_cam") == PARTS["camera"]["choices"]["usb_cam"]
    assert file.chosen("camera", "my/driver") == {"start": "my/driver"}
    for wrong in ("my_camera", "my_camera/", "/driver"):
        with pytest.raises(ValueError, match="usb_cam"):
            file.chosen("camera", wrong)
    assert file.pairs(" device:=hw:1,0  channels:=2") == {"device": "hw:1,0", "channels": "2"}
    for wrong in ("device", ":=2", "device=2"):
        with pytest.raises(ValueError, match="NAME:=VALUE"):
            file.pairs(wrong)
    node = file.action({"start": "usb_cam/usb_cam_node_exe"}, {"fps": "10"})
    assert node.options["executable"] == "usb_cam_node_exe"
    assert node.options["parameters"] == [{"fps": "10"}]


def test_every_default_and_topic_of_the_parts_exists() -> None:
    topics = {"audio", "audio_info", "image", "speech", "humans"}
    for name, part in PARTS.items():
        assert part["default"] in {"none", *part["choices"]}, name
        for choice in part["choices"].values():
            assert set(choice["topics"]) <= topics, name
            assert choice["start"].count("/") == 1, name
