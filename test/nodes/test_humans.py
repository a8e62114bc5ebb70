"""Thousands of ROS4HRI topics do not delay audio."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from audio_common_msgs.msg import AudioDataStamped
from node_bench import finals, play, sound_message
from rclpy.qos import QoSProfile
from std_msgs.msg import Bool, String
from tones import scene

from erc_ros.nodes import humans
from erc_ros.nodes.humans import QUERIES_AT_ONCE
from erc_ros.values.nanoseconds import NS

TOPICS = 1000
MUSEUM = """
import array, rclpy
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Bool, String
rclpy.init()
node = rclpy.create_node("museum")
latched = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
picture = Image(encoding="rgb8", width=32, height=32, step=96, data=array.array("B", bytes(3072)))
faces = [f"/humans/faces/f{n}" for n in range(100)]
crops = [node.create_publisher(Image, f"{face}/cropped", 5) for face in faces]
speaks = [node.create_publisher(Bool, f"{face}/is_speaking", 5) for face in faces]
topics = [f"/humans/persons/p{n}/face_id" for n in range(100)]
persons = [node.create_publisher(String, topic, latched) for topic in topics]
for n, person in enumerate(persons):
    person.publish(String(data=f"f{n}"))

def tick():
    picture.header.stamp = node.get_clock().now().to_msg()
    for n in range(100):
        crops[n].publish(picture)
        speaks[n].publish(Bool(data=n == 77))

timer = node.create_timer(0.5, tick)
print("ready", flush=True)
rclpy.spin(node)
"""
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


MAX_SMALL = 48  # here, instead of 256


@pytest.fixture
def crowd(monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """A process that publishes what a thousand faces do; fewer than otherwise are listened to."""
    monkeypatch.setattr(humans, "MAX_SMALL", MAX_SMALL)
    process = subprocess.Popen(
        [sys.executable, "-c", CROWD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate()


def test_audio_is_received_while_a_thousand_faces_are_published(
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
        lambda: bench.value("utterance_node: humans", "topics") == str(MAX_SMALL),
        "as many as may be are listened to",
        patience=90.0,
    )
    assert max(steps) <= 2 * QUERIES_AT_ONCE
    bench.wait(lambda: node._inputs["audio"]._meter.count >= 0.98 * sent, "the sound has come")
    assert "1000 topics" in bench.wait_for_diagnosis("utterance_node: humans", "topics").message


def test_topics_that_are_gone_make_room_for_new_ones(
    make_bench: Any, crowd: subprocess.Popen[str]
) -> None:
    bench = make_bench(parameters={"image_type": "none"})
    bench.wait(
        lambda: bench.value("utterance_node: humans", "topics") == str(MAX_SMALL),
        "it is full",
        patience=90.0,
    )
    crowd.kill()
    speaks = bench.talker(Bool, "/humans/faces/somebody/is_speaking")
    speaks.publish(Bool(data=True))
    bench.wait(lambda: bench.value("utterance_node: humans", "received") >= "1", "it is heard")


def test_of_thousands_of_faces_the_tracked_ones_are_subscribed_to(
    make_bench: Any, crowd: subprocess.Popen[str]
) -> None:
    hri = pytest.importorskip("hri_msgs.msg", reason="hri_msgs is not installed")
    bench = make_bench(parameters={"image_type": "none"})
    heard = bench.nodes[0]._humans._topics
    bench.wait(lambda: len(heard) == MAX_SMALL, "it is full", patience=90.0)
    late = [f"f{n}" for n in range(TOPICS) if f"/humans/faces/f{n}/is_speaking" not in heard][:20]
    tracked = bench.talker(hri.IdsList, "/humans/faces/tracked", 1)
    tracked.publish(hri.IdsList(ids=[*late, "a/b", "..", *(f"x{n}" for n in range(3000))]))
    topics = {f"/humans/faces/{face}/is_speaking" for face in late}
    bench.wait(lambda: topics <= set(heard), "they are heard")
    assert len(heard) <= MAX_SMALL


def test_of_a_hundred_people_the_speaker_s_face_and_person_are_named(
    make_bench: Any, tones: None
) -> None:
    bench = make_bench(parameters={"image_type": "none", "text_timeout": 30.0})
    subscribed = bench.nodes[0]._humans._topics
    wanted = {f"/humans/faces/f77/{part}" for part in ("cropped", "is_speaking")}
    wanted |= {"/humans/persons/p77/face_id"}
    with subprocess.Popen([sys.executable, "-c", MUSEUM], stdout=subprocess.PIPE) as museum:
        try:
            bench.wait(lambda: wanted <= set(subscribed), "all of its topics", 90.0)
            begin = bench.now()
            # is_speaking has no stamp: it counts from when it is received.
            bench.wait(lambda: bench.now() > begin + 6 * NS, "six seconds of is_speaking")
            play(bench, scene((1, 4, 4), end=6), begin)
            speech = bench.talker(String, "speech")
            bench.wait(lambda: bench.utterances, "a draft")
            speech.publish(String(data="who of all these people is speaking now"))
            bench.wait(lambda: finals(bench), "an utterance")
        finally:
            museum.kill()
    final = finals(bench)[0]
    assert (final.face_id, final.person_id) == ("f77", "p77")
