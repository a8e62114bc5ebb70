"""Formatting of results as text."""

from __future__ import annotations

import pytest

from erc_ros.metrics.table import deviation, markdown, percent, with_deviation


def test_a_single_run_has_no_deviation() -> None:
    assert deviation([0.5]) is None
    assert percent([0.5]) == "50.00"


def test_several_runs_are_mean_and_deviation() -> None:
    assert percent([0.6, 0.7]) == "65.00 ± 7.07"
    assert with_deviation(1.0, 0.5, 1) == "1.0 ± 0.5"


def test_a_table_has_as_many_cells_as_its_head() -> None:
    assert markdown(["a", "b"], [["1", "2"]]) == ["| a | b |", "|---|---|", "| 1 | 2 |"]
    with pytest.raises(ValueError, match=r"1 cells.*2"):
        markdown(["a", "b"], [["1"]])
