"""EmoContext (SemEval-2019 task 3): chats of three turns, the last of which is labeled.

One person writes the first and the third turn, a chatbot the second.
"""

from __future__ import annotations

import csv
from pathlib import Path

from erc_ros.training.datasets.cleaning import read_records
from erc_ros.training.datasets.corpus import CorpusSpec
from erc_ros.training.datasets.findings import Finding
from erc_ros.training.datasets.turns import FileFaults
from erc_ros.training.datasets.utterances import (
    EMPTY_TEXT,
    REPAIRED_TEXT,
    Conversation,
    LabelledUtterance,
    Split,
)

FOLDER = "emocontext_semeval19"
SPLITS = {"train": 30160, "valid": 2755, "test": 5509}  # conversations, as published
LABELS = ("others", "happy", "sad", "angry")
TURNS = ("turn1", "turn2", "turn3")
COLUMNS = ("id", *TURNS, "label")


def read_emocontext(data: Path, split: str) -> Split:
    """Read one split.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an unknown split, or a file without its columns.
    """
    if split not in SPLITS:
        raise ValueError(f"EmoContext has the splits {tuple(SPLITS)}, not {split!r}")
    path = data / FOLDER / f"{split}.txt"
    if not path.is_file():
        raise FileNotFoundError(f"no {path}: get EmoContext (SemEval-2019 task 3) as {split}.txt")
    faults = FileFaults(path.name)
    conversations: list[Conversation] = []
    count = 0
    for row in read_records(path, COLUMNS, "\t", csv.QUOTE_NONE):
        count += 1
        fields = {key: value.strip() for key, value in row.fields.items() if isinstance(value, str)}
        if missing := set(COLUMNS) - set(fields):
            faults.skip(row.number, f"lacks {', '.join(sorted(missing))}")
            continue
        if fields["label"] not in LABELS:
            faults.skip(row.number, f"unknown label {fields['label']!r}")
            continue
        texts = [fields[turn] for turn in TURNS]
        if row.repaired:
            faults.faults.append(Finding(REPAIRED_TEXT, "repaired", path.name, row.number))
        if not all(texts):
            faults.mask(row.number, EMPTY_TEXT)
        first, second, third = texts
        utterances = (
            LabelledUtterance(first, 1, None, 0),
            LabelledUtterance(second, 2, None, 1),
            LabelledUtterance(third, 1, LABELS.index(fields["label"]), 2),
        )
        conversations.append(Conversation(f"{split}/{fields['id']}", utterances))
    return Split(split, tuple(conversations), LABELS, faults.findings(count, SPLITS[split]))


CORPORA = (
    CorpusSpec(
        name="emocontext",
        title="EmoContext (SemEval 2019)",
        about="English chats of three turns",
        license="research use",
        labels=LABELS,
        meanings={
            "happy": ("joy",),
            "sad": ("sadness",),
            "angry": ("anger",),
            "others": ("neutral", "surprise", "fear", "disgust"),
        },
        splits=("train", "valid", "test"),
        read=read_emocontext,
        text_number=2,
        content="chats of three turns, the third is labeled",
        layout="`emocontext_semeval19/{split}.txt`",
    ),
)
