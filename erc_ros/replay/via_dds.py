"""A recording through the real nodes over DDS: published at its times, estimates collected.

The nodes run as `erc run` starts them, on the recording's clock (/clock, use_sim_time), so that
every stamp keeps its meaning at any rate.
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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import yaml

from erc_ros.adapters import adapter_for, humans_adapter, message_class
from erc_ros.input_reader import tells_consent
from erc_ros.nodes.inputs import TELLS_INFO
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
"""Called with each row as it comes, and the recording's first time (ns)."""


class NodesError(ErcRuntimeError):
    """The nodes did not start or ended early; the message has the end of their log."""


def recognizable_speech() -> str:
    """The speech type that the nodes can hear here: LiveSpeech, else String."""
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
        topics: role -> topic, where the user chose one (see `choose_topics`).
        robot: the nodes' parameters; None: the defaults.
        rate: speed; 1 = as it was recorded.
        starts_nodes: false: they run already, on simulated time, and go on afterwards.

    Raises:
        BagError: no topic can be used, or its message types are not installed.
        NodesError: the nodes did not start or ended early.
        ValueError: the rate is not positive.
    """
    if not rate > 0:
        raise ErcValueError(f"rate must be positive, got {rate}")
    robot = RobotConfig() if robot is None else robot
    warnings: Counter[str] = Counter()
    routes = _routes(bag, topics, robot, warnings)
    started = running_nodes(robot, {"use_sim_time": "true"}) if starts_nodes else nullcontext()
    with started as nodes, Listening() as listening:
        player = _Player(listening, routes, robot, rate)
        begin = time.monotonic()
        player.play(bag, nodes, on_row)
        wall = time.monotonic() - begin
    latencies = [row.latency for row in player.rows if row.latency is not None]
    return Result(
        rows=player.rows,
        traces=player.traces,
        bundle=listening.bundle(),
        origin=player.origin,
        counts=player.counts + listening.received(),
        warnings=warnings + bag.warnings + player.problems,
        timing={
            "rate": rate,
            "wall_s": round(wall, 1),
            "latency_ms": quantiles(latencies),
            "node_latency_ms": quantiles(listening.node_latencies),
        },
    )


def _routes(
    bag: Bag, chosen: Mapping[str, str], robot: RobotConfig, warnings: Counter[str]
) -> dict[str, tuple[str, str]]:
    """Topic of the recording -> topic of the nodes, type."""
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
        own.pop("FASTRTPS_DEFAULT_PROFILES_FILE", None)  # newer ones complain about the old name
    return {name: value for name, value in own.items() if name not in os.environ}


class Nodes:
    """The nodes' process and its log."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self._log = process, log

    def check(self) -> None:
        """Raises: NodesError, when they ended."""
        if self.process.poll() is not None:
            raise NodesError(f"the nodes ended by themselves:\n{self.tail()}")

    def tail(self) -> str:
        """The end of the log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])


@contextmanager
def running_nodes(robot: RobotConfig, arguments: Mapping[str, str]) -> Iterator[Nodes]:
    """Both nodes as `erc run` starts them, ended at the end.

    This process's ROS variables are the same meanwhile, so that what starts in it finds the nodes.
    """
    read_system().values(arguments)  # complains about unknown ones here, not in the log
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
    """Write what the nodes start with: a file of parameters, and the tuning file that it names."""
    sections, settings = {}, {}
    for node in (robot.utterance_node, robot.emotion_node):
        values, names = values_of(node), parameters(type(node))
        own = {name: value for name, value in values.items() if name in names}
        for name in ("bundle", "speaker_model", "segmentation_model"):
            if own.get(name, "none") not in ("", "none"):  # a missing one is reported here
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
    """A node of our own that hears estimates and diagnostics, and publishes serialized messages."""

    def __init__(self) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from erc_msgs.msg import EmotionEstimate, SpeakerCorrection
        from rclpy.context import Context
        from rosgraph_msgs.msg import Clock

        from erc_ros.nodes.spinning import Spinning

        self.estimates: list[tuple[int, int, Any]] = []  # sent, heard (ns, monotonic), message
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
            # rclpy counts the arguments to find out whether to tell when a message was sent
            self._hear if TELLS_INFO else lambda message: self._hear(message, {}),
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
        """A publisher on one of the nodes' inputs, reliable, with a deep queue."""
        return self._node.create_publisher(message_class(type_name), topic, 100)

    def tell_time(self, now: int) -> None:
        """Publish `now` (ns) on /clock."""
        stamp = self._clock_message.clock
        stamp.sec, stamp.nanosec = divmod(now, NS)
        self._clock.publish(self._clock_message)

    def hears_estimates(self) -> bool:
        """Whether the emotion node is there."""
        return bool(self._node.count_publishers("emotions"))

    def bundle(self) -> BundleName:
        """As the last estimate names it."""
        if not self.estimates:
            return BundleName("", "", "")
        *_, message = self.estimates[-1]
        return BundleName(message.bundle_name, message.bundle_version, message.bundle_sha256)

    def status(self, name: str) -> dict[str, str]:
        """The last diagnostics whose name ends so, for example "utterance_node: audio"."""
        status = self._status.get(name)
        return {} if status is None else {value.key: value.value for value in status.values}

    def received(self) -> Counter[str]:
        """What the nodes say they got: messages and drops per input."""
        counts: Counter[str] = Counter()
        for role in ("audio", "image", "speech", "humans"):
            values = self.status(f"utterance_node: {role}")
            for key in ("received", "dropped", "unusable"):
                counts[f"{role} {key}"] += int(values.get(key, 0))
        return +counts

    def failure(self) -> str:
        """Why a node could not be configured or activated; "" while all is well."""
        for name, status in list(self._status.items()):
            if name.endswith(": state") and status.level not in (0, b"\x00"):
                return f"{name.partition(':')[0]} {status.message}"
        return ""

    def problems(self) -> Counter[str]:
        """What the nodes' last diagnostics complain of."""
        bad = [s for s in list(self._status.values()) if s.level not in (0, b"\x00")]
        return Counter(f"{status.name}: {status.message}" for status in bad)

    def _hear(self, message: Any, info: Mapping[str, Any]) -> None:
        now = time.monotonic_ns()
        sent = now  # Humble does not tell when a message was sent
        if info:
            sent = int(info["source_timestamp"]) - time.time_ns() + time.monotonic_ns()
        with self._changed:
            self.estimates.append((sent, now, message))
            self.node_latencies.append(int(message.latency_total_ns))
            self._changed.notify_all()

    def _note(self, message: Any) -> None:
        for status in message.status:
            self._status[status.name] = status


