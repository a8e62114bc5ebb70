"""GoEmotions (Demszky et al. 2020): single comments with one of Ekman's emotions or neutral."""

from __future__ import annotations

import csv
from pathlib import Path

from erc_ros.training.datasets.cleaning import read_records
from erc_ros.training.datasets.corpus import CorpusSpec
from erc_ros.training.datasets.findings import Finding, Findings
from erc_ros.training.datasets.utterances import (
    EMPTY_TEXT,
    LABELS,
    REPAIRED_TEXT,
    UNUSABLE_ROW,
    Conversation,
    LabelledUtterance,
    Split,
    incomplete,
)

FOLDER = "goemotions"
SPLITS = {"train": 43410, "valid": 5426, "test": 5427}  # rows, as published
COLUMNS = ("text", "label", "id")
SEVERAL = "several labels"


def read_goemotions(data: Path, split: str) -> Split:
    """The rows of one split that have a single label, each a conversation of one utterance.

    Raises:
        FileNotFoundError: no such file; says where it was looked for.
        ValueError: an unknown split, or a file of another form or with other labels.
    """
    if split not in SPLITS:
        raise ValueError(f"GoEmotions has the splits {tuple(SPLITS)}, not {split!r}")
    path = data / FOLDER / f"ekman_{split}.tsv"
    if not path.is_file():
        raise FileNotFoundError(
            f"no {path}: get GoEmotions (Ekman labels) or train without it (pretrain_epochs: 0)"
        )
    labels = _labels(data / FOLDER / "ekman_labels.txt")
    conversations: list[Conversation] = []
    found: list[Finding] = []
    read = 0
    for row in read_records(path, COLUMNS, "\t", csv.QUOTE_NONE):
        read += 1
        text, label, name = (row.fields[column] for column in COLUMNS)
        if label is None or name is None or None in row.fields:
            detail = "too few or too many columns"
            found.append(Finding(UNUSABLE_ROW, "skipped", path.name, row.number, detail))
        elif label in labels:
            if row.repaired:
                found.append(Finding(REPAIRED_TEXT, "repaired", path.name, row.number))
            if not (text or "").strip():
                found.append(Finding(EMPTY_TEXT, "masked", path.name, row.number))
            utterance = LabelledUtterance(text or "", 1, labels[label], 0)
            conversations.append(Conversation(f"{split}/{name}", (utterance,)))
        elif set(label.split(",")) <= set(labels):  # several are written "1,3"
            found.append(Finding(SEVERAL, "skipped", path.name, row.number, label))
        else:
            detail = f"unknown label {label!r}"
            found.append(Finding(UNUSABLE_ROW, "skipped", path.name, row.number, detail))
    findings = Findings(tuple(found)) + incomplete(path.name, read, SPLITS[split])
    return Split(split, tuple(conversations), LABELS, findings)


def _labels(path: Path) -> dict[str, int]:
    """The labels as numbers in the rows -> indices into LABELS."""
    if not path.is_file():
        raise FileNotFoundError(f"no {path}: it names the labels of the ekman_*.tsv beside it")
    names = path.read_text(encoding="utf-8").split()
    if unknown := [name for name in names if name not in LABELS]:
        raise ValueError(f"{path} has the labels {unknown}; known are {', '.join(LABELS)}")
    return {str(number): LABELS.index(name) for number, name in enumerate(names)}


CORPORA = (
    CorpusSpec(
        name="goemotions",
        title="GoEmotions",
        about="comments on Reddit, in English",
        license="CC BY 4.0",
        is_commercial=True,
        source="Demszky et al. 2020, by Google Research, whose repository says that all its data"
        " sets are released under it: https://github.com/google-research/google-research",
        splits=("train", "valid", "test"),
        read=read_goemotions,
        text_number=1,
        content="single comments, Ekman's emotions",
        layout="`goemotions/ekman_{split}.tsv`",
    ),
)
