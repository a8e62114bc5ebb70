"""A recording through the same core as the nodes, without ROS: fast, and every time the same."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from erc_ros.dialogue.listener import (
    ConversationEnded,
    Event,
    Listener,
    ListenerConfig,
    UtteranceEvent,
)
from erc_ros.dialogue.transcript import Transcript
from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.recogniser import Recogniser
from erc_ros.nodes.adapters import ADAPTERS, RobotSpeaking, SoundChunk
from erc_ros.nodes.places import config_file, model_folder
from erc_ros.replay.bag import Bag, Record, choose_topics
from erc_ros.replay.report import BundleName, Row, quantiles, row_of_estimate, write_report
from erc_ros.sensing.audio import AudioFormat, AudioStream, Sound, decode
from erc_ros.sensing.faces import FaceObservation, FaceTracker, HaarDetector
from erc_ros.sensing.frames import Frame
from erc_ros.sensing.nanoseconds import NS, seconds

LOOK_AHEAD = 60  # messages in memory
TICK = seconds(0.1)  # between two looks at the clock, as in utterance_node


@dataclass(frozen=True)
class Models:
    """Which models; each a folder, or a name in models/. speaker "": nobody is told apart."""

    bundle: str
    speaker: str
    device: str = "cpu"


def parameters(node: str) -> dict[str, Any]:
    """The defaults of a node, so that replay listens as the live node does."""
    content = yaml.safe_load(config_file("parameters.yaml").read_text(encoding="utf-8"))
    return {name: entry["default"] for name, entry in content[node].items()}


def default_models() -> Models:
    """What the nodes run with."""
    return Models(
        bundle=parameters("emotion_node")["bundle"],
        speaker=parameters("utterance_node")["speaker_model"],
    )


@dataclass
class Result:
    """What came out. origin: ns, time of the first message."""

    rows: list[Row]
    bundle: BundleName
    origin: int
    counts: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    timing: dict[str, Any] = field(default_factory=dict)


def replay(bag: Bag, topics: dict[str, str], models: Models) -> Result:
    """Feed a recording through the core.

    Args:
        topics: role -> topic, where the user chose one (see `choose_topics`).

    Raises:
        BagError: no topic can be used.
        BundleError, SpeakerModelError, FileNotFoundError: the models.
    """
    warnings: Counter[str] = Counter()
    chosen = choose_topics(bag, topics, warnings)
    core = Core(models)
    with core.recogniser:
        core.recogniser.warm_up()
        begin, used = time.perf_counter(), time.process_time()
        first = last = None
        names = {topic.name for found in chosen.values() for topic in found}
        for record, faces in _looked_ahead(bag.messages(names), core):
            first = record.time if first is None else first
            last = record.time
            core.feed(record, faces)
        core.flush()
        wall, cpu = time.perf_counter() - begin, time.process_time() - used
    recorded = 0.0 if first is None or last is None else (last - first) / NS
    bundle = core.recogniser.bundle
    return Result(
        rows=core.rows,
        bundle=BundleName(bundle.name, bundle.version, bundle.sha256),
        origin=first or 0,
        counts=core.counts + Counter(core.listener.counters()),
        warnings=warnings + bag.warnings + core.warnings,
        timing={
            "recorded_s": round(recorded, 3),
            "wall_s": round(wall, 3),
            "cpu_s": round(cpu, 3),
            "times_real_time": round(recorded / wall, 1),
            "recogniser_ms": quantiles(core.durations),
        },
    )


def _looked_ahead(
    records: Iterable[Record], core: Core
) -> Iterator[tuple[Record, Future[list[FaceObservation]] | None]]:
    """The records in their order, with the faces of the pictures being searched ahead of time."""
    waiting: deque[tuple[Record, Future[list[FaceObservation]] | None]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="faces") as worker:
        for record in records:
            is_image = ADAPTERS[record.type].input == "image"
            waiting.append((record, worker.submit(core.look, record) if is_image else None))
            if len(waiting) > LOOK_AHEAD:
                yield waiting.popleft()
        yield from waiting


def write(result: Result, folder: Path, with_text: bool = True) -> list[Path]:
    """Write the report of a result; see `write_report`."""
    return write_report(
        folder,
        result.rows,
        bundle=result.bundle,
        origin=result.origin,
        counts=result.counts,
        warnings=result.warnings,
        timing=result.timing,
        with_text=with_text,
    )


class Core:
    """Audio stream, face tracker, listener and recogniser, put together as the nodes do it."""

    def __init__(self, models: Models) -> None:
        p = parameters("utterance_node")
        config = ListenerConfig(
            expect_text=p["expect_text"],
            text_timeout=p["text_timeout"],
            conversation_gap=p["conversation_gap"],
            robot_tail=p["robot_tail"],
        )
        speaker = model_folder(models.speaker) if models.speaker else None
        self.listener = Listener(config, speaker)
        self.recogniser = Recogniser(load_bundle(model_folder(models.bundle)), models.device)
        self.rows: list[Row] = []
        self.durations: list[int] = []  # ns, of the recogniser, one per row
        self.counts: Counter[str] = Counter()
        self.warnings: Counter[str] = Counter()
        self._stream = AudioStream()
        self._format: AudioFormat | None = AudioFormat(
            p["audio_rate"], p["audio_channels"], p["audio_format"]
        )
        self._tracker = FaceTracker(HaarDetector(), p["face_rate"])
        self._next_tick: int | None = None
        self._complaints: dict[str, str] = {}

    def look(self, record: Record) -> list[FaceObservation]:
        """The faces in a picture; pictures come in their order, in any one thread."""
        frame = ADAPTERS[record.type].read(record.message, record.time)
        assert isinstance(frame, Frame)
        return self._tracker.feed(frame)

    def feed(self, record: Record, faces: Future[list[FaceObservation]] | None = None) -> None:
        """Take one message; what cannot be used is counted with its first reason.

        faces: of a picture, from `look`.
        """
        self._tick(record.time)
        adapter = ADAPTERS[record.type]
        try:
            if faces is not None:
                self.counts["frames"] += 1
                self._take(e for face in faces.result() for e in self.listener.feed_face(face))
            else:
                self._take(self._events(adapter.read(record.message, record.time)))
        except (ValueError, TypeError, AttributeError) as error:
            if adapter.input == "audio_info":
                self._format = None
            complaint = self._complaints.setdefault(record.topic, f"{record.topic}: {error}")
            self.warnings[complaint] += 1

    def flush(self) -> None:
        """The recording has ended."""
        for event in self._stream.flush():
            self._take(self._heard(event))
        self._take(self.listener.flush())

    def _tick(self, now: int) -> None:
        if self._next_tick is None or now < self._next_tick - NS:
            self._next_tick = now + TICK  # the beginning, or a clock that jumped back
        if now - self._next_tick > 3600 * NS:  # do not count through a year
            self._next_tick = now - TICK
        while self._next_tick <= now:
            self._take(self.listener.advance(self._next_tick))
            self._next_tick += TICK

    def _events(self, value: object) -> Iterator[Event]:
        if isinstance(value, SoundChunk):
            yield from self._hear(value)
        elif isinstance(value, Transcript):
            self.counts["final texts" if value.is_final else "partial texts"] += 1
            yield from self.listener.feed_transcript(value)
        elif isinstance(value, RobotSpeaking):
            yield from self.listener.feed_robot_speaking(value.stamp, value.speaking)
        elif isinstance(value, AudioFormat):
            self._format = value

    def _hear(self, chunk: SoundChunk) -> Iterator[Event]:
        if self._format is None:
            raise ValueError("the format that audio_info tells cannot be used")
        samples = decode(chunk.data, self._format)
        for event in self._stream.feed(samples, chunk.stamp, self._format.rate, chunk.arrival):
            yield from self._heard(event)

    def _heard(self, event: Any) -> Iterable[Event]:
        if isinstance(event, Sound):
            self.counts["samples"] += len(event.samples)
        else:
            self.warnings[f"audio: {type(event).__name__}"] += 1
        return self.listener.feed_sound(event)

    def _take(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, ConversationEnded):
                self.recogniser.reset(event.conversation_id)
            elif isinstance(event, UtteranceEvent) and not event.utterance.is_final:
                self.recogniser.prepare(event.utterance)
            elif isinstance(event, UtteranceEvent):
                begin = time.perf_counter_ns()
                estimate = self.recogniser.feed(event.utterance)
                self.durations.append(time.perf_counter_ns() - begin)
                self.rows.append(row_of_estimate(estimate, self.recogniser.bundle))
                for note in estimate.notes:
                    self.warnings[f"recogniser: {note}"] += 1
