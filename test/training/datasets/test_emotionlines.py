"""The readers of EmotionLines and EmoContext on generated files of their layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from erc_ros.training.datasets.emocontext import read_emocontext
from erc_ros.training.datasets.emotionlines import read_emotionlines, shares
from erc_ros.training.datasets.utterances import INCOMPLETE, LABELS, Split, count


def turn(text: str = "Hi", speaker: str = "A", **changed: Any) -> dict[str, Any]:
    whole = {"utterance": text, "speaker": speaker, "emotion": "joy", "annotation": "1400000"}
    return whole | changed


def lines(folder: Path, *dialogues: list[Any], split: str = "train") -> Path:
    (folder / "emotionlines_friends").mkdir(exist_ok=True)
    (folder / "emotionlines_friends" / f"{split}.json").write_text(json.dumps(dialogues))
    return folder


def chats(folder: Path, *rows: str | bytes, split: str = "train") -> Path:
    header = "id\tturn1\tturn2\tturn3\tlabel\n"
    (folder / "emocontext_semeval19").mkdir(exist_ok=True)
    content = b"".join(r if isinstance(r, bytes) else r.encode() for r in (header, *rows))
    (folder / "emocontext_semeval19" / f"{split}.txt").write_bytes(content)
    return folder


def faults(split: Split) -> dict[str, int]:
    return {kind: n for kind, n in split.findings.counts().items() if kind != INCOMPLETE}


def test_a_dialogue_has_labels_votes_and_local_speakers(tmp_path: Path) -> None:
    data = lines(tmp_path, [turn(speaker="B"), turn("Yo", "A"), turn("So", "B")], [turn()])
    split = read_emotionlines(data, "train")
    first, second = split.conversations
    assert [u.speaker for u in first.utterances] == [1, 2, 1]
    assert first.utterances[1].text == "Yo" and LABELS[first.utterances[0].label or 0] == "joy"
    assert first.utterances[0].votes[LABELS.index("joy")] == pytest.approx(0.8)
    assert (first.name, second.name) == ("train/0", "train/1")
    assert not faults(split)


def test_without_a_majority_an_utterance_is_history_only(tmp_path: Path) -> None:
    split = read_emotionlines(lines(tmp_path, [turn(emotion="non-neutral"), turn()]), "train")
    history, labelled = split.conversations[0].utterances
    assert history.label is None and history.votes and labelled.label is not None
    assert split.findings.rows("no majority") == (1,)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (turn(emotion="bored"), "unknown emotion 'bored'"),
        (turn(annotation="123"), "must be 7 digits"),
        (turn(annotation="12x4567"), "must be 7 digits"),
        (turn(utterance=None), "must have the texts"),
        ("Hi", "must have the texts"),
    ],
)
def test_a_bad_utterance_is_left_out_and_named(tmp_path: Path, wrong: Any, reason: str) -> None:
    split = read_emotionlines(lines(tmp_path, [turn()], [wrong, turn()]), "train")
    assert count(split.conversations) == 2
    ((row, told),) = split.refused
    assert row == 2 and reason in told


def test_empty_and_damaged_texts_are_counted(tmp_path: Path) -> None:
    split = read_emotionlines(lines(tmp_path, [turn(" "), turn("It\x92s")]), "train")
    assert [u.text for u in split.conversations[0].utterances] == ["", "It’s"]
    assert faults(split) == {"empty text": 1, "Windows-1252 leftovers": 1}


def test_nobody_voted() -> None:
    assert shares("0000000") == ()


def test_another_or_a_cut_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"train\.json.*0"):
        read_emotionlines(tmp_path, "train")
    with pytest.raises(ValueError, match="valid"):
        read_emotionlines(tmp_path, "valid")
    file = lines(tmp_path, [turn()]) / "emotionlines_friends" / "train.json"
    file.write_text(file.read_text()[:-9])
    with pytest.raises(ValueError, match=r"train\.json"):
        read_emotionlines(tmp_path, "train")
    file.write_text("{}")
    with pytest.raises(ValueError, match="dialogues"):
        read_emotionlines(tmp_path, "train")


def test_only_the_third_turn_of_a_chat_is_labelled(tmp_path: Path) -> None:
    split = read_emocontext(chats(tmp_path, '4\tHi\t"yes\tI’m 😁\thappy\n'), "train")
    (chat,) = split.conversations
    assert [u.text for u in chat.utterances] == ["Hi", '"yes', "I’m 😁"]
    assert [u.speaker for u in chat.utterances] == [1, 2, 1]
    assert [u.label for u in chat.utterances] == [None, None, split.labels.index("happy")]
    assert not faults(split)


def test_bad_rows_of_chats_are_left_out_and_named(tmp_path: Path) -> None:
    rows = ["1\ta\tb\tc\tbored\n", "2\ta\tb\n", "3\ta\t\tc\tsad\n", b"4\ta\tb\tI\x92m\tangry\n"]
    split = read_emocontext(chats(tmp_path, *rows), "train")
    assert len(split.conversations) == 2
    assert split.refused == ((2, "unknown label 'bored'"), (3, "lacks label, turn3"))
    assert split.findings.rows("empty text") == (4,) and split.repaired == (5,)
    assert split.conversations[1].utterances[2].text == "I’m"


def test_other_files_than_chats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"valid\.txt"):
        read_emocontext(tmp_path, "valid")
    with pytest.raises(ValueError, match="'dev'"):
        read_emocontext(tmp_path, "dev")
    (chats(tmp_path) / "emocontext_semeval19" / "train.txt").write_text("a\tb\n")
    with pytest.raises(ValueError, match="turn1"):
        read_emocontext(tmp_path, "train")
