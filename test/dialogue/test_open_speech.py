"""Open speech region: its part without text, and its remainder at the end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from erc_ros.dialogue.open_speech import (
    OpenSpeech,
    OpenSpeechConfig,
    OpenSpeechState,
    StretchConfig,
    closed,
    is_draft_due,
    is_unheard,
    is_update_due,
    open_segment,
    without_pause,
)
from erc_ros.dialogue.speakers.turns import Attribution, SpeakerTurn
from erc_ros.dialogue.voice_activity import Activity
from erc_ros.values.nanoseconds import NS, seconds

CONFIG = OpenSpeechConfig()


def speech(began: float, last_voiced: float, **more: object) -> OpenSpeechState:
    """Return the state of a region that began at `began` (s), voiced until `last_voiced`."""
    activity = Activity(start=seconds(began), is_open=True, last_voiced=seconds(last_voiced))
    state = OpenSpeechState(activity, seconds(began), seconds(began))
    return replace(state, **more)  # type: ignore[arg-type]


def turn(start: float, end: float, speaker: int) -> SpeakerTurn:
    return SpeakerTurn(seconds(start), seconds(end), Attribution(speaker, 0.9))


def spans(segments: tuple[object, ...]) -> list[tuple[float, float, int]]:
    return [
        (p.start / NS, p.end / NS, p.attribution.speaker)  # type: ignore[attr-defined]
        for p in segments
    ]


def test_open_speech_ends_with_the_audio_or_shortly_after_the_last_voice() -> None:
    open_part = open_segment(speech(1, 3), CONFIG, seconds(3.02))
    assert open_part is not None and (open_part.end, open_part.is_paused) == (seconds(3.02), False)
    open_part = open_segment(speech(1, 3), CONFIG, seconds(3.2))
    assert open_part is not None and (open_part.end, open_part.is_paused) == (seconds(3.1), True)
    assert open_segment(OpenSpeechState(), CONFIG, seconds(3)) is None


def test_an_update_is_due_at_a_pause_so_early_that_it_is_in_effect_at_the_end() -> None:
    state = speech(1, 3, updated=seconds(2.5))
    assert not is_update_due(state, CONFIG, seconds(3.05))
    assert is_update_due(state, CONFIG, seconds(3.1))
    assert not is_update_due(replace(state, updated=seconds(3.1)), CONFIG, seconds(3.2))


def test_in_speech_that_goes_on_an_update_is_due_every_period() -> None:
    state = speech(1, 3.0, updated=seconds(2.0))
    assert not is_update_due(state, CONFIG, seconds(2.99))
    assert is_update_due(state, CONFIG, seconds(3.0))
    assert not is_update_due(replace(state, start=None), CONFIG, seconds(9))


def test_speech_in_an_update_needs_no_other_one_at_its_end() -> None:
    state = speech(1, 3, updated=seconds(3.1))
    assert not is_unheard(state, CONFIG, seconds(3.1))
    assert is_unheard(replace(state, updated=seconds(2.9)), CONFIG, seconds(3.1))


def test_a_draft_is_due_every_period_and_never_without_one() -> None:
    state, never = speech(1, 3), StretchConfig(draft_pause=0.0)
    often = OpenSpeechConfig(provisional_period=0.5, stretch=never)
    assert is_draft_due(state, often, seconds(1.5))
    assert not is_draft_due(state, OpenSpeechConfig(stretch=never), seconds(9))
    assert not is_draft_due(replace(state, drafted=seconds(1.5)), often, seconds(1.9))


def test_a_draft_is_due_once_in_every_pause() -> None:
    state = speech(1, 3)
    assert not is_draft_due(state, CONFIG, seconds(3.15))
    assert is_draft_due(state, CONFIG, seconds(3.16))
    drafted = replace(state, drafted=seconds(3.16))
    assert not is_draft_due(drafted, CONFIG, seconds(3.25))
    on = replace(drafted, activity=replace(drafted.activity, last_voiced=seconds(3.4)))
    assert not is_draft_due(on, CONFIG, seconds(3.5))
    assert is_draft_due(on, CONFIG, seconds(3.6))
    assert not is_draft_due(replace(on, start=None), CONFIG, seconds(3.6))
    matched = replace(on, start=seconds(3.4), matched_until=seconds(3.4))
    assert not is_draft_due(matched, CONFIG, seconds(3.6))  # no speech since then


def test_a_region_ends_as_one_segment_for_each_speaker() -> None:
    state = speech(1, 5, utterance_id="u1")
    after, stretch = closed(state, CONFIG, seconds(5), [turn(1, 3, 0), turn(3, 5, 1)])
    assert spans(stretch.segments) == [(1, 3, 0), (3, 5, 1)]
    assert [segment.utterance_id for segment in stretch.segments] == ["u1", ""]
    assert after.start is None and stretch.withdrawn == ""


def test_the_remainder_of_a_matched_region_is_kept() -> None:
    state = speech(1, 5, start=seconds(2.8))
    _, stretch = closed(state, CONFIG, seconds(5), [turn(1, 3, 0), turn(3, 5, 1)])
    # 0.2 s of the first speaker are a rest: the text ended at the change
    assert spans(stretch.segments) == [(2.8, 5, 1)]
    nothing = speech(1, 5, start=seconds(5))
    assert closed(nothing, CONFIG, seconds(5), [turn(1, 5, 0)])[1].segments == ()


def test_a_draft_without_utterance_is_withdrawn() -> None:
    state = speech(1, 5, utterance_id="u1")
    assert closed(state, CONFIG, seconds(5), [])[1].withdrawn == "u1"


def test_the_remainder_of_a_match_begins_with_the_next_speech() -> None:
    state = speech(1, 5, start=seconds(2), matched_until=seconds(2))
    heard = [(seconds(2.1), 0.1), (seconds(2.3), 0.9)]
    assert without_pause(state, heard).start == seconds(2.3) - seconds(0.032)
    assert without_pause(speech(1, 5), heard).start == seconds(1)


def test_a_match_of_what_is_open_takes_its_draft_along() -> None:
    open_speech = OpenSpeech(CONFIG)
    open_speech.begin(seconds(1))
    open_speech.drafted(seconds(1.5), "u1")
    open_speech.matched(seconds(0.8), is_open=False)  # of speech before
    assert open_speech.state.start == seconds(1) and open_speech.state.utterance_id == "u1"
    open_speech.matched(seconds(1.4), is_open=True)
    assert open_speech.state.start == seconds(1.4) and open_speech.state.utterance_id == ""


@pytest.mark.parametrize("period", [0.05, -1.0, 11.0, float("nan")])
def test_a_period_that_cannot_be_is_refused(period: float) -> None:
    with pytest.raises(ValueError, match="provisional_period"):
        OpenSpeechConfig(provisional_period=period)
