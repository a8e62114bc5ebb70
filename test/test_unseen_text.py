"""Text corpora with a bundle (benchmarks/unseen_text.py)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("soundfile", reason="needs the extra [train]")

from benchmarks.unseen_text import Answers, answer, differences, main, measured, percent, read_test
from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.metrics.classification import Interval
from erc_ros.resources import model_folder
from erc_ros.values.utterance import Utterance

TURNS = (
    ("I just don't understand it.", "frustrated"),
    ("I am so happy for you!", "excited"),
    ("I hate you. Get out!", "angry"),
    ("The table is in the kitchen.", "neutral"),
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "reccon").mkdir()
    talk = [
        {"speaker": "AB"[place % 2], "utterance": text, "emotion": emotion}
        for place, (text, emotion) in enumerate(TURNS)
    ]
    (tmp_path / "reccon" / "iemocap_test.json").write_text(
        json.dumps({name: [talk] for name in "abcde"})
    )
    return tmp_path


def test_a_row_of_figures_and_one_of_recall_is_printed(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--corpus", "reccon-iemocap", "--data", str(data), "--without-history"])
    rows = capsys.readouterr().out.splitlines()
    assert rows[2].startswith("| reccon-iemocap, with history, 15 | ")
    assert rows[4].startswith("| reccon-iemocap, without, 15 | ")
    assert rows[3].split(":")[0] == "    recall" and "sadness" not in rows[3]
    assert rows[2].count(" to ") == 4


def test_the_estimate_is_one_of_the_labels_of_the_corpus(data: Path) -> None:
    """By hand: the estimates of single turns, restricted to four labels and scaled."""
    corpus = read_test("reccon-iemocap", data)
    row, recall = measured(answer("edge-small", corpus, has_history=False), corpus, "without")
    bundle = load_bundle(model_folder("edge-small"))
    four = [list(bundle.labels).index(name) for name in ("neutral", "sadness", "joy", "anger")]
    right, confidence = [], []
    with EmotionRecognizer(bundle) as recognizer:
        for place, label in ((1, 2), (2, 3), (3, 0)):
            said = Utterance(
                conversation_id=str(place),
                utterance_id="0",
                start=0,
                end=2_000_000_000,
                text=TURNS[place][0],
                speaker_id="speaker1",
                is_final=True,
            )
            shares = np.array(recognizer.feed(said).probabilities)[four]
            right.append(shares.argmax() == label)
            confidence.append(shares.max() / shares.sum())
    assert all(right), "plain sentences"
    assert recall == "    recall: neutral 100, joy 100, anger 100"
    assert row.startswith("| reccon-iemocap, without, 15 | 100.0 (")
    gap = np.abs(np.array(right) - confidence).mean()  # each in a bin of its own
    assert f"| {100 * gap:.1f} (" in row


def test_a_bundle_is_no_better_than_itself(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--corpus", "reccon-iemocap", "--data", str(data), "--against", "edge-small"])
    *_, one, mean = capsys.readouterr().out.splitlines()
    scores = ("weighted_f1", "macro_f1", "unweighted_recall")
    assert one == "    better by: " + ", ".join(f"{s} 0.0 (0.0 to 0.0)" for s in scores)
    assert mean == "better by, mean, with history: " + ", ".join(f"{s} 0.0" for s in scores)


def test_how_much_better_has_its_sign(data: Path) -> None:
    corpus = read_test("reccon-iemocap", data)
    right = np.eye(4)[corpus.truth()]
    wrong = np.roll(right, 1, axis=1)
    owners = np.repeat(range(5), 3)
    for ours, theirs, sign in ((right, wrong, 1), (wrong, right, -1)):
        gains = differences(Answers(ours, owners), Answers(theirs, owners), corpus)
        assert gains["weighted_f1"].value == sign and gains["macro_f1"].value * sign > 0.7
        assert gains["unweighted_recall"].value == sign


def test_a_selected_corpus_must_exist(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"iemocap_test\.json.*RECCON"):
        main(["--corpus", "reccon-iemocap", "--data", str(tmp_path)])


def test_no_interval_is_printed_where_there_is_none() -> None:
    assert percent(Interval(0.5, 0.1, 0.9)) == "50.0 (10.0 to 90.0)"
    assert percent(Interval(0.5, np.nan, np.nan)) == "50.0"
