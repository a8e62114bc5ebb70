"""Outputs for the dialogue of a robot: annotated speech, emotion changes, states."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from erc_msgs.msg import EmotionChange, EmotionStates
from erc_msgs.srv import GetEmotion
from node_bench import LATCHED, Bench, engagement_level
from std_msgs.msg import String

from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.inference.estimate import Estimate
from erc_ros.nodes import engagement
from erc_ros.nodes.dialogue_outputs import annotated
from erc_ros.nodes.handover import Handover
from erc_ros.values.events import TextCorrected, UtteranceEvent
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import Utterance

MakeBench = Callable[..., Bench]


def estimate(label: str = "anger", **fields: str) -> Estimate:
    said = Utterance("c", "u", 0, 1, **{"text": "He keeps\n my money.", **fields})
    answer = np.array((0.2, 0.8), np.float32)
    return Estimate(said, answer, label, 0.8, 0, 0, (True,) * 3, (1, 0, 0), {}, 0, True)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (estimate(person_id="anna"), "[anna, anger 0.80] He keeps my money."),
        (estimate(speaker_id="1"), "[speaker 1, anger 0.80] He keeps my money."),
        (estimate("", person_id="anna"), "[anna] He keeps my money."),
        (estimate("", speaker_id=""), "He keeps my money."),
        (estimate("", text="[ben, joy 1.00] Ha!"), "(ben, joy 1.00) Ha!"),
        (estimate(person_id="a]b\n[x"), "[a)b (x, anger 0.80] He keeps my money."),
    ],
)
def test_a_text_has_its_speaker_and_emotion_in_front(given: Estimate, expected: str) -> None:
    assert annotated(given) == expected


def say(bench: Bench, number: int, text: str, is_correction: bool = False) -> None:
    end = bench.now()
    said = Utterance("c", f"u{number}", end - NS, end, text, speaker_id="0", person_id="anna")
    event = TextCorrected(said, "") if is_correction else UtteranceEvent(said)
    bench.nodes[1].receive(Handover(event, 0, {}, 0))


@pytest.fixture
def sure(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The label (index) that every utterance has with 0.9."""
    chosen = [0]
    feed = EmotionRecognizer.feed

    def answer(self: EmotionRecognizer, utterance: Utterance) -> Estimate:
        from dataclasses import replace

        found = feed(self, utterance)
        probabilities = np.full(len(found.probabilities), 0.1 / (len(found.probabilities) - 1))
        probabilities[chosen[0]] = 0.9
        label = self.bundle.labels[chosen[0]]
        values = probabilities.astype(np.float32)
        return replace(found, probabilities=values, label=label, confidence=0.9)

    monkeypatch.setattr(EmotionRecognizer, "feed", answer)
    return chosen


def test_speech_is_annotated_once_and_not_where_text_is_withheld(
    make_bench: MakeBench, sure: list[int]
) -> None:
    bench = make_bench()
    speech = bench.listen(String, "emotion_node/annotated_speech", 50)
    bench.wait(lambda: bench.probe.count_publishers("emotion_node/annotated_speech"), "a topic")
    label = bench.nodes[1]._recognition.bundle.labels[0]
    say(bench, 1, "He keeps my money.")
    bench.wait(lambda: speech, "the text")
    assert speech[0].data == f"[anna, {label} 0.90] He keeps my money."
    say(bench, 1, "He keeps my honey.", is_correction=True)
    bench.nodes[1].consent.tell(False)
    say(bench, 2, "a secret")
    bench.wait(lambda: len(bench.estimates) == 3, "the estimates")
    bench.nodes[1].consent.tell(True)
    say(bench, 3, "the end")
    bench.wait(lambda: len(speech) > 1, "another text")
    assert [message.data.partition("] ")[2] for message in speech] == [
        "He keeps my money.",
        "the end",
    ]


def test_an_unsure_emotion_is_not_in_the_annotation(make_bench: MakeBench, sure: list[int]) -> None:
    bench = make_bench(parameters={"min_confidence": 0.95})
    speech = bench.listen(String, "emotion_node/annotated_speech", 50)
    say(bench, 1, "He keeps my money.")
    bench.wait(lambda: speech, "the text")
    assert speech[0].data == "[anna] He keeps my money."


def test_a_change_of_emotion_is_published_and_a_service_returns_the_state(
    make_bench: MakeBench, sure: list[int]
) -> None:
    bench = make_bench()
    changes = bench.listen(EmotionChange, "emotion_node/emotion_changes", 50)
    states = bench.listen(EmotionStates, "emotion_state", LATCHED)
    bench.wait(lambda: bench.probe.count_publishers("emotion_node/emotion_changes"), "a topic")
    labels = bench.nodes[1]._recognition.bundle.labels

    def how(**request: str) -> GetEmotion.Response:
        return bench.call(GetEmotion, "emotion_node/get_emotion", GetEmotion.Request(**request))

    assert not how().success and not how(person_id="anna").success
    for number in range(3):
        say(bench, number, "Oh.")
    bench.wait(lambda: len(bench.estimates) == 3 and states, "they are estimated")
    assert [(each.label, each.former_label) for each in changes] == [(labels[0], "")]
    sure[0] = 1
    for number in range(3, 9):
        say(bench, number, "Oh.")
    bench.wait(lambda: len(changes) > 1, "another emotion")
    change = changes[-1]
    assert (change.person_id, change.label) == ("anna", labels[1])
    assert change.former_label in (labels[0], "") and change.probability >= 0.5
    for request in ({}, {"person_id": "anna"}):
        answer = how(**request)
        assert answer.success and labels[1] in answer.message
        assert answer.state.person_id == "anna" and answer.state.label == labels[1]
        assert list(answer.labels) == list(labels)
    assert not how(person_id="ben").success and not how(speaker_id="7").success


@pytest.mark.parametrize("omits", [False, True])
def test_texts_of_disengaged_people_are_omitted_from_annotated_speech(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch, omits: bool
) -> None:
    kind = engagement_level(monkeypatch)
    bench = make_bench(parameters={"omit_disengaged": omits})
    texts = bench.listen(String, "emotion_node/annotated_speech", 50)
    node = bench.nodes[1]
    make = bench.talker if omits else bench.probe.create_publisher
    anna = make(kind, "/humans/persons/anna/engagement_status", 10)
    bench.wait(lambda: bench.probe.count_publishers("emotion_node/annotated_speech"), "a topic")
    say(bench, 1, "First.")
    bench.wait(lambda: len(texts) == 1, "no status is known")
    anna.publish(kind(level=1))
    if omits:
        bench.wait(lambda: node._engagement.is_disengaged("anna"), "a status")
    say(bench, 2, "Aside.")
    bench.wait(lambda: len(bench.estimates) == 2, "an estimate")
    anna.publish(kind(level=3))
    if omits:
        bench.wait(lambda: not node._engagement.is_disengaged("anna"), "another status")
    say(bench, 3, "Last.")
    bench.wait(lambda: texts[-1].data.endswith("Last."), "the last text")
    assert [text.data.rpartition("] ")[2] for text in texts] == (
        ["First.", "Last."] if omits else ["First.", "Aside.", "Last."]
    )


def test_without_hri_msgs_omit_disengaged_is_refused(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engagement, "LEVEL", "no_msgs/msg/Level")
    bench = make_bench(parameters={"omit_disengaged": True}, running=False)
    status = bench.wait_for_diagnosis("emotion_node: state", "hri_msgs")
    assert status.level == status.ERROR
