"""Pending speech and held texts: timeouts, and results."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from erc_ros.dialogue.alignment import SpeechSegment
from erc_ros.dialogue.speakers.turns import Attribution, TurnCorrection
from erc_ros.dialogue.text_matching import (
    MAX_HELD,
    TextMatcher,
    TextMatching,
    TextMatchingConfig,
    admitted,
    due,
    hinted,
    placed,
    reattributed,
)
from erc_ros.values.nanoseconds import seconds
from erc_ros.values.transcript import Transcript, Word

CONFIG = TextMatchingConfig()
NOW = seconds(100)


def text(words: str = "Hello.", **more: object) -> Transcript:
    return replace(Transcript(words, arrival=NOW), **more)  # type: ignore[arg-type]


def segment(end: float, deadline: float = 0.0, name: str = "u1") -> SpeechSegment:
    return SpeechSegment(
        seconds(end - 1), seconds(end), deadline=seconds(deadline), utterance_id=name
    )


# --- what comes ---


def test_a_text_is_stripped_and_cut_and_an_empty_one_refused() -> None:
    state = TextMatching()
    _, transcript, counts = admitted(state, CONFIG, text("  \n "), NOW)
    assert (transcript, counts) == (None, ["empty_texts"])
    short = TextMatchingConfig(max_text=3)
    _, transcript, counts = admitted(state, short, text(" abcdef "), NOW)
    assert transcript is not None and (transcript.text, counts) == ("abc", ["long_texts"])


def test_the_same_text_of_the_same_time_and_voice_is_taken_once() -> None:
    state, transcript, _ = admitted(TextMatching(), CONFIG, text(), NOW)
    assert transcript is not None
    assert admitted(state, CONFIG, text(), NOW)[1:] == (None, ["repeated_texts"])
    for other in (text(voice_id="a"), text("Oh."), text(arrival=NOW + seconds(1))):
        assert admitted(state, CONFIG, other, NOW)[1] is not None


def test_a_final_text_ends_the_partial_one_of_its_voice() -> None:
    state = hinted(TextMatching(), CONFIG, text("Hel", voice_id="a"), NOW)
    assert admitted(state, CONFIG, text(voice_id="b"), NOW)[0].partial is not None
    assert admitted(state, CONFIG, text(voice_id="a"), NOW)[0].partial is None


def test_times_that_cannot_be_are_none() -> None:
    offset = seconds(10)
    for start, end in ((0, 5), (NOW, NOW - 1), (NOW - seconds(20), NOW - seconds(19))):
        transcript = placed(text(start=start, end=end), NOW, offset)
        assert (transcript.start, transcript.end) == (None, None)
    backwards = (Word("b", NOW - 5, NOW - 4), Word("a", NOW - 9, NOW - 8))
    assert placed(text(words=backwards), NOW, offset).words == ()
    assert placed(text(stamp=0), NOW, offset).stamp is None
    assert placed(text(stamp=NOW + seconds(1)), NOW, offset).stamp == NOW
    assert placed(text(arrival=5), NOW, offset).arrival == NOW


# --- speech that waits ---


def test_speech_waits_until_its_deadline_in_the_order_of_time() -> None:
    state = TextMatching(segments=(segment(1, 3), segment(2, 4)))
    assert due(state, CONFIG, seconds(2.9)) == (state, ())
    after, gone = due(state, CONFIG, seconds(3))
    assert [p.end for p in gone] == [seconds(1)] and len(after.segments) == 1
    assert after.unanswered == 1 and after.is_answered


def test_after_three_segments_without_text_nothing_waits_any_more() -> None:
    segments = tuple(segment(n, n + 2) for n in range(1, 5))
    after, gone = due(TextMatching(segments=segments), CONFIG, seconds(5))
    assert len(gone) == 4 and not after.is_answered  # the last one not for its deadline
    always = TextMatchingConfig(expect_text="always")
    after, gone = due(TextMatching(segments=segments), always, seconds(5))
    assert len(gone) == 3 and after.is_answered


def test_a_remainder_of_a_match_does_not_count_as_a_segment_without_text() -> None:
    segments = tuple(segment(n, n + 2, name="") for n in range(1, 5))
    after, gone = due(TextMatching(segments=segments), CONFIG, seconds(9))
    assert len(gone) == 4 and after.is_answered


def test_a_partial_text_makes_speech_wait_but_not_for_ever() -> None:
    state = TextMatching(segments=(segment(1, 2.5),))
    for now, deadline in ((2.0, 3.5), (5.0, 5.5), (9.0, 5.5)):
        later = hinted(state, CONFIG, text("Hel"), seconds(now))
        assert later.segments[0].deadline == seconds(deadline)
    never = TextMatchingConfig(expect_text="never")
    assert hinted(state, never, text("Hel"), NOW) == state


def test_pending_speech_of_another_speaker_is_reattributed() -> None:
    whose = replace(segment(2), attribution=Attribution(0, 0.9))
    state = TextMatching(segments=(whose,))
    after = reattributed(state, TurnCorrection(seconds(1), seconds(2), 0, 1))
    assert after.segments[0].attribution.speaker == 1
    assert reattributed(state, TurnCorrection(seconds(1), seconds(1.4), 0, 1)) == state
    assert reattributed(state, TurnCorrection(seconds(1), seconds(2), 2, 1)) == state


# --- the matcher ---


def test_a_text_matches_its_speech_which_waits_no_more() -> None:
    matcher = TextMatcher(CONFIG)
    matcher.wait(segment(99.5), seconds(99.5))
    segments = matcher.candidates([])
    match = matcher.match(text(), segments, [])
    assert match is not None and match.end == seconds(99.5)
    assert not matcher.is_waiting and matcher.release() == ()


def test_texts_that_wait_are_bounded_and_come_back_once() -> None:
    matcher = TextMatcher(CONFIG)
    assert all(matcher.hold(text(str(n))) for n in range(MAX_HELD))
    assert not matcher.hold(text("one too many"))
    assert len(matcher.held()) == MAX_HELD and matcher.held() == ()


def test_another_text_for_the_same_speech_replaces_one_that_waits() -> None:
    matcher = TextMatcher(CONFIG)
    matcher.hold(text("Hallo.", stamp=NOW))
    assert matcher.correct(text("Hello.", stamp=NOW))
    assert not matcher.correct(text("Hello.", stamp=NOW - seconds(1)))
    assert [held.text for held in matcher.held()] == ["Hello."]


def test_what_waits_and_was_the_robot_goes() -> None:
    matcher = TextMatcher(CONFIG)
    for end in (2.0, 4.0):
        matcher.wait(segment(end), seconds(end))
    assert matcher.cut_at(seconds(1.5), 0) == 1
    assert [p.end for p in matcher.release()] == [seconds(1.5)]


def test_what_a_partial_text_says_of_a_segment() -> None:
    matcher = TextMatcher(CONFIG)
    matcher.hint(text("one two three four", arrival=seconds(4)), seconds(4))
    first, second = segment(2), segment(4)
    matcher.wait(first, first.end)
    partial = matcher.partial_of(second, [])
    assert partial is not None and partial.text == "three four"


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 20), st.booleans()), max_size=10))
def test_all_that_waits_goes_out_once(waiting: list[tuple[int, int, bool]]) -> None:
    matcher, gone = TextMatcher(CONFIG), []
    for end, late, is_named in waiting:
        matcher.wait(segment(end, name="u" if is_named else ""), seconds(end + late))
    for now in range(0, 80, 7):
        gone += matcher.due(seconds(now))
    assert len(gone) == len(waiting) and not matcher.is_waiting
