"""The common form of all data sets: conversations of labeled utterances."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from erc_ros.training.datasets.findings import NOTHING, Finding, Findings

LABELS = ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")  # MELD's order
LONGEST = 120 * 1_000_000_000
"""ns; no utterance is longer. One in MELD's test split claims 305 s."""

IMPOSSIBLE_TIMES = "impossible times"
REPAIRED_TEXT = "Windows-1252 leftovers"
UNUSABLE_ROW = "unusable row"
EMPTY_TEXT = "empty text"
INCOMPLETE = "incomplete corpus"


@dataclass(frozen=True, slots=True)
class LabelledUtterance:
    """One utterance and its annotated emotion.

    speaker: 0 unknown, 1..9 by first appearance in the conversation (`encoders.text`). label: index
    into the labels of its split (LABELS unless the reader defines others); None without
    annotation, then it is history only. among: for coarser labels of a corpus, the labels of which
    one is correct; `label` is then None. start, end: ns from the recording's beginning; None if
    unknown or impossible. votes: the share of raters for each label, empty if unknown.
    clip: the file with its audio (MELD: and image); None if missing or broken.
    images: the file with its images, a clip or the crops of `erc cut-faces`; None as above.
    features: of its text, audio and images, (d_m,) each, where a corpus is published as such.
    """

    text: str
    speaker: int
    label: int | None
    index: int  # as numbered by the data set
    start: int | None = None
    end: int | None = None
    votes: tuple[float, ...] = ()
    clip: Path | None = None
    pictures: Path | None = None
    among: tuple[int, ...] = ()
    features: tuple[NDArray[np.float32], ...] = field(default=(), compare=False, repr=False)

    @property
    def is_labelled(self) -> bool:
        """Whether its emotion is annotated."""
        return self.label is not None or bool(self.among)


@dataclass(frozen=True, slots=True)
class Conversation:
    """Utterances in their order."""

    name: str
    utterances: tuple[LabelledUtterance, ...]

    def key(self, utterance: LabelledUtterance) -> str:
        """Return the key of an utterance within the corpus, such as "train/12/3"."""
        return f"{self.name}/{utterance.index}"


@dataclass(frozen=True, slots=True)
class Split:
    """A part of a corpus, the names of its labels, and its faults.

    Raises:
        ValueError: no utterance can be used; states the reasons.
    """

    name: str
    conversations: tuple[Conversation, ...]
    labels: tuple[str, ...] = LABELS
    findings: Findings = NOTHING

    def __post_init__(self) -> None:
        if not self.conversations:
            reasons = "; ".join(self.findings.lines()) or "it is empty"
            raise ValueError(f"the {self.name} split has no usable utterance: {reasons}")

    @property
    def bad_times(self) -> tuple[int, ...]:
        """Rows whose times are missing or impossible (kept, without times)."""
        return self.findings.rows(IMPOSSIBLE_TIMES)

    @property
    def repaired(self) -> tuple[int, ...]:
        """Rows with repaired Windows-1252 characters."""
        return self.findings.rows(REPAIRED_TEXT)

    @property
    def refused(self) -> tuple[tuple[int, str], ...]:
        """(row, reason) of rows that were excluded."""
        return tuple((f.row or 0, f.detail) for f in self.findings.of(UNUSABLE_ROW))


def count(conversations: Iterable[Conversation]) -> int:
    """Return the number of utterances in all conversations."""
    return sum(len(conversation.utterances) for conversation in conversations)


def incomplete(source: str, count: int, official: int) -> Findings:
    """Return a finding if a corpus has another size than published, else none."""
    if count == official:
        return Findings()
    detail = f"{count} of {official} published"
    return Findings((Finding(INCOMPLETE, "noted", source, detail=detail),))


def possible(start: int | None, end: int | None) -> bool:
    """Whether start and end (ns) are possible times of an utterance."""
    return start is not None and end is not None and start >= 0 and 0 < end - start <= LONGEST
