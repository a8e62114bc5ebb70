"""The clock of a replay: ticks between the records, whatever their times do."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from erc_ros.input_reader import TICK
from erc_ros.parameters import UtteranceNodeConfig
from erc_ros.replay.bag import BagRecord
from erc_ros.replay.definitions import typestore
from erc_ros.replay.offline import _Reader
from erc_ros.values.nanoseconds import NS, seconds

STRING = "std_msgs/msg/String"


def ticks(*times: float) -> list[list[float]]:
    """The ticks (s) before each of the texts at these times (s)."""
    message = typestore().types[STRING]("Hello.")
    records = [BagRecord(seconds(time), "/speech", STRING, message) for time in times]
    found: list[list[float]] = [[]]
    for method, arguments in _Reader(UtteranceNodeConfig(), False).calls(records):
        if method == "advance":
            found[-1].append(arguments[0] / NS)
        elif method == "feed":
            found.append([])
    return found[:-1]


@settings(deadline=None)
@given(st.lists(st.floats(0.001, 50), min_size=1, max_size=10))
def test_the_clock_ticks_through_pauses(pauses: list[float]) -> None:
    times = [100.0]
    for pause in pauses:
        times.append(times[-1] + pause)
    every = [tick for before in ticks(*times) for tick in before]
    assert all(later - earlier <= TICK / NS + 1e-6 for earlier, later in pairwise(every))
    assert not every or times[-1] - every[-1] <= TICK / NS + 1e-6
    assert len(every) >= int((times[-1] - times[0]) / (TICK / NS)) - 1


def test_after_a_clock_that_was_set_back_it_ticks_from_there_on() -> None:
    _, after, later = ticks(1000.0, 500.0, 501.0)
    assert after == []
    assert later[0] <= 500.0 + TICK / NS + 1e-6 and len(later) >= 9


def test_a_year_without_a_record_is_not_counted_through() -> None:
    _, after = ticks(100.0, 100.0 + 365 * 86_400)
    assert len(after) <= 3
    _, after = ticks(100.0, 100.0 + 1800)  # half an hour is
    assert len(after) >= 1800 * NS // TICK - 1
