"""Transcripts: precedence of their times, and invalid times."""

from __future__ import annotations

import math

import numpy as np
import pytest

from erc_ros.values.nanoseconds import NS
from erc_ros.values.transcript import Transcript, Word, text_confidence


def test_the_end_counts_before_the_stamp_and_the_stamp_before_the_arrival() -> None:
    assert Transcript("hello", arrival=9 * NS).time == 9 * NS
    assert Transcript("hello", arrival=9 * NS, stamp=7 * NS).time == 7 * NS
    assert Transcript("hello", arrival=9 * NS, stamp=7 * NS, end=5 * NS).time == 5 * NS
    assert Transcript("hello", arrival=9 * NS, stamp=0).time == 0


def test_defaults_are_a_final_text_of_an_unknown_person() -> None:
    transcript = Transcript("hello", arrival=NS, words=(Word("hello", 0, NS),))
    assert transcript.is_final and transcript.confidence is None
    assert (transcript.locale, transcript.voice_id, transcript.person_id) == ("", "", "")
    assert transcript.words[0].end == NS


def test_equal_transcripts_are_equal_although_their_confidences_are_unknown() -> None:
    """Dataclasses of Python 3.13 compare field by field, and NaN is not equal to itself."""
    one, other = (Transcript("hello", arrival=NS) for _ in range(2))
    assert one == other
    assert one.confidence is one.no_speech is None


def test_an_unknown_confidence_is_nan_in_an_utterance() -> None:
    assert math.isnan(text_confidence(None)) and math.isnan(text_confidence(Transcript("a", 0)))
    assert text_confidence(Transcript("a", 0, confidence=0.0)) == 0.0


@pytest.mark.parametrize("name", ["arrival", "stamp", "start", "end"])
def test_times_are_integer_nanoseconds_of_64_bits(name: str) -> None:
    times = {"arrival": NS, name: np.int64(NS)}
    assert getattr(Transcript("hello", **times), name) == NS
    for wrong in (1.5, "1", True):
        with pytest.raises(TypeError, match=name):
            Transcript("hello", **{"arrival": NS, name: wrong})
    with pytest.raises(ValueError, match=name):
        Transcript("hello", **{"arrival": NS, name: 2**63})