class _Player:
    """Publishes the recording at its pace and makes rows of the estimates."""

    def __init__(
        self,
        listening: Listening,
        routes: Mapping[str, tuple[str, str]],
        robot: RobotConfig,
        rate: float,
    ) -> None:
        self._listening, self._rate = listening, rate
        self._node = robot.utterance_node
        self._publishers = {
            topic: listening.publisher(name, kind) for topic, (name, kind) in routes.items()
        }
        self._finals: list[tuple[int, str]] = []  # published at (ns, monotonic), text
        self._taken = 0
        self._told = 0  # ns, the last time on /clock
        self.rows: list[Row] = []
        self.traces: list[dict[str, int]] = []  # one per final estimate
        self.counts: Counter[str] = Counter()
        self.problems: Counter[str] = Counter()
        self.origin = 0

    def play(self, bag: Bag, nodes: Nodes | None, on_row: OnRow | None) -> None:
        """Play all of it and wait for what is still under way."""
        messages = bag.raw(set(self._publishers))
        first = next(messages, None)
        if first is None:
            return
        self.origin = first.time
        self._wait_for_nodes(nodes)
        begin = time.monotonic_ns()
        last = first.time
        for raw in _chain(first, messages):
            last = max(last, raw.time)
            self._wait_until(raw.time, begin, nodes, on_row)
            self._publish(bag, raw)
        self.problems = self._listening.problems()  # before it becomes one that nothing comes
        # What waits for its text is published after text_timeout; then the nodes are done.
        patience = self._node.perception.dialogue.texts.text_timeout + 2.0
        self._wait_until(last + seconds(patience * max(1.0, self._rate)), begin, nodes, on_row)
        for told in self._listening.corrections:
            self.rows = relabelled(
                self.rows, told.conversation_id, told.utterance_ids, told.new_speaker_id
            )

    def _wait_for_nodes(self, nodes: Nodes | None) -> None:
        end = time.monotonic() + START_TIMEOUT
        while not self._ready():
            failure = self._listening.failure()
            if nodes is not None:
                nodes.check()
                if failure:
                    raise NodesError(failure)
            if time.monotonic() > end:
                hint = failure or "are they started, with use_sim_time?"
                log = hint if nodes is None else nodes.tail()
                raise NodesError(f"the nodes do not listen:\n{log}")
            self._listening.tell_time(self.origin)
            time.sleep(0.05)

    def _ready(self) -> bool:
        heard = all(p.get_subscription_count() for p in self._publishers.values())
        return heard and self._listening.hears_estimates()

    def _wait_until(self, due: int, begin: int, nodes: Nodes | None, on_row: OnRow | None) -> None:
        """Keep the clock going and show what comes until the recording's time is `due`."""
        while True:
            now = self.origin + int((time.monotonic_ns() - begin) * self._rate)
            if now >= due:
                break
            if now - self._told >= CLOCK_PERIOD * NS * self._rate:
                self._told = now
                self._listening.tell_time(now)
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
            said = adapter.read(bag.decode(raw), raw.time)
            if isinstance(said, Transcript) and said.is_final:
                self._finals.append((now, said.text.strip()))

    def _show(self, on_row: OnRow | None) -> None:
        for sent, heard, message in self._listening.estimates[self._taken :]:
            self._taken += 1
            begin = self._published(message, heard)
            row = row_of_message(message, heard - begin)
            if message.is_final:
                self.traces.append(_trace(message, begin, sent, heard))
            self.rows = with_row(self.rows, row)
            if on_row is not None:
                on_row(row, self.origin)

    def _published(self, message: Any, heard: int) -> int:
        """When the text that completed an estimate was published (ns, monotonic).

        Without a text: when the node received its last input, as it says.
        """
        text = message.text
        for when, said in reversed(self._finals):
            if text and (said in text or text in said):  # of several turns, or a part of one
                return when
        return heard - int(message.latency_total_ns)


def _trace(message: Any, begin: int, sent: int, heard: int) -> dict[str, int]:
    """ns of each stage on the way of an estimate, from publishing its text until it was heard."""
    total = int(message.latency_total_ns)
    return {
        "to the node, over DDS": sent - total - begin,
        **dict(zip(message.latency_stages, map(int, message.latency_ns), strict=True)),
        "inside the nodes": total,
        "from the node, over DDS": heard - sent,
        "all": heard - begin,
    }


def _chain(first: Raw, rest: Iterator[Raw]) -> Iterator[Raw]:
    yield first
    yield from rest
