"""Which estimate belongs to which segment."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from erc_ros.evaluation.matching import covered, match
from erc_ros.evaluation.records import AnswerMatch


@dataclass(frozen=True)
class Stretch:
    start: int
    end: int


def stretches(*spans: tuple[int, int]) -> list[Stretch]:
    return [Stretch(*span) for span in spans]


def test_what_happens_at_one_time_belongs_together() -> None:
    truth, predicted = stretches((0, 10), (20, 30)), stretches((1, 11), (19, 31))
    assert match(truth, predicted) == (AnswerMatch(0, 0), AnswerMatch(1, 1))


def test_an_utterance_of_another_length_matches_from_half_of_the_shorter_one_on() -> None:
    for long in ((6, 100), (-90, 4)):  # 4 of 10 are shared
        apart = match(stretches((0, 10)), stretches(long))
        assert set(apart) == {AnswerMatch(0, None), AnswerMatch(None, 0)}
    for long in ((5, 100), (-90, 5)):
        assert match(stretches((0, 10)), stretches(long)) == (AnswerMatch(0, 0),)
        assert match(stretches(long), stretches((0, 10))) == (AnswerMatch(0, 0),)


def test_who_talks_at_once_keeps_the_better_fit() -> None:
    truth, predicted = stretches((0, 10), (4, 20)), stretches((4, 19), (0, 9))
    assert match(truth, predicted) == (AnswerMatch(0, 1), AnswerMatch(1, 0))


def test_a_split_and_a_merged_utterance() -> None:
    truth, pieces = stretches((0, 10)), stretches((0, 6), (6, 10))
    assert match(truth, pieces) == (AnswerMatch(0, 0), AnswerMatch(None, 1))
    assert covered(pieces[1], truth)
    assert match(pieces, truth) == (AnswerMatch(0, 0), AnswerMatch(1, None))
    assert not covered(Stretch(0, 10), stretches((0, 3), (1, 4), (10, 20)))
    assert covered(Stretch(0, 10), stretches((0, 3), (8, 20)))


_SPANS = st.lists(
    st.tuples(st.integers(0, 100), st.integers(1, 20)).map(lambda s: Stretch(s[0], s[0] + s[1])),
    max_size=12,
)


@settings(deadline=None)
@given(_SPANS, _SPANS)
def test_everything_is_there_once(truth: list[Stretch], predicted: list[Stretch]) -> None:
    matches = match(truth, predicted)
    assert sorted(m.truth for m in matches if m.truth is not None) == list(range(len(truth)))
    assert sorted(m.prediction for m in matches if m.prediction is not None) == list(
        range(len(predicted))
    )
    assert all(m.truth is not None or m.prediction is not None for m in matches)
