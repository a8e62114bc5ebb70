"""The nodes and a probe that communicates with them over DDS."""

from __future__ import annotations

import gc
import threading
import time
from array import array
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audio_common_msgs.msg import AudioDataStamped
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from erc_msgs.msg import EmotionEstimate, Utterance
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Log
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import String

from erc_ros.nodes import engagement
from erc_ros.nodes.emotion import both
from erc_ros.nodes.emotion_node import EmotionNode
from erc_ros.nodes.managed_node import ManagedNode
from erc_ros.nodes.spinning import Spinning
from erc_ros.nodes.utterance_node import UtteranceNode
from erc_ros.values.nanoseconds import NS

RATE = 16_000
PATIENCE = 30.0  # s that anything may take on a busy machine


class Bench:
    """Spinning nodes and a probe. It must be closed.

    Args:
        split: each node takes messages, as in two processes.
        running: wait until both are active.
        parameters: of both nodes.
    """

    def __init__(
        self,
        bundle: Path,
        split: bool = False,
        running: bool = True,
        parameters: Mapping[str, object] | None = None,
        nodes: Callable[..., list[ManagedNode]] | None = None,
    ) -> None:
        self._is_closed = False
        self._others: list[Node] = []
        self.context = Context()
        self.context.init()
        self.changed = threading.Condition()
        overrides = {
            "bundle": str(bundle),
            "speaker_model": "",
            "expect_text": "always",
            "deployment_context": "research",
            "min_confidence": 0.0,  # random weights are sure of nothing
            **(parameters or {}),
        }
        options: dict[str, Any] = {
            "context": self.context,
            "parameter_overrides": [Parameter(name, value=v) for name, v in overrides.items()],
        }
        if nodes is not None:
            self.nodes = nodes(**options)
        elif split:
            self.nodes = [UtteranceNode(**options), EmotionNode(**options)]
        else:
            self.nodes = both(**options)
        self.probe = Node("probe", context=self.context)
        self.utterances: list[Utterance] = self.listen(Utterance, "utterances", 50)
        self.estimates: list[EmotionEstimate] = self.listen(EmotionEstimate, "emotions", 50)
        self.diagnoses: dict[str, DiagnosticStatus] = {}
        self.reports = 0
        self.probe.create_subscription(DiagnosticArray, "/diagnostics", self._diagnose, 10)
        self._spinning = [Spinning(nodes, self.context) for nodes in (self.nodes, [self.probe])]
        if running:
            self.wait(lambda: all(node.active for node in self.nodes), "both nodes are active")

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        for other in self._others:
            other.destroy_node()
            other.context.try_shutdown()
        assert all(spinning.stop(PATIENCE) for spinning in self._spinning), "a callback hangs"
        for node in self.nodes:
            node.close()
        self.probe.destroy_node()
        self.context.try_shutdown()
        # Nodes are parts of reference circles. Until those are collected, their participant stays
        # in the domain, and the next bench finds half a service (docs/explanation/known_issues.md).
        for name in ("nodes", "probe", "context", "_spinning", "_others", "_text"):
            self.__dict__.pop(name, None)
        gc.collect()

    def wait(self, true: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
        """Until it is true; the nodes' own state has no event, so look every 5 ms as well."""
        end = time.monotonic() + patience
        with self.changed:
            while not (value := true()):
                assert time.monotonic() < end, f"waited {patience} s in vain: {what}"
                self.changed.wait(0.005)
        return value

    # Hear ----------------------------------------------------------------------------------

    def listen(self, message_type: type, topic: str, qos: QoSProfile | int) -> list[Any]:
        heard: list[Any] = []

        def hear(message: Any) -> None:
            with self.changed:
                heard.append(message)
                self.changed.notify_all()

        self.probe.create_subscription(message_type, topic, hear, qos)
        return heard

    def _diagnose(self, message: DiagnosticArray) -> None:
        with self.changed:
            self.reports += 1
            self.diagnoses.update({status.name: status for status in message.status})
            self.changed.notify_all()

    def value(self, status: str, key: str) -> str:
        """A value of the last diagnosis, "" if there is none yet."""
        status_values = self.diagnoses.get(status)
        return (
            next((v.value for v in status_values.values if v.key == key), "")
            if status_values
            else ""
        )

    def wait_for_diagnosis(self, status: str, word: str) -> DiagnosticStatus:
        self.wait(
            lambda: status in self.diagnoses and word in self.diagnoses[status].message,
            f"{status} says {word!r}",
        )
        return self.diagnoses[status]

    # Talk ----------------------------------------------------------------------------------

    def talker(self, message_type: type, topic: str, qos: QoSProfile | int = 50) -> Any:
        """A publisher that somebody listens to already."""
        publisher = self.probe.create_publisher(message_type, topic, qos)
        self.wait(lambda: publisher.get_subscription_count() > 0, f"somebody listens to {topic}")
        return publisher

    def driver(self) -> Node:
        """A node as in another process: there, the same topic can have another type."""
        context = Context()
        context.init()
        self._others.append(Node("driver", context=context))
        return self._others[-1]

    def now(self) -> int:
        return int(self.probe.get_clock().now().nanoseconds)

    def now_message(self) -> Any:
        return self.probe.get_clock().now().to_msg()

    def say(self, text: str) -> EmotionEstimate:
        """Text only: the estimate of it."""
        if not hasattr(self, "_text"):
            self._text = self.talker(String, "speech")
        before = len(self.estimates)
        self._text.publish(String(data=text))
        self.wait(lambda: len(self.estimates) > before, f"an estimate of {text!r}")
        return self.estimates[-1]

    # Lifecycle -----------------------------------------------------------------------------

    def call(self, service_type: type, service: str, request: Any) -> Any:
        client = self.probe.create_client(service_type, service)
        assert client.wait_for_service(PATIENCE), f"no service {service}"
        future = client.call_async(request)
        self.wait(future.done, f"an answer of {service}")
        self.probe.destroy_client(client)
        return future.result()

    def change(self, node: str, transition: int) -> bool:
        request = ChangeState.Request()
        request.transition.id = transition
        return bool(self.call(ChangeState, f"{node}/change_state", request).success)

    def state(self, node: str) -> str:
        return str(self.call(GetState, f"{node}/get_state", GetState.Request()).current_state.label)


def sound_message(samples: np.ndarray, stamp: int) -> AudioDataStamped:
    """int16 samples as a message."""
    message = AudioDataStamped()
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, NS)
    message.header.frame_id = "microphone"
    message.audio.data = array("B", samples.astype("<i2").tobytes())
    return message


