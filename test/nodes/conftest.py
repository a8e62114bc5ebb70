"""Nodes over real DDS: a domain of this run's own, on this machine only."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

# Before rclpy starts anywhere. Ids up to 101 never meet the ephemeral ports.
os.environ["ROS_DOMAIN_ID"] = str(10 + os.getpid() % 90)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 or its wheels")
pytest.importorskip("erc_msgs", reason="needs the interfaces: pip install ./interfaces")

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from bundles import write_tiny_bundle  # noqa: E402
from node_bench import Bench  # noqa: E402

from erc_ros.nodes import stage  # noqa: E402


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small bundle with random weights."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def make_bench(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Bench]]:
    """Makes a bench; everything on it is ended after the test. Diagnostics come more often."""
    monkeypatch.setattr(stage, "REPORT_PERIOD", 0.2)
    made: list[Bench] = []

    def make(**options: object) -> Bench:
        made.append(Bench(bundle, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
