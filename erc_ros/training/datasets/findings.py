"""What was wrong with a data set: counted, with places, never fatal and never silent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Fate = Literal["skipped", "masked", "repaired", "noted"]
"""skipped: excluded. masked: kept without the part that is wrong. repaired: kept, put right.
noted: nothing was done."""

PLACES = 5  # named in a summary; more are only counted


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault. kind: the same words for the same fault, to count by.

    source: file or part of the corpus. row: in a table as a spreadsheet counts, so that the first
    record is 2; in a text file its line; else the number of the record; None: all of the source.
    """

    kind: str
    fate: Fate
    source: str
    row: int | None = None
    detail: str = ""

    @property
    def place(self) -> str:
        """Where, for people."""
        return self.source if self.row is None else f"{self.source} row {self.row}"


@dataclass(frozen=True, slots=True)
class Findings:
    """All faults of a data set, in the order in which they were met."""

    faults: tuple[Finding, ...] = ()

    def __add__(self, other: Findings) -> Findings:
        return Findings(self.faults + other.faults)

    def __bool__(self) -> bool:
        return bool(self.faults)

    def of(self, kind: str) -> tuple[Finding, ...]:
        """Those of one kind."""
        return tuple(finding for finding in self.faults if finding.kind == kind)

    def rows(self, kind: str) -> tuple[int, ...]:
        """The row numbers of one kind."""
        return tuple(finding.row for finding in self.of(kind) if finding.row is not None)

    def counts(self) -> Counter[str]:
        """How many of each kind."""
        return Counter(finding.kind for finding in self.faults)

    def lines(self) -> list[str]:
        """A line for each kind: what, how often, what was done, and the first places."""
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
    """The findings of several parts as one."""
    return Findings(tuple(finding for part in parts for finding in part.faults))


def _told(finding: Finding) -> str:
    return finding.place + (f": {finding.detail}" if finding.detail else "")
