"""Emotion state of a person: decay, corrections, and uncertainty."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from erc_ros.inference.emotion_state import EmotionStateConfig, EmotionStateTracker, Person
from erc_ros.inference.estimate import Estimate
from erc_ros.values.events import SpeakerCorrected
from erc_ros.values.nanoseconds import seconds
from erc_ros.values.utterance import Utterance

ANCHORS = np.array([[0.0, 0.0], [0.8, 0.5], [-0.7, -0.4]], np.float32)
ANNA = Person(conversation_id="c", speaker_id="0")
UNKNOWN = Person(conversation_id="c")
BEN = Person(conversation_id="c", speaker_id="1")


def estimate(
    number: int,
    probabilities: tuple[float, float, float] = (0.1, 0.8, 0.1),
    *,
    speaker: str = "0",
    person: str = "",
    face: str = "",
    voice: str = "",
    end: float = 0.0,
    modalities: tuple[bool, bool, bool] = (True, False, False),
    is_final: bool = True,
) -> Estimate:
    utterance = Utterance(
        conversation_id="c",
        utterance_id=f"u{number}",
        start=seconds(end) - seconds(1.0),
        end=seconds(end),
        speaker_id=speaker,
        person_id=person,
        face_id=face,
        voice_id=voice,
        is_final=is_final,
    )
    p = np.array(probabilities, np.float32)
    return Estimate(
        utterance, p, "", float(p.max()), 0.0, 0.0, modalities, (1.0, 0.0, 0.0), {}, 0, is_final
    )


def states(**config: float) -> EmotionStateTracker:
    return EmotionStateTracker(EmotionStateConfig(**config), ANCHORS)


def test_after_an_utterance_its_emotion_is_the_state() -> None:
    state = states().feed(estimate(1, end=10.0))
    assert state is not None
    assert state.probabilities.argmax() == 1
    assert state.valence > 0.2 and state.uncertainty < 0.5
    assert (state.utterances, state.last) == (1, seconds(10.0))


def test_what_was_long_ago_is_not_known_any_more() -> None:
    known = states(half_life=30.0)
    known.feed(estimate(1, end=10.0))
    sure = [known.of(ANNA, seconds(at)).uncertainty for at in (10.0, 40.0, 100.0, 3000.0)]
    assert sure == sorted(sure)
    assert sure[-1] == pytest.approx(1.0, abs=1e-6)
    late = known.of(ANNA, seconds(3000.0))
    assert late.probabilities == pytest.approx([1 / 3] * 3, abs=1e-6)


def test_half_the_evidence_after_the_half_life() -> None:
    known = states(half_life=20.0, prior=1.0)
    known.feed(estimate(1, (0.0, 1.0, 0.0), end=0.0))
    state = known.of(ANNA, seconds(20.0))  # evidence 0.5 with a prior of 1
    assert state.uncertainty == pytest.approx(1 / 1.5)
    assert state.probabilities == pytest.approx([(1 / 3) / 1.5, (1 / 3 + 0.5) / 1.5, (1 / 3) / 1.5])


def test_an_utterance_counts_as_much_as_its_greatest_probability() -> None:
    for probabilities in ((0.0, 1.0, 0.0), (0.25, 0.5, 0.25), (0.3, 0.3, 0.4)):
        state = states(prior=1.0).feed(estimate(1, probabilities))
        assert state is not None
        assert state.uncertainty == pytest.approx(1 / (1 + max(probabilities)))


def test_before_the_end_of_an_utterance_it_counts_fully_and_no_more() -> None:
    known = states(half_life=20.0, prior=1.0)
    known.feed(estimate(1, (0.0, 1.0, 0.0), end=100.0))
    before, at_end = known.of(ANNA, seconds(60.0)), known.of(ANNA, seconds(100.0))
    assert before.uncertainty == at_end.uncertainty == pytest.approx(0.5)


def test_an_utterance_of_which_nothing_is_known_says_nothing() -> None:
    known = states()
    state = known.feed(estimate(1, (1 / 3,) * 3, modalities=(False, False, False)))
    assert state is not None and state.uncertainty == 1.0 and state.utterances == 0


def test_drafts_have_no_state_and_unknown_speakers_share_one() -> None:
    known = states()
    assert known.feed(estimate(1, is_final=False)) is None
    assert known.persons() == []
    for number in (2, 3):
        state = known.feed(estimate(number, speaker=""))
    assert state is not None and state.utterances == 2
    known.feed(estimate(4))
    assert known.persons() == [UNKNOWN, ANNA]
    known.end_conversation("c")
    assert known.persons() == []


def test_a_corrected_text_replaces_what_it_said_before() -> None:
    known = states()
    known.feed(estimate(1, (0.0, 1.0, 0.0)))
    state = known.feed(estimate(1, (0.0, 0.0, 1.0)))
    assert state is not None and state.utterances == 1 and state.probabilities.argmax() == 2


def test_a_corrected_speaker_takes_the_utterance_along() -> None:
    known = states()
    known.feed(estimate(1))
    known.feed(estimate(2))
    known.correct(SpeakerCorrected("c", ("u2",), 0, 1, "0", "1"))
    assert known.of(ANNA, 0).utterances == 1
    assert known.of(BEN, 0).utterances == 1


def test_a_speaker_corrected_to_unknown_is_unknown() -> None:
    known = states()
    known.feed(estimate(1))
    known.correct(SpeakerCorrected("c", ("u1",), 0, 1, "0", ""))
    assert known.persons() == [UNKNOWN]


def test_persons_outlive_the_conversation_and_speakers_do_not() -> None:
    known = states()
    known.feed(estimate(1))
    known.feed(estimate(2, person="anna"))
    known.end_conversation("c")
    assert known.persons() == [Person(person_id="anna")]
    assert known.forget("anna") == 1
    assert known.persons() == []


def test_a_person_is_forgotten_by_each_id_and_others_are_kept() -> None:
    for name in ("c/0", "f1", "v1"):
        known = states()
        known.feed(estimate(1))
        known.feed(estimate(2, face="f1", voice="v1"))
        known.feed(estimate(3, speaker="1", face="f2"))
        assert known.has(name) and known.forget(name) == 2
        assert known.persons() == [BEN] and not known.has(name)
    known.feed(estimate(4, speaker="2", person="anna"))
    known.feed(estimate(5, speaker=""))
    known.forget_unknown()
    assert known.persons() == [BEN, Person(person_id="anna")]
    assert known.forget("c/2") == 1  # anna, as a speaker


def test_after_a_correction_an_utterance_has_the_id_of_the_other_speaker() -> None:
    known = states()
    known.feed(estimate(1))
    known.correct(SpeakerCorrected("c", ("u1",), 0, 1, "0", "1"))
    assert known.forget("c/0") == 0
    assert known.forget("c/1") == 1


def test_memory_is_bounded() -> None:
    known = states()
    for number in range(600):
        known.feed(estimate(number))
    assert known.of(ANNA, 0).utterances == 512


@given(
    st.lists(
        st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(0.0, 500.0)),
        min_size=1,
        max_size=8,
    ),
    st.floats(0.0, 10_000.0),
)
def test_always_a_distribution_in_any_order(
    said: list[tuple[float, float, float]], now: float
) -> None:
    rows = [
        estimate(k, (a * (1 - b), (1 - a) * (1 - b), b), end=end)
        for k, (a, b, end) in enumerate(said)
    ]
    one, other = states(), states()
    for row in rows:
        one.feed(row)
    for row in reversed(rows):
        other.feed(row)
    state, again = one.of(ANNA, seconds(now)), other.of(ANNA, seconds(now))
    assert state.probabilities.sum() == pytest.approx(1.0)
    assert 0.0 < state.uncertainty <= 1.0
    assert state.probabilities == pytest.approx(again.probabilities)
