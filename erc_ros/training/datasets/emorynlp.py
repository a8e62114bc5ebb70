"""EmoryNLP (Zahiri and Choi 2018): scenes of Friends, labelled by readers of the transcript.

To measure with only (`unseen`). It is MELD's series: scenes of which a longer utterance is, word
for word, in the train or dev split of MELD or EmotionLines are left out and counted, so that what
is left is new to what learned from those. Peaceful and powerful are no emotions of ours: such
utterances are history.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from erc_ros.encoders.text import speaker_indices
from erc_ros.training.datasets.cleaning import read_json, repair
from erc_ros.training.datasets.corpus import EVALUATION, CorpusSpec
from erc_ros.training.datasets.emotionlines import read_emotionlines
from erc_ros.training.datasets.findings import Finding, Findings
from erc_ros.training.datasets.meld import read_meld
from erc_ros.training.datasets.utterances import (
    EMPTY_TEXT,
    REPAIRED_TEXT,
    UNUSABLE_ROW,
    Conversation,
    LabelledUtterance,
    Split,
    incomplete,
)

FOLDER = "emorynlp"
SPLITS = {"dev": ("dev", 1344), "test": ("tst", 1328)}  # part of the file's name, utterances
LABELS = ("neutral", "joy", "sadness", "fear", "anger")
EMOTIONS = {
    "Neutral": "neutral",
    "Joyful": "joy",
    "Sad": "sadness",
    "Scared": "fear",
    "Mad": "anger",
    "Peaceful": None,
    "Powerful": None,
}
LONG = 5
"""Words; a shorter utterance may be said twice by chance."""
KNOWN_SCENE = "scene of MELD or EmotionLines"


def read_emorynlp(data: Path, split: str) -> Split:
    """Read one split. Rows are scenes, numbered over the whole file, from 1.

    Raises:
        FileNotFoundError: no such file, or MELD or EmotionLines is not there to compare with.
        ValueError: an unknown split, or a file of another form.
    """
    if split not in SPLITS:
        raise ValueError(f"EmoryNLP has the splits {tuple(SPLITS)} here, not {split!r}")
    part, published = SPLITS[split]
    path = data / FOLDER / f"emotion-detection-{part}.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"no {path}: get it from https://github.com/emorynlp/emotion-detection (json/)"
        )
    known = _said_in_training(data)
    conversations: list[Conversation] = []
    found: list[Finding] = []
    read = 0
    for row, scene in enumerate(_scenes(path), start=1):
        read += len(scene)
        kept = []
        for index, turn in enumerate(scene):
            if reason := _wrong_with(turn):
                found.append(Finding(UNUSABLE_ROW, "skipped", path.name, row, reason))
            else:
                kept.append((index, turn))
        texts = [repair(turn["transcript"]).strip() for _, turn in kept]
        if same := sum(len(text.split()) >= LONG and _letters(text) in known for text in texts):
            detail = f"{same} of {len(scene)} utterances"
            found.append(Finding(KNOWN_SCENE, "skipped", path.name, row, detail))
            continue
        if any(repair(turn["transcript"]) != turn["transcript"] for _, turn in kept):
            found.append(Finding(REPAIRED_TEXT, "repaired", path.name, row))
        if not all(texts):
            found.append(Finding(EMPTY_TEXT, "masked", path.name, row))
        speakers = speaker_indices(" and ".join(turn["speakers"]) for _, turn in kept)
        utterances = tuple(
            LabelledUtterance(text, speaker, _label(turn["emotion"]), index)
            for text, speaker, (index, turn) in zip(texts, speakers, kept, strict=True)
        )
        if utterances:
            conversations.append(Conversation(f"{split}/{row}", utterances))
    findings = Findings(tuple(found)) + incomplete(path.name, read, published)
    return Split(split, tuple(conversations), LABELS, findings)


def _said_in_training(data: Path) -> set[str]:
    """What a text encoder may have seen of the series."""
    splits = (
        read(data, name) for read in (read_meld, read_emotionlines) for name in ("train", "dev")
    )
    return {_letters(u.text) for s in splits for c in s.conversations for u in c.utterances}


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _label(emotion: str) -> int | None:
    ours = EMOTIONS[emotion]
    return None if ours is None else LABELS.index(ours)


def _scenes(path: Path) -> list[list[Any]]:
    try:
        return [
            list(scene["utterances"])
            for episode in read_json(path)["episodes"]
            for scene in episode["scenes"]
        ]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} must have episodes, their scenes, their utterances") from error


def _wrong_with(turn: Any) -> str:
    keys = ("transcript", "emotion")
    if not isinstance(turn, dict) or not all(isinstance(turn.get(key), str) for key in keys):
        return f"must have the texts {', '.join(keys)}"
    speakers = turn.get("speakers")
    if not isinstance(speakers, list) or not all(isinstance(name, str) for name in speakers):
        return "speakers must be a list of names"
    return "" if turn["emotion"] in EMOTIONS else f"unknown emotion {turn['emotion']!r}"


CORPORA = (
    CorpusSpec(
        name="emorynlp",
        title="EmoryNLP",
        about="English dialogue of a television comedy",
        license="Apache-2.0; the dialogue is television text: research use",
        labels=LABELS,
        splits=("dev", "test"),
        use=EVALUATION,
        read=read_emorynlp,
        content="scenes of Friends (Zahiri and Choi 2018; github.com/emorynlp/emotion-detection,"
        " `json/`)",
        layout="`emorynlp/emotion-detection-{dev,tst}.json`; also `meld`, `emotionlines`",
    ),
)
