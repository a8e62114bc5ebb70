"""Faults raise the level of /diagnostics, which returns to OK afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from audio_common_msgs.msg import AudioDataStamped
from erc_msgs.msg import EmotionEstimate
from node_bench import Bench, image_message, sound_message
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from erc_ros.nodes.diagnostics import OK, WARN, Growth, Lossiness
from erc_ros.values.nanoseconds import NS

MakeBench = Callable[..., Bench]


def wait_for_level(bench: Bench, status: str, level: bytes) -> str:
    """The message that comes with this level."""
    bench.wait(
        lambda: status in bench.diagnoses and bench.diagnoses[status].level == level,
        f"{status} has level {level!r}",
    )
    return str(bench.diagnoses[status].message)


@pytest.mark.parametrize(("kind", "topic"), [(AudioDataStamped, "audio"), (Image, "image")])
def test_a_driver_that_never_sends_is_reported_until_it_does(
    kind: type, topic: str, make_bench: MakeBench
) -> None:
    bench = make_bench(parameters={"dead_after": 1.0})
    driver = bench.talker(kind, topic)
    assert "no message" in wait_for_level(bench, f"utterance_node: {topic}", WARN)
    sound = sound_message(np.zeros(800, np.int16), bench.now())

    def is_ok() -> bool:
        driver.publish(sound if topic == "audio" else image_message(bench.now()))
        return bench.diagnoses[f"utterance_node: {topic}"].level == OK

    bench.wait(is_ok, "it sends")


def test_drops_raise_the_level_and_it_recovers(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Growth, "_WINDOW", 2 * NS)
    bench = make_bench(parameters={"image_type": "none", "audio_queue": 10})
    node = bench.nodes[0]
    microphone = bench.talker(AudioDataStamped, "audio", QoSProfile(depth=1000))
    feed = node._perception.feed
    node._perception.feed = lambda value: bench.wait(lambda: is_released, "release") and feed(value)
    is_released: list[bool] = []
    for _ in range(30):
        microphone.publish(sound_message(np.zeros(160, np.int16), bench.now()))
    assert "dropped" in wait_for_level(bench, "utterance_node: audio", WARN)
    is_released.append(True)
    microphone.publish(sound_message(np.zeros(160, np.int16), bench.now()))
    wait_for_level(bench, "utterance_node: audio", OK)


def test_a_share_of_losses_is_a_problem_for_ten_seconds() -> None:
    lossiness = Lossiness()
    assert lossiness.problems(0, 0, 0, 0) == []
    assert lossiness.problems(1000, 0, 5, NS) == []  # half a percent
    (problem,) = lossiness.problems(1100, 0, 60, 2 * NS)
    assert problem[0] == WARN
    assert lossiness.problems(2000, 0, 60, 13 * NS) == []
    assert len(lossiness.problems(2001, 20, 80, 14 * NS)) == 2


def test_a_missing_clock_is_named(make_bench: MakeBench) -> None:
    bench = make_bench(parameters={"use_sim_time": True})
    for node in ("utterance_node", "emotion_node"):
        assert "/clock" in wait_for_level(bench, f"{node}: state", WARN)
    clock = bench.talker(Clock, "/clock")
    message = Clock()
    message.clock.sec = 1000
    clock.publish(message)
    wait_for_level(bench, "utterance_node: state", OK)


@pytest.mark.parametrize(("offset", "side"), [(3600, "behind"), (-3600, "ahead of")])
def test_the_side_of_wrong_stamps_is_named(offset: int, side: str, make_bench: MakeBench) -> None:
    bench = make_bench()
    camera = bench.talker(Image, "image", 5)

    def is_reported() -> bool:
        camera.publish(image_message(bench.now() - offset * NS))
        status = bench.diagnoses.get("utterance_node: dialogue")
        return status is not None and f"3600 s {side} this" in status.message

    bench.wait(is_reported, f"stamps {side} the clock")


MALFORMED = """
import sys, time, rclpy
from audio_common_msgs.msg import AudioData
from std_msgs.msg import String
rclpy.init()
node = rclpy.create_node("fuzzer")
texts = node.create_publisher(String, "/fuzzed/speech", 50)
sounds = node.create_publisher(AudioData, "/fuzzed/audio", 50)
while not (texts.get_subscription_count() and sounds.get_subscription_count()):
    time.sleep(0.05)
header = b"\\x00\\x01\\x00\\x00"
end = time.monotonic() + 4.0
while time.monotonic() < end:
    texts.publish(header + b"\\xff\\xff\\xff\\x7fabc")
    sounds.publish(header + b"\\xff\\xff\\xff\\x7fabc")
    sounds.publish(header)
    time.sleep(0.001)
texts.publish(String(data="still here"))
sys.stdin.read()
"""


def test_messages_that_cannot_be_decoded_are_counted_and_do_not_fill_the_log(
    make_bench: MakeBench, bundle: Path
) -> None:
    line = [sys.executable, "-m", "erc_ros.nodes.executables", "emotion", "--ros-args"]
    line += ["-r", "__ns:=/fuzzed", "-p", f"bundle:={bundle}", "-p", "expect_text:=always"]
    bench = make_bench(nodes=lambda **_: [])
    answers = bench.listen(EmotionEstimate, "/fuzzed/emotions", 50)
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        try:
            fuzzing = [sys.executable, "-c", MALFORMED]
            with subprocess.Popen(fuzzing, stdin=subprocess.PIPE) as fuzzer:
                message = bench.wait_for_diagnosis(
                    "fuzzed/utterance_node: state", "decoded"
                ).message
                assert "/fuzzed/" in message
                bench.wait(lambda: answers, "a good text is answered", patience=60.0)
                fuzzer.communicate(timeout=60)
        finally:
            process.terminate()
        _, errors = process.communicate(timeout=30)
    assert int(bench.value("fuzzed/utterance_node: state", "undecodable")) >= 10
    assert len(errors.splitlines()) < 300, errors[:3000]  # of some 10,000 messages
