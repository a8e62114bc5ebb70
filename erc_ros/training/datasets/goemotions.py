"""GoEmotions (Demszky et al. 2020): single comments with one of Ekman's emotions or neutral."""

from __future__ import annotations

import csv
from pathlib import Path

from erc_ros.training.datasets.utterances import LABELS, Conversation, LabelledUtterance

FOLDER = "goemotions"
SPLITS = ("train", "valid", "test")


def read_goemotions(data: Path, split: str) -> tuple[Conversation, ...]:
    """The rows of one split that have a single label, each a conversation of one utterance.

    Raises:
        FileNotFoundError: no such file; says where it was looked for.
        ValueError: an unknown split, or a file of another form.
    """
    if split not in SPLITS:
        raise ValueError(f"GoEmotions has the splits {SPLITS}, not {split!r}")
    folder = data / FOLDER
    path = folder / f"ekman_{split}.tsv"
    if not path.is_file():
        raise FileNotFoundError(
            f"no {path}: get GoEmotions (Ekman labels) or train without it (pretrain_epochs: 0)"
        )
    names = (folder / "ekman_labels.txt").read_text(encoding="utf-8").split()
    labels = {str(number): LABELS.index(name) for number, name in enumerate(names)}
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        if not {"text", "label", "id"} <= set(rows.fieldnames or ()):
            raise ValueError(f"{path} must have the columns text, label, id")
        return tuple(
            Conversation(
                f"{split}/{row['id']}",
                (LabelledUtterance(row["text"], 1, labels[row["label"]], 0),),
            )
            for row in rows
            if row["label"] in labels  # several labels are written "1,3"
        )
