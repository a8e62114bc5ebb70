"""EmoryNLP (Zahiri and Choi 2018): scenes of Friends, labeled from the transcript.

For evaluation only (`unseen`). It is MELD's series: scenes that share a longer utterance with the
train or dev split of MELD or EmotionLines are skipped and counted, so the rest is new to models
trained on those. Utterances labeled peaceful or powerful are history only.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from erc_ros.training.datasets.cleaning import read_json, repair
from erc_ros.training.datasets.corpus import EVALUATION, CorpusSpec
from erc_ros.training.datasets.emotionlines import read_emotionlines
from erc_ros.training.datasets.meld import read_meld
from erc_ros.training.datasets.turns import FileFaults, lacks_texts, with_speakers
from erc_ros.training.datasets.utterances import Conversation, LabelledUtterance, Split

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
"""Minimum length in words of an utterance that identifies a scene; shorter ones recur by chance."""
KNOWN_SCENE = "scene of MELD or EmotionLines"


def read_emorynlp(data: Path, split: str) -> Split:
    """Read one split. Rows are scenes, numbered over the whole file, from 1.

    Raises:
        FileNotFoundError: the file, or MELD or EmotionLines for the comparison, is missing.
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
    training_texts = _training_texts(data)
    faults = FileFaults(path.name)
    conversations: list[Conversation] = []
    count = 0
    for row, scene in enumerate(_scenes(path), start=1):
        count += len(scene)
        usable = []
        for index, turn in enumerate(scene):
            if reason := _fault(turn):
                faults.skip(row, reason)
            else:
                usable.append((index, turn))
        texts = [repair(turn["transcript"]) for _, turn in usable]
        same = sum(len(t.split()) >= LONG and _letters(t) in training_texts for t in texts)
        if same:
            faults.skip(row, f"{same} of {len(scene)} utterances", KNOWN_SCENE)
            continue
        turns = [
            (
                " and ".join(turn["speakers"]),
                LabelledUtterance(
                    faults.text(turn["transcript"], row), 0, _label(turn["emotion"]), index
                ),
            )
            for index, turn in usable
        ]
        if turns:
            conversations.append(Conversation(f"{split}/{row}", with_speakers(turns)))
    return Split(split, tuple(conversations), LABELS, faults.findings(count, published))


def _training_texts(data: Path) -> set[str]:
    """Return the texts of the series in corpora that a text encoder may be trained on."""
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


def _fault(turn: Any) -> str:
    if reason := lacks_texts(turn, ("transcript", "emotion")):
        return reason
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
