"""Which estimate belongs to which segment."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import evaluated_talks as talks
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from erc_ros.evaluation.jobs import Annotator, EvaluationJob, joined
from erc_ros.evaluation.matching import covered, match, unedited
from erc_ros.evaluation.records import AnswerMatch
from erc_ros.evaluation.run import FRAME, EvaluatedSystem, signal_to_noise
from erc_ros.replay.clocks import STEP, clock_difference
from erc_ros.values.nanoseconds import seconds


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


@given(
    st.lists(st.tuples(st.integers(3, 60), st.integers(5, 60)), min_size=12, max_size=40),
    st.integers(-200, 200),
)
def test_another_clock_is_noticed(turns: list[tuple[int, int]], late: int) -> None:
    """Times in 0.1 s. Turns of any lengths, annotated a little longer than they were found."""
    assume(len(set(turns)) > 8)  # a regular pattern fits at many shifts
    found, now = [], 300
    for pause, length in turns:
        found.append(Stretch((now + pause) * STEP, (now + pause + length) * STEP))
        now += pause + length
    told = [Stretch(each.start + (late - 1) * STEP, each.end + late * STEP) for each in found]
    difference = clock_difference(told, found)
    assert difference == 0 or abs(difference - late * STEP) <= 2 * STEP
    if abs(late) <= 3:
        assert difference == 0


def test_a_clock_that_is_late_is_noticed_and_a_right_one_is_not() -> None:
    spans = [(10, 28), (41, 66), (75, 80), (99, 140), (150, 163), (190, 201), (220, 270)]
    found = stretches(*((start * STEP, end * STEP) for start, end in spans))
    late = [Stretch(each.start + 25 * STEP, each.end + 25 * STEP) for each in found]
    assert clock_difference(late, found) == 25 * STEP
    assert clock_difference(found, late) == -25 * STEP
    assert clock_difference(found, found) == clock_difference(late[:4], found) == 0
    assert clock_difference([], []) == 0


def test_the_annotator_with_another_clock_is_named_with_the_whole_offset(tmp_path: Path) -> None:
    spans = [(1, 2.8), (4.1, 6.6), (7.5, 8), (9.9, 14), (15, 16.3), (19, 20.1), (22, 27)]
    for name, late in (("RA1", 0.0), ("RA2", 2.5)):
        rows = [f"{start + late},{end + late},Anna,joy" for start, end in spans]
        lines = "\n".join(["start,end,speaker,emotion", *rows])
        (tmp_path / f"{name}.csv").write_text(lines + "\n")
    people = (
        Annotator("RA1", (tmp_path / "RA1.csv",)),
        Annotator("RA2", (tmp_path / "RA2.csv",), offset=seconds(1)),
    )
    found = talks.recording(None, [talks.prediction(*span, "0", "joy") for span in spans])
    job = EvaluationJob("talk", tmp_path, EvaluatedSystem("a"), annotators=people)
    truth = joined(job, found).truth
    assert truth is not None
    (notice,) = [each for each in truth.notices if "--offset" in each]
    assert notice.endswith("--offset RA2=-2.5")


@pytest.mark.parametrize("annotated", [1, 2])
def test_annotations_of_less_than_half_of_the_speech_are_noticed(
    tmp_path: Path, annotated: int
) -> None:
    file = tmp_path / "talk.csv"
    lines = ["start,end,speaker,emotion", "1,2.5,Anna,joy", "9,9.9,Anna,joy"][: annotated + 1]
    file.write_text("\n".join(lines) + "\n")
    spans = [(1, 2.8), (4, 6), (9, 10.0)]
    found = talks.recording(None, [talks.prediction(*span, "0", "anger") for span in spans])
    job = EvaluationJob("talk", tmp_path, EvaluatedSystem("a"), truth=(file,))
    truth = joined(job, found).truth
    assert truth is not None
    assert any("2 of 3" in each for each in truth.notices) == (annotated == 1)


def test_annotations_that_equal_the_estimates_are_counted() -> None:
    spans = [(1, 2.8, "joy"), (4.1, 6.6, "anger"), (7.5, 8, "neutral")]
    predicted = [talks.prediction(*span[:2], "0", span[2], "Well then.") for span in spans]
    draft = [talks.segment(*span[:2], "speaker 1", span[2], "Well then.") for span in spans]
    minute = seconds(60)
    assert unedited(draft, predicted, minute) == 3
    rounded = [replace(each, start=each.start + 10**6) for each in draft]
    assert unedited(rounded, predicted, minute) == 3
    assert unedited([replace(each, emotion=None) for each in draft], predicted, minute) == 3
    for change in ({"emotion": "joy"}, {"text": "Well!"}, {"end": seconds(6.8)}):
        assert unedited([draft[0], replace(draft[1], **change), draft[2]], predicted, minute) == 2
    assert unedited(draft, predicted, seconds(7.9)) == 2
    cut = [*draft[:2], replace(draft[2], end=seconds(7.9))]  # by the end of the recording
    assert unedited(cut, predicted, seconds(7.9)) == 3


def test_times_of_texts_without_audio_are_no_sign_of_a_draft() -> None:
    spans = [(1, 2, "joy"), (4, 5, "anger")]
    predicted = [
        talks.prediction(*span[:2], "0", span[2], modalities=(True, False, False)) for span in spans
    ]
    annotated = [talks.segment(*span[:2], "Anna", "joy") for span in spans]
    assert unedited(annotated, predicted, seconds(60)) == 0
    annotated[1] = replace(annotated[1], emotion="anger")
    assert unedited(annotated, predicted, seconds(60)) == 2


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


@pytest.mark.parametrize(
    ("frames", "quiet", "expected"),
    [(10, 5, 16.95), (9, 5, None), (50, 25, 16.95), (50, 0, 0.0)],
    ids=["the shortest", "too short", "half of it noise", "no pause"],
)
def test_speech_is_measured_against_the_quietest_frames(
    frames: int, quiet: int, expected: float | None
) -> None:
    """Speech has 100 times the power of noise: 49.5 times with the pauses in its mean."""
    samples = np.full((frames, FRAME), 1000, np.int16)
    samples[:quiet] = 100
    assert signal_to_noise(samples.reshape(-1)) == expected
