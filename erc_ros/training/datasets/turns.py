"""Shared by the readers of text: repaired texts, faults by row, and speakers of a conversation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from erc_ros.encoders.text import speaker_indices
from erc_ros.training.datasets.cleaning import repair
from erc_ros.training.datasets.findings import Finding, Findings
from erc_ros.training.datasets.utterances import (
    EMPTY_TEXT,
    REPAIRED_TEXT,
    UNUSABLE_ROW,
    LabelledUtterance,
    incomplete,
)


class FileFaults:
    """Collects the faults of one file while it is read."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.faults: list[Finding] = []

    def skip(self, row: int, detail: str, kind: str = UNUSABLE_ROW) -> None:
        """Record a row that is not used."""
        self.faults.append(Finding(kind, "skipped", self.file, row, detail))

    def mask(self, row: int, kind: str) -> None:
        """Record a row that is used without its label or text."""
        self.faults.append(Finding(kind, "masked", self.file, row))

    def text(self, raw: str, row: int, is_repaired: bool = False) -> str:
        """Return a text without Windows-1252 leftovers; records repairs and empty text."""
        text = repair(raw)
        if is_repaired or text != raw:
            self.faults.append(Finding(REPAIRED_TEXT, "repaired", self.file, row))
        if not text.strip():
            self.mask(row, EMPTY_TEXT)
        return text.strip()

    def findings(self, count: int, published: int) -> Findings:
        """Return all faults, and whether `count` differs from the published number."""
        return Findings(tuple(self.faults)) + incomplete(self.file, count, published)


def with_speakers(
    turns: Iterable[tuple[str, LabelledUtterance]],
) -> tuple[LabelledUtterance, ...]:
    """Return the utterances of named speakers with speaker indices of their conversation."""
    pairs = list(turns)
    indices = speaker_indices(name for name, _ in pairs)
    return tuple(replace(u, speaker=index) for index, (_, u) in zip(indices, pairs, strict=True))


def lacks_texts(turn: Any, keys: Sequence[str]) -> str:
    """Return why a JSON object does not have texts for these keys; "" if it has."""
    if isinstance(turn, dict) and all(isinstance(turn.get(key), str) for key in keys):
        return ""
    return f"must have the texts {', '.join(keys)}"
