"""Dialogues of IEMOCAP, transcribed, as RECCON (Poria et al. 2021) published them.

To measure with only (`unseen`). Sixteen dialogues of two actors, scripted and improvised, from all
five sessions. Happy and excited are joy; frustrated is no emotion of ours: history. What the
transcribers noted ("[LAUGHTER]") is taken out: no recogniser writes it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from erc_ros.encoders.text import speaker_indices
from erc_ros.training.datasets.cleaning import read_json, repair
from erc_ros.training.datasets.corpus import EVALUATION, CorpusSpec
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
    conversations: list[Conversation] = []
    found: list[Finding] = []
    row = 0
    for name, parts in content.items():
        kept = []
        for index, turn in enumerate(t for part in parts if isinstance(part, list) for t in part):
            row += 1
            if reason := _wrong_with(turn):
                found.append(Finding(UNUSABLE_ROW, "skipped", path.name, row, reason))
                continue
            text = _NOTE.sub("", repair(turn["utterance"])).strip()
            if repair(turn["utterance"]) != turn["utterance"]:
                found.append(Finding(REPAIRED_TEXT, "repaired", path.name, row))
            if not text:
                found.append(Finding(EMPTY_TEXT, "masked", path.name, row))
            ours = EMOTIONS[turn["emotion"]]
            label = None if ours is None else LABELS.index(ours)
            kept.append((turn["speaker"], text, label, index))
        speakers = speaker_indices(speaker for speaker, *_ in kept)
        utterances = tuple(
            LabelledUtterance(text, speaker, label, index)
            for speaker, (_, text, label, index) in zip(speakers, kept, strict=True)
        )
        if utterances:
            conversations.append(Conversation(f"{split}/{name}", utterances))
    findings = Findings(tuple(found)) + incomplete(path.name, row, UTTERANCES)
    return Split(split, tuple(conversations), LABELS, findings)


def _wrong_with(turn: Any) -> str:
    keys = ("speaker", "utterance", "emotion")
    if not isinstance(turn, dict) or not all(isinstance(turn.get(key), str) for key in keys):
        return f"must have the texts {', '.join(keys)}"
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
