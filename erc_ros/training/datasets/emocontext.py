"""EmoContext (SemEval-2019 task 3): chats of three turns, the last of which is labelled.

The first and the third turn are one person's, the second is another's (a chatbot's).
"""

from __future__ import annotations

import csv
from pathlib import Path

from erc_ros.training.datasets.cleaning import read_records
from erc_ros.training.datasets.corpus import CorpusSpec
from erc_ros.training.datasets.findings import Finding, Findings
from erc_ros.training.datasets.utterances import (
    EMPTY_TEXT,
    REPAIRED_TEXT,
    UNUSABLE_ROW,
    Conversation,
    LabelledUtterance,
    Split,
    incomplete,
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
    conversations: list[Conversation] = []
    found: list[Finding] = []
    read = 0
    for row in read_records(path, COLUMNS, "\t", csv.QUOTE_NONE):
        read += 1
        fields = {key: value.strip() for key, value in row.fields.items() if isinstance(value, str)}
        if missing := set(COLUMNS) - set(fields):
            detail = f"lacks {', '.join(sorted(missing))}"
        elif fields["label"] not in LABELS:
            detail = f"unknown label {fields['label']!r}"
        else:
            detail = ""
        if detail:
            found.append(Finding(UNUSABLE_ROW, "skipped", path.name, row.number, detail))
            continue
        texts = [fields[turn] for turn in TURNS]
        if row.repaired:
            found.append(Finding(REPAIRED_TEXT, "repaired", path.name, row.number))
        if not all(texts):
            found.append(Finding(EMPTY_TEXT, "masked", path.name, row.number))
        utterances = (
            LabelledUtterance(texts[0], 1, None, 0),
            LabelledUtterance(texts[1], 2, None, 1),
            LabelledUtterance(texts[2], 1, LABELS.index(fields["label"]), 2),
        )
        conversations.append(Conversation(f"{split}/{fields['id']}", utterances))
    findings = Findings(tuple(found)) + incomplete(path.name, read, SPLITS[split])
    return Split(split, tuple(conversations), LABELS, findings)


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
