"""Properties of the contrast set (benchmarks/contrast.py)."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.contrast import main, read_pairs

LABELS = {"neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger"}


def test_two_hundred_different_sentences_with_two_emotions_each() -> None:
    pairs = read_pairs()
    assert len(pairs) >= 200
    assert len({pair.last.lower() for pair in pairs}) == len(pairs)
    emotions = Counter(name for pair in pairs for name in pair.histories)
    assert set(emotions) == LABELS
    assert min(emotions.values()) >= 25


def test_the_history_decides_not_the_sentence() -> None:
    for pair in read_pairs():
        one, other = pair.histories.values()
        assert one and other and one != other
        assert all(isinstance(turn, str) and turn.strip() for turn in (*one, *other))


def test_a_pair_with_one_emotion_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "pairs.yaml"
    file.write_text('- {last: "Great.", joy: ["You won!"]}\n')
    with pytest.raises(ValueError, match=r"pairs.yaml.*1"):
        read_pairs(file)


def test_the_command_uses_the_shipped_bundle(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    printed = capsys.readouterr().out
    figures = re.findall(
        r"^(.*\S) +(-?[\d.]+) % \((-?[\d.]+) to (-?[\d.]+)\)", printed, re.MULTILINE
    )
    assert [name for name, *_ in figures] == [
        "accuracy with history",
        "accuracy without history",
        "difference",
        "odds in the right direction",
    ]
    for _, value, low, high in figures:
        assert float(low) < float(value) < float(high)
    with_history, without, difference, odds = (float(value) for _, value, *_ in figures)
    assert difference == pytest.approx(with_history - without, abs=0.11)  # each is rounded
    assert without < with_history < 100 and without <= 50
    assert 50 < odds < 100  # chance is 50


def test_the_figures_count_the_estimates_of_a_bundle(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By hand: the history has no effect on a sentence whose words express the emotion."""
    file = tmp_path / "pairs.yaml"
    file.write_text(
        '- {last: "I am so happy, this is wonderful!", joy: ["Hello."], anger: ["Hello."]}\n'
        '- {last: "I am so angry with you!", sadness: ["Hello."], anger: ["Hello."]}\n'
    )
    monkeypatch.setattr("benchmarks.contrast.read_pairs", lambda: read_pairs(file))
    main([])
    printed = capsys.readouterr().out
    assert re.search(r"accuracy with history +50\.0 % \(50\.0 to 50\.0\)", printed)
    assert re.search(r"accuracy without history +50\.0 %", printed)
    assert re.search(r"difference +0\.0 %", printed)
    assert re.search(r"right direction +0\.0 %", printed)  # the same history gives the same odds
