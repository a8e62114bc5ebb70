"""All corpora by name; and, where the real ones are, that nothing of test is in train."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

pytest.importorskip("soundfile", reason="needs the extra [train]")

from data_folder import DATA, need

from erc_ros.training.datasets import corpora, ferplus
from erc_ros.training.datasets.findings import Finding, Findings, joined
from erc_ros.training.datasets.meld import read_meld
from erc_ros.training.datasets.mosi import read_mosi, read_mosi_words
from erc_ros.training.datasets.utterances import Split, count

CONVERSATIONS = {name for name, spec in corpora.BUILT_IN.items() if spec.read}
SIZES = {
    ("meld", "train"): (1038, 9989),
    ("meld", "dev"): (114, 1109),
    ("meld", "test"): (280, 2610),
    ("emotionlines", "train"): (720, 10561),
    ("emotionlines", "dev"): (80, 1178),
    ("emotionlines", "test"): (200, 2764),
    ("emocontext", "train"): (30160, 90480),
    ("emocontext", "valid"): (2755, 8265),
    ("emocontext", "test"): (5509, 16527),
    ("goemotions", "train"): (39555, 39555),
    ("mosi", "train"): (50, 1150),
    ("mosi", "dev"): (12, 297),
    ("mosi", "test"): (31, 752),
    ("ravdess", "all"): (1440, 1440),
    ("emodb", "all"): (454, 454),
    ("nemo", "all"): (4481, 4481),
    ("ased", "all"): (2474, 2474),
}
FOLDERS = {"meld": "meld_annotations", "emotionlines": "emotionlines_friends", "emodb": "emodb"}
FOLDERS |= {"emocontext": "emocontext_semeval19", "goemotions": "goemotions"}
FOLDERS |= {"mosi": "mosi_bclstm_features", "ravdess": "ravdess_speech_16k"}
FOLDERS |= {"nemo": "nemo", "ased": "ased"}


@pytest.mark.data
@pytest.mark.parametrize(("corpus", "split"), SIZES)
def test_the_real_corpora_are_complete_and_their_keys_unique(corpus: str, split: str) -> None:
    need(FOLDERS[corpus])
    read = corpora.read(corpus, DATA, split)
    assert (len(read.conversations), count(read.conversations)) == SIZES[corpus, split]
    keys = [c.key(u) for c in read.conversations for u in c.utterances]
    assert len(set(keys)) == len(keys)
    assert not read.findings.of("incomplete corpus") and not read.refused
    labels = {u.label for c in read.conversations for u in c.utterances} - {None}
    assert labels <= set(range(len(read.labels))) and len(labels) >= 2


@pytest.mark.parametrize("corpus", sorted(CONVERSATIONS - {"robot-dialogues"}))  # our own
def test_a_corpus_that_is_not_there_is_named(corpus: str, tmp_path: Path) -> None:
    split = corpora.find(corpus).splits[-1]
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path))):
        corpora.read_split(corpora.find(corpus), tmp_path, split)
    with pytest.raises(ValueError, match="'tset'"):
        corpora.read_split(corpora.find(corpus), tmp_path, "tset")


def test_an_unknown_corpus_is_refused_naming_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'friends'"):
        corpora.read("friends", tmp_path, "train")


def passages(split: Split) -> set[tuple[str, ...]]:
    """Three utterances in a row that are long enough not to be said twice by chance."""
    texts = set()
    for conversation in split.conversations:
        said = [re.sub(r"[^a-z0-9]", "", u.text.lower()) for u in conversation.utterances]
        for passage in zip(said, said[1:], said[2:], strict=False):
            if len("".join(passage)) >= 30:
                texts.add(passage)
    return texts


@pytest.mark.data
def test_emotionlines_follows_the_split_of_meld() -> None:
    need("meld_annotations", "emotionlines_friends")
    meld = {name: passages(read_meld(DATA, name)) for name in ("train", "dev", "test")}
    lines = passages(corpora.read("emotionlines", DATA, "train"))
    assert len(lines & meld["train"]) > 7000  # so the comparison does find what is the same
    assert not lines & meld["dev"]
    # A scene of test is told once more in an episode of train, which is in MELD's own train too.
    assert len(lines & meld["test"]) <= 1
    assert (lines & meld["test"]) <= meld["train"]


@pytest.mark.data
def test_no_picture_of_fer_is_in_two_splits() -> None:
    need("fer2013plus")
    data = ferplus.load(DATA / "fer2013plus")
    seen = [
        {picture.tobytes() for picture in faces.pictures}
        for faces in (data.train, data.valid, data.test)
    ]
    train, valid, test = seen
    assert not train & valid and not train & test and not valid & test
    assert len(test) == len(data.test.pictures)
    assert data.skipped["test: repeated"] >= 288 and data.skipped["valid: repeated"] >= 279


@pytest.mark.data
def test_no_video_of_mosi_is_in_two_splits_and_words_and_features_agree() -> None:
    need("mosi_bclstm_features")
    features = read_mosi(DATA)
    names: list[str] = []
    for name, videos in features.items():
        words = read_mosi_words(DATA, name)
        own = [c.name.partition("/")[2] for c in words.conversations]
        assert own == list(videos.names)
        labels = [u.label for c in words.conversations for u in c.utterances]
        assert labels == videos.labels.tolist()
        names += own
    assert len(names) == len(set(names)) == 93


def places(kinds: Iterable[str]) -> Findings:
    findings = (Finding(kind, "skipped", "a.csv", row) for row, kind in enumerate(kinds, start=2))
    return Findings(tuple(findings))


def test_findings_add_up_and_name_their_places() -> None:
    findings = joined([places(["bad"] * 7), Findings(), places(["worse"])])
    assert findings.counts() == {"bad": 7, "worse": 1} and not Findings()
    assert findings.rows("bad") == (2, 3, 4, 5, 6, 7, 8)
    first, second = findings.lines()
    assert first.startswith("bad: 7 skipped (a.csv row 2, a.csv row 3,")
    assert first.endswith("a.csv row 6 and 2 more)")
    assert second == "worse: 1 skipped (a.csv row 2)"
    whole = Findings((Finding("incomplete", "noted", "MELD", detail="1 of 2"),))
    assert whole.lines() == ["incomplete: 1 noted (MELD: 1 of 2)"]