def image_message(stamp: int, encoding: str = "rgb8", width: int = 64, height: int = 48) -> Image:
    """A gray picture."""
    message = Image(encoding=encoding, width=width, height=height, step=3 * width)
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, NS)
    message.header.frame_id = "camera"
    message.data = array("B", bytes([128]) * (3 * width * height))
    return message


def play(bench: Bench, sound: np.ndarray, start: int, topic: str = "audio") -> None:
    """float32 samples, as a microphone sends them that began at `start` (ns)."""
    microphone = bench.talker(AudioDataStamped, topic, QoSProfile(depth=1000))
    samples = (np.clip(sound, -1, 1) * 32767).astype(np.int16)
    for first in range(0, len(samples), 8000):
        stamp = start + first * NS // 16_000
        microphone.publish(sound_message(samples[first : first + 8000], stamp))


def finals(bench: Bench) -> list[Utterance]:
    """The final utterances that have come."""
    return [utterance for utterance in bench.utterances if utterance.is_final]


def engagement_level(monkeypatch: pytest.MonkeyPatch) -> Any:
    """hri_msgs/EngagementLevel; in its place, with an older hri_msgs, another type with a level."""
    kind = getattr(pytest.importorskip("hri_msgs.msg"), "EngagementLevel", None)
    if kind is None:
        monkeypatch.setattr(engagement, "LEVEL", "rcl_interfaces/msg/Log")
    return kind or Log


SENSOR = qos_profile_sensor_data
LATCHED = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
