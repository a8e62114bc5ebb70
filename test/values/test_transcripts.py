"""Transcripts: precedence of their times, and invalid times."""

from __future__ import annotations

import math

import numpy as np
import pytest

from erc_ros.values.nanoseconds import NS
from erc_ros.values.transcript import Transcript, Word


def test_the_end_counts_before_the_stamp_and_the_stamp_before_the_arrival() -> None:
    assert Transcript("hello", arrival=9 * NS).time == 9 * NS
    assert Transcript("hello", arrival=9 * NS, stamp=7 * NS).time == 7 * NS
    assert Transcript("hello", arrival=9 * NS, stamp=7 * NS, end=5 * NS).time == 5 * NS
    assert Transcript("hello", arrival=9 * NS, stamp=0).time == 0


def test_defaults_are_a_final_text_of_an_unknown_person() -> None:
    transcript = Transcript("hello", arrival=NS, words=(Word("hello", 0, NS),))
    assert transcript.is_final and math.isnan(transcript.confidence)
    assert (transcript.locale, transcript.voice_id, transcript.person_id) == ("", "", "")
    assert transcript.words[0].end == NS


@pytest.mark.parametrize("name", ["arrival", "stamp", "start", "end"])
def test_times_are_integer_nanoseconds_of_64_bits(name: str) -> None:
    times = {"arrival": NS, name: np.int64(NS)}
    assert getattr(Transcript("hello", **times), name) == NS
    for wrong in (1.5, "1", True):
        with pytest.raises(TypeError, match=name):
            Transcript("hello", **{"arrival": NS, name: wrong})
    with pytest.raises(ValueError, match=name):
        Transcript("hello", **{"arrival": NS, name: 2**63})
