"""Labels begin and end at different probabilities, and absent people are removed."""

from __future__ import annotations

import numpy as np
import pytest

from erc_ros.inference.emotion_changes import EmotionChanges
from erc_ros.inference.emotion_state import (
    EmotionState,
    EmotionStateConfig,
    EmotionStateTracker,
    Person,
)
from erc_ros.inference.estimate import Estimate
from erc_ros.values.nanoseconds import seconds
from erc_ros.values.utterance import Utterance

LABELS = ("neutral", "joy", "sadness")
ANNA, BEN = Person("anna"), Person(conversation_id="c", speaker_id="1")


def state(*probabilities: float, person: Person = ANNA) -> EmotionState:
    return EmotionState(person, 0, np.array(probabilities), 0.0, 0.0, 0.1, 0, 1)


def test_a_change_is_reported_once_and_small_ones_are_not() -> None:
    changes = EmotionChanges(EmotionStateConfig(), LABELS)
    (became,) = changes.feed([state(0.1, 0.3, 0.6)])
    assert (became.person, became.label, became.former_label) == (ANNA, "sadness", "")
    assert became.probability == pytest.approx(0.6)
    for probabilities in ((0.1, 0.3, 0.6), (0.45, 0.15, 0.4), (0.3, 0.34, 0.36)):
        assert changes.feed([state(*probabilities)]) == []
    (faded,) = changes.feed([state(0.33, 0.33, 0.34)])
    assert (faded.label, faded.former_label) == ("", "sadness")
    assert faded.probability == pytest.approx(0.34)
    assert changes.feed([state(0.3, 0.3, 0.4)]) == []  # it would have to begin again
    (joy,) = changes.feed([state(0.1, 0.8, 0.1)])
    (neutral,) = changes.feed([state(0.6, 0.2, 0.2)])
    assert (joy.label, neutral.label, neutral.former_label) == ("joy", "neutral", "joy")


def test_each_person_has_a_label_and_who_left_none() -> None:
    changes = EmotionChanges(EmotionStateConfig(), LABELS)
    told = changes.feed([state(0.8, 0.1, 0.1), state(0.1, 0.8, 0.1, person=BEN)])
    assert [(each.person, each.label) for each in told] == [(ANNA, "neutral"), (BEN, "joy")]
    assert changes.feed([state(0.8, 0.1, 0.1)]) == []
    (again,) = changes.feed([state(0.8, 0.1, 0.1), state(0.1, 0.8, 0.1, person=BEN)])
    assert again.person == BEN


def test_of_a_hundred_people_those_who_left_are_removed() -> None:
    tracker = EmotionStateTracker(EmotionStateConfig(), np.zeros((3, 2), np.float32))
    for number in range(100):
        end = seconds(10.0 * number)
        said = Utterance("c", f"u{number}", end - 1, end, person_id=f"p{number}")
        answer = np.array((0.1, 0.8, 0.1), np.float32)
        tracker.feed(
            Estimate(said, answer, "", 0.8, 0, 0, (True, False, False), (1, 0, 0), {}, 0, True)
        )
    present = tracker.present(seconds(990.0))
    assert 5 < len(present) < 25  # of the last minutes
    assert [each.person.person_id for each in present][-1] == "p99"
    assert [each.person for each in present] == tracker.persons()
    assert all(each.uncertainty <= 0.95 for each in present)
    assert tracker.present(seconds(9_999.0)) == [] == tracker.persons()
