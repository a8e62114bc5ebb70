"""Topics of ROS4HRI by the thousand take nothing from sound."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from audio_common_msgs.msg import AudioDataStamped
from node_bench import sound_message
from rclpy.qos import QoSProfile
from std_msgs.msg import Bool

from erc_ros.nodes.humans import ASKED_AT_ONCE, MOST_TOPICS

TOPICS = 1000
CROWD = f"""
import rclpy
from std_msgs.msg import Bool
rclpy.init()
node = rclpy.create_node("crowd")
topics = [f"/humans/faces/f{{n}}/is_speaking" for n in range({TOPICS})]
made = [node.create_publisher(Bool, topic, 1) for topic in topics]
print("ready", flush=True)
input()
"""


@pytest.fixture
def crowd() -> Iterator[subprocess.Popen[str]]:
    """A process that publishes what a thousand faces do."""
    process = subprocess.Popen(
        [sys.executable, "-c", CROWD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate()


def test_sound_comes_through_while_a_thousand_faces_are_published(
    make_bench: Any, crowd: subprocess.Popen[str]
) -> None:
    bench = make_bench(parameters={"image_type": "none"})
    node = bench.nodes[0]
    asked: list[str] = []
    ask = node.get_publishers_info_by_topic
    node.get_publishers_info_by_topic = lambda topic: (asked.append(topic), ask(topic))[1]
    look, steps = node._humans.look, []

    def measured() -> None:
        asked.clear()
        look()
        steps.append(len(asked))

    node._humans.look = measured
    microphone = bench.talker(AudioDataStamped, "audio", QoSProfile(depth=100))
    sent = 0

    def everything_is_known() -> bool:
        nonlocal sent
        microphone.publish(sound_message(np.zeros(320, np.int16), bench.now()))
        sent += 1
        return bench.value("utterance_node: humans", "offered") == str(TOPICS)

    bench.wait(everything_is_known, "all topics are known")
    bench.wait(
        lambda: bench.value("utterance_node: humans", "topics") == str(MOST_TOPICS),
        "as many as may be are listened to",
    )
    assert max(steps) <= 2 * ASKED_AT_ONCE
    bench.wait(lambda: node._inputs["audio"]._meter.count >= 0.98 * sent, "the sound has come")
    assert "1000 topics" in bench.wait_for_diagnosis("utterance_node: humans", "topics").message


def test_topics_that_are_gone_make_room_for_new_ones(
    make_bench: Any, crowd: subprocess.Popen[str]
) -> None:
    bench = make_bench(parameters={"image_type": "none"})
    bench.wait(
        lambda: bench.value("utterance_node: humans", "topics") == str(MOST_TOPICS), "it is full"
    )
    crowd.kill()
    speaks = bench.talker(Bool, "/humans/faces/somebody/is_speaking")
    speaks.publish(Bool(data=True))
    bench.wait(lambda: bench.value("utterance_node: humans", "received") >= "1", "it is heard")


def test_of_thousands_of_faces_those_that_are_tracked_are_heard(
    make_bench: Any, crowd: subprocess.Popen[str]
) -> None:
    hri = pytest.importorskip("hri_msgs.msg", reason="hri_msgs is not installed")
    bench = make_bench(parameters={"image_type": "none"})
    heard = bench.nodes[0]._humans._topics
    bench.wait(lambda: len(heard) == MOST_TOPICS, "it is full")
    late = [f"f{n}" for n in range(TOPICS) if f"/humans/faces/f{n}/is_speaking" not in heard][:20]
    tracked = bench.talker(hri.IdsList, "/humans/faces/tracked", 1)
    tracked.publish(hri.IdsList(ids=[*late, "a/b", "..", *(f"x{n}" for n in range(3000))]))
    topics = {f"/humans/faces/{face}/is_speaking" for face in late}
    bench.wait(lambda: topics <= set(heard), "they are heard")
    assert len(heard) <= MOST_TOPICS
