"""Memory is released after texts of megabytes, and after configure and cleanup."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from erc_msgs.msg import EmotionEstimate
from lifecycle_msgs.msg import Transition
from node_bench import play
from std_msgs.msg import String

from erc_ros.values.nanoseconds import NS

MIB = 2**20
CYCLES = 8
FLOOD = """
import rclpy
from std_msgs.msg import String
rclpy.init()
node = rclpy.create_node("flood")
publisher = node.create_publisher(String, "speech", 50)
while not publisher.get_subscription_count():
    pass
for number in range(20):
    publisher.publish(String(data=f"{number} " + "x" * 33_000_000))
input()
"""


def memory(process: int | str = "self") -> int:
    """Bytes of a process in memory."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(sys.platform != "linux", reason="asks glibc, and /proc")
def test_texts_of_33_megabytes_leave_nothing_behind(make_bench: Any) -> None:
    bench = make_bench(parameters={"image_type": "none"})
    bench.say("before")
    before = memory()
    with subprocess.Popen([sys.executable, "-c", FLOOD], stdin=subprocess.PIPE) as flood:
        bench.wait(
            lambda: bench.nodes[0]._inputs["speech"]._huge_at, "the first has come", patience=60.0
        )
        bench.wait(lambda: memory() - before < 150 * MIB, "it is given back", patience=60.0)
        bench.wait(lambda: not bench.nodes[0]._inputs["speech"]._huge_at, "it is over")
        flood.communicate(b"\n")
    assert bench.say("still here").text == "still here"
    bench.wait(lambda: memory() - before < 150 * MIB, "and stays so")


@pytest.mark.skipif(sys.platform != "linux", reason="asks glibc, and /proc")
def test_cycles_of_configure_and_cleanup_take_no_memory(make_bench: Any) -> None:
    bench = make_bench(running=False, parameters={"autostart": False})
    node = bench.nodes[1]

    def cycle() -> None:
        for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP):
            assert bench.change(node.get_name(), transition)

    for _ in range(10):
        cycle()
    before = memory()
    for _ in range(20):
        cycle()
    assert memory() - before < 8 * MIB


@pytest.mark.skipif(sys.platform != "linux", reason="asks glibc, and /proc")
def test_full_lifecycle_cycles_of_the_single_process_are_bounded(make_bench: Any) -> None:
    """With the shipped bundle and work in each cycle: threads and their heaps come and go."""
    line = [sys.executable, "-m", "erc_ros.nodes.executables", "emotion", "--ros-args"]
    line += ["-p", "autostart:=false", "-p", "deployment_context:=research", "-r", "__ns:=/cycles"]
    bench = make_bench(nodes=lambda **_: [])
    nodes = ["/cycles/emotion_node", "/cycles/utterance_node"]
    up = [Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE]
    down = [Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP]
    estimates = bench.listen(EmotionEstimate, "/cycles/emotions", 50)
    texts = bench.probe.create_publisher(String, "/cycles/speech", 50)
    sound = 0.1 * np.sin(np.arange(24_000) / 9.0)
    sizes = []
    with subprocess.Popen(line) as process:
        try:
            for _ in range(CYCLES):
                for transition in up:
                    assert all(bench.change(node, transition) for node in nodes)
                play(bench, sound, bench.now() - 2 * NS, "/cycles/audio")
                bench.wait(texts.get_subscription_count, "texts are listened to")
                before = len(estimates)
                texts.publish(String(data=f"I am so happy about number {len(sizes)}"))
                bench.wait(lambda n=before: len(estimates) > n, "an estimate", 60.0)
                for transition in down:
                    assert all(bench.change(node, transition) for node in reversed(nodes))
                sizes.append(memory(process.pid))
        finally:
            process.terminate()
    print([size // MIB for size in sizes])
    assert max(sizes[-3:]) - min(sizes[:3]) < 16 * MIB
