"""Share of overlapped speech in an utterance."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tones import LoudIsSpeech, scene, tone_networks

from erc_ros.dialogue.assembler import AssemblerConfig, UtteranceAssembler, UtteranceEvent
from erc_ros.dialogue.speakers.diarization import DiarizationConfig
from erc_ros.dialogue.speakers.diarizer import Diarizer
from erc_ros.dialogue.speakers.turns import UNCLEAR, Attribution, SpeakerTurn, shared
from erc_ros.sensing.audio import AudioSamples
from erc_ros.values.nanoseconds import seconds
from erc_ros.values.transcript import Transcript
from erc_ros.values.utterance import Utterance

T0 = seconds(1_700_000_000)
ONE, OTHER = 4, 20


def said(sound: np.ndarray, networks: object = None, **config: object) -> list[Utterance]:
    ears = UtteranceAssembler(
        AssemblerConfig(**config), LoudIsSpeech(), tone_networks() if networks is None else None
    )
    events = [*ears.feed_audio(AudioSamples(T0, sound)), *ears.flush()]
    return [event.utterance for event in events if isinstance(event, UtteranceEvent)]


def test_who_speaks_alone_has_no_overlap_in_drafts_and_finals() -> None:
    utterances = said(scene((1, 4, ONE), (5, 8, OTHER)))
    assert {u.is_final for u in utterances} == {True, False}
    assert [u.overlap for u in utterances] == [0.0] * len(utterances)


def test_the_share_is_of_the_utterance_in_which_both_speak() -> None:
    first, second = (u for u in said(scene((1, 5, ONE), (4, 9, OTHER))) if u.is_final)
    assert first.overlap == pytest.approx(1 / 4, abs=0.05)
    assert second.overlap == pytest.approx(0.0, abs=0.05)


def test_a_word_thrown_in_counts_for_the_speech_that_it_is_thrown_into() -> None:
    whole = scene((1, 9, ONE))
    whole += scene((4, 6, OTHER), end=len(whole) / 16_000)
    finals = [u for u in said(whole) if u.is_final]
    spoken = sum(u.overlap * (u.end - u.start) for u in finals)
    assert spoken / seconds(1) == pytest.approx(2.0, abs=0.3)


def test_it_is_unknown_without_diarization_or_speech() -> None:
    (alone,) = (u for u in said(scene((1, 4, ONE)), networks="none") if u.is_final)
    assert math.isnan(alone.overlap)
    ears = UtteranceAssembler(AssemblerConfig(), LoudIsSpeech(), tone_networks())
    events = [*ears.feed_transcript(Transcript("Hello.", T0)), *ears.flush()]
    (text,) = (e.utterance for e in events if isinstance(e, UtteranceEvent))
    assert math.isnan(text.overlap)
    assert math.isnan(Diarizer(DiarizationConfig(), tone_networks()).overlap(T0, T0 + 1))


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([], 0),
        ([(0, 10)], 0),
        ([(0, 10), (10, 20)], 0),
        ([(0, 10), (4, 20)], 6),
        ([(0, 10), (2, 4), (6, 8)], 4),
        ([(0, 10), (0, 10), (5, 15)], 10),  # three at once count once
    ],
)
def test_time_shared_by_several_turns(spans: list[tuple[int, int]], expected: int) -> None:
    assert (
        shared([SpeakerTurn(a, b, Attribution(n, 1.0)) for n, (a, b) in enumerate(spans)])
        == expected
    )
    assert shared([SpeakerTurn(a, b, UNCLEAR) for a, b in reversed(spans)]) == expected
