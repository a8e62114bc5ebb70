"""GoEmotions (Demszky et al. 2020): single comments with one of Ekman's emotions or neutral."""

from __future__ import annotations

import csv
from pathlib import Path

from erc_ros.training.datasets.cleaning import read_records
from erc_ros.training.datasets.corpus import CorpusSpec
from erc_ros.training.datasets.turns import FileFaults
from erc_ros.training.datasets.utterances import (
    LABELS,
    Conversation,
    LabelledUtterance,
    Split,
)

FOLDER = "goemotions"
SPLITS = {"train": 43410, "valid": 5426, "test": 5427}  # rows, as published
COLUMNS = ("text", "label", "id")
SEVERAL = "several labels"


def read_goemotions(data: Path, split: str) -> Split:
    """Read the rows of one split with a single label, each a conversation of one utterance.

    Raises:
        FileNotFoundError: no such file; names the expected path.
        ValueError: an unknown split, or a file of another format or with other labels.
    """
    if split not in SPLITS:
        raise ValueError(f"GoEmotions has the splits {tuple(SPLITS)}, not {split!r}")
    path = data / FOLDER / f"ekman_{split}.tsv"
    if not path.is_file():
        raise FileNotFoundError(
            f"no {path}: get GoEmotions (Ekman labels) or train without it (pretraining: {{}})"
        )
    labels = _labels(data / FOLDER / "ekman_labels.txt")
    faults = FileFaults(path.name)
    conversations: list[Conversation] = []
    count = 0
    for row in read_records(path, COLUMNS, "\t", csv.QUOTE_NONE):
        count += 1
        text, label, name = (row.fields[column] for column in COLUMNS)
        if label is None or name is None or None in row.fields:
            faults.skip(row.number, "too few or too many columns")
        elif label in labels:
            faults.text(text or "", row.number, row.repaired)
            utterance = LabelledUtterance(text or "", 1, labels[label], 0)
            conversations.append(Conversation(f"{split}/{name}", (utterance,)))
        elif set(label.split(",")) <= set(labels):  # several are written "1,3"
            faults.skip(row.number, label, SEVERAL)
        else:
            faults.skip(row.number, f"unknown label {label!r}")
    return Split(split, tuple(conversations), LABELS, faults.findings(count, SPLITS[split]))


def _labels(path: Path) -> dict[str, int]:
    """Return label numbers of the rows -> indices into LABELS."""
    if not path.is_file():
        raise FileNotFoundError(f"no {path}: it names the labels of ekman_*.tsv")
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
