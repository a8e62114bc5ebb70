"""Classes of other packages and other label sets in the nodes, over DDS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import KeyValue
from erc_msgs.msg import EmotionLabels
from node_bench import Bench
from numpy.typing import NDArray
from rclpy.parameter import Parameter
from rclpy.qos import QoSDurabilityPolicy, QoSProfile

from erc_ros.adapters import ADAPTERS
from erc_ros.values.transcript import Transcript

LATCHED = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
SPOKEN = "diagnostic_msgs/msg/KeyValue"
MakeBench = Callable[..., Bench]


class Spoken:
    """A speech recognizer that publishes its text as a KeyValue."""

    message_type = SPOKEN

    def read(self, message: Any, arrival: int) -> Transcript | None:
        return Transcript(message.value, arrival, locale=message.key) if message.value else None


class Loud:
    """Speech where it is loud, in frames of 20 ms."""

    frame = 320

    def feed(self, frame: NDArray[np.float32]) -> float:
        return float(np.abs(frame).mean() > 0.01)

    def reset(self) -> None: ...


def test_labels_are_published_under_the_names_of_the_map(make_bench: MakeBench) -> None:
    plain = make_bench()
    labels = list(plain.say("I am happy").labels)
    plain.close()
    merged = ", ".join(f"{label}=other" for label in labels[2:])
    bench = make_bench(parameters={"label_map": f"{labels[0]}=calm, {merged}"})
    published = bench.listen(EmotionLabels, "emotion_labels", LATCHED)
    estimate = bench.say("I am happy")
    assert list(estimate.labels) == ["calm", labels[1], "other"]
    assert len(estimate.probabilities) == 3 and estimate.label in estimate.labels
    assert sum(estimate.probabilities) == pytest.approx(1, abs=1e-5)
    bench.wait(lambda: published, "the labels")
    assert list(published[-1].labels) == list(estimate.labels)
    assert len(published[-1].valence) == 3


def test_messages_and_frames_of_other_packages_are_used(make_bench: MakeBench) -> None:
    names = {
        "speech_type": f"{__name__}:Spoken",
        "voice_activity_model": f"{__name__}:Loud",
    }
    try:
        bench = make_bench(parameters=names)
        talker = bench.talker(KeyValue, "speech")
        talker.publish(KeyValue(key="en", value="I am happy"))
        bench.wait(lambda: bench.estimates, "an estimate")
        assert bench.estimates[-1].text == "I am happy"
        assert bench.estimates[-1].locale == "en"
    finally:
        ADAPTERS.pop(SPOKEN, None)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("face_detector", "yunnet"),
        ("voice_activity_model", "no_such_package:Vad"),
        ("label_map", "hapy=joy"),
    ],
)
def test_a_wrong_name_leaves_the_node_unconfigured(
    make_bench: MakeBench, parameter: str, value: str
) -> None:
    bench = make_bench(parameters={parameter: value}, running=False)
    node = "emotion_node" if parameter == "label_map" else "utterance_node"
    bench.wait(
        lambda: any(
            value.partition("=")[0] in status.message for status in bench.diagnoses.values()
        ),
        "the diagnostics name the value",
    )
    assert bench.state(node) == "unconfigured"


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("face_detector", "yunnet"),
        ("voice_activity_model", "no_such_package:Vad"),
        ("speech_type", "no_such_msgs/msg/Text"),
    ],
)
def test_a_wrong_name_is_refused_when_it_is_set(
    make_bench: MakeBench, parameter: str, value: str
) -> None:
    node = make_bench(running=False, parameters={"autostart": False}).nodes[0]
    (refused,) = node.set_parameters([Parameter(parameter, value=value)])
    assert not refused.successful and value in refused.reason
    (accepted,) = node.set_parameters([Parameter(parameter, value=node.parameters[parameter])])
    assert accepted.successful
