"""Results of several runs as text: mean and standard deviation, Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from erc_ros.values.errors import ErcValueError


def mean(values: Sequence[float]) -> float:
    """Return the mean of at least one value."""
    return float(np.mean(values))


def deviation(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation; None for a single value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def percent(values: Sequence[float]) -> str:
    """Format shares in 0..1 as "65.32 ± 0.41" in percent, or "65.32" for a single value."""
    return with_deviation(100 * mean(values), deviation(values), 2, 100)


def with_deviation(value: float, spread: float | None, digits: int, factor: float = 1.0) -> str:
    """Format `value` ± `factor` * `spread`; without the second number if `spread` is None."""
    text = f"{value:.{digits}f}"
    return text if spread is None else f"{text} ± {factor * spread:.{digits}f}"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table.

    Raises:
        ValueError: the number of cells of a row differs from that of the head.
    """
    lines = [_line(head), "|" + "---|" * len(head)]
    for row in rows:
        if len(row) != len(head):
            raise ErcValueError(f"a row has {len(row)} cells, the head {len(head)}: {list(row)}")
        lines.append(_line(row))
    return lines


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
