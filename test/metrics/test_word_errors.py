"""Word error rates compared with cases counted by hand, and with meeteval."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erc_ros.metrics.word_errors import (
    TIME_COLLAR,
    TimedWord,
    WordErrors,
    cp_errors,
    edit_distance,
    tcp_errors,
    timed_words,
    words_of,
)

S = 1_000_000_000


def test_words_are_compared_without_case_and_punctuation() -> None:
    assert words_of("Don’t WORRY, it's… 5 o'clock_") == ["don't", "worry", "it's", "5", "o'clock"]
    assert words_of(" - ") == []
    assert words_of("Äpfel, ÄPFEL") == ["äpfel", "äpfel"]


@pytest.mark.parametrize(
    ("reference", "hypothesis", "errors"),
    [
        ("a b c", "a b c", 0),
        ("a b c", "a x c", 1),
        ("a b c", "a c", 1),
        ("a c", "a b c", 1),
        ("a b c d", "b c d e", 2),
        ("", "a b", 2),
        ("a b", "", 2),
        ("a b", "b a", 2),
    ],
)
def test_edit_distance_by_hand(reference: str, hypothesis: str, errors: int) -> None:
    assert edit_distance(reference.split(), hypothesis.split()) == errors


def test_cpwer_by_hand() -> None:
    reference = {"Anna": ["how", "are", "you"], "Ben": ["fine", "thanks"]}
    swapped = {"0": ["fine", "thank", "you"], "1": ["how", "are", "you"]}
    # 1 is Anna without an error; 0 is Ben with "thank" for "thanks" and "you" too many
    assert cp_errors(reference, swapped) == WordErrors(2, 5)
    # one speaker only: Anna's three words and two of Ben, with one deletion
    assert cp_errors(reference, {"0": ["how", "are", "you", "fine", "thanks"]}) == WordErrors(4, 5)
    assert cp_errors(reference, {}) == WordErrors(5, 5)
    assert cp_errors({}, {"0": ["a"]}) == WordErrors(1, 0)
    assert cp_errors({}, {}) == WordErrors(0, 0) and math.isnan(cp_errors({}, {}).rate)


def test_tcpwer_does_not_take_a_word_for_one_of_another_time() -> None:
    reference = {"Anna": [TimedWord("yes", 0, S), TimedWord("no", 20 * S, 21 * S)]}
    in_time = {"0": [TimedWord("yes", 0, S), TimedWord("no", 19 * S, 20 * S)]}
    late = {"0": [TimedWord("yes", 0, S), TimedWord("no", 40 * S, 41 * S)]}
    assert tcp_errors(reference, in_time) == WordErrors(0, 2)
    assert tcp_errors(reference, late) == WordErrors(2, 2)  # deletion, and insertion


def test_times_of_words_by_their_letters() -> None:
    assert timed_words(["ab", "abcdef"], 0, 8) == [TimedWord("ab", 0, 2), TimedWord("abcdef", 2, 8)]
    assert timed_words([], 0, 8) == []


_SEGMENTS = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.integers(1, 4),
        st.sampled_from("AB"),
        st.lists(st.sampled_from(["a", "bb", "ccc", "dd"]), min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda each: each[0],
).map(
    lambda segments: [  # one after the other: meeteval mends what overlaps
        (10 * number + start % 5, length, who, words)
        for number, (start, length, who, words) in enumerate(sorted(segments, key=lambda s: s[0]))
    ]
)


@settings(max_examples=60, deadline=None)
@given(_SEGMENTS, _SEGMENTS)
def test_the_same_as_meeteval(
    reference: list[tuple[int, int, str, list[str]]],
    hypothesis: list[tuple[int, int, str, list[str]]],
) -> None:
    meeteval = pytest.importorskip("meeteval")

    def seglst(segments: list[tuple[int, int, str, list[str]]]) -> object:
        return meeteval.io.SegLST(
            [
                {
                    "session_id": "s",
                    "speaker": who,
                    "start_time": start,
                    "end_time": start + length,
                    "words": " ".join(words),
                }
                for start, length, who, words in segments
            ]
        )

    def plain(segments: list[tuple[int, int, str, list[str]]]) -> dict[str, list[str]]:
        words_of: dict[str, list[str]] = {}
        for _, _, who, words in segments:
            words_of.setdefault(who, []).extend(words)
        return words_of

    def timed(segments: list[tuple[int, int, str, list[str]]]) -> dict[str, list[TimedWord]]:
        words_of: dict[str, list[TimedWord]] = {}
        for start, length, who, words in segments:
            words_of.setdefault(who, []).extend(timed_words(words, start * S, (start + length) * S))
        return words_of

    cp = meeteval.wer.cpwer(seglst(reference), seglst(hypothesis))["s"]
    assert cp_errors(plain(reference), plain(hypothesis)) == WordErrors(cp.errors, cp.length)
    tcp = meeteval.wer.tcpwer(seglst(reference), seglst(hypothesis), collar=TIME_COLLAR // S)["s"]
    assert tcp_errors(timed(reference), timed(hypothesis)) == WordErrors(tcp.errors, tcp.length)
