"""Memory comes back: after texts of megabytes, and after configure and cleanup."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lifecycle_msgs.msg import Transition

MIB = 2**20
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


def memory() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


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
