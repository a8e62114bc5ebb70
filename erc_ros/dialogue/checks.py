"""Checks of configuration values."""

from __future__ import annotations


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raises ValueError unless low <= value <= high; not-a-number never is."""
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}, must be in {low} .. {high}")
