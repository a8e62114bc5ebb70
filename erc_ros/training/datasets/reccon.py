"""Dialogues of IEMOCAP, transcribed, as published by RECCON (Poria et al. 2021).

For evaluation only (`unseen`): sixteen dialogues of two actors from all five sessions. Happy and
excited mean joy; frustrated utterances are history only. Notes of transcribers
("[LAUGHTER]") are removed, as speech recognizers do not write them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from erc_ros.training.datasets.cleaning import read_json
from erc_ros.training.datasets.corpus import EVALUATION, CorpusSpec
from erc_ros.training.datasets.turns import FileFaults, lacks_texts, with_speakers
from erc_ros.training.datasets.utterances import Conversation, LabelledUtterance, Split

FILE = "reccon/iemocap_test.json"
UTTERANCES = 665  # as published
LABELS = ("neutral", "sadness", "joy", "anger")
EMOTIONS = {
    "neutral": "neutral",
    "sad": "sadness",
    "happy": "joy",
    "excited": "joy",
    "angry": "anger",
    "frustrated": None,
}
_NOTE = re.compile(r"\s*\[[A-Z ]+\]\.?")


def read_reccon_iemocap(data: Path, split: str) -> Split:
    """Read the only split, test. Rows are utterances, numbered over the whole file, from 1.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an unknown split, or a file of another form.
    """
    if split != "test":
        raise ValueError(f"RECCON's dialogues of IEMOCAP have the split 'test', not {split!r}")
    path = data / FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"no {path}: get it from https://github.com/declare-lab/RECCON"
            " (data/original_annotation)"
        )
    content = read_json(path)
    if not isinstance(content, dict) or not all(isinstance(d, list) for d in content.values()):
        raise ValueError(f"{path} must be a table: a dialogue's name, and a list with its turns")
    faults = FileFaults(path.name)
    conversations: list[Conversation] = []
    row = 0
    for name, parts in content.items():
        turns = []
        for index, turn in enumerate(t for part in parts if isinstance(part, list) for t in part):
            row += 1
            if reason := _fault(turn):
                faults.skip(row, reason)
                continue
            text = faults.text(_NOTE.sub("", turn["utterance"]), row)
            ours = EMOTIONS[turn["emotion"]]
            label = None if ours is None else LABELS.index(ours)
            turns.append((turn["speaker"], LabelledUtterance(text, 0, label, index)))
        if turns:
            conversations.append(Conversation(f"{split}/{name}", with_speakers(turns)))
    return Split(split, tuple(conversations), LABELS, faults.findings(row, UTTERANCES))


def _fault(turn: Any) -> str:
    if reason := lacks_texts(turn, ("speaker", "utterance", "emotion")):
        return reason
    return "" if turn["emotion"] in EMOTIONS else f"unknown emotion {turn['emotion']!r}"


CORPORA = (
    CorpusSpec(
        name="reccon-iemocap",
        title="RECCON, the dialogues of IEMOCAP",
        about="ten actors, scripted and improvised",
        license="none stated for the annotations; IEMOCAP itself on request, for research",
        labels=LABELS,
        splits=("test",),
        speakers=10,
        use=EVALUATION,
        read=read_reccon_iemocap,
        content="16 dialogues of IEMOCAP, transcribed (Poria et al. 2021;"
        " github.com/declare-lab/RECCON, `data/original_annotation/`)",
        layout="`reccon/iemocap_test.json`",
    ),
)
