"""What the benchmark of a live robot reads of the nodes' process (benchmarks/load.py)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="no ROS 2 here")

from benchmarks import load, record
from benchmarks.machine import Figure


def test_the_share_of_memory_is_at_most_what_is_resident() -> None:
    usage = load.Usage(os.getpid())
    usage.look()
    ((_, cpu, resident, share),) = usage.samples
    assert 0 < share <= resident * 1.1 and cpu > 0  # the two are not read at the same moment


def test_memory_and_what_remains_of_8_gb_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = [
        Figure("audio chunks lost", 1.5, "%", 0),
        Figure("memory (RSS), maximum", 450.0, "MB"),
        Figure("memory (PSS), maximum", 400.0, "MB"),
    ]
    monkeypatch.setattr(load, "measure", lambda robot, seconds: figures)
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    monkeypatch.setattr("sys.argv", ["load", "--memory", "--seconds", "30"])
    assert load.main() == 1  # what was lost
    content = json.loads((tmp_path / "memory.json").read_text())
    assert content["figures"] == {
        "pss_mb": 400.0,
        "rss_mb": 450.0,
        "remaining_of_8_gb": 7.6,
        "audio_lost_percent": 1.5,
    }
    assert content["command"].endswith("--seconds 30 --memory")
