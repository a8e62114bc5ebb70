"""The corpora to measure with only, on generated files of their layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("soundfile", reason="needs the extra [train]")

from data_folder import DATA, need

from erc_ros.training.datasets import corpora
from erc_ros.training.datasets.corpus import EVALUATION
from erc_ros.training.datasets.dailydialog import read_dailydialog, written
from erc_ros.training.datasets.emorynlp import KNOWN_SCENE, read_emorynlp
from erc_ros.training.datasets.reccon import read_reccon_iemocap
from erc_ros.training.datasets.utterances import INCOMPLETE, Conversation, Split, count
from erc_ros.training.encoders.text.examples import TextConfig
from erc_ros.training.encoders.text.mixture import in_our_labels, read_corpus

UNSEEN = sorted(name for name, spec in corpora.BUILT_IN.items() if spec.use == EVALUATION)
SIZES = {  # conversations and utterances that are left, and how many of these are labelled
    ("dailydialog", "dev"): (1000, 8069, 8069),
    ("dailydialog", "test"): (1000, 7740, 7740),
    ("emorynlp", "dev"): (61, 862, 701),
    ("emorynlp", "test"): (61, 996, 788),
    ("reccon-iemocap", "test"): (16, 665, 556),
}
MELD_HEADER = "Sr No.,Utterance,Speaker,Emotion,Dialogue_ID,Utterance_ID,StartTime,EndTime\n"


def faults(split: Split) -> dict[str, int]:
    return {kind: n for kind, n in split.findings.counts().items() if kind != INCOMPLETE}


def said(split: Split, conversation: Conversation) -> list[tuple[int, str | None, str]]:
    """(speaker, label, text) of each utterance."""
    names = (*split.labels, None)
    return [
        (u.speaker, names[-1 if u.label is None else u.label], u.text)
        for u in conversation.utterances
    ]


@pytest.mark.data
@pytest.mark.parametrize(("corpus", "split"), SIZES)
def test_the_real_ones_are_as_published(corpus: str, split: str) -> None:
    need(corpus.split("-")[0])
    read = corpora.read_split(corpora.find(corpus), DATA, split)
    labelled = sum(u.is_labelled for c in read.conversations for u in c.utterances)
    counts = (len(read.conversations), count(read.conversations), labelled)
    assert counts == SIZES[corpus, split] and not read.refused
    assert not read.findings.of(INCOMPLETE)
    assert len({c.name for c in read.conversations}) == len(read.conversations)


@pytest.mark.parametrize("corpus", UNSEEN)
def test_nobody_can_train_on_them_by_accident(corpus: str, tmp_path: Path) -> None:
    assert len(UNSEEN) == 3
    with pytest.raises(ValueError, match=f"{corpus}.*evaluation only"):
        corpora.read(corpus, tmp_path, "test")
    with pytest.raises(ValueError, match=f"{corpus}.*evaluation only"):
        read_corpus(corpus, tmp_path, "train")
    with pytest.raises(ValueError, match=f"{corpus}.*train"):
        TextConfig(mixed={corpus: 1.0})
    with pytest.raises(ValueError, match=f"{corpus}.*train"):
        TextConfig(corpus=corpus)
    with pytest.raises(ValueError, match="'train'"):
        corpora.read_split(corpora.find(corpus), tmp_path, "train")


@pytest.mark.parametrize("corpus", UNSEEN)
def test_one_that_is_not_there_is_named(corpus: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"{tmp_path}.*get "):
        corpora.read_split(corpora.find(corpus), tmp_path, "test")


def daily(folder: Path, dialogues: str | bytes, emotions: str) -> Path:
    inner = folder / "dailydialog" / "test"
    inner.mkdir(parents=True)
    content = dialogues.encode() if isinstance(dialogues, str) else dialogues
    (inner / "dialogues_test.txt").write_bytes(content)
    (inner / "dialogues_emotion_test.txt").write_text(emotions)
    return folder


def test_two_speak_in_turn(tmp_path: Path) -> None:
    lines = "Well , who ? __eou__ I ’ m ill . __eou__ Oh no ! __eou__\nYes ! __eou__\n"
    split = read_dailydialog(daily(tmp_path, lines, "0 5 6 \n4 \n"), "test")
    first, second = split.conversations
    assert said(split, first) == [
        (1, "neutral", "Well, who?"),
        (2, "sadness", "I'm ill."),
        (1, "surprise", "Oh no!"),
    ]
    assert said(split, second) == [(1, "joy", "Yes!")]
    assert (first.name, second.name) == ("test/1", "test/2") and not faults(split)


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ("I don ' t know , it ’ s late .", "I don't know, it's late."),
        ("You ' Ve won $ 5 ( 10 % ) !", "You've won $5 (10%)!"),
        ("Come at 5 o ' clock .Bye", "Come at 5 o'clock. Bye"),
        ("It says “ May the day ” ...", 'It says "May the day"...'),
        ("our clients ' needs", "our clients ' needs"),  # may be a quotation
        ("I'm fine , e.g. now", "I'm fine, e.g. now"),
        (" \u3000 ", ""),
    ],
)
def test_tokens_become_writing(tokens: str, text: str) -> None:
    assert written(tokens) == text
    assert written(text) == text, "it changes nothing twice"


def test_dialogues_with_other_labels_than_turns_are_left_out_and_named(tmp_path: Path) -> None:
    lines = b"a __eou__ b __eou__\nc __eou__\nd __eou__\n __eou__ It\x92s f __eou__\n\n"
    split = read_dailydialog(daily(tmp_path, lines, "0\n9\nx\n0 1\n\n"), "test")
    assert [said(split, c) for c in split.conversations] == [
        [(1, "neutral", ""), (2, "anger", "It's f")]
    ]
    assert split.refused == (
        (1, "2 turns, 1 labels"),
        (2, "unknown label '9'"),
        (3, "unknown label 'x'"),
        (5, "1 turns, 0 labels"),
    )
    assert split.findings.rows("empty text") == (4,) and split.repaired == (4,)
    (told,) = split.findings.of(INCOMPLETE)
    assert told.detail == "5 of 1000 published"


def test_files_of_two_archives_are_refused(tmp_path: Path) -> None:
    data = daily(tmp_path, "a __eou__\nb __eou__\n", "0\n")
    with pytest.raises(ValueError, match=r"2 lines.*1"):
        read_dailydialog(data, "test")
    (data / "dailydialog/test/dialogues_emotion_test.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"dialogues_emotion_test\.txt"):
        read_dailydialog(data, "test")


def turn(text: Any = "Hi.", emotion: Any = "Joyful", speakers: Any = ("A",)) -> dict[str, Any]:
    return {"transcript": text, "emotion": emotion, "speakers": speakers}


def scenes(folder: Path, *found: Any) -> Path:
    """EmoryNLP's test scenes beside a MELD and an EmotionLines with a sentence each."""
    for name in ("meld_annotations", "emotionlines_friends", "emorynlp"):
        (folder / name).mkdir()
    for number, split in enumerate(("train", "dev")):
        row = f'1,"Well, this is sentence {number} of MELD.",A,joy,0,0,"0:00:01,0","0:00:02,0"\n'
        (folder / "meld_annotations" / f"{split}_sent_emo.csv").write_text(MELD_HEADER + row)
        lines = {"speaker": "A", "emotion": "joy", "annotation": "0500000"}
        lines["utterance"] = f"Here is sentence {number} of EmotionLines ."
        (folder / "emotionlines_friends" / f"{split}.json").write_text(json.dumps([[lines]]))
    content = {"episodes": [{"scenes": [{"utterances": utterances} for utterances in found]}]}
    (folder / "emorynlp" / "emotion-detection-tst.json").write_text(json.dumps(content))
    return folder


