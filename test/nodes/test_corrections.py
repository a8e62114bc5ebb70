"""Speaker corrections affect the next estimates of the emotion node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
from audio_common_msgs.msg import AudioInfo
from erc_msgs.msg import EmotionEstimate
from node_bench import Bench
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Bool, String

from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.nodes import inputs
from erc_ros.nodes.messages import (
    speaker_correction_message,
    speaker_correction_value,
    utterance_message,
)
from erc_ros.values.events import SpeakerCorrected, UtteranceEvent
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import SAMPLE_RATE, Utterance

MakeBench = Callable[..., Bench]
Tell = Callable[[Utterance | SpeakerCorrected], None]


def utterance(number: int, speaker: str) -> Utterance:
    sound = np.random.default_rng(number).integers(-8000, 8000, SAMPLE_RATE, np.int16)
    return Utterance(
        conversation_id="c",
        utterance_id=f"u{number}",
        start=number * NS,
        end=(number + 1) * NS,
        text=f"{number}",
        speaker_id=speaker,
        audio=sound,
    )


def correction(*ids: str, after: str, conversation_id: str = "c") -> SpeakerCorrected:
    return SpeakerCorrected(conversation_id, ids, 0, 5 * NS, "0", after)


TALK: Sequence[Utterance | SpeakerCorrected] = (
    utterance(0, "0"),
    utterance(1, "0"),
    correction("u1", "u9", after="1"),
    utterance(2, "0"),
    correction("u2", after="1", conversation_id="another"),
    correction("u0", "u2", after="1"),
    correction("u0", after=""),
    utterance(3, "1"),
    utterance(4, "0"),
)


@pytest.fixture(scope="module")
def expected(bundle: Path) -> list[list[float]]:
    """The probabilities of the utterances, as the recognizer has them without any node."""
    events = []
    with EmotionRecognizer(load_bundle(bundle)) as recognizer:
        for what in TALK:
            if isinstance(what, SpeakerCorrected):
                recognizer.correct(what)
            else:
                events.append(recognizer.feed(what).probabilities.tolist())
    return events


def probabilities(bench: Bench, count: int) -> list[list[float]]:
    bench.wait(lambda: len(bench.estimates) >= count, f"{count} estimates")
    heard: list[EmotionEstimate] = bench.estimates
    return [list(estimate.probabilities) for estimate in heard]


def in_memory(bench: Bench) -> Tell:
    # Contents are held back until it is decided whether they may be published.
    bench.wait(lambda: all(node.consent.allowed for node in bench.nodes), "consent is decided")

    def tell(what: Utterance | SpeakerCorrected) -> None:
        event = UtteranceEvent(what) if isinstance(what, Utterance) else what
        bench.nodes[0]._give([event], 0, 0)

    return tell


def over_dds(bench: Bench) -> Tell:
    bench.wait(
        lambda: (
            bench.probe.count_subscribers("utterances") == 2  # the bench's probe hears them too
            and bench.probe.count_subscribers("speaker_corrections") == 1
        ),
        "the emotion node hears both topics",
    )
    return in_memory(bench)


@pytest.mark.parametrize("way", [in_memory, over_dds])
def test_the_next_estimates_see_the_right_speakers(
    way: Callable[[Bench], Tell], make_bench: MakeBench, expected: list[list[float]]
) -> None:
    bench = make_bench(split=way is over_dds)
    tell = way(bench)
    for what in TALK:  # as fast as it goes
        tell(what)
    assert probabilities(bench, 5) == expected
    assert [estimate.utterance_id for estimate in bench.estimates] == ["u0", "u1", "u2", "u3", "u4"]
    status = "emotion_node: recognizer"
    bench.wait(lambda: bench.value(status, "relabelled") == "4", "what was relabelled is counted")
    assert bench.value(status, "not_relabelled") == "2"
    assert bench.value(status, "utterances_received") == "5"


def test_corrections_that_overtake_their_utterances_wait_for_them(
    make_bench: MakeBench, expected: list[list[float]]
) -> None:
    bench = make_bench(split=True)
    node, published = bench.nodes[1], list(enumerate(TALK, start=1))
    for number, what in published:
        if isinstance(what, SpeakerCorrected):
            node._receive_correction(speaker_correction_message(what, "", number))
    for number, what in published:
        if isinstance(what, Utterance):
            node._receive_utterance(utterance_message(what, True, True, number))
    assert probabilities(bench, 5) == expected
    assert [estimate.sequence for estimate in bench.estimates] == [1, 2, 4, 8, 9]


def test_an_utterance_whose_predecessor_is_lost_is_answered_all_the_same(
    make_bench: MakeBench,
) -> None:
    bench = make_bench(split=True)
    node = bench.nodes[1]
    for number in (1, 3):
        node._receive_utterance(utterance_message(utterance(number, "0"), True, True, number))
    assert len(probabilities(bench, 2)) == 2
    bench.wait(lambda: bench.value("emotion_node: recognizer", "lost_by_dds") == "1", "counted")


def test_later_messages_do_not_wait_for_an_unusable_one(make_bench: MakeBench) -> None:
    bench = make_bench(split=True)
    node = bench.nodes[1]
    broken = utterance_message(utterance(2, "0"), True, True, 2)
    broken.end.sec = 0
    for message in (utterance_message(utterance(1, "0"), True, True, 1), broken):
        node._receive_utterance(message)
    node._receive_utterance(utterance_message(utterance(3, "0"), True, True, 3))
    assert len(probabilities(bench, 2)) == 2
    bench.wait(lambda: bench.value("emotion_node: recognizer", "unusable") == "1", "counted")
    assert bench.value("emotion_node: recognizer", "lost_by_dds") == "0"


def test_every_callback_of_a_subscription_takes_one_argument(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Humble's executor passes the message alone."""
    monkeypatch.setattr(inputs, "HAS_MESSAGE_INFO", False)  # as it finds itself there
    bench = make_bench(split=True, parameters={"publish_view": True, "publish_voices": True})
    inputs_of_all = ((String, "speech"), (Image, "image"), (AudioInfo, "audio_info"))
    people = ((Bool, "/humans/faces/f1/is_speaking"), (String, "/humans/persons/p1/face_id"))
    for kind, topic in (*inputs_of_all, *people, (Bool, "recording_allowed")):
        bench.talker(kind, topic)
    heard = {
        subscription.topic_name: subscription.callback
        for node in bench.nodes
        for subscription in node.subscriptions
        if "parameter_events" not in subscription.topic_name
    }
    assert {"/utterances", "/speech", "/image", "/humans/faces/f1/is_speaking"} <= heard.keys()
    for topic, callback in heard.items():
        assert len(signature(callback).parameters) == 1, topic


def test_a_correction_is_the_same_after_its_way_through_a_message() -> None:
    before = SpeakerCorrected("c", ("u1", "u2"), 3 * NS, 5 * NS, "", "1")
    message = speaker_correction_message(before, "head")
    after = deserialize_message(serialize_message(message), type(message))
    assert speaker_correction_value(after) == before
