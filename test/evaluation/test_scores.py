"""Figures of conversations against what is counted by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from evaluated_talks import LABELS, prediction, recording, segment

from erc_ros.evaluation.records import Recording
from erc_ros.evaluation.scores import evaluate
from erc_ros.evaluation.tally import conversations


def scored(*recordings: Recording):
    tallies = [each for r in recordings for each in conversations(r)]
    return evaluate({"a": (LABELS, tallies)}).systems[0]


def talk(name: str = "talk", wrong: bool = False) -> Recording:
    """Four segments: right, wrong speaker, wrong emotion, missed; and an invented utterance."""
    return recording(
        [
            segment(0, 4, "Anna", "joy", "guess what", 0.5),
            segment(5, 9, "Ben", "anger", "oh no", -0.5),
            segment(10, 14, "Anna", "neutral", "well well", 0.0),
            segment(15, 19, "Ben", "joy", "bye"),
        ],
        [
            prediction(
                0, 4, "0", "anger" if wrong else "joy", "guess what", valence=0.5, latency=1
            ),
            prediction(5, 9, "0", "anger", "oh no", valence=-0.5, latency=2, confidence=0.6),
            prediction(10, 14, "0", "joy", "well", valence=0.0, latency=3, signal_to_noise=12),
            prediction(30, 34, "1", "joy", "noise"),
        ],
        name,
    )


def test_figures_by_hand() -> None:
    system = scored(talk())
    figures = {name: figure.value for name, figure in system.figures.items()}
    # answered: joy joy, anger anger, neutral as joy
    assert figures["accuracy"] == pytest.approx(2 / 3, abs=1e-6)
    assert figures["kappa"] == pytest.approx((2 / 3 - 1 / 3) / (1 - 1 / 3), abs=1e-6)
    assert figures["f1 joy"] == pytest.approx(2 / 3, abs=1e-6)
    assert figures["f1 neutral"] == 0
    assert figures["weighted_f1"] == pytest.approx((2 / 3 + 1 + 0) / 3, abs=1e-6)
    assert system.confusion == ((1, 0, 0), (0, 1, 0), (0, 1, 0))
    # 0.8 right, 0.8 wrong, 0.6 right: |1 - 1.6| / 3 + |1 - 0.6| / 3
    assert figures["calibration_error"] == pytest.approx((0.6 + 0.4) / 3, abs=1e-6)
    # 0.8 twice: half of them wrong at two thirds; then a third
    assert figures["area_under_risk_coverage"] == pytest.approx(
        0.5 * 2 / 3 + 1 / 3 * 1 / 3, abs=1e-6
    )
    # scored time without 0.25 s at each end: 3.5 s each
    assert figures["teer"] == pytest.approx((3.5 + 3.5) / 14, abs=1e-6)
    assert figures["teer missed"] == pytest.approx(0.25)
    assert figures["teer confusion"] == pytest.approx(0.25)
    # speaker 0 is Anna (7 s) and not Ben (3.5 s)
    assert figures["der"] == pytest.approx(2 * 3.5 / 14)
    # Anna: 7 of 10.5 s; Ben is mapped to 1, who speaks after the scored time, or to no one
    assert figures["jer"] == pytest.approx((3.5 / 10.5 + 1) / 2, abs=1e-6)
    assert system.figures["jer"].n == 2
    assert figures["steer"] == pytest.approx(3 * 3.5 / 14)
    # 0 is Anna: "oh" for "well" and "no" too many; 1 is Ben: one word wrong and two left out
    assert figures["cpwer"] == pytest.approx(5 / 7, abs=1e-6)
    assert (figures["missed"], figures["invented"]) == (0.25, 0.25)
    assert (figures["merged"], figures["split"]) == (0, 0)
    assert figures["valence concordance"] == pytest.approx(1)
    assert "arousal concordance" not in figures
    assert (figures["latency_p50_ms"], figures["latency_p95_ms"]) == (2000, 3000)
    assert system.figures["cpwer"].n == 7 and system.figures["f1 joy"].n == 1
    assert system.figures["accuracy"].low is None  # one conversation has no interval
    assert system.risk_coverage == (
        (pytest.approx(2 / 3, abs=1e-6), 0.5),
        (1.0, pytest.approx(1 / 3, abs=1e-6)),
    )
    assert [each.count for each in system.reliability] == [1, 2]


def test_arousal_is_compared_as_valence_is() -> None:
    values = (0.5, -0.5, 0.0)
    spans = [(5 * n, 5 * n + 4) for n in range(len(values))]
    truth = [
        dataclasses.replace(segment(*span, "Anna", "joy"), arousal=value)
        for span, value in zip(spans, values, strict=True)
    ]
    predictions = [
        dataclasses.replace(prediction(*span, "0", "joy"), arousal=value)
        for span, value in zip(spans, values, strict=True)
    ]
    figures = scored(recording(truth, predictions)).figures
    assert figures["arousal concordance"].value == pytest.approx(1)
    assert "valence concordance" not in figures


def test_groups_are_told_apart() -> None:
    system = scored(talk())
    assert system.groups["speaker"]["Ben"]["missed"].value == 0.5
    assert system.groups["speaker"]["Ben"]["accuracy"].value == 1
    assert system.groups["speaker"]["Anna"]["accuracy"].n == 2
    assert set(system.groups["modalities"]) == {"text + audio"}
    assert set(system.groups["signal_to_noise"]) == {"no sound", "10 to 20 dB"}
    assert set(system.groups["recording"]) == {"talk"}


def test_intervals_draw_whole_conversations() -> None:
    talks = [talk(name, wrong=name in "bd") for name in "abcdef"]
    system = scored(*talks)
    figure = system.figures["accuracy"]
    assert figure.value == pytest.approx(5 / 9, abs=1e-6)
    assert figure.low == pytest.approx(4 / 9, abs=1e-6)  # four of six are wrong
    assert figure.high == pytest.approx(2 / 3, abs=1e-6)
    assert figure.interval == "conversations"
    assert scored(*talks) == system  # the same every time


def long_talk(minutes: int, name: str = "talk", wrong: bool = False) -> Recording:
    """A segment every 10 s, of which every third one (or every second one) is wrong."""
    starts = [second + 2.0 for second in range(0, 60 * minutes, 10)]
    emotions = ["joy" if n % 2 else "anger" for n in range(len(starts))]
    given = [
        "neutral" if n % (2 if wrong else 3) == 0 else emotion for n, emotion in enumerate(emotions)
    ]
    return recording(
        [segment(s, s + 4, "Anna", e, "oh") for s, e in zip(starts, emotions, strict=True)],
        [prediction(s, s + 4, "0", e, "oh", latency=1) for s, e in zip(starts, given, strict=True)],
        name,
        duration=60.0 * minutes,
    )


def test_one_long_recording_has_intervals_over_blocks_of_time() -> None:
    whole = scored(long_talk(10))
    for name in ("accuracy", "kappa", "unweighted_recall", "teer", "der", "missed"):
        figure = whole.figures[name]
        assert figure.interval == "blocks of 30 s", name
        assert figure.low <= figure.value <= figure.high, name
    assert whole.figures["accuracy"].value == pytest.approx(2 / 3, abs=1e-6)
    for name in ("cpwer", "jer"):  # words and speakers of a recording cannot be divided
        assert whole.figures[name].low is None
    a, b = (conversations(long_talk(10, wrong=wrong)) for wrong in (False, True))
    scores = evaluate({"a": (LABELS, a), "b": (LABELS, b)})
    (accuracy,) = [each for each in scores.comparisons if each.figure == "accuracy"]
    assert accuracy.value == pytest.approx(1 / 6, abs=1e-6)
    assert accuracy.low <= 1 / 6 <= accuracy.high and accuracy.p is not None


def test_short_recordings_have_no_interval() -> None:
    for system in (scored(long_talk(4)), scored(talk("a"), talk("b")), scored(talk())):
        assert {figure.low for figure in system.figures.values()} == {None}
        assert {figure.interval for figure in system.figures.values()} == {""}
    many = scored(*(talk(name) for name in "abcdef"))
    jer = many.figures["jer"]
    assert (jer.value, jer.n) == (pytest.approx(2 / 3, abs=1e-6), 12)  # two in each conversation
    assert jer.low == jer.value == jer.high
    assert many.figures["accuracy"].interval and many.figures["accuracy"].n == 18
    assert many.groups["speaker"]["Ben"]["accuracy"].n == 6  # too few
    assert many.groups["speaker"]["Ben"]["accuracy"].low is None


def test_two_systems_are_compared_on_the_same_draws() -> None:
    a = [c for name in "uvwxyz" for c in conversations(talk(name))]
    b = [c for name in "uvwxyz" for c in conversations(talk(name, wrong=True))]
    scores = evaluate({"a": (LABELS, a), "b": (LABELS, b)})
    (accuracy,) = [each for each in scores.comparisons if each.figure == "accuracy"]
    assert accuracy.value == pytest.approx(1 / 3, abs=1e-6)
    assert accuracy.low == pytest.approx(1 / 3, abs=1e-6)  # the same in every conversation
    assert accuracy.p == pytest.approx(2 / 1001, abs=1e-6)  # what 1000 samples can resolve
    (der,) = [each for each in scores.comparisons if each.figure == "der"]
    assert (der.value, der.p) == (0, 1)
    with pytest.raises(ValueError, match="compared"):
        evaluate({"a": (LABELS, a), "b": (LABELS[::-1], b)})


def test_without_truth_only_latency_is_known() -> None:
    system = scored(recording(None, [prediction(0, 1, "0", "joy", latency=0.5)]))
    assert set(system.figures) == {"latency_p50_ms", "latency_p95_ms"}
    assert scored(recording([], [])).figures == {
        name: figure
        for name, figure in scored(recording([], [])).figures.items()
        if figure.value is None
    }


def test_unknown_emotions_and_speakers_leave_figures_out() -> None:
    system = scored(
        recording(
            [segment(0, 4, "", "joy"), segment(5, 9, "", None)],
            [prediction(0, 4, "0", "joy"), prediction(5, 9, "0", "anger")],
        )
    )
    assert not {"der", "jer", "steer", "cpwer", "tcpwer"} & set(system.figures)
    assert system.figures["teer"].value == 0  # 5 to 9 s are not known, and not scored
    assert system.figures["accuracy"].n == 1


def test_speakers_are_mapped_within_each_conversation() -> None:
    truth = [segment(0, 4, "Anna"), segment(5, 9, "Ben"), segment(30, 34, "Ben")]
    answers = [
        prediction(0, 4, "0", "joy", conversation="1"),
        prediction(5, 9, "1", "joy", conversation="1"),
        prediction(30, 34, "0", "joy", conversation="2"),
    ]
    tallies = conversations(recording(truth, answers))
    assert len(tallies) == 2
    assert scored(recording(truth, answers)).figures["der"].value == 0


def test_a_segment_between_two_conversations_counts_in_the_nearer_one() -> None:
    answers = [
        prediction(0, 10, "0", "joy", conversation="1"),
        prediction(30, 40, "0", "joy", conversation="2"),
    ]
    for start, expected in ((14, [1, 0]), (17, [1, 0]), (20, [0, 1]), (24, [0, 1])):
        truth = [segment(start, start + 4, "Anna", "joy")]
        tallies = conversations(recording(truth, answers))
        assert [each.sums["matching"][0] for each in tallies] == expected, start


def test_whoever_is_unknown_is_one_more_speaker() -> None:
    truth = [segment(0, 4, "Anna"), segment(5, 9, "Ben")]
    answers = [prediction(0, 4, "", "joy"), prediction(5, 9, "", "joy")]
    assert scored(recording(truth, answers)).figures["der"].value == 0.5
    answers = [prediction(0, 4, "", "joy"), prediction(5, 9, "0", "joy")]
    assert scored(recording(truth, answers)).figures["der"].value == 0


def test_estimates_of_another_label_set_are_refused() -> None:
    answer = dataclasses.replace(prediction(0, 4, "0", "joy"), probabilities=np.ones(7) / 7)
    with pytest.raises(ValueError, match="estimates of another label set"):
        conversations(recording([segment(0, 4, "Anna", "joy")], [answer]))
    with pytest.raises(ValueError, match=r"truth\.csv.*'bliss'.*--labels"):
        conversations(recording([segment(0, 4, "Anna", "bliss")], []))
