"""Replay of a recording over DDS: publish it to the running nodes and collect the estimates.

`erc run` starts the nodes on the clock of the recording (/clock, use_sim_time), so that
stamps are valid at any rate.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import yaml

from erc_ros.adapters import adapter_for, humans_adapter, message_class
from erc_ros.input_reader import tells_consent
from erc_ros.nodes.inputs import HAS_MESSAGE_INFO
from erc_ros.nodes.system import environment, read_system
from erc_ros.parameters import RobotConfig
from erc_ros.pipeline import TUNING_FILE
from erc_ros.replay.bag import HUMANS, Bag, BagError, Raw
from erc_ros.replay.offline import heard_topics
from erc_ros.replay.report import Result, quantiles
from erc_ros.replay.rows import (
    BundleName,
    Row,
    relabelled,
    row_of_message,
    with_row,
)
from erc_ros.resources import model_folder
from erc_ros.values.errors import ErcRuntimeError, ErcValueError
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.settings import parameters, values_of
from erc_ros.values.transcript import Transcript

START_TIMEOUT = 60.0  # s for the nodes to load their models and subscribe
CLOCK_PERIOD = 0.01  # s between two messages on /clock
LIVE_SPEECH = "hri_msgs/msg/LiveSpeech"
OnRow = Callable[[Row, int], None]
"""Called with each new row and the first time of the recording (ns)."""

ERROR = 2
"""DiagnosticStatus.ERROR; ROS may be missing where this module is imported."""


class NodesError(ErcRuntimeError):
    """The nodes did not start or ended early; the message contains the end of their log."""


def recognizable_speech() -> str:
    """Return the speech type that is installed for the nodes: LiveSpeech, else String."""
    return LIVE_SPEECH if message_class(LIVE_SPEECH) else "std_msgs/msg/String"


def play(
    bag: Bag,
    topics: Mapping[str, str],
    robot: RobotConfig | None = None,
    rate: float = 1.0,
    on_row: OnRow | None = None,
    starts_nodes: bool = True,
) -> Result:
    """Play a recording through the nodes.

    Args:
        topics: role -> topic chosen by the user (see `choose_topics`).
        robot: the nodes' parameters; None: the defaults.
        rate: playback speed relative to the recording.
        starts_nodes: False: they already run on simulated time, and continue afterwards.

    Raises:
        BagError: no topic is usable, or its message types are not installed.
        NodesError: the nodes did not start or ended early.
        ValueError: the rate is not positive.
    """
    if not rate > 0:
        raise ErcValueError(f"rate must be positive, got {rate}")
    robot = RobotConfig() if robot is None else robot
    warnings: Counter[str] = Counter()
    routes = _routes(bag, topics, robot, warnings)
    started = running_nodes(robot, {"use_sim_time": "true"}) if starts_nodes else nullcontext()
    with started as nodes, Listening() as probe:
        player = _Player(probe, routes, robot, rate)
        start = time.monotonic()
        player.play(bag, nodes, on_row)
        wall = time.monotonic() - start
    latencies = [row.latency for row in player.rows if row.latency is not None]
    return Result(
        rows=player.rows,
        traces=player.traces,
        bundle=probe.bundle(),
        origin=player.origin,
        counts=player.counts + probe.received(),
        warnings=warnings + bag.warnings + player.problems,
        timing={
            "rate": rate,
            "wall_s": round(wall, 1),
            "latency_ms": quantiles(latencies),
            "node_latency_ms": quantiles(probe.node_latencies),
        },
    )


def _routes(
    bag: Bag, chosen: Mapping[str, str], robot: RobotConfig, warnings: Counter[str]
) -> dict[str, tuple[str, str]]:
    """Return topic of the recording -> (topic of the nodes, type)."""
    routes = {}
    for role, topics in heard_topics(bag, chosen, robot.utterance_node, warnings).items():
        for topic in topics:
            if message_class(topic.type) is None:
                warnings[f"{topic.name}: {topic.type} is not installed here, skipped"] += 1
                continue
            name = "image/compressed" if "Compressed" in topic.type else role
            if role == HUMANS:
                name = topic.name
            routes[topic.name] = (name, topic.type)
    if not routes:
        raise BagError("none of the recording's message types is installed: " + "; ".join(warnings))
    return routes


def domain() -> dict[str, str]:
    """Return environment variables that isolate DDS: this machine, a free domain unless set."""
    own = {
        "ROS_DOMAIN_ID": str(1 + os.getpid() % 100),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    }
    own.update(environment("fastdds_camera.xml"))
    if os.environ.get("ROS_DISTRO") not in ("humble", "jazzy"):
        own.pop("FASTRTPS_DEFAULT_PROFILES_FILE", None)  # newer versions warn about the old name
    return {name: value for name, value in own.items() if name not in os.environ}


class Nodes:
    """The process of the nodes and its log."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self._log = process, log

    def check(self) -> None:
        """Raise NodesError if the nodes have ended."""
        if self.process.poll() is not None:
            raise NodesError(f"the nodes ended unexpectedly:\n{self.tail()}")

    def tail(self) -> str:
        """Return the end of the log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])


@contextmanager
def running_nodes(robot: RobotConfig, arguments: Mapping[str, str]) -> Iterator[Nodes]:
    """Run both nodes as `erc run` does, and end them with the context.

    The ROS variables of this process are set equally, so that its own nodes discover them.
    """
    read_system().values(arguments)  # reports unknown arguments here instead of in the log
    added = domain()
    os.environ.update(added)
    with tempfile.TemporaryDirectory(prefix="erc_") as folder:
        file, log = Path(folder, "parameters.yaml"), Path(folder, "log")
        _write_parameters(robot.for_recordings, file, Path(folder, "tuning.yaml"))
        given = [f"{name}:={value}" for name, value in arguments.items()]
        command = [sys.executable, "-m", "erc_ros.cli", "run", *given, f"params_file:={file}"]
        with log.open("wb") as stream:
            process = subprocess.Popen(
                command, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
            )
        try:
            yield Nodes(process, log)
        finally:
            _end(process)
            for name in added:
                del os.environ[name]


def _write_parameters(robot: RobotConfig, file: Path, tuning: Path) -> None:
    """Write the parameter file of the nodes and the tuning file that it names."""
    sections, settings = {}, {}
    for node in (robot.utterance_node, robot.emotion_node):
        values, names = values_of(node), parameters(type(node))
        own = {name: value for name, value in values.items() if name in names}
        for name in ("bundle", "speaker_model", "segmentation_model"):
            if own.get(name, "none") not in ("", "none"):  # a missing model is reported here
                own[name] = str(model_folder(str(own[name])).resolve())
        name = "utterance_node" if node is robot.utterance_node else "emotion_node"
        sections[name] = {"ros__parameters": {**own, TUNING_FILE: str(tuning)}}
        settings.update({name: value for name, value in values.items() if name not in names})
    file.write_text(yaml.safe_dump(sections))
    tuning.write_text(yaml.safe_dump(settings))


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(15)


class Listening:
    """A node that collects estimates and diagnostics, and publishes serialized messages."""

    def __init__(self) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from erc_msgs.msg import EmotionEstimate, SpeakerCorrection
        from rclpy.context import Context
        from rosgraph_msgs.msg import Clock

        from erc_ros.nodes.spinning import Spinning

        self.estimates: list[tuple[int, int, Any]] = []  # sent, received (ns, monotonic), message
        self.corrections: list[Any] = []  # of speakers
        self.node_latencies: list[int] = []
        self._status: dict[str, Any] = {}
        self._changed = threading.Condition()
        self._context = Context()
        rclpy.init(context=self._context)
        self._node = rclpy.create_node("erc_replay", context=self._context)
        self._clock = self._node.create_publisher(Clock, "/clock", 10)
        self._clock_message = Clock()
        self._node.create_subscription(
            EmotionEstimate,
            "emotions",
            # rclpy passes the message info only to callbacks with two arguments
            self._receive if HAS_MESSAGE_INFO else lambda message: self._receive(message, {}),
            100,
        )
        self._node.create_subscription(
            SpeakerCorrection, "speaker_corrections", self.corrections.append, 100
        )
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._note, 50)
        self._spinning = Spinning([self._node], context=self._context)

    def __enter__(self) -> Listening:
        return self

    def __exit__(self, *_: object) -> None:
        self._spinning.stop()
        self._node.destroy_node()
        self._context.try_shutdown()

    def publisher(self, topic: str, type_name: str) -> Any:
        """Return a reliable publisher with a deep queue for an input of the nodes."""
        return self._node.create_publisher(message_class(type_name), topic, 100)

    def publish_clock(self, now: int) -> None:
        """Publish `now` (ns) on /clock."""
        stamp = self._clock_message.clock
        stamp.sec, stamp.nanosec = divmod(now, NS)
        self._clock.publish(self._clock_message)

    def hears_estimates(self) -> bool:
        """Whether the emotion node is running."""
        return bool(self._node.count_publishers("emotions"))

    def bundle(self) -> BundleName:
        """Return the bundle that the last estimate names."""
        if not self.estimates:
            return BundleName("", "", "")
        *_, message = self.estimates[-1]
        return BundleName(message.bundle_name, message.bundle_version, message.bundle_sha256)

    def status(self, name: str) -> dict[str, str]:
        """Return the last diagnostics of a status, for example "utterance_node: audio"."""
        status = self._status.get(name)
        return {} if status is None else {value.key: value.value for value in status.values}

    def received(self) -> Counter[str]:
        """Return the nodes' counts of received and dropped messages per input."""
        counts: Counter[str] = Counter()
        for role in ("audio", "image", "speech", "humans"):
            values = self.status(f"utterance_node: {role}")
            for key in ("received", "dropped", "unusable"):
                counts[f"{role} {key}"] += int(values.get(key, 0))
        return +counts

    def failure(self) -> str:
        """Return why a node could not be configured or activated; "" without a failure."""
        return start_failure(list(self._status.values()))

    def problems(self) -> Counter[str]:
        """Return the problems in the last diagnostics of the nodes."""
        bad = [s for s in list(self._status.values()) if _level(s)]
        return Counter(f"{status.name}: {status.message}" for status in bad)

    def _receive(self, message: Any, info: Mapping[str, Any]) -> None:
        now = time.monotonic_ns()
        sent = now  # Humble does not provide the time of sending
        if info:
            sent = int(info["source_timestamp"]) - time.time_ns() + time.monotonic_ns()
        with self._changed:
            self.estimates.append((sent, now, message))
            self.node_latencies.append(int(message.latency_total_ns))
            self._changed.notify_all()

    def _note(self, message: Any) -> None:
        for status in message.status:
            self._status[status.name] = status


