"""A corpus in CSV files: conversations labeled engaged or not engaged.

DATA/talks/train.csv, dev.csv and test.csv with the columns conversation, speaker, text, label
"""

from __future__ import annotations

import csv
from itertools import groupby
from pathlib import Path

from erc_ros.training.datasets.corpus import CorpusSpec
from erc_ros.training.datasets.utterances import Conversation, LabelledUtterance, Split

LABELS = ("engaged", "not engaged")
SPLITS = ("train", "dev", "test")
COLUMNS = ("conversation", "speaker", "text", "label")


def read(data: Path, split: str) -> Split:
    """Read a split; an utterance with an empty label is history only.

    Raises:
        FileNotFoundError: the corpus is not in `data`.
        ValueError: an unknown split or label, or a row that lacks a column; names file and line.
    """
    if split not in SPLITS:
        raise ValueError(f"talks has no split {split!r}; it has {', '.join(SPLITS)}")
    file = data / "talks" / f"{split}.csv"
    rows = []
    with file.open(newline="", encoding="utf-8") as stream:
        for number, row in enumerate(csv.DictReader(stream), 2):
            if any(row.get(column) is None for column in COLUMNS):
                raise ValueError(f"{file}, line {number} lacks one of {', '.join(COLUMNS)}")
            if row["label"] not in ("", *LABELS):
                raise ValueError(f"{file}, line {number}: label {row['label']!r} is unknown")
            rows.append(row)
    conversations = []
    for name, group in groupby(rows, key=lambda row: row["conversation"]):
        speakers: dict[str, int] = {}
        utterances = tuple(
            LabelledUtterance(
                row["text"],
                min(speakers.setdefault(row["speaker"], len(speakers) + 1), 9),
                LABELS.index(row["label"]) if row["label"] else None,
                index,
            )
            for index, row in enumerate(group)
        )
        conversations.append(Conversation(f"{split}/{name}", utterances))
    return Split(split, tuple(conversations), LABELS)


TALKS = CorpusSpec(
    name="talks",
    title="Talks (example)",
    about="written conversations of two people in English",
    license="CC0 1.0",
    is_commercial=True,
    labels=LABELS,
    splits=SPLITS,
    read=read,
)
