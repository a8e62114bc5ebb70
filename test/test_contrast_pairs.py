"""The contrast set (benchmarks/contrast.py) is what it claims to be."""

from __future__ import annotations

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
    with pytest.raises(ValueError, match=r"pairs.yaml: pair 1 needs `last` and two emotions"):
        read_pairs(file)


def test_the_command_asks_the_shipped_bundle(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    assert "right with the history" in capsys.readouterr().out
