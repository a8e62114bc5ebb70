"""The project's own dialogues."""

from __future__ import annotations

from pathlib import Path

import pytest

from erc_ros.training.datasets.robot_dialogues import SPLITS, read_robot_dialogues
from erc_ros.training.datasets.utterances import EMPTY_TEXT, LABELS

GOOD = """
- group: great-1
  turns:
  - [Robot, "The letter is here.", neutral]
  - [Ilse, "Three weeks?", surprise]
  - [Ilse, "Great.", anger]
- group: great-2
  turns:
  - [Ilse, "They said yes!", joy]
  - [Ilse, " ", neutral]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "robot_dialogues").mkdir()
    return tmp_path / "robot_dialogues" / "part_01.yaml"


def test_a_sentence_is_in_one_split_and_a_robot_is_history_only(folder: Path) -> None:
    folder.write_text(GOOD)
    splits = []
    for split in SPLITS:
        try:
            splits.append(read_robot_dialogues(folder.parents[1], split))
        except ValueError:
            continue
    (only,) = splits
    first, second = only.conversations
    labels = [None if u.label is None else LABELS[u.label] for u in first.utterances]
    assert labels == [None, "surprise", "anger"]
    assert [u.speaker for u in first.utterances] == [1, 2, 2]
    assert second.utterances[0].speaker == 1 and second.name.endswith("/part_01-2")
    assert only.findings.rows(EMPTY_TEXT) == (2,)


@pytest.mark.parametrize(
    "row, reason",
    [
        ("just text", "must be a table with `turns`"),
        ("{turns: []}", "must be a table with `turns`"),
        ("{group: 3, turns: [[A, b, joy]]}", "group 3 must be text"),
        ("{turns: [[A, b]]}", "a turn must be"),
        ("{turns: [[A, 5, joy]]}", "a turn must be"),
        ("{turns: [A]}", "a turn must be"),
        ("{turns: [[A, b, bored]]}", "unknown emotion 'bored'"),
    ],
)
def test_a_wrong_row_is_left_out_and_told(folder: Path, row: str, reason: str) -> None:
    folder.write_text(GOOD + f"- {row}\n")
    skipped = {}
    for split in SPLITS:
        try:
            skipped[split] = read_robot_dialogues(folder.parents[1], split)
        except ValueError as error:
            assert reason in str(error)
    (only,) = skipped.values()
    ((number, detail),) = only.refused
    assert number == 3 and reason in detail


@pytest.mark.parametrize("content", ["a: [", "{}", "\udcff"])
def test_a_file_of_another_form_is_refused(folder: Path, content: str) -> None:
    folder.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=r"part_01.yaml.*(YAML|list)"):
        read_robot_dialogues(folder.parents[1], "train")


def test_no_dialogues_and_unknown_splits_are_told(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="dialogues"):
        read_robot_dialogues(folder.parents[1], "train")
    with pytest.raises(ValueError, match="not 'valid'"):
        read_robot_dialogues(folder.parents[1], "valid")


def test_the_ones_that_are_shipped_are_whole(tmp_path: Path) -> None:
    splits = {split: read_robot_dialogues(tmp_path, split) for split in SPLITS}
    assert not any(split.findings for split in splits.values())
    assert all(len(split.conversations) >= 10 for split in splits.values())
    last = [c.utterances[-1].text for c in splits["train"].conversations]
    others = {c.utterances[-1].text for s in ("dev", "test") for c in splits[s].conversations}
    assert sum(text in others for text in last) < 0.05 * len(last), "a sentence is in two splits"
