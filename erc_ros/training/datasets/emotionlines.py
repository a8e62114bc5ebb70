"""EmotionLines (Chen et al. 2018), Friends: MELD's series, labelled by five readers.

It follows MELD's split: its train is for training together with MELD's train only, and a passage
that is in MELD's dev or test never is in its train (tested). Utterances without a majority
("non-neutral") have no label and stay as history.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from erc_ros.encoders.text import speaker_indices
from erc_ros.training.datasets.cleaning import read_json, repair
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

FOLDER = "emotionlines_friends"
SPLITS = {"train": 10561, "dev": 1178, "test": 2764}  # utterances, as published
NO_MAJORITY = "no majority"
# Five votes are written as seven digits in this order.
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
    found: list[Finding] = []
    conversations = []
    row = 0
    for number, dialogue in enumerate(read_turns(path)):
        kept = []
        for index, turn in enumerate(dialogue):
            row += 1
            if (reason := _wrong_with(turn)) != "":
                found.append(Finding(UNUSABLE_ROW, "skipped", path.name, row, reason))
            else:
                kept.append((turn["speaker"], _utterance(turn, index, path.name, row, found)))
        speakers = speaker_indices(repair(name) for name, _ in kept)
        utterances = (
            LabelledUtterance(u.text, speaker, u.label, u.index, votes=u.votes)
            for speaker, (_, u) in zip(speakers, kept, strict=True)
        )
        conversations.append(Conversation(f"{split}/{number}", tuple(utterances)))
    findings = Findings(tuple(found)) + incomplete(path.name, row, SPLITS[split])
    return Split(split, tuple(c for c in conversations if c.utterances), LABELS, findings)


def read_turns(path: Path) -> list[list[dict[str, Any]]]:
    """The dialogues of a file as they are written there.

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
    """Votes "4100000" as shares in the order of LABELS; () without any vote."""
    votes = [0] * len(LABELS)
    for emotion, digit in zip(VOTE_ORDER, annotation, strict=True):
        votes[LABELS.index(emotion)] = int(digit)
    return tuple(vote / sum(votes) for vote in votes) if sum(votes) else ()


def _wrong_with(turn: Any) -> str:
    keys = ("speaker", "utterance", "emotion", "annotation")
    if not isinstance(turn, dict) or not all(isinstance(turn.get(key), str) for key in keys):
        return f"must have the texts {', '.join(keys)}"
    if turn["emotion"] not in (*LABELS, "non-neutral"):
        return f"unknown emotion {turn['emotion']!r}"
    votes = turn["annotation"]
    if len(votes) != len(VOTE_ORDER) or not (votes.isascii() and votes.isdigit()):
        return f"annotation {votes!r} must be {len(VOTE_ORDER)} digits"
    return ""


def _utterance(
    turn: dict[str, str], index: int, file: str, row: int, found: list[Finding]
) -> LabelledUtterance:
    text = repair(turn["utterance"]).strip()
    label = LABELS.index(turn["emotion"]) if turn["emotion"] in LABELS else None
    if label is None:
        found.append(Finding(NO_MAJORITY, "masked", file, row))
    if repair(turn["utterance"]) != turn["utterance"]:
        found.append(Finding(REPAIRED_TEXT, "repaired", file, row))
    if not text:
        found.append(Finding(EMPTY_TEXT, "masked", file, row))
    return LabelledUtterance(text, 0, label, index, votes=shares(turn["annotation"]))


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
