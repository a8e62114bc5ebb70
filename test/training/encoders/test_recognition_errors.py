"""Errors of recognition and diarization, as they are simulated."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erc_ros.training.datasets.utterances import Conversation, LabelledUtterance
from erc_ros.training.encoders.text.recognition_errors import (
    SimulatedWordErrors,
    misheard,
    mixed_up,
    sound,
)

TEXTS = ["I can see the sea", "their house is there", "two cats, too", "he knows no knows"]
ERRORS = SimulatedWordErrors(TEXTS)


def talk(*speakers: int, text: str = "I can see the sea") -> Conversation:
    return Conversation(
        "c", tuple(LabelledUtterance(text, speaker, 0, n) for n, speaker in enumerate(speakers))
    )


def distance(said: list[str], heard: list[str]) -> int:
    """Least number of words to replace, leave out or put in."""
    row = list(range(len(heard) + 1))
    for place, word in enumerate(said, 1):
        previous, row = row, [place]
        for column, other in enumerate(heard, 1):
            row.append(
                min(previous[column] + 1, row[-1] + 1, previous[column - 1] + (word != other))
            )
    return row[-1]


@pytest.mark.parametrize("one, other", [("see", "sea"), ("two", "too"), ("can", "kan")])
def test_words_that_sound_alike_have_one_key(one: str, other: str) -> None:
    assert sound(one) == sound(other)


def test_without_errors_everything_stays() -> None:
    text = "Two  cats,\ttoo!"
    assert ERRORS.misheard(text, 0.0, random.Random(0)).split() == text.split()
    assert mixed_up(talk(1, 2, 1), 0.0, random.Random(0)) == talk(1, 2, 1)


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.3])
def test_as_many_words_are_wrong_as_asked_for(rate: float) -> None:
    rng, said = random.Random(0), ("I can see two cats near their house by the sea " * 3).split()
    wrong = sum(
        distance(said, ERRORS.misheard(" ".join(said), rate, rng).split()) for _ in range(300)
    )
    assert wrong / (300 * len(said)) == pytest.approx(rate, rel=0.15)


@settings(deadline=None)
@given(st.text(max_size=60), st.floats(0, 1), st.integers(0, 99))
def test_no_utterance_loses_all_its_words(text: str, rate: float, seed: int) -> None:
    heard = ERRORS.misheard(text, rate, random.Random(seed))
    assert bool(heard) == bool(text.split())


def test_the_same_seed_gives_the_same_errors() -> None:
    once, again = (misheard(talk(1, 2), ERRORS, 0.5, random.Random(3)) for _ in range(2))
    assert once == again != talk(1, 2)


@settings(deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=9), st.integers(0, 99))
def test_a_mixed_up_speaker_is_another_of_the_conversation(speakers: list[int], seed: int) -> None:
    wrong = mixed_up(talk(*speakers), 1.0, random.Random(seed))
    known = set(speakers) if len(set(speakers)) > 1 else {speakers[0], speakers[0] + 1}
    for utterance, speaker in zip(wrong.utterances, speakers, strict=True):
        assert utterance.speaker != speaker and utterance.speaker in known


def test_texts_without_words_are_refused() -> None:
    with pytest.raises(ValueError, match="words"):
        SimulatedWordErrors(["", "123"])
