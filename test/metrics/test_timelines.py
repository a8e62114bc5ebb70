"""Identification errors compared with cases counted by hand, and with pyannote.metrics."""

from __future__ import annotations

import math
from collections.abc import Hashable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from erc_ros.metrics.timelines import (
    Errors,
    Span,
    emotion_diarization_errors,
    identification_errors,
    jaccard_errors,
    speaker_mapping,
)

S = 1_000_000_000


def span(start: float, end: float, label: Hashable, track: str = "") -> Span:
    return Span(round(start * S), round(end * S), track or label, label)


def test_by_hand_without_collar() -> None:
    reference = [span(0, 10, "joy", "A"), span(10, 20, "anger", "B")]
    hypothesis = [span(0, 8, "joy", "0"), span(8, 16, "sadness", "0"), span(18, 22, "anger", "1")]
    errors = identification_errors(reference, hypothesis, [(0, 22 * S)])
    # 8 to 16 s: sadness for joy (2 s) and for anger (6 s); 16 to 18 s nothing; 20 to 22 s too much
    assert errors == Errors(20 * S, 2 * S, 2 * S, 8 * S)
    assert errors.rate == pytest.approx(12 / 20)


def test_by_hand_with_collar() -> None:
    reference = [span(0, 10, "joy"), span(10, 20, "anger")]
    hypothesis = [span(0, 10.3, "joy"), span(10.3, 20, "anger")]
    # excluded: 0 to 0.25, 9.75 to 10.25, 19.75 to 20; confused: 10.25 to 10.3
    errors = identification_errors(reference, hypothesis, [(0, 20 * S)], S // 4)
    assert errors == Errors(19 * S, 0, 0, S // 20)


def test_two_people_with_one_emotion_count_twice_and_one_person_once() -> None:
    reference = [span(0, 4, "joy", "A"), span(0, 4, "joy", "B"), span(1, 3, "joy", "A")]
    errors = identification_errors(reference, [span(0, 4, "joy", "0")], [(0, 4 * S)])
    assert errors == Errors(8 * S, 4 * S, 0, 0)


def test_only_the_extent_counts() -> None:
    errors = identification_errors(
        [span(0, 4, "a")], [span(2, 9, "a")], [(1 * S, 3 * S), (8 * S, 10 * S)]
    )
    assert errors == Errors(2 * S, 1 * S, 1 * S, 0)


def test_an_empty_reference_has_no_rate() -> None:
    assert math.isnan(identification_errors([], [], []).rate)
    assert math.isnan(identification_errors([], [span(0, 1, "a")], [(0, S)]).rate)


def test_speakers_are_mapped_by_the_time_they_share() -> None:
    reference = [span(0, 10, "A"), span(10, 14, "B")]
    hypothesis = [span(0, 6, "0"), span(6, 14, "1"), span(20, 30, "2")]
    # 0: 6 s of A; 1: 4 s of A and 4 s of B: the sum is greatest so
    assert speaker_mapping(reference, hypothesis, [(0, 30 * S)]) == {"0": "A", "1": "B"}


_SPANS = st.lists(
    st.tuples(
        st.integers(0, 60), st.integers(1, 20), st.sampled_from("AB"), st.sampled_from("xyz")
    ),
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(_SPANS, _SPANS, st.sampled_from([0.0, 0.25, 1.0]))
def test_the_same_as_pyannote(
    reference: list[tuple[int, int, str, str]],
    hypothesis: list[tuple[int, int, str, str]],
    collar: float,
) -> None:
    pyannote = pytest.importorskip("pyannote.metrics")
    from pyannote.core import Annotation, Segment, Timeline
    from pyannote.metrics.identification import IdentificationErrorRate

    def annotation(spans: list[tuple[int, int, str, str]]) -> Annotation:
        united = Annotation()
        for track in "AB":  # pyannote's support() unites the spans of one label
            for label in "xyz":
                own = Annotation()
                for number, (start, length, who, what) in enumerate(spans):
                    if (who, what) == (track, label):
                        own[Segment(start, start + length), number] = label
                for number, segment in enumerate(own.support().itersegments()):
                    united[segment, f"{track}{label}{number}"] = label
        return united

    assert pyannote
    rate = IdentificationErrorRate(collar=2 * collar)
    theirs = rate(
        annotation(reference),
        annotation(hypothesis),
        uem=Timeline([Segment(0, 80)]),
        detailed=True,
    )
    ours = identification_errors(
        [Span(s * S, (s + n) * S, who, what) for s, n, who, what in reference],
        [Span(s * S, (s + n) * S, who, what) for s, n, who, what in hypothesis],
        [(0, 80 * S)],
        round(collar * S),
    )
    assert ours.total / S == pytest.approx(theirs["total"])
    assert ours.missed / S == pytest.approx(theirs["missed detection"])
    assert ours.false_alarm / S == pytest.approx(theirs["false alarm"])
    assert ours.confusion / S == pytest.approx(theirs["confusion"])


@settings(max_examples=100, deadline=None)
@given(_SPANS, _SPANS)
def test_the_mapping_gives_pyannotes_diarization_error(
    reference: list[tuple[int, int, str, str]], hypothesis: list[tuple[int, int, str, str]]
) -> None:
    pytest.importorskip("pyannote.metrics")
    from pyannote.core import Annotation, Segment, Timeline
    from pyannote.metrics.diarization import DiarizationErrorRate

    def annotation(spans: list[tuple[int, int, str, str]]) -> Annotation:
        result = Annotation()
        for number, (start, length, _, who) in enumerate(spans):
            result[Segment(start, start + length), number] = who
        return result.support()

    if not reference:
        return
    whole = [(0, 80 * S)]
    ours = [Span(s * S, (s + n) * S, who, who) for s, n, _, who in reference]
    found = [Span(s * S, (s + n) * S, who, who) for s, n, _, who in hypothesis]
    mapping = speaker_mapping(ours, found, whole)
    named = [
        Span(s.start, s.end, s.track, mapping.get(s.label, ("nobody", s.label))) for s in found
    ]
    theirs = DiarizationErrorRate()(
        annotation(reference), annotation(hypothesis), uem=Timeline([Segment(0, 80)])
    )
    assert identification_errors(ours, named, whole).rate == pytest.approx(theirs)


@settings(max_examples=100, deadline=None)
@example([(0, 1, "A", "x"), (0, 2, "A", "y")], [(0, 2, "A", "x"), (0, 3, "A", "y")], 0.0)
@given(_SPANS, _SPANS, st.sampled_from([0.0, 0.25, 1.0]))
def test_the_jaccard_error_is_that_of_pyannote(
    reference: list[tuple[int, int, str, str]],
    hypothesis: list[tuple[int, int, str, str]],
    collar: float,
) -> None:
    pytest.importorskip("pyannote.metrics")
    from pyannote.core import Annotation, Segment, Timeline
    from pyannote.metrics.diarization import JaccardErrorRate

    def annotation(spans: list[tuple[int, int, str, str]], prefix: str) -> Annotation:
        result = Annotation()
        for number, (start, length, _, who) in enumerate(spans):
            result[Segment(start, start + length), number] = prefix + who
        return result.support()

    metric = JaccardErrorRate(collar=2 * collar)
    theirs = annotation(reference, ""), annotation(hypothesis, "H")
    whole = Timeline([Segment(0, 80)])
    details = metric(*theirs, uem=whole, detailed=True)
    # several mappings may share the same time: take the metric's, which exchanges the arguments
    annotated, found = metric.uemify(*theirs, uem=whole, collar=2 * collar)
    mapping = {h: r for r, h in metric.optimal_mapping(found, annotated).items()}
    ours = [Span(s * S, (s + n) * S, who, who) for s, n, _, who in reference]
    named = [
        Span(s * S, (s + n) * S, who, mapping.get("H" + who, ("unmapped", who)))
        for s, n, _, who in hypothesis
    ]
    errors, speakers = jaccard_errors(ours, named, [(0, 80 * S)], round(collar * S))
    assert speakers == details["speaker count"]
    assert errors == pytest.approx(details["speaker error"])


def test_the_jaccard_error_by_hand() -> None:
    reference = [span(0, 90, "A"), span(90, 100, "B"), span(200, 210, "C")]
    hypothesis = [span(0, 60, "A"), span(85, 100, "B"), span(90, 95, ("unmapped", "2"))]
    errors, speakers = jaccard_errors(reference, hypothesis, [(0, 100 * S)])
    # A: 60 of 90 s; B: 10 of 15 s; C is not in the scored time, and 2 has no annotated speaker
    assert speakers == 2
    assert errors == pytest.approx(30 / 90 + 5 / 15)
    assert jaccard_errors(reference, [], [(0, 300 * S)]) == (3, 3)
    assert jaccard_errors([], hypothesis, [(0, S)]) == (0, 0)


def test_the_emotion_diarization_error_by_hand() -> None:
    reference = [span(2, 6, "joy"), span(8, 9, "anger")]
    hypothesis = [span(1, 5, "joy"), span(4, 5, "fear"), span(7, 8.5, "sadness")]
    found = emotion_diarization_errors(reference, hypothesis, [(0, 10 * S)])
    # missed: 5 to 6, 8.5 to 9; false: 1 to 2, 7 to 8; others: joy and fear from 4 to 5, 8 to 8.5
    assert found == Errors(10 * S, round(1.5 * S), 2 * S, round(1.5 * S))
    assert found.rate == pytest.approx(0.5)
    assert emotion_diarization_errors([], [], [(0, S)]).rate == 0


TICKS = st.lists(st.sampled_from(["", "joy", "anger"]), min_size=20, max_size=20)


@settings(max_examples=50, deadline=None)
@given(TICKS, TICKS)
def test_for_one_speaker_it_is_the_share_of_time_with_another_emotion(
    reference: list[str], hypothesis: list[str]
) -> None:
    # SpeechBrain's `EDER`: 1 - time with the right emotion / duration
    spans = [
        [span(n, n + 1, label) for n, label in enumerate(each) if label]
        for each in (reference, hypothesis)
    ]
    found = emotion_diarization_errors(*spans, [(0, 20 * S)])
    right = sum(a == b for a, b in zip(reference, hypothesis, strict=True))
    assert found.rate == pytest.approx(1 - right / 20)
