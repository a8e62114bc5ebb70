"""Alignment of texts with speech: with times, with a stamp only, late, early, several at once."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from erc_ros.dialogue.alignment import (
    Cut,
    SpeechSegment,
    TextMatch,
    align,
    dips,
    is_same_speech,
    late_cost,
    majority,
    quiet,
    remainders,
)
from erc_ros.dialogue.speakers.turns import Attribution
from erc_ros.dialogue.text_splitting import divide, split, text_within
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.transcript import Transcript, Word


def segment(
    start: float, end: float, speaker: int | None = None, is_open: bool = False
) -> SpeechSegment:
    attribution = Attribution(speaker, 0.9)
    return SpeechSegment(seconds(start), seconds(end), is_open, attribution=attribution)


def came(time: float) -> Transcript:
    return Transcript("text", arrival=seconds(time))


def timed(start: float, end: float) -> Transcript:
    return Transcript("text", seconds(end + 0.5), start=seconds(start), end=seconds(end))


def match(
    segments: list[SpeechSegment],
    transcript: Transcript,
    expected: float = 1.0,
    cuts: tuple[Cut, ...] = (),
) -> tuple[float, float] | None:
    matched = align(segments, transcript, seconds(expected), cuts)
    return None if matched is None else (matched.start / NS, matched.end / NS)


def test_a_text_with_times_takes_the_speech_of_that_time() -> None:
    segments = [segment(0, 1), segment(2, 3), segment(4, 5)]
    assert match(segments, timed(2.1, 2.9)) == (2.0, 3.0)


def test_a_text_with_a_start_and_no_end_is_matched_by_its_duration() -> None:
    begun = Transcript("text", seconds(3.5), start=seconds(2.1))
    segments = [segment(0, 1), segment(2, 3)]
    assert match(segments, begun) == match(segments, came(3.5)) == (0.0, 1.0)
    assert late_cost(segment(2, 3), begun, seconds(1)) is not None


def test_a_text_with_times_away_from_speech_takes_none() -> None:
    assert match([segment(0, 1)], timed(2.0, 3.0)) is None
    assert match([], timed(2.0, 3.0)) is None


def test_a_text_with_times_cuts_speech_that_goes_on() -> None:
    segments = [segment(0, 6, is_open=True)]
    assert match(segments, timed(0.1, 2.5)) == (0.0, 2.5)
    assert match(segments, timed(0.1, 2.5), cuts=(Cut(seconds(2.6), 0.1),)) == (0.0, 2.6)


def test_a_text_over_two_segments_takes_both() -> None:
    assert match([segment(0, 1), segment(1.5, 3)], timed(0.2, 2.9)) == (0.0, 3.0)


def test_a_text_without_times_takes_the_oldest_speech_before_it() -> None:
    segments = [segment(0, 2), segment(2.4, 3.0, is_open=True)]
    assert match(segments, came(2.7), expected=2.0) == (0.0, 2.0)


def test_speech_after_the_stamp_is_never_taken() -> None:
    assert match([segment(5, 6)], came(4.0)) is None


def test_a_text_too_short_for_all_speech_ends_at_a_pause() -> None:
    segments = [segment(0, 6, is_open=True)]
    cuts = (Cut(seconds(2.0), 0.2), Cut(seconds(4.1), 0.2))
    assert match(segments, came(4.6), expected=4.0, cuts=cuts) == (0.0, 4.1)


def test_a_long_text_takes_several_segments() -> None:
    segments = [segment(0, 1.5, 0), segment(2, 3.5, 0), segment(4, 5.5, 0)]
    assert match(segments, came(6.0), expected=4.5) == (0.0, 5.5)


def test_a_change_of_speaker_is_not_crossed_lightly() -> None:
    segments = [segment(0, 2.0, 0), segment(2.0, 2.8, 1)]
    assert match(segments, came(3.0), expected=2.4) == (0.0, 2.0)


def test_turns_that_touch_are_two_speakers_although_neither_is_known() -> None:
    for pause, end in ((0.05, 2.85), (0.0, 2.0)):
        segments = [segment(0, 2.0), segment(2.0 + pause, 2.8 + pause)]
        assert match(segments, came(3.0), expected=2.8) == (0.0, end)


def test_a_later_text_that_comes_first_leaves_older_speech_to_its_own() -> None:
    segments = [segment(0, 2.5), segment(3, 5.5)]
    assert match(segments, came(6.0), expected=2.5) == (3.0, 5.5)


def test_what_a_match_leaves_is_kept() -> None:
    whole = segment(0, 6)
    left, right = remainders(TextMatch(seconds(1), seconds(4), (whole,)))
    assert (left.start, left.end) == (0, seconds(1))
    assert (right.start, right.end) == (seconds(4), seconds(6))
    assert remainders(TextMatch(0, seconds(6), (whole,))) == []


def test_a_silence_is_one_cut_at_its_end() -> None:
    probabilities = [(time, 0.1 if 4 <= time < 8 else 0.9) for time in range(12)]
    assert [cut.time for cut in dips(probabilities)] == [7]


def test_a_moment_of_quiet_is_a_cut() -> None:
    levels = [(time, 0.001 if time == 9 else 0.1) for time in range(20)]
    assert [cut.time for cut in quiet(levels)] == [9]
    assert quiet([]) == []


# --- one text, several speakers ---


def parts(text: Transcript | str, *segments: SpeechSegment) -> list[str | None]:
    if isinstance(text, str):
        text = Transcript(text, seconds(99))
    split_parts = split(text, segments)
    return [None if part.transcript is None else part.transcript.text for part in split_parts]


def spoken(*words: tuple[str, float, float]) -> Transcript:
    told = tuple(Word(text, seconds(start), seconds(end)) for text, start, end in words)
    return Transcript(" ".join(word.text for word in told), seconds(99), words=told)


def test_a_text_of_two_speakers_is_split_at_the_turn_by_the_times_of_its_words() -> None:
    text = spoken(
        ("Are", 0, 0.3), ("you", 0.3, 0.5), ("mad?", 0.5, 1), ("I", 2.1, 2.2), ("am.", 2.2, 3)
    )
    assert parts(text, segment(0, 2, 0), segment(2, 3, 1)) == ["Are you mad?", "I am."]
    assert parts(text, segment(0, 0.45, 0), segment(0.6, 3, 1)) == ["Are you mad? I am."]  # a scrap
    plain = spoken(("are", 0, 0.3), ("you", 0.3, 0.5), ("mad", 0.5, 1), ("i", 2.1, 2.2))
    assert parts(plain, segment(0, 0.6, 0), segment(0.7, 3, 1)) == ["are you", "mad i"]


def test_without_times_of_words_it_is_split_by_duration_at_the_end_of_a_sentence() -> None:
    text = "Where have you been all day? At the sea."
    assert parts(text, segment(0, 1.8, 0), segment(2, 3.0, 1)) == [
        "Where have you been all day?",
        "At the sea.",
    ]
    assert parts("one two three four", segment(0, 2, 0), segment(2, 4, 1)) == [
        "one two",
        "three four",
    ]


def test_in_a_long_pause_the_turn_is_halfway_between_the_speakers() -> None:
    for end, expected in ((1.9, ["one two", "three"]), (2.9, ["one", "two three"])):
        start = end - 0.3  # of the second word, which is before or after the center at 2 s
        text = spoken(("one", 0, 1.0), ("two", start, end), ("three", 3.2, 4.0))
        assert parts(text, segment(0, 1.0, 0), segment(3.0, 4.0, 1)) == expected


def test_words_whose_speech_has_no_text_leave_it_without() -> None:
    text = spoken(("yes", 2.2, 2.5), ("indeed", 2.5, 3.0))
    assert parts(text, segment(0, 2, 0), segment(2, 3, 1)) == [None, "yes indeed"]


def test_who_is_unknown_goes_with_the_neighbour_and_one_word_is_never_cut() -> None:
    assert parts("a b c d", segment(0, 1, 0), segment(1, 2, None), segment(2, 3, 0)) == ["a b c d"]
    assert parts("Hello", segment(0, 1, 0), segment(1, 3, 1)) == [None, "Hello"]
    named = Transcript("a b c d", seconds(9), voice_id="v")
    assert parts(named, segment(0, 1, 0), segment(1, 2, 1)) == ["a b c d"]


def test_a_text_without_blanks_is_split_between_characters() -> None:
    assert parts("你今天怎么样？我很好。", segment(0, 2, 0), segment(2, 3, 1)) == [
        "你今天怎么样？",
        "我很好。",
    ]


def test_the_majority_counts_speech_not_segments() -> None:
    attribution = majority(
        [segment(0, 0.5, 0), segment(1, 1.5, 0), segment(2, 5, 1), segment(5, 9, None)]
    )
    assert attribution.speaker == 1 and 0 < attribution.confidence < 0.9
    assert majority([segment(0, 1)]).speaker is None


@given(
    st.lists(
        st.tuples(st.floats(0.0, 1.0), st.floats(0.05, 3.0), st.sampled_from([None, 0, 1, 2])),
        min_size=1,
        max_size=6,
    ),
    st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=60),
    st.booleans(),
)
def test_a_split_text_is_whole_again_when_joined(
    turns: list[tuple[float, float, int | None]], text: str, is_timed: bool
) -> None:
    segments, now = [], 0.0
    for gap, length, speaker in turns:
        segments.append(segment(now + gap, now + gap + length, speaker))
        now += gap + length
    tokens = text.split()
    words = [Word(token, seconds(n), seconds(n + 0.8)) for n, token in enumerate(tokens)]
    told = Transcript(text, seconds(99), words=tuple(words) if is_timed else ())
    shares = split(told, segments)
    assert [p for part in shares for p in part.segments] == segments
    texts = [part.transcript.text for part in shares if part.transcript is not None]
    assert "".join("".join(texts).split()) == "".join(tokens)
    assert texts


@given(
    st.lists(st.tuples(st.floats(0.1, 3.0), st.floats(0.1, 3.0)), min_size=2, max_size=5),
    st.lists(st.text("abc.,", min_size=1, max_size=8), min_size=1, max_size=30),
    st.booleans(),
)
def test_divided_words_stay_in_order_and_follow_the_durations(
    turns: list[tuple[float, float]], tokens: list[str], is_plain: bool
) -> None:
    segments, now = [], 0.0
    for gap, length in turns:
        segments.append(segment(now + gap, now + gap + length))
        now += gap + length
    if is_plain:  # without punctuation, at which a text is divided rather
        tokens = [token.strip(".,") or "a" for token in tokens]
    text = Transcript(" ".join(tokens), seconds(99), start=segments[0].start, end=segments[-1].end)
    groups = [(one,) for one in segments]
    shares = divide(text, groups)
    assert shares == divide(text, groups)
    assert [share.segments for share in shares] == groups
    texts = [share.transcript.text for share in shares if share.transcript is not None]
    assert " ".join(texts).split() == text.text.split()
    if is_plain:
        total = sum(one.end - one.start for one in segments)
        longest = max(map(len, tokens)) / sum(map(len, tokens))
        said = spoken_share = 0.0
        for one, share in zip(segments[:-1], shares, strict=False):
            words = "" if share.transcript is None else share.transcript.text
            said += len(words.replace(" ", "")) / sum(map(len, tokens))
            spoken_share += (one.end - one.start) / total
            assert abs(said - spoken_share) <= longest + 1e-6


def test_a_partial_text_is_split_between_its_segments() -> None:
    partial = Transcript("one two three four", seconds(4.0), is_final=False)
    assert text_within(partial, [segment(0, 4, is_open=True)]) == "one two three four"
    assert text_within(partial, [segment(0, 2), segment(2, 6, is_open=True)]) == "three four"
    assert text_within(partial, [segment(0, 2), segment(5, 6, is_open=True)]) == ""  # later


@pytest.mark.parametrize(
    ("mark", "off", "expected"),
    [
        (",", 0.30, "yes well, no"),  # s: too far for a clause whose words have times
        (",", 0.15, "yes well,"),
        (".", 0.60, "yes well. no"),
        (".", 0.40, "yes well."),
    ],
)
def test_punctuation_near_the_turn_is_preferred_within_bounds(
    mark: str, off: float, expected: str
) -> None:
    times = [(0.0, 0.5), (0.5, 2.0 - off), (2.0 - off, 2.05), (2.05, 3.0)]
    tokens = f"yes well{mark} no thanks".split()
    words = [Word(t, seconds(a), seconds(b)) for t, (a, b) in zip(tokens, times, strict=True)]
    told = Transcript(" ".join(tokens), seconds(99), words=tuple(words))
    first, second = split(told, [segment(0, 2, 0), segment(2, 3, 1)])
    assert first.transcript is not None and first.transcript.text == expected
    assert second.transcript is not None
    assert [*first.transcript.words, *second.transcript.words] == words


# --- the same speech again, and too late ---


def test_texts_of_the_same_time_or_stamp_and_voice_mean_the_same_speech() -> None:
    def stamped(time: float, voice: str = "") -> Transcript:
        return Transcript("x", seconds(time + 9), stamp=seconds(time), voice_id=voice)

    assert is_same_speech(timed(1, 3), timed(1.2, 3.3))
    assert not is_same_speech(timed(1, 3), timed(2.5, 4.5))
    assert is_same_speech(stamped(3), stamped(3.005))
    assert not is_same_speech(stamped(3), stamped(3.2))
    assert not is_same_speech(stamped(3), stamped(3, "v"))
    assert not is_same_speech(came(3), came(3))  # an arrival says nothing
    assert not is_same_speech(timed(1, 3), stamped(3))


def test_a_text_with_times_ends_inside_its_last_segment() -> None:
    segments = [segment(0, 2.0), segment(2.1, 2.6, is_open=True)]
    matched = align(segments, timed(0, 2.35), seconds(2.35), [Cut(seconds(1.98), 0.1)])
    assert matched is not None
    assert matched.segments == tuple(segments)
    assert matched.end == seconds(2.35)
    assert [(each.start, each.is_open) for each in remainders(matched)] == [(seconds(2.35), True)]


def test_a_late_text_fits_speech_of_its_length_that_is_not_long_past() -> None:
    assert late_cost(segment(0, 2), came(4.0), seconds(2.0)) is not None
    assert late_cost(segment(0, 2), came(9.0), seconds(2.0)) is None
    assert late_cost(segment(0, 2), came(1.0), seconds(2.0)) is None
    assert late_cost(segment(0, 2), came(4.0), seconds(0.3)) is None
    assert late_cost(segment(0, 2), timed(0.2, 1.9), seconds(0.3)) is not None
    assert late_cost(segment(0, 2), timed(3.0, 4.0), seconds(2.0)) is None


spans = st.lists(st.tuples(st.floats(0.01, 3.0), st.floats(0.05, 4.0)), min_size=1, max_size=6)


@given(spans, st.booleans(), st.floats(-1, 30), st.floats(0.1, 20), st.booleans())
# a text with times that ends before the last segment, with a dip between its end and the segment
@example(
    gaps=[(1, 0.75), (1.5, 0.5), (1.25, 0.5)],
    is_open=True,
    time=0,
    expected=5.25,
    has_times=True,
)
def test_a_match_is_within_the_speech_and_loses_nothing(
    gaps: list[tuple[float, float]], is_open: bool, time: float, expected: float, has_times: bool
) -> None:
    segments, now = [], 0.0
    for gap, length in gaps:
        segments.append(segment(now + gap, now + gap + length))
        now += gap + length
    segments[-1] = segment(segments[-1].start / NS, now, is_open=is_open)
    text = timed(time, time + expected) if has_times else came(time)
    cuts = [Cut(seconds(t / 2), 0.2) for t in range(60)]
    matched = align(segments, text, seconds(expected), cuts)
    if matched is None:
        return
    assert matched.start < matched.end
    assert matched.segments[0].start <= matched.start < matched.segments[0].end
    assert matched.segments[-1].start < matched.end <= matched.segments[-1].end
    kept = sum(each.end - each.start for each in remainders(matched))
    total = sum(p.end - p.start for p in matched.segments)
    inside = sum(min(p.end, matched.end) - max(p.start, matched.start) for p in matched.segments)
    assert kept + inside == total
