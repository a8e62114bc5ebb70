"""Rates, quantiles and levels."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy")

from erc_ros.inference.engines.background import BuildState
from erc_ros.nodes.diagnostics import (
    ERROR,
    OK,
    WARN,
    Latencies,
    Losses,
    Meter,
    engines,
    status,
)
from erc_ros.values.nanoseconds import NS


def test_a_rate_is_the_mean_since_the_last_look() -> None:
    meter = Meter()
    assert meter.silence(0) is None
    meter.hertz(0)
    for number in range(30):
        meter.tick(number * NS // 30)
    assert meter.hertz(NS) == 30.0
    assert meter.hertz(2 * NS) == 0.0
    assert meter.silence(3 * NS) == pytest.approx(3 - 29 / 30)


def test_quantiles_are_of_the_last_values_only() -> None:
    latencies = Latencies(kept=100)
    assert latencies.milliseconds(0.5) is None
    for number in range(1000):
        latencies.add(number * 1_000_000)
    assert latencies.milliseconds(0.5) == 950
    assert latencies.milliseconds(0.95) == 995


def test_the_level_is_that_of_the_worst_problem_and_all_are_listed() -> None:
    assert status("a", {}).level == OK
    message = status("a", {"rate": 1.0}, [(WARN, "dead"), (ERROR, "refused")])
    assert message.level == ERROR and message.message == "dead; refused"
    assert [(value.key, value.value) for value in message.values] == [("rate", "1.00")]


def info(number: int | None, publisher: bytes = b"a") -> dict[str, object]:
    return {"publication_sequence_number": number, "publisher_gid": {"data": publisher}}


def test_what_dds_lost_is_counted_per_publisher() -> None:
    losses = Losses()
    for number in (7, 8, 11):
        losses.note(info(number))
        losses.note(info(number * 100, b"b"))
    assert losses.count == 2 + 99 + 299
    losses.note(info(9))  # late, not lost
    assert losses.count == 399
    losses.note(info(1, b"another one"))
    losses.note(info(None))
    losses.note({})  # as on Humble
    losses.note({"publication_sequence_number": 900})  # as on Jazzy, of several publishers
    assert losses.count == 399
    for number in (3, 5):
        losses.note({"publication_sequence_number": number}, sole=b"c")
    assert losses.count == 400


def test_publishers_without_end_do_not_fill_the_memory() -> None:
    losses = Losses()
    for number in range(1000):
        losses.note(info(1, number.to_bytes(8, "big")))
    assert len(losses._last) <= 64


def test_a_build_of_engines_reports_progress_and_failure() -> None:
    at_work = engines(BuildState(part="text"))
    values = {each.key: each.value for each in at_work.values}
    assert at_work.level == OK and (values["state"], values["part"]) == ("building", "text")
    full = engines(BuildState("done", problem="text: the disk is full"))
    assert full.level == WARN and "tried again at the next start" in full.message
    assert engines(BuildState("done", results={"text": "3 ms"})).level == OK
