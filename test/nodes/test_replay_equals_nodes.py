"""A pipeline reproduces the outputs of both nodes in one process exactly from their inputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from erc_msgs.msg import EmotionEstimate, SpeakerCorrection
from lifecycle_msgs.msg import Transition
from node_bench import Bench
from rclpy.serialization import deserialize_message, serialize_message
from rosgraph_msgs.msg import Clock

pytest.importorskip("rosbags", reason="the extra [replay] is not installed")
pytest.importorskip("espeakng_loader", reason="the extra [demo] is not installed")

from erc_ros.adapters import message_class
from erc_ros.demo.conversation_bag import (
    DIALOGUE,
    SimulatedRecognizer,
    perform,
    portrait,
    write_conversation,
)
from erc_ros.demo.voices import synthesiser
from erc_ros.nodes.emotion import both
from erc_ros.nodes.messages import estimate_message, speaker_correction_message
from erc_ros.nodes.utterance_node import UtteranceNode
from erc_ros.parameters import RobotConfig
from erc_ros.pipeline import EstimateEvent, Pipeline
from erc_ros.replay.bag import Bag
from erc_ros.values.events import SpeakerCorrected, TextCorrected, UtteranceEvent
from erc_ros.values.nanoseconds import NS

MakeBench = Callable[..., Bench]
Calls = list[tuple[str, tuple[Any, ...]]]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three people say five sentences; the camera sees the first one, some texts are partial."""
    sound, phrases = perform(DIALOGUE[:5], synthesiser())
    live = message_class("hri_msgs/msg/LiveSpeech") is not None
    kind = "hri_msgs/msg/LiveSpeech" if live else "std_msgs/msg/String"
    return write_conversation(
        tmp_path_factory.mktemp("recording") / "bag",
        sound,
        phrases,
        portrait([phrases[0], phrases[3]]),
        recognizer=SimulatedRecognizer(type=kind),
    )


def play(bench: Bench, recording: Path) -> None:
    """The messages of the recording in their order, on its clock, no faster than they are taken."""
    names = {"/audio": "audio", "/audio_info": "audio_info", "/speech": "speech"}
    names["/image/compressed"] = "image/compressed"
    clock = bench.talker(Clock, "/clock", 10)
    node: UtteranceNode = bench.nodes[0]
    with Bag(recording) as bag:
        publishers = {
            topic.name: bench.talker(message_class(topic.type), names[topic.name], 100)
            for topic in bag.topics
        }
        told, sent = Clock(), 0
        for raw in bag.raw(set(publishers)):
            told.clock.sec, told.clock.nanosec = divmod(raw.time, NS)
            clock.publish(told)
            publishers[raw.topic].publish(raw.data)
            sent += 1
            bench.wait(lambda: sent - taken(node) < 10, "the worker keeps up")  # noqa: B023
        bench.wait(lambda: taken(node) == sent, "everything has come")


def taken(node: UtteranceNode) -> int:
    """How many messages came and do not wait for the worker any more."""
    inputs = node._inputs.values()
    waiting = sum(node._inbox.depth(source.name) for source in inputs)
    return sum(source._meter.count for source in inputs) - waiting


def received(message: Any) -> str:
    """Every field as it comes out of DDS, each number with all of its digits; nan equals nan."""
    return repr(deserialize_message(serialize_message(message), type(message)))


def plain(message: EmotionEstimate) -> str:
    """Everything of an estimate but how long it took."""
    message.latency_stages, message.latency_ns, message.latency_total_ns = [], [], 0
    return received(message)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"face_detector": "none", "provisional_period": 0.5, "publish_provisional": True},
        {"speaker_model": "none", "text_timeout": 0.2, "expect_text": "auto"},
    ],
)
def test_a_pipeline_repeats_the_nodes_bit_by_bit(
    parameters: dict[str, object], make_bench: MakeBench, bundle: Path, recording: Path
) -> None:
    calls: Calls = []
    told = {"speaker_model": "speaker-campplus", **parameters}
    bench = make_bench(
        nodes=lambda **options: both(lambda *call: calls.append((call[0], call[1:])), **options),
        parameters={**told, "use_sim_time": True},
    )
    corrections = bench.listen(SpeakerCorrection, "speaker_corrections", 50)
    play(bench, recording)
    assert bench.change("utterance_node", Transition.TRANSITION_DEACTIVATE)

    robot = RobotConfig().changed(bundle=str(bundle), expect_text="always", min_confidence=0.0)
    robot = robot.changed(**told)
    estimates, corrected = [], []
    number = 0  # of what the node publishes, the sequence that its messages share
    with Pipeline(robot.pipeline) as pipeline:
        for method, arguments in calls:
            for event in getattr(pipeline, method)(*arguments):
                number += isinstance(event, (UtteranceEvent, TextCorrected, SpeakerCorrected))
                if isinstance(event, EstimateEvent):
                    message = estimate_message(event.estimate, pipeline.bundle, True, number)
                    estimates.append(plain(message))
                elif isinstance(event, SpeakerCorrected):
                    frame_id = pipeline.perception.frame_id
                    corrected.append(speaker_correction_message(event, frame_id, number))
    assert {method for method, _ in calls} == {"feed", "advance", "flush"}
    assert len(estimates) >= 5
    bench.wait(lambda: len(bench.estimates) >= len(estimates), "all estimates")
    assert [plain(message) for message in bench.estimates] == estimates
    bench.wait(lambda: len(corrections) >= len(corrected), "all corrections")
    assert list(map(received, corrections)) == list(map(received, corrected))
