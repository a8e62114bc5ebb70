"""The reader of IEMOCAP on generated files in the layout of the official release."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

soundfile = pytest.importorskip("soundfile", reason="needs the extra [train]")

from erc_ros.training.datasets.iemocap import read_iemocap  # noqa: E402
from erc_ros.training.datasets.speech import read_sound  # noqa: E402
from erc_ros.training.datasets.utterances import (  # noqa: E402
    INCOMPLETE,
    UNUSABLE_ROW,
    Split,
    count,
)

Turn = tuple[str, str, str]  # F or M, label, words


def write_dialogue(root: Path, session: int, name: str, turns: list[Turn]) -> Path:
    """One dialogue; turns follow each other every 2 s and last 1.5 s."""
    folder = root / "IEMOCAP_full_release" / f"Session{session}"
    name = f"Ses{session:02d}F_{name}"
    labels = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
    words = []
    for number, (person, label, said) in enumerate(turns):
        turn, start, end = f"{name}_{person}{number:03d}", 2.0 * number, 2.0 * number + 1.5
        labels += [
            f"[{start:.4f} - {end:.4f}]\t{turn}\t{label}\t[2.5000, 2.5000, 2.5000]",
            "C-E2:\tNeutral;\t()",
            "A-E3:\tval 3; act 2; dom  2;\t()",
            "",
        ]
        words.append(f"{turn} [{start:08.4f}-{end:08.4f}]: {said}")
        wav = folder / "sentences" / "wav" / name / f"{turn}.wav"
        wav.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(wav, np.full(1600, 0.1), 16_000)
    words.append("M: [LAUGHTER]")
    for part, lines in (("EmoEvaluation", labels), ("transcriptions", words)):
        file = folder / "dialog" / part / f"{name}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        (file.parent / f"._{file.name}").write_bytes(b"\x00\x05\x16\x07 a Mac was here")
    return folder / "dialog" / "EmoEvaluation" / f"{name}.txt"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for session in range(1, 6):
        for number in range(5):
            turns = [("F", "neu", "Hello."), ("M", "exc", "Wow!"), ("F", "fru", "Oh.")]
            write_dialogue(tmp_path, session, f"impro{number:02d}", turns)
    return tmp_path


def faults(split: Split) -> dict[str, int]:
    return {kind: n for kind, n in split.findings.counts().items() if kind != INCOMPLETE}


def test_a_repeated_turn_is_skipped_and_named_with_both_lines(tmp_path: Path) -> None:
    file = write_dialogue(tmp_path, 5, "impro01", [("M", "ang", "Go!"), ("F", "sad", "Sorry.")])
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines, lines[2]]))
    split = read_iemocap(tmp_path, "test")
    ((first, second),) = (c.utterances for c in split.conversations)
    assert (first.text, second.text) == ("Go!", "Sorry.")
    assert faults(split) == {UNUSABLE_ROW: 1}
    assert split.refused == ((len(lines) + 1, "turn Ses05F_impro01_M000 is in line 3"),)


def test_a_dialogue_becomes_a_conversation(tmp_path: Path) -> None:
    write_dialogue(tmp_path, 5, "impro01", [("M", "ang", "Go away."), ("F", "sad", "I’m sorry.")])
    split = read_iemocap(tmp_path, "test")
    (conversation,) = split.conversations
    assert conversation.name == "test/Ses05F_impro01"
    first, second = conversation.utterances
    assert [split.labels[u.label] for u in (first, second)] == ["angry", "sad"]
    assert (first.text, first.speaker, first.start, first.end) == ("Go away.", 1, 0, 1_500_000_000)
    assert (second.text, second.speaker, second.start) == ("I’m sorry.", 2, 2_000_000_000)
    assert second.clip is not None and len(read_sound(second.clip)) == 1600
    assert not faults(split)


def test_session_5_is_test_and_dev_is_whole_dialogues_of_the_others(corpus: Path) -> None:
    splits = {name: read_iemocap(corpus, name) for name in ("train", "dev", "test")}
    names = {
        name: {conversation.name.partition("/")[2] for conversation in split.conversations}
        for name, split in splits.items()
    }
    assert {name[:5] for name in names["test"]} == {"Ses05"}
    assert "Ses05" not in {name[:5] for name in names["train"] | names["dev"]}
    assert [len(names[name]) for name in ("train", "dev", "test")] == [18, 2, 5]
    assert not names["train"] & names["dev"]
    assert names["dev"] == {
        c.name.partition("/")[2] for c in read_iemocap(corpus, "dev", classes=4).conversations
    }


def test_four_classes_take_excited_for_happy_and_leave_frustrated_out(corpus: Path) -> None:
    six, four = (read_iemocap(corpus, "test", classes) for classes in (6, 4))
    labels = [four.labels[u.label] for u in four.conversations[0].utterances]
    assert labels == ["neutral", "happy"]
    assert [six.labels[u.label] for u in six.conversations[0].utterances] == [
        "neutral",
        "excited",
        "frustrated",
    ]
    assert faults(four) == {"label fru excluded": 5} and not faults(six)


def test_turns_without_a_majority_or_with_rare_labels_are_left_out_and_counted(
    tmp_path: Path,
) -> None:
    labels = ["neu", "xxx", "oth", "fea", "sur", "dis", "xxx"]
    write_dialogue(tmp_path, 5, "impro01", [("F", label, "Words.") for label in labels])
    split = read_iemocap(tmp_path, "test")
    assert count(split.conversations) == 1
    assert faults(split) == {
        "label xxx excluded": 2,
        "label oth excluded": 1,
        "label fea excluded": 1,
        "label sur excluded": 1,
        "label dis excluded": 1,
    }
    assert split.findings.rows("label xxx excluded") == (7, 27)  # lines of the file


def test_lines_that_make_no_sense_are_named_and_skipped(tmp_path: Path) -> None:
    file = write_dialogue(tmp_path, 5, "impro01", [("F", "neu", "Words.")])
    bad = "[1.0 - 2.0]\tSes05F_impro01_M001\thappi\t[1, 1, 1]\n[1.0 - 2.0]\tcut\n"
    file.write_text(file.read_text() + bad)
    split = read_iemocap(tmp_path, "test")
    assert count(split.conversations) == 1
    assert split.refused == ((7, "unknown label 'happi'"), (8, "not a turn"))


def test_impossible_times_are_masked(tmp_path: Path) -> None:
    file = write_dialogue(tmp_path, 5, "impro01", [("F", "neu", "A."), ("M", "sad", "B.")])
    text = file.read_text().replace("[2.0000 - 3.5000]", "[3.5000 - 2.0000]")
    file.write_text(text.replace("[0.0000 - 1.5000]", "[zero - 1.5000]"))
    split = read_iemocap(tmp_path, "test")
    assert [(u.start, u.end) for u in split.conversations[0].utterances] == [(None, None)] * 2
    assert sorted(split.bad_times) == [3, 7]


def test_what_a_turn_lacks_is_masked_and_counted(tmp_path: Path) -> None:
    turns = [("F", "neu", "A."), ("M", "sad", ""), ("F", "hap", "C.")]
    file = write_dialogue(tmp_path, 5, "impro01", turns)
    root = file.parents[2]
    (root / "sentences/wav/Ses05F_impro01/Ses05F_impro01_F002.wav").unlink()
    split = read_iemocap(tmp_path, "test")
    a, b, c = split.conversations[0].utterances
    assert (a.text, b.text, c.text) == ("A.", "", "C.") and c.clip is None and a.clip is not None
    assert faults(split) == {"empty text": 1, "no clip": 1}
    (root / "dialog/transcriptions/Ses05F_impro01.txt").unlink()
    split = read_iemocap(tmp_path, "test")
    assert faults(split) == {"no transcript": 1, "empty text": 3, "no clip": 1}


def test_leftovers_of_windows_are_repaired_and_named(tmp_path: Path) -> None:
    file = write_dialogue(tmp_path, 5, "impro01", [("F", "neu", "I'm here.")])
    words = file.parents[1] / "transcriptions" / file.name
    words.write_bytes(words.read_bytes().replace(b"'", b"\x92"))
    split = read_iemocap(tmp_path, "test")
    assert split.conversations[0].utterances[0].text == "I’m here."
    assert split.repaired == (1,)


@pytest.mark.parametrize("turns", [1, 400])
def test_a_dialogue_may_be_short_or_long(tmp_path: Path, turns: int) -> None:
    write_dialogue(tmp_path, 5, "script01", [("F", "neu", "Words.")] * turns)
    assert count(read_iemocap(tmp_path, "test").conversations) == turns


def test_a_dialogue_without_a_usable_turn_is_no_conversation(tmp_path: Path) -> None:
    write_dialogue(tmp_path, 5, "impro01", [("F", "xxx", "Words.")])
    with pytest.raises(ValueError, match=r"xxx.*1"):
        read_iemocap(tmp_path, "test")
    write_dialogue(tmp_path, 5, "impro02", [("F", "neu", "Words.")])
    assert [c.name for c in read_iemocap(tmp_path, "test").conversations] == ["test/Ses05F_impro02"]


def test_less_than_was_published_is_reported(tmp_path: Path) -> None:
    write_dialogue(tmp_path, 5, "impro01", [("F", "neu", "Words.")])
    (finding,) = read_iemocap(tmp_path, "test").findings.of(INCOMPLETE)
    assert finding.detail == "1 of 1622 published"


def test_a_missing_corpus_and_a_missing_session_are_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no Session1 to Session5.*ERC_DATA"):
        read_iemocap(tmp_path / "nowhere", "test")
    root = corpus / "IEMOCAP_full_release"
    (root / "Session3").rename(corpus / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"session 3.*comparable"):
        read_iemocap(corpus, "train")
    assert read_iemocap(root, "test").conversations  # which does not need it


@pytest.mark.parametrize(("split", "classes"), [("valid", 6), ("test", 5)])
def test_unknown_splits_and_classes_are_refused(tmp_path: Path, split: str, classes: int) -> None:
    with pytest.raises(ValueError, match=str(classes) if split == "test" else split):
        read_iemocap(tmp_path, split, classes)