def start_failure(statuses: Iterable[Any]) -> str:
    """Return why a node could not be configured or activated; "" without a failure.

    A warning is not enough: before its first message, nodes say that /clock is silent.

    Args:
        statuses: last diagnostics (DiagnosticStatus) of the nodes.
    """
    for status in statuses:
        node, _, name = status.name.partition(": ")
        if name == "state" and _level(status) >= ERROR:
            return f"{node} {status.message}"
    return ""


def _level(status: Any) -> int:
    """Return the level of a status, which rclpy stores as a byte."""
    return status.level if isinstance(status.level, int) else int.from_bytes(status.level, "big")


class _Player:
    """Publishes the recording in its timing and converts the estimates to rows."""

    def __init__(
        self,
        probe: Listening,
        routes: Mapping[str, tuple[str, str]],
        robot: RobotConfig,
        rate: float,
    ) -> None:
        self._probe, self._rate = probe, rate
        self._node = robot.utterance_node
        self._publishers = {
            topic: probe.publisher(name, kind) for topic, (name, kind) in routes.items()
        }
        self._finals: list[tuple[int, str]] = []  # published at (ns, monotonic), text
        self._taken = 0
        self._clock_time = 0  # ns, last published time
        self.rows: list[Row] = []
        self.traces: list[dict[str, int]] = []  # one per final estimate
        self.counts: Counter[str] = Counter()
        self.problems: Counter[str] = Counter()
        self.origin = 0

    def play(self, bag: Bag, nodes: Nodes | None, on_row: OnRow | None) -> None:
        """Play the whole recording and wait for the last estimates."""
        messages = bag.raw(set(self._publishers))
        first = next(messages, None)
        if first is None:
            return
        self.origin = first.time
        self._wait_for_nodes(nodes)
        start = time.monotonic_ns()
        last = first.time
        for raw in _chain(first, messages):
            last = max(last, raw.time)
            self._wait_until(raw.time, start, nodes, on_row)
            self._publish(bag, raw)
        self.problems = self._probe.problems()  # before the end of the input is one
        # Utterances that wait for a text are published after text_timeout.
        patience = self._node.perception.dialogue.texts.text_timeout + 2.0
        self._wait_until(last + seconds(patience * max(1.0, self._rate)), start, nodes, on_row)
        for correction in self._probe.corrections:
            self.rows = relabelled(
                self.rows,
                correction.conversation_id,
                correction.utterance_ids,
                correction.new_speaker_id,
            )

    def _wait_for_nodes(self, nodes: Nodes | None) -> None:
        end = time.monotonic() + START_TIMEOUT
        while not self._ready():
            failure = self._probe.failure()
            if nodes is not None:
                nodes.check()
                if failure:
                    raise NodesError(failure)
            if time.monotonic() > end:
                hint = failure or "start them with use_sim_time"
                log = hint if nodes is None else nodes.tail()
                raise NodesError(f"the nodes did not subscribe in time:\n{log}")
            self._probe.publish_clock(self.origin)
            time.sleep(0.05)

    def _ready(self) -> bool:
        is_subscribed = all(p.get_subscription_count() for p in self._publishers.values())
        return is_subscribed and self._probe.hears_estimates()

    def _wait_until(self, due: int, start: int, nodes: Nodes | None, on_row: OnRow | None) -> None:
        """Publish the clock and process estimates until the time of the recording is `due`."""
        while True:
            now = self.origin + int((time.monotonic_ns() - start) * self._rate)
            if now >= due:
                break
            if now - self._clock_time >= CLOCK_PERIOD * NS * self._rate:
                self._clock_time = now
                self._probe.publish_clock(now)
                self._show(on_row)
                if nodes is not None:
                    nodes.check()
            time.sleep(min(CLOCK_PERIOD, (due - now) / NS / self._rate))

    def _publish(self, bag: Bag, raw: Raw) -> None:
        self._publishers[raw.topic].publish(raw.data)
        if tells_consent(raw.topic, raw.type):
            return
        adapter = humans_adapter(raw.topic, raw.type, self._node.humans_namespace) or adapter_for(
            raw.type, raw.topic
        )
        self.counts[f"{adapter.input} played"] += 1
        if adapter.input == "speech":
            now = time.monotonic_ns()
            value = adapter.read(bag.decode(raw), raw.time)
            if isinstance(value, Transcript) and value.is_final:
                self._finals.append((now, value.text.strip()))

    def _show(self, on_row: OnRow | None) -> None:
        for sent, received, message in self._probe.estimates[self._taken :]:
            self._taken += 1
            start = self._published(message, received)
            row = row_of_message(message, received - start)
            if message.is_final:
                self.traces.append(_trace(message, start, sent, received))
            self.rows = with_row(self.rows, row)
            if on_row is not None:
                on_row(row, self.origin)

    def _published(self, message: Any, received: int) -> int:
        """Return when the text that completed an estimate was published (ns, monotonic).

        Without a text, it is the time at which the node received its last input.
        """
        text = message.text
        for when, spoken in reversed(self._finals):
            if text and (spoken in text or text in spoken):  # of several turns, or a part of one
                return when
        return received - int(message.latency_total_ns)


def _trace(message: Any, start: int, sent: int, received: int) -> dict[str, int]:
    """Return ns of each stage from publishing the text of an estimate until it was received."""
    total = int(message.latency_total_ns)
    return {
        "to the node, over DDS": sent - total - start,
        **dict(zip(message.latency_stages, map(int, message.latency_ns), strict=True)),
        "inside the nodes": total,
        "from the node, over DDS": received - sent,
        "all": received - start,
    }


def _chain(first: Raw, rest: Iterator[Raw]) -> Iterator[Raw]:
    yield first
    yield from rest
