"""The reader of MELD on generated files, and on the real ones where they are."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erc_ros.training.datasets.meld import (
    decode,
    nanoseconds,
    read_meld,
    repair,
    with_votes,
)
from erc_ros.training.datasets.utterances import LABELS

HEADER = (
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,"
    "Season,Episode,StartTime,EndTime\n"
)
DATA = Path(os.environ.get("ERC_DATA") or Path(__file__).parents[3] / "shared" / "data")


def row(
    text: str = "Hi",
    speaker: str = "A",
    emotion: str = "joy",
    dialogue: object = 0,
    index: object = 0,
    start: str = "00:00:01,000",
    end: str = "00:00:02,500",
) -> str:
    return f'1,"{text}",{speaker},{emotion},positive,{dialogue},{index},1,1,"{start}","{end}"\n'


def write(folder: Path, *rows: str | bytes, split: str = "train") -> Path:
    encoded = (r if isinstance(r, bytes) else r.encode() for r in (HEADER, *rows))
    (folder / "meld_annotations").mkdir(exist_ok=True)
    (folder / "meld_annotations" / f"{split}_sent_emo.csv").write_bytes(b"".join(encoded))
    return folder


def test_a_row_becomes_an_utterance(tmp_path: Path) -> None:
    (conversation,) = read_meld(write(tmp_path, row()), "train").conversations
    (utterance,) = conversation.utterances
    assert (utterance.text, utterance.speaker, LABELS[utterance.label]) == ("Hi", 1, "joy")
    assert (utterance.start, utterance.end) == (1_000_000_000, 2_500_000_000)


def test_speakers_are_numbered_within_the_dialogue(tmp_path: Path) -> None:
    rows = [
        row(speaker="B", dialogue=3, index=0),
        row(speaker="A", dialogue=3, index=1),
        row(speaker="B", dialogue=3, index=2),
        row(speaker="A", dialogue=9, index=0),
    ]
    first, second = read_meld(write(tmp_path, *rows), "train").conversations
    assert [u.speaker for u in first.utterances] == [1, 2, 1]
    assert [u.speaker for u in second.utterances] == [1]


def test_utterances_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    rows = [row(text=str(index), index=index) for index in (2, 0, 1)]
    (conversation,) = read_meld(write(tmp_path, *rows), "train").conversations
    assert [u.text for u in conversation.utterances] == ["0", "1", "2"]


def test_the_tenth_speaker_shares_the_last_index(tmp_path: Path) -> None:
    rows = [row(speaker=f"P{n}", index=n) for n in range(12)]
    (conversation,) = read_meld(write(tmp_path, *rows), "train").conversations
    assert [u.speaker for u in conversation.utterances] == [*range(1, 10), 9, 9, 9]


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("00:00:02,000", "00:00:01,000"),
        ("00:00:01,000", "00:00:01,000"),
        ("00:00:00,000", "00:05:05,000"),
        ("", "00:00:01,000"),
        ("00:00:01,000", "soon"),
        ("00:61:01,000", "00:61:02,000"),
    ],
)
def test_impossible_times_are_reported_and_the_text_kept(
    tmp_path: Path, start: str, end: str
) -> None:
    split = read_meld(write(tmp_path, row(index=0), row(index=1, start=start, end=end)), "train")
    assert split.bad_times == (3,)  # the second record, as a spreadsheet counts
    good, bad = split.conversations[0].utterances
    assert good.start is not None and (bad.start, bad.end) == (None, None)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (row(emotion="bored", index=1), "bored"),
        (row(index="x"), "must be numbers"),
        (row(dialogue=""), "must be numbers"),
        ("1,too,short\n", "too few columns"),
        (row().rstrip("\n") + ",extra\n", "too many columns"),
    ],
)
def test_a_bad_row_is_left_out_and_named(tmp_path: Path, wrong: str, reason: str) -> None:
    split = read_meld(write(tmp_path, row(), wrong, row(index=2)), "train")
    ((number, told),) = split.refused
    assert number == 3 and reason in told
    assert len(split.conversations[0].utterances) == 2


def test_windows_1252_is_repaired_both_ways(tmp_path: Path) -> None:
    bytes_of_windows = row(text="I’m", index=0).encode("cp1252")
    read_as_latin = row(text="It\x92s \x85", index=1)
    split = read_meld(write(tmp_path, bytes_of_windows, read_as_latin), "train")
    assert [u.text for u in split.conversations[0].utterances] == ["I’m", "It’s …"]
    assert split.repaired == (3,)


@settings(deadline=None)
@given(st.text())
def test_repair_leaves_no_leftovers_and_good_text_alone(text: str) -> None:
    repaired = repair(text)
    assert not any("\x80" <= c <= "\x9f" for c in repaired)
    if not any("\x80" <= c <= "\x9f" for c in text):
        assert repaired == text


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_can_be_decoded(content: bytes) -> None:
    assert isinstance(decode(content), str)


@settings(deadline=None)
@given(st.integers(0, 10**8))
def test_times_are_whole_milliseconds(milliseconds: int) -> None:
    seconds, rest = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    text = f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02},{rest:03}"
    assert nanoseconds(text) == milliseconds * 1_000_000


def test_a_missing_file_is_told_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"dev_sent_emo\.csv.*ERC_DATA"):
        read_meld(tmp_path, "dev")


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train_sent_emo.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="Utterance_ID"):
        read_meld(tmp_path, "train")


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train_sent_emo.csv").write_text("")
    with pytest.raises(ValueError, match="lacks the columns"):
        read_meld(tmp_path, "train")


def test_an_unknown_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="valid"):
        read_meld(tmp_path, "valid")


def votes(folder: Path, *dialogues: list[tuple[str, str]]) -> Path:
    (folder / "emotionlines_friends").mkdir()
    content = [[{"utterance": t, "annotation": a} for t, a in d] for d in dialogues]
    (folder / "emotionlines_friends" / "train.json").write_text(json.dumps(content))
    return folder


def test_votes_are_found_by_the_neighbours(tmp_path: Path) -> None:
    write(tmp_path, row("Yeah.", index=0), row("Go!", index=1), row("Alone", dialogue=1))
    votes(tmp_path, [("Yeah.", "0500000"), ("Go!", "1400000")], [("Yeah.", "5000000")])
    train = with_votes(read_meld(tmp_path, "train"), tmp_path)
    yeah, go = train.conversations[0].utterances
    joy, neutral = LABELS.index("joy"), LABELS.index("neutral")
    assert yeah.votes[joy] == 1 and go.votes[joy] == pytest.approx(0.8)
    assert go.votes[neutral] == pytest.approx(0.2)
    assert train.conversations[1].utterances[0].votes == ()


def test_votes_are_for_training_only(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="training only"):
        with_votes(read_meld(write(tmp_path, row(), split="test"), "test"), tmp_path)


def test_missing_votes_are_told_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="votes: 0"):
        with_votes(read_meld(write(tmp_path, row()), "train"), tmp_path)


needs_data = pytest.mark.skipif(
    not (DATA / "meld_annotations").is_dir(), reason=f"no MELD in {DATA}"
)


@needs_data
@pytest.mark.parametrize(
    ("split", "dialogues", "counts"),
    [
        ("train", 1038, [4710, 1205, 268, 683, 1743, 271, 1109]),
        ("dev", 114, [470, 150, 40, 111, 163, 22, 153]),
        ("test", 280, [1256, 281, 50, 208, 402, 68, 345]),
    ],
)
def test_the_real_files_are_complete(split: str, dialogues: int, counts: list[int]) -> None:
    read = read_meld(DATA, split)
    labels = [u.label for c in read.conversations for u in c.utterances]
    assert len(read.conversations) == dialogues and not read.refused
    assert [labels.count(label) for label in range(7)] == counts
    assert len(read.bad_times) == (3 if split == "test" else 0)


@needs_data
def test_nearly_every_training_utterance_has_votes() -> None:
    if not (DATA / "emotionlines_friends").is_dir():
        pytest.skip(f"no EmotionLines in {DATA}")
    train = with_votes(read_meld(DATA, "train"), DATA)
    found = [bool(u.votes) for c in train.conversations for u in c.utterances]
    assert sum(found) / len(found) > 0.99


def test_goemotions_keeps_single_labels(tmp_path: Path) -> None:
    from erc_ros.training.datasets.goemotions import read_goemotions

    folder = tmp_path / "goemotions"
    folder.mkdir()
    (folder / "ekman_labels.txt").write_text("anger\njoy\n")
    (folder / "ekman_train.tsv").write_text(
        'text\tlabel\tid\n"quoted\t0\ta\nboth\t0,1\tb\nok\t1\tc\n'
    )
    rows = read_goemotions(tmp_path, "train")
    assert [(r.utterances[0].text, LABELS[r.utterances[0].label]) for r in rows] == [
        ('"quoted', "anger"),
        ("ok", "joy"),
    ]
    with pytest.raises(FileNotFoundError, match="ekman_valid"):
        read_goemotions(tmp_path, "valid")
