"""EmotionLines (Chen et al. 2018), Friends: MELD's series, labeled by five raters.

Its splits follow MELD's: no passage of MELD's dev or test split is in its train split (tested).
Utterances without a majority ("non-neutral") have no label and are history only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from erc_ros.training.datasets.cleaning import read_json, repair
from erc_ros.training.datasets.corpus import CorpusSpec
from erc_ros.training.datasets.turns import FileFaults, lacks_texts, with_speakers
from erc_ros.training.datasets.utterances import (
    LABELS,
    Conversation,
    LabelledUtterance,
    Split,
)

FOLDER = "emotionlines_friends"
SPLITS = {"train": 10561, "dev": 1178, "test": 2764}  # utterances, as published
NO_MAJORITY = "no majority"
# The counts of the five votes are seven digits in this order.
VOTE_ORDER = ("neutral", "joy", "sadness", "fear", "anger", "surprise", "disgust")


def read_emotionlines(data: Path, split: str) -> Split:
    """Read one split. Rows are numbered over the whole file, from 1.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an unknown split, or a file of another form.
    """
    if split not in SPLITS:
        raise ValueError(f"EmotionLines has the splits {tuple(SPLITS)}, not {split!r}")
    path = data / FOLDER / f"{split}.json"
    faults = FileFaults(path.name)
    conversations = []
    row = 0
    for number, dialogue in enumerate(read_turns(path)):
        turns = []
        for index, turn in enumerate(dialogue):
            row += 1
            if reason := _fault(turn):
                faults.skip(row, reason)
                continue
            label = LABELS.index(turn["emotion"]) if turn["emotion"] in LABELS else None
            if label is None:
                faults.mask(row, NO_MAJORITY)
            text, votes = faults.text(turn["utterance"], row), shares(turn["annotation"])
            utterance = LabelledUtterance(text, 0, label, index, votes=votes)
            turns.append((repair(turn["speaker"]), utterance))
        if turns:
            conversations.append(Conversation(f"{split}/{number}", with_speakers(turns)))
    return Split(split, tuple(conversations), LABELS, faults.findings(row, SPLITS[split]))


def read_turns(path: Path) -> list[list[dict[str, Any]]]:
    """Return the dialogues of a file as they are in it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a list of dialogues.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: get EmotionLines (Friends) as train.json, dev.json, test.json,"
            " or train without votes (votes: 0)"
        )
    content = read_json(path)
    if not isinstance(content, list) or not all(isinstance(d, list) for d in content):
        raise ValueError(f"{path} must be a list of dialogues, each a list of utterances")
    return content


def shares(annotation: str) -> tuple[float, ...]:
    """Return votes "4100000" as shares in the order of LABELS; () without votes."""
    votes = [0] * len(LABELS)
    for emotion, digit in zip(VOTE_ORDER, annotation, strict=True):
        votes[LABELS.index(emotion)] = int(digit)
    return tuple(vote / sum(votes) for vote in votes) if sum(votes) else ()


def _fault(turn: Any) -> str:
    if reason := lacks_texts(turn, ("speaker", "utterance", "emotion", "annotation")):
        return reason
    if turn["emotion"] not in (*LABELS, "non-neutral"):
        return f"unknown emotion {turn['emotion']!r}"
    votes = turn["annotation"]
    if len(votes) != len(VOTE_ORDER) or not (votes.isascii() and votes.isdigit()):
        return f"annotation {votes!r} must be {len(VOTE_ORDER)} digits"
    return ""


CORPORA = (
    CorpusSpec(
        name="emotionlines",
        title="EmotionLines' votes",
        about="English dialogue of a television comedy",
        license="research use",
        read=read_emotionlines,
        content="Friends, read by five raters; labels and votes (Chen et al. 2018)",
        layout="`emotionlines_friends/{split}.json`",
    ),
)
