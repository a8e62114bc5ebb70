"""Nodes over real DDS, in a separate domain on this machine."""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest


def own_domain() -> int:
    """A domain that no other run of these tests on this machine has, as long as this one lives.

    Ids up to 101 never meet the ephemeral ports.
    """
    for number in range(90):
        domain = 10 + (os.getpid() + number) % 90
        lock = open(Path(tempfile.gettempdir(), f"erc_ros_domain_{domain}.lock"), "w")  # noqa: SIM115
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        HELD.append(lock)
        return domain
    raise RuntimeError("90 runs of these tests at once: no ROS domain is left")


HELD: list[IO[str]] = []  # an open file is what holds the lock
# Before rclpy starts anywhere.
os.environ["ROS_DOMAIN_ID"] = str(own_domain())
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"

pytest.importorskip("rclpy", reason="needs ROS 2 or its wheels")
pytest.importorskip("erc_msgs.msg._utterance", reason="needs pip install ./interfaces")

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from bundles import write_tiny_bundle  # noqa: E402
from node_bench import Bench  # noqa: E402
from tones import LoudIsSpeech, tone_networks  # noqa: E402

from erc_ros import pipeline  # noqa: E402
from erc_ros.dialogue.assembler import UtteranceAssembler  # noqa: E402
from erc_ros.nodes import consent, managed_node  # noqa: E402


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small bundle with random weights."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def make_bench(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Bench]]:
    """Makes a bench; everything on it is ended after the test. Diagnostics come more often."""
    monkeypatch.setattr(managed_node, "REPORT_PERIOD", 0.2)
    monkeypatch.setattr(consent, "DISCOVERY", 0.1)  # test_consent.py waits as long as a robot
    made: list[Bench] = []

    def make(**options: object) -> Bench:
        made.append(Bench(bundle, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def tones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speaker diarization by the pitch of tones: fast and unambiguous."""

    def assembler(config: Any) -> UtteranceAssembler:
        return UtteranceAssembler(config.dialogue, LoudIsSpeech(), tone_networks())

    monkeypatch.setattr(pipeline, "_assembler", assembler)
