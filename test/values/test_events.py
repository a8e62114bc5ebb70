"""Events: frozen values that compare by content."""

from __future__ import annotations

import dataclasses
from typing import get_args

import pytest

from erc_ros.values import events
from erc_ros.values.utterance import Utterance

UTTERANCE = Utterance(conversation_id="c1", utterance_id="u1", start=0, end=1, text="hello")
EXAMPLES = (
    events.UtteranceEvent(UTTERANCE),
    events.TextCorrected(UTTERANCE, before="hallo"),
    events.SpeakerCorrected("c1", ("u1", "u2"), 0, 1, before="speaker1", after=""),
    events.ConversationEnded("c1", stamp=1),
    events.Counted("texts", stamp=1),
    events.DeviceReplaced("audio"),
)


def test_every_kind_of_event_has_an_example() -> None:
    assert {type(each) for each in EXAMPLES} == set(get_args(events.Event))
    assert events.Counted("texts", stamp=1).amount == 1


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_an_event_cannot_be_changed(event: events.Event) -> None:
    name = dataclasses.fields(event)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(event, name, None)
    assert dataclasses.replace(event) == event
