"""Explanations of estimates: sentences, and fields of messages."""

from __future__ import annotations

import doctest
from types import SimpleNamespace
from typing import Any

import pytest

from erc_ros.values import why as module
from erc_ros.values.utterance import MODALITIES
from erc_ros.values.why import (
    Distrust,
    Why,
    brief,
    changes,
    explain,
    message_fields,
    why_of_message,
)

WORDS = Why("neutral", 0.7, 1.0, "anger", 0.8)
VOICE = Why("anger", 0.6, 0.03, "anger", 0.5, "disagrees")
FACE = Why("anger", 0.9, 0.6, "neutral", 0.61)
ALL = {"text": WORDS, "audio": VOICE, "visual": FACE}


def message(why: dict[str, Why], **changes: Any) -> SimpleNamespace:
    fields = {**message_fields(why, MODALITIES), "modality_names": list(MODALITIES)}
    return SimpleNamespace(**{**fields, "modalities": [m in why for m in MODALITIES], **changes})


def test_the_examples_are_true() -> None:
    outcome = doctest.testmod(module)
    assert outcome.attempted >= 3 and not outcome.failed


def test_the_modality_that_decides_comes_first() -> None:
    assert changes("anger", ALL) == ["visual"]
    lines = explain("anger", ALL)
    assert lines[0] == "Without the face: neutral 0.61"
    assert sum("still anger" in line for line in lines) == 2
    assert "voice" in lines[-1] and Distrust.DISAGREES.explanation in lines[-1]
    assert brief("anger", ALL) == "without face: neutral 0.61; voice not trusted"
    assert explain("", {}) == [] and brief("", {}) == ""


def test_a_single_modality_has_nothing_to_be_compared_with() -> None:
    (line,) = explain("neutral", {"text": Why("neutral", 0.7, 1.0, "", 0.0)})
    assert "words" in line


@pytest.mark.parametrize(
    "why",
    [ALL, {"text": WORDS}, {}, {"audio": Why("", 0.0, None, "joy", 0.5)}],
    ids=["all", "words", "nothing", "reliability not estimated"],
)
def test_a_message_has_all_of_it(why: dict[str, Why]) -> None:
    assert why_of_message(message(why)) == why
    lengths = {len(values) for values in message_fields(why, MODALITIES).values()}
    assert lengths == ({3} if why else {0})


@pytest.mark.parametrize(
    "changed",
    [
        {"modality_reliability": [1.0]},
        {"modality_labels": ["x" * 100_000, "", ""]},
        {"modality_names": ["text"] * 100_000, "modalities": [True] * 100_000},
        {"modalities": []},
    ],
)
def test_messages_that_do_not_fit_together_say_nothing(changed: dict[str, Any]) -> None:
    assert why_of_message(message(ALL, **changed)) == {}


def test_an_unknown_reason_is_ignored() -> None:
    reasons = why_of_message(message(ALL, modality_distrust=["", "of tomorrow", ""]))
    assert reasons["audio"].distrust == ""
