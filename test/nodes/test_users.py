"""Driver and nodes of different users, as with a container: config/fastdds_udp.xml."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from erc_ros.nodes.system import PROFILE_VARIABLES, environment

NOBODY = 65534
RECEIVES = """
import os, sys, time
import rclpy
from std_msgs.msg import String

def listen(seconds):
    rclpy.init()
    node, received = rclpy.create_node("listener"), []
    node.create_subscription(String, "/speech", received.append, 10)
    end = time.monotonic() + seconds
    while not received and time.monotonic() < end:
        rclpy.spin_once(node, timeout_sec=0.1)
    node.destroy_node()
    rclpy.shutdown()
    return bool(received)

listen(0.0)  # imports everything: the other user may not be allowed to read the interpreter's files
os.setgroups([]); os.setgid({user}); os.setuid({user})
sys.exit(0 if listen(40.0) else 1)
"""
SENDS = """
import sys
import rclpy
from std_msgs.msg import String

rclpy.init()
node = rclpy.create_node("driver")
publisher = node.create_publisher(String, "/speech", 10)
node.create_timer(0.1, lambda: publisher.publish(String(data="hello")))
rclpy.spin(node)
"""


@pytest.fixture
def logs() -> Iterator[Path]:
    """A folder that every user may write to; pytest's own are for one user."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


@pytest.mark.dds
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may start a process of another user")
def test_a_driver_of_another_user_is_received_over_udp(
    logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in PROFILE_VARIABLES:  # a profile that is set is kept
        monkeypatch.delenv(name, raising=False)
    common = {**os.environ, "ROS_LOG_DIR": str(logs)}
    common["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "SUBNET"  # LOCALHOST ignores the profile's transports
    with subprocess.Popen([sys.executable, "-c", SENDS], env=common) as driver:
        try:
            receiver = subprocess.run(
                [sys.executable, "-c", RECEIVES.format(user=NOBODY)],
                env={**common, **environment("fastdds_udp.xml")},
                timeout=90,
                check=False,
            )
        finally:
            driver.kill()
    assert receiver.returncode == 0
