"""Figures of several runs as text: mean and deviation, tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from erc_ros.values.errors import ErcValueError


def mean(values: Sequence[float]) -> float:
    """Of at least one value."""
    return float(np.mean(values))


def deviation(values: Sequence[float]) -> float | None:
    """Standard deviation over runs (ddof 1); None for a single one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def percent(values: Sequence[float]) -> str:
    """65.32 ± 0.41, of shares in 0..1; without a deviation of a single value."""
    return with_deviation(100 * mean(values), deviation(values), 2, 100)


def with_deviation(value: float, spread: float | None, digits: int, factor: float = 1.0) -> str:
    """`value` ± `factor` * `spread`; None leaves the second away."""
    text = f"{value:.{digits}f}"
    return text if spread is None else f"{text} ± {factor * spread:.{digits}f}"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table.

    Raises:
        ValueError: a row has another number of cells than the head.
    """
    lines = [_line(head), "|" + "---|" * len(head)]
    for row in rows:
        if len(row) != len(head):
            raise ErcValueError(f"a row has {len(row)} cells, the head {len(head)}: {list(row)}")
        lines.append(_line(row))
    return lines


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