def test_what_is_no_emotion_of_ours_is_history(tmp_path: Path) -> None:
    data = scenes(
        tmp_path,
        [turn(), turn("So.", "Peaceful", ["B"]), turn("No!", "Mad", ["A", "B"])],
        [turn(emotion=e) for e in ("Neutral", "Sad", "Scared", "Powerful")],
    )
    split = read_emorynlp(data, "test")
    first, second = split.conversations
    assert said(split, first) == [(1, "joy", "Hi."), (2, None, "So."), (3, "anger", "No!")]
    assert [label for _, label, _ in said(split, second)] == ["neutral", "sadness", "fear", None]
    assert not faults(split)


@pytest.mark.parametrize(
    "known",
    [
        "well this is sentence 0 of meld",
        "Well, this is: SENTENCE 1 of MELD!",
        "Here is sentence 0 of EmotionLines.",
        "Here is sentence 1 of EmotionLines.",
    ],
)
def test_scenes_that_training_may_have_seen_are_left_out(tmp_path: Path, known: str) -> None:
    data = scenes(tmp_path, [turn("Oh."), turn(known)], [turn("Well, this is another sentence.")])
    split = read_emorynlp(data, "test")
    assert [c.name for c in split.conversations] == ["test/2"]
    (told,) = split.findings.of(KNOWN_SCENE)
    assert (told.row, told.detail) == (1, "1 of 2 utterances")


