"""Faults of a data set: counted and located; they are reported and not fatal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Fate = Literal["skipped", "masked", "repaired", "noted"]
"""skipped: excluded. masked: kept without the faulty part. repaired: kept and corrected.
noted: kept unchanged."""

PLACES = 5  # maximum number of places in a summary


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault. kind: equal for equal faults, which are counted by it.

    source: file or part of the corpus. row: in a table as in a spreadsheet, so that the first
    record is 2; in a text file its line; else the number of the record; None: the whole source.
    """

    kind: str
    fate: Fate
    source: str
    row: int | None = None
    detail: str = ""

    @property
    def place(self) -> str:
        """Return the location in readable form."""
        return self.source if self.row is None else f"{self.source} row {self.row}"


@dataclass(frozen=True, slots=True)
class Findings:
    """All faults of a data set, in the order of reading."""

    faults: tuple[Finding, ...] = ()

    def __add__(self, other: Findings) -> Findings:
        return Findings(self.faults + other.faults)

    def __bool__(self) -> bool:
        return bool(self.faults)

    def of(self, kind: str) -> tuple[Finding, ...]:
        """Return the faults of one kind."""
        return tuple(finding for finding in self.faults if finding.kind == kind)

    def rows(self, kind: str) -> tuple[int, ...]:
        """Return the row numbers of one kind."""
        return tuple(finding.row for finding in self.of(kind) if finding.row is not None)

    def counts(self) -> Counter[str]:
        """Return the number of faults of each kind."""
        return Counter(finding.kind for finding in self.faults)

    def lines(self) -> list[str]:
        """Return a line for each kind: fault, count, treatment, and the first places."""
        lines = []
        for kind, count in self.counts().items():
            same = self.of(kind)
            places = ", ".join(_told(finding) for finding in same[:PLACES])
            more = f" and {count - PLACES} more" if count > PLACES else ""
            fates = "/".join(sorted({finding.fate for finding in same}))
            lines.append(f"{kind}: {count} {fates} ({places}{more})")
        return lines


NOTHING = Findings()


def joined(parts: Iterable[Findings]) -> Findings:
    """Join the findings of several parts."""
    return Findings(tuple(finding for part in parts for finding in part.faults))


def _told(finding: Finding) -> str:
    return finding.place + (f": {finding.detail}" if finding.detail else "")
