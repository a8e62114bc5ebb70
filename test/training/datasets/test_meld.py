"""The reader of MELD on generated files, and on the real ones where they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from data_folder import DATA, need
from hypothesis import given, settings
from hypothesis import strategies as st

from erc_ros.training.datasets.cleaning import decode_lines, repair
from erc_ros.training.datasets.meld import nanoseconds, read_meld, with_votes
from erc_ros.training.datasets.utterances import LABELS

HEADER = (
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,"
    "Season,Episode,StartTime,EndTime\n"
)


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


def test_a_repeated_utterance_is_named_with_both_rows(tmp_path: Path) -> None:
    split = read_meld(write(tmp_path, row("one"), row("two", index=1), row("three")), "train")
    ((first, second),) = (c.utterances for c in split.conversations)
    assert (first.text, second.text) == ("one", "two")
    assert split.refused == ((4, "utterance 0, 0 is in row 2"),)


def test_the_three_sentiments_can_take_the_emotions_place(tmp_path: Path) -> None:
    unknown = row(index=1).replace("positive", "mixed")
    split = read_meld(write(tmp_path, row(), unknown), "train", sentiments=True)
    ((utterance,),) = (c.utterances for c in split.conversations)
    assert split.labels == ("neutral", "positive", "negative")
    assert split.labels[utterance.label] == "positive"
    assert split.refused == ((3, "unknown sentiment 'mixed'"),)
    file = tmp_path / "meld_annotations" / "train_sent_emo.csv"
    file.write_text(HEADER.replace("Sentiment,", "") + row().replace("positive,", ""))
    with pytest.raises(ValueError, match="'Sentiment'"):
        read_meld(tmp_path, "train", sentiments=True)


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
    assert split.repaired == (2, 3)


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
    lines, windows = decode_lines(content)
    assert windows <= set(range(1, len(lines) + 1))
    assert not any("\ufffd" in lines[number - 1] for number in windows)


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
    with pytest.raises(ValueError, match="columns"):
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
    with pytest.raises(ValueError, match="training"):
        with_votes(read_meld(write(tmp_path, row(), split="test"), "test"), tmp_path)


def test_missing_votes_are_told_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="votes: 0"):
        with_votes(read_meld(write(tmp_path, row()), "train"), tmp_path)


@pytest.mark.data
@pytest.mark.parametrize(
    ("split", "dialogues", "counts"),
    [
        ("train", 1038, [4710, 1205, 268, 683, 1743, 271, 1109]),
        ("dev", 114, [470, 150, 40, 111, 163, 22, 153]),
        ("test", 280, [1256, 281, 50, 208, 402, 68, 345]),
    ],
)
def test_the_real_files_are_complete(split: str, dialogues: int, counts: list[int]) -> None:
    read = read_meld(need("meld_annotations"), split)
    labels = [u.label for c in read.conversations for u in c.utterances]
    assert len(read.conversations) == dialogues and not read.refused
    assert [labels.count(label) for label in range(7)] == counts
    assert len(read.bad_times) == (3 if split == "test" else 0)


@pytest.mark.data
def test_nearly_every_training_utterance_has_votes() -> None:
    need("meld_annotations", "emotionlines_friends")
    train = with_votes(read_meld(DATA, "train"), DATA)
    has_votes = [bool(u.votes) for c in train.conversations for u in c.utterances]
    assert sum(has_votes) / len(has_votes) > 0.99


def test_goemotions_keeps_single_labels(tmp_path: Path) -> None:
    from erc_ros.training.datasets.goemotions import read_goemotions

    folder = tmp_path / "goemotions"
    folder.mkdir()
    (folder / "ekman_labels.txt").write_text("anger\njoy\n")
    (folder / "ekman_train.tsv").write_text(
        'text\tlabel\tid\n"quoted\t0\ta\nboth\t0,1\tb\nok\t1\tc\n'
    )
    rows = read_goemotions(tmp_path, "train").conversations
    assert [(r.utterances[0].text, LABELS[r.utterances[0].label]) for r in rows] == [
        ('"quoted', "anger"),
        ("ok", "joy"),
    ]
    with pytest.raises(FileNotFoundError, match="ekman_valid"):
        read_goemotions(tmp_path, "valid")


def test_the_rows_of_goemotions_that_are_left_out_are_counted(tmp_path: Path) -> None:
    from erc_ros.training.datasets.goemotions import read_goemotions

    folder = tmp_path / "goemotions"
    folder.mkdir()
    (folder / "ekman_train.tsv").write_text(
        "text\tlabel\tid\na\t0\tx\nb\t0,1\ty\nc\t7\tz\nd\t1\n\t1\tempty\n"
    )
    with pytest.raises(FileNotFoundError, match=r"ekman_labels\.txt"):
        read_goemotions(tmp_path, "train")
    (folder / "ekman_labels.txt").write_text("anger\nhappiness\n")
    with pytest.raises(ValueError, match=r"\['happiness'\]"):
        read_goemotions(tmp_path, "train")
    (folder / "ekman_labels.txt").write_text("anger\njoy\n")
    split = read_goemotions(tmp_path, "train")
    assert [c.name for c in split.conversations] == ["train/x", "train/empty"]
    assert split.findings.rows("several labels") == (3,)
    assert split.refused == ((4, "unknown label '7'"), (5, "too few or too many columns"))
    assert split.findings.rows("empty text") == (6,)


def test_empty_texts_and_missing_dialogues_are_reported(tmp_path: Path) -> None:
    split = read_meld(write(tmp_path, row(" ", index=0), row(index=1)), "train")
    assert split.findings.rows("empty text") == (2,)
    (told,) = split.findings.of("incomplete corpus")
    assert told.detail == "2 of 9989 published"


def test_wrong_label_names_are_told_before_anything_is_trained(tmp_path: Path) -> None:
    write(tmp_path, row(emotion="Freude"), row(emotion="Wut", index=1))
    with pytest.raises(ValueError, match=r"2.*train_sent_emo\.csv.*2.*'freude'"):
        read_meld(tmp_path, "train")


@pytest.mark.parametrize("turns", [1, 400])
def test_a_dialogue_may_be_short_or_long(tmp_path: Path, turns: int) -> None:
    rows = [row(speaker=f"P{n % 3}", index=n) for n in range(turns)]
    (conversation,) = read_meld(write(tmp_path, *rows), "train").conversations
    assert len(conversation.utterances) == turns


def test_a_file_that_lost_its_end_gives_the_rows_before(tmp_path: Path) -> None:
    folder = write(tmp_path, *(row(index=n) for n in range(3)))
    file = folder / "meld_annotations" / "train_sent_emo.csv"
    file.write_bytes(file.read_bytes()[:-30] + b"\0" * 30)
    split = read_meld(folder, "train")
    assert len(split.conversations[0].utterances) == 2
    assert split.refused[0][0] == 4
    file.write_bytes(file.read_bytes() + b'1,"' + b"x" * 200_000)
    with pytest.raises(ValueError, match=r"train_sent_emo\.csv"):
        read_meld(folder, "train")


@pytest.mark.parametrize("place", ["MELD.Raw/train_splits", "MELD.Raw/train/train_splits"])
def test_clips_of_the_official_release_are_found(tmp_path: Path, place: str) -> None:
    pytest.importorskip("av", reason="needs the extra [train]")
    from clips import write_clip

    (tmp_path / "MELD.Raw").mkdir()
    rows = [row(dialogue=0, index=0), row(dialogue=0, index=1), row(dialogue=12, index=3)]
    content = HEADER + "".join(rows)
    (tmp_path / "MELD.Raw" / "train_sent_emo.csv").write_text(content)
    with pytest.raises(FileNotFoundError, match=r"train_splits.*train\.tar\.gz"):
        read_meld(tmp_path, "train", clips=True)
    folder = tmp_path / place
    write_clip(folder / "dia0_utt0.mp4")
    (folder / "dia12_utt3.mp4").write_bytes(b"broken, as train's dia125_utt3 is")
    (folder / "._dia0_utt1.mp4").write_bytes(b"a Mac was here")
    split = read_meld(tmp_path, "train", clips=True)
    clips = [u.clip and u.clip.name for c in split.conversations for u in c.utterances]
    assert clips == ["dia0_utt0.mp4", None, None]
    assert [(f.row, f.fate, f.detail) for f in split.findings.of("unusable clip")] == [
        (3, "masked", "dia0_utt1.mp4: missing"),
        (4, "masked", "dia12_utt3.mp4: unreadable"),
    ]
    assert all(
        u.clip is None for c in read_meld(tmp_path, "train").conversations for u in c.utterances
    )
    unopened = read_meld(tmp_path, "train", clips=True, open_clips=False)
    assert unopened.findings.rows("unusable clip") == (3,)
