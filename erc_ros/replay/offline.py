"""A recording through the same core as the nodes, without ROS: fast, and every time the same."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from erc_ros.adapters import ADAPTERS, Adapter, humans_adapter
from erc_ros.dialogue.assembler import (
    ConversationEnded,
    Counted,
    Event,
    SpeakerCorrected,
    TextCorrected,
    UtteranceAssembler,
    UtteranceEvent,
)
from erc_ros.dialogue.voice_activity import SileroVoiceActivity
from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.recogniser import Recogniser
from erc_ros.pipeline import Senses, assembler_config, microphone
from erc_ros.replay.bag import Bag, Record, choose_topics
from erc_ros.replay.report import (
    BundleName,
    Row,
    quantiles,
    relabelled,
    row_of_estimate,
    with_row,
    write_report,
)
from erc_ros.resources import defaults, known_voices, model_folder, speaker_networks
from erc_ros.sensing.faces import FaceObservation, FaceTracker, HaarDetector
from erc_ros.sensing.frames import Frame
from erc_ros.sensing.microphone import MicrophoneEvent
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.transcript import Transcript
from erc_ros.values.utterance import Utterance

LOOK_AHEAD = 60  # messages in memory
TICK = seconds(0.1)  # between two looks at the clock, as in utterance_node


@dataclass(frozen=True)
class Models:
    """Which models; each a folder, or a name in models/. speaker "": nobody is told apart."""

    bundle: str
    speaker: str
    device: str = "cpu"


def default_models() -> Models:
    """What the nodes run with."""
    return Models(
        bundle=defaults("emotion_node")["bundle"],
        speaker=defaults("utterance_node")["speaker_model"],
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
    core.senses.microphone.expects_info = "audio_info" in chosen
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
        counts=core.counts + core.senses.counts + Counter(core.senses.listener.counters()),
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
            is_image = adapter_of(record).input == "image"
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


def adapter_of(record: Record) -> Adapter:
    """How to read a record: by its topic where that says it (ROS4HRI), else by its type."""
    return humans_adapter(record.topic, record.type) or ADAPTERS[record.type]


class Core:
    """Senses and recogniser, put together as the nodes do it."""

    def __init__(self, models: Models) -> None:
        p = {**defaults("utterance_node"), "speaker_model": models.speaker}  # as the live node
        listener = UtteranceAssembler(
            assembler_config(p), SileroVoiceActivity(), speaker_networks(p), known_voices(p)
        )
        tracker = FaceTracker(HaarDetector(), p["face_rate"])
        self.senses = Senses(microphone(p), tracker, listener)
        self.recogniser = Recogniser(load_bundle(model_folder(models.bundle)), models.device)
        self.rows: list[Row] = []
        self.durations: list[int] = []  # ns, of the recogniser, one per row
        self.counts: Counter[str] = Counter()
        self.warnings: Counter[str] = Counter()
        self._next_tick: int | None = None
        self._complaints: dict[str, str] = {}

    def look(self, record: Record) -> list[FaceObservation]:
        """The faces in a picture; pictures come in their order, in any one thread."""
        frame = ADAPTERS[record.type].read(record.message, record.time)
        assert isinstance(frame, Frame)
        return self.senses.look(frame)

    def feed(self, record: Record, faces: Future[list[FaceObservation]] | None = None) -> None:
        """Take one message; what cannot be used is counted with its first reason.

        faces: of a picture, from `look`.
        """
        self._tick(record.time)
        adapter = adapter_of(record)
        try:
            if faces is not None:
                self.counts["frames"] += 1
                found = faces.result()
                if not (found and self.senses.rests(found[0].stamp)):
                    self._take(self.senses.see(found))
            else:
                value = adapter.read(record.message, record.time)
                if isinstance(value, Transcript):
                    self.counts["final texts" if value.is_final else "partial texts"] += 1
                self._take(self.senses.take(value))
        except (ValueError, TypeError, AttributeError) as error:
            if adapter.input == "audio_info":
                self.senses.microphone.refuse("the format that audio_info tells cannot be used")
            complaint = self._complaints.setdefault(record.topic, f"{record.topic}: {error}")
            self.warnings[complaint] += 1

    def flush(self) -> None:
        """The recording has ended."""
        self._take(self.senses.flush())

    def _tick(self, now: int) -> None:
        if self._next_tick is None or now < self._next_tick - NS:
            self._next_tick = now + TICK  # the beginning, or a clock that jumped back
        if now - self._next_tick > 3600 * NS:  # do not count through a year
            self._next_tick = now - TICK
        while self._next_tick <= now:
            self._take(self.senses.listener.advance(self._next_tick))
            self._next_tick += TICK

    def _take(self, events: Iterable[Event | MicrophoneEvent]) -> None:
        for event in events:
            if isinstance(event, ConversationEnded):
                self.recogniser.reset(event.conversation_id)
            elif isinstance(event, UtteranceEvent) and not event.utterance.is_final:
                self.recogniser.prepare(event.utterance)
            elif isinstance(event, (UtteranceEvent, TextCorrected)):
                self._recognise(event.utterance)
            elif isinstance(event, SpeakerCorrected):
                self.counts["utterances relabelled"] += self.recogniser.correct(event)
                self.rows = relabelled(
                    self.rows, event.conversation_id, event.utterance_ids, event.after
                )
            elif not isinstance(event, Counted):
                self.warnings[f"audio: {type(event).__name__}"] += 1

    def _recognise(self, utterance: Utterance) -> None:
        begin = time.perf_counter_ns()
        estimate = self.recogniser.feed(utterance)
        self.durations.append(time.perf_counter_ns() - begin)
        self.rows = with_row(self.rows, row_of_estimate(estimate, self.recogniser.bundle))
        for note in estimate.notes:
            self.warnings[f"recogniser: {note}"] += 1
