"""Dialogues between people and a robot, written for this project (folder `corpora/`).

    - group: great-1            # optional: dialogues that end in the same words
      turns:
      - [Robot, "The letter has arrived.", neutral]
      - [Ilse, "Great.", anger]

The robot's turns are history only. All dialogues of a sentence ("great-1", "great-2") are in the
same split.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import Any

import yaml

try:  # ten times as fast, where PyYAML was built with libyaml
    from yaml import CSafeLoader as SafeLoader
except ImportError:
    from yaml import SafeLoader  # type: ignore[assignment]

from erc_ros.resources import shared
from erc_ros.training.datasets.corpus import CorpusSpec
from erc_ros.training.datasets.findings import Findings
from erc_ros.training.datasets.turns import FileFaults, with_speakers
from erc_ros.training.datasets.utterances import (
    EMPTY_TEXT,
    LABELS,
    Conversation,
    LabelledUtterance,
    Split,
)

FOLDER = "robot_dialogues"
SPLITS = ("train", "dev", "test")
ROBOT = "Robot"
PARTS = 10  # one of these is dev, one is test


def read_robot_dialogues(data: Path, split: str) -> Split:
    """Read one split from the data folder, or else from the source tree.

    Rows are dialogues, numbered from 1 in each file.

    Raises:
        FileNotFoundError: there are no dialogues.
        ValueError: an unknown split, or a file of another form.
    """
    if split not in SPLITS:
        raise ValueError(f"the robot dialogues have the splits {SPLITS}, not {split!r}")
    folder = data / FOLDER if (data / FOLDER).is_dir() else shared("corpora") / FOLDER
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise FileNotFoundError(f"{folder} has no dialogues (*.yaml)")
    conversations: list[Conversation] = []
    findings = Findings()
    for file in files:
        faults = FileFaults(file.name)
        for row, entry in enumerate(_entries(file), start=1):
            if reason := fault(entry):
                faults.skip(row, reason)
            elif split_of(entry) == split:
                if any(not text.strip() for _, text, _ in entry["turns"]):
                    faults.mask(row, EMPTY_TEXT)
                name = f"{split}/{file.stem}-{row}"
                conversations.append(Conversation(name, _utterances(entry["turns"])))
        findings += Findings(tuple(faults.faults))
    return Split(split, tuple(conversations), LABELS, findings)


def split_of(entry: dict[str, Any]) -> str:
    """Return the split of a dialogue, by a hash of its group, so that it never changes."""
    group = entry.get("group")
    first = " ".join(text for _, text, _ in entry["turns"][:2])
    key = re.sub(r"-\d+$", "", group) if group else first
    part = zlib.crc32(key.encode()) % PARTS
    return {0: "dev", 1: "test"}.get(part, "train")


def _entries(file: Path) -> list[Any]:
    try:
        content = _parsed(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, list):
        raise ValueError(f"{file} must be a list of dialogues")
    return content


def _parsed(text: str) -> Any:
    """Return what `yaml.safe_load` returns, with the loader in C where there is one."""
    loader = SafeLoader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def fault(entry: Any) -> str:
    """Return why an entry is not a dialogue; "" if it is one."""
    turns = entry.get("turns") if isinstance(entry, dict) else None
    if not isinstance(turns, list) or not turns:
        return "must be a table with `turns`"
    if not isinstance(entry.get("group", ""), str):
        return f"group {entry['group']!r} must be text"
    for turn in turns:
        is_text = isinstance(turn, list) and all(isinstance(field, str) for field in turn)
        if not is_text or len(turn) != 3:
            return f"a turn must be [speaker, text, emotion], not {turn!r}"
        if turn[2] not in LABELS:
            return f"unknown emotion {turn[2]!r}"
    return ""


def _utterances(turns: list[list[str]]) -> tuple[LabelledUtterance, ...]:
    return with_speakers(
        (
            speaker,
            LabelledUtterance(
                text.strip(), 0, None if speaker == ROBOT else LABELS.index(emotion), index
            ),
        )
        for index, (speaker, text, emotion) in enumerate(turns)
    )


CORPORA = (
    CorpusSpec(
        name="robot-dialogues",
        title="the project's robot dialogues",
        about="written dialogues between people, some with a robot, in English",
        license="CC0 1.0",
        is_commercial=True,
        source="corpora/robot_dialogues/README.md: written for this project by a language model",
        read=read_robot_dialogues,
        text_number=3,
        content="written dialogues, some with a robot, in this repository; people's turns"
        " are labeled",
        layout="`robot_dialogues/*.yaml` in place of `corpora/robot_dialogues/`",
    ),
)