def test_a_short_sentence_is_no_sign_of_a_known_scene(tmp_path: Path) -> None:
    data = scenes(tmp_path, [turn("Oh. My. God.")])
    meld = data / "meld_annotations" / "train_sent_emo.csv"
    meld.write_text(meld.read_text().replace("Well, this is sentence 0 of MELD.", "Oh my God"))
    assert len(read_emorynlp(data, "test").conversations) == 1


def test_without_what_training_saw_nothing_is_read(tmp_path: Path) -> None:
    data = scenes(tmp_path, [turn()])
    (data / "emotionlines_friends" / "dev.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"emotionlines_friends/dev\.json"):
        read_emorynlp(data, "test")
    (data / "meld_annotations" / "train_sent_emo.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"train_sent_emo\.csv"):
        read_emorynlp(data, "test")


WRONG = [
    ("Hi.", "must have the texts transcript, emotion"),
    (turn(text=None), "must have the texts transcript, emotion"),
    (turn(emotion="Bored"), "unknown emotion 'Bored'"),
    (turn(speakers="A"), "speakers must be a list of names"),
    (turn(speakers=[1]), "speakers must be a list of names"),
]


@pytest.mark.parametrize(("wrong", "reason"), WRONG)
def test_a_wrong_turn_of_a_scene_is_left_out(tmp_path: Path, wrong: Any, reason: str) -> None:
    split = read_emorynlp(scenes(tmp_path, [wrong, turn("It\x92s.")], [wrong]), "test")
    assert [said(split, c) for c in split.conversations] == [[(1, "joy", "It’s.")]]
    assert split.refused == ((1, reason), (2, reason)) and split.repaired == (1,)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"episodes": [1]}', '{"episodes": [{}]}'])
def test_other_files_than_scenes_are_refused(tmp_path: Path, content: str) -> None:
    data = scenes(tmp_path)
    (data / "emorynlp" / "emotion-detection-tst.json").write_text(content)
    with pytest.raises(ValueError, match=r"tst\.json.*(truncated|episodes)"):
        read_emorynlp(data, "test")


def acted(folder: Path, content: Any) -> Path:
    (folder / "reccon").mkdir()
    (folder / "reccon" / "iemocap_test.json").write_text(json.dumps(content))
    return folder


def spoken(utterance: Any = "Yes.", emotion: Any = "happy", speaker: Any = "B") -> dict[str, Any]:
    return {"turn": 1, "speaker": speaker, "utterance": utterance, "emotion": emotion}


def test_happy_and_excited_are_joy_and_frustrated_is_history(tmp_path: Path) -> None:
    turns = [
        spoken("Right. [LAUGHTER]. So. [LAUGHTER]"),
        spoken("Wow!", "excited", "A"),
        spoken("Oh.", "frustrated"),
        *(spoken(emotion=emotion) for emotion in ("neutral", "sad", "angry")),
    ]
    split = read_reccon_iemocap(acted(tmp_path, {"train.Ses01F_impro01": [turns]}), "test")
    (talk,) = split.conversations
    assert talk.name == "test/train.Ses01F_impro01"
    assert said(split, talk)[:3] == [
        (1, "joy", "Right. So."),
        (2, "joy", "Wow!"),
        (1, None, "Oh."),
    ]
    assert [label for _, label, _ in said(split, talk)[3:]] == ["neutral", "sadness", "anger"]
    assert not faults(split) and split.findings.of(INCOMPLETE)
    ours = in_our_labels("reccon-iemocap", split)
    assert ours.truth() == [2, 2, 0, 1, 3] and ours.classes == ((0,), (3,), (4,), (6,))


def test_wrong_turns_of_a_talk_are_left_out(tmp_path: Path) -> None:
    turns = [spoken(emotion="bored"), 3, spoken(utterance=5), spoken("[BREATHING]")]
    split = read_reccon_iemocap(acted(tmp_path, {"a": [turns, "?"], "b": []}), "test")
    assert [said(split, c) for c in split.conversations] == [[(1, "joy", "")]]
    texts = "must have the texts speaker, utterance, emotion"
    assert split.refused == ((1, "unknown emotion 'bored'"), (2, texts), (3, texts))
    assert split.findings.rows("empty text") == (4,)


@pytest.mark.parametrize("content", [[], {"a": 3}])
def test_other_files_than_talks_are_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(ValueError, match=r"iemocap_test\.json"):
        read_reccon_iemocap(acted(tmp_path, content), "test")
