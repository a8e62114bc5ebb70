"""Replay of a recording through the pipeline, without ROS: fast and deterministic.

The estimates equal those of the two nodes in one process, given the same inputs in the same order
and the same parameters.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar, cast, get_args

from erc_ros.adapters import Adapter, adapter_for, humans_adapter, speech_type
from erc_ros.encoders.language import TextExclusion
from erc_ros.input_reader import InputReader, tells_consent
from erc_ros.metrics.timelines import Span
from erc_ros.parameters import RobotConfig, UtteranceNodeConfig
from erc_ros.pipeline import (
    EstimateEvent,
    FormatExpected,
    Input,
    InputLate,
    InputRefused,
    Pipeline,
    PipelineEvent,
)
from erc_ros.replay.bag import (
    HUMANS,
    LIVE_SPEECH,
    VALUES,
    BagError,
    BagRecord,
    Recording,
    Topic,
    choose_topics,
)
from erc_ros.replay.clocks import clock_difference
from erc_ros.replay.report import Result, quantiles
from erc_ros.replay.rows import BundleName, Row, relabelled, row_of_estimate, with_row
from erc_ros.replay.session import VOICE
from erc_ros.sensing.microphone import ADVICE, MicrophoneEvent
from erc_ros.values.events import SpeakerCorrected
from erc_ros.values.nanoseconds import NS
from erc_ros.values.transcript import Transcript

TEXTS_LEFT_OUT = "recording_allowed is false: texts are excluded"

WITHOUT_TEXT = "estimates use voice and face only, which are far less accurate than words"
NO_TEXT = (
    f"no recognized speech in this recording: {WITHOUT_TEXT}; give --transcript or --recognizer, "
    "or record the topic of a speech recognizer"
)
NO_AUDIO = (
    "no audio in this recording: speakers are not distinguished, and the duration of utterances is "
    "estimated from their texts"
)
MISFIT = (
    "there is no speech at the times of most texts: the transcript may be shifted, or belong to "
    "another recording"
)
WORDLESS = (
    "more than a quarter of the utterances have no text: the times of the transcript may be "
    "shifted, or the speech recognizer missed them"
)
FILE_ADVICE = {
    **ADVICE,
    "Gap": "up to 10 s of samples are missing: the recorder was paused, or the file is damaged",
    "Overlap": "the file has duplicate samples; the later ones were dropped",
    "Jump": "over 10 s of samples are missing, or the times go back: a new segment begins",
    "Drift": "times and number of samples in the file are inconsistent; the times are start_cpu",
    "Silent": "all samples are zero",
    "Clipping": "the signal is clipped",
    "WrongStamps": "times in the file are wrong; the number of samples is start_cpu instead",
}
"""`ADVICE` for audio that is read from a media file."""

AHEAD = 32  # records of a media file that are decoded in advance: 2 s, about 30 MB
MIN_TEXTS = 5  # before MISFIT or WORDLESS is reported

_Record = TypeVar("_Record")

Call = tuple[str, tuple[Any, ...]]
"""A method of the pipeline, and its arguments."""


Watch = Callable[[PipelineEvent, int], None]
"""Receives each event and the time (ns) of the recording at which it occurred."""


def replay(
    bag: Recording,
    topics: Mapping[str, str],
    robot: RobotConfig | None = None,
    watch: Watch | None = None,
) -> Result:
    """Feed a recording through the pipeline.

    Args:
        topics: role -> topic chosen by the user (see `choose_topics`).
        robot: the nodes' parameters; None: the defaults.

    Raises:
        BagError: no topic is usable.
        BundleError, SpeakerModelError, FileNotFoundError: a model could not be loaded.
    """
    robot = RobotConfig() if robot is None else robot
    warnings: Counter[str] = Counter()
    chosen = heard_topics(bag, topics, robot.utterance_node, warnings)
    with Pipeline(robot.pipeline) as pipeline:
        reader = _Reader(robot.utterance_node, expects_format="audio_info" in chosen)
        is_file = any(
            topic.type == VALUES[role]
            for role in ("audio", "image")
            for topic in chosen.get(role, ())
        )
        outputs = EstimateCollector(pipeline, reader.topics, FILE_ADVICE if is_file else ADVICE)
        start, start_cpu = time.perf_counter(), time.process_time()
        names = {topic.name for topics_of_role in chosen.values() for topic in topics_of_role}
        records = iter(bag.messages(names))
        for method, arguments in reader.calls(ahead(records) if is_file else records):
            outputs.keeps_text = reader.recording_allowed
            for event in outputs.take(method, *arguments):
                if isinstance(event, InputRefused):
                    reader.refused(event.source)
                if watch is not None:
                    watch(event, reader.last)
        wall, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    if not reader.counts["final texts"]:
        warnings[NO_TEXT] = 1
    counts = outputs.counts() + reader.counts
    unspoken = counts["texts_without_speech"]
    if "audio" in chosen and unspoken > max(MIN_TEXTS, 0.5 * counts["final texts"]):
        warnings[MISFIT + _shift(reader, outputs.rows)] = 1
    elif counts["final texts"] and _wordless(outputs.rows):
        warnings[WORDLESS + _shift(reader, outputs.rows)] = 1
    recorded = (reader.last - reader.first) / NS
    return Result(
        rows=outputs.rows,
        bundle=outputs.bundle,
        origin=reader.first,
        counts=counts,
        warnings=warnings + bag.warnings + outputs.warnings + reader.warnings,
        timing={
            "recorded_s": round(recorded, 3),
            "wall_s": round(wall, 3),
            "cpu_s": round(cpu, 3),
            "times_real_time": round(recorded / wall, 1),
            "recogniser_ms": quantiles(outputs.durations),
        },
    )


def ahead(records: Iterator[_Record]) -> Iterator[_Record]:
    """Yield the same records in the same order, read by another thread.

    The pipeline waits for speaker updates at fixed positions of the stream; the next
    `AHEAD` records are decoded at the same time.
    """
    reader = ThreadPoolExecutor(1, thread_name_prefix="records")
    try:
        pending = deque(reader.submit(next, records, None) for _ in range(AHEAD))
        while (record := pending.popleft().result()) is not None:
            pending.append(reader.submit(next, records, None))
            yield record
    finally:
        reader.shutdown(cancel_futures=True)


def _wordless(rows: Iterable[Row]) -> bool:
    finals = [row for row in rows if row.is_final]
    without = sum(not row.modalities["text"] and not row.text_excluded for row in finals)
    return without >= MIN_TEXTS and without > 0.25 * len(finals)


def _shift(reader: _Reader, rows: Iterable[Row]) -> str:
    """Return the end of a warning: by how much texts must be moved; "" if that is not clear."""
    speech = [(row.start, row.end) for row in rows if row.is_final and row.modalities["audio"]]
    texts, spoken = (
        [Span(max(0, start - reader.first), end - reader.first, "", "") for start, end in times]
        for times in (reader.texts, speech)
    )
    late = clock_difference(texts, spoken)
    return f"; moved by {-late / NS:+.1f} s, the texts would fit the speech" if late else ""


def heard_topics(
    bag: Recording, chosen: Mapping[str, str], node: UtteranceNodeConfig, warnings: Counter[str]
) -> dict[str, list[Topic]]:
    """Return the topics of a recording to which utterance_node would subscribe.

    Raises:
        BagError: see `choose_topics`.
    """
    types = {
        "audio": node.audio_type,
        "image": node.image_type,
        "speech": speech_type(node.speech_type),
    }
    chosen = dict(chosen)
    for role, kind in types.items():
        if role not in chosen and kind not in ("auto", "none"):
            of_type = [topic for topic in bag.topics if topic.type == kind and topic.count]
            chosen.update({role: max(of_type, key=lambda t: t.count).name} if of_type else {})
    by_role = choose_topics(bag, chosen, warnings, node.humans_namespace)
    for role, kind in types.items():
        for topic in by_role.get(role, []):
            if kind == "auto" or topic.type == kind:
                continue
            warnings[f"{role}: {topic.name} is ignored, because {role}_type is {kind}"] += 1
            del by_role[role]
    if "audio" not in by_role:
        by_role.pop("audio_info", None)
    people = [topic.type for topic in by_role.get(HUMANS, [])]
    has_text = "speech" in by_role or LIVE_SPEECH in people
    has_audio = "audio" in by_role or any("Audio" in kind for kind in people)
    if not has_text and not has_audio:
        if all(topic.type in VALUES.values() for topic in bag.topics):  # a media file
            raise BagError(
                f"{bag.path} has no audio track and no transcript, so no utterance can be "
                "determined; give a transcript with --transcript"
            )
        names = ", ".join(f"{topic.name} ({topic.type})" for topic in bag.topics) or "none"
        excluded = "".join(f"; {text}" for text in sorted(warnings))
        raise BagError(
            f"{bag.path} has neither audio nor recognized speech, so no utterance can be "
            f"determined; it has: {names}{excluded}. Select a topic with --audio or --speech"
        )
    if not has_text:
        warnings[NO_TEXT] = 1
    if not has_audio:
        warnings[NO_AUDIO] = 1
    return by_role


def adapter_of(record: BagRecord, namespace: str = "/humans") -> Adapter:
    """Return the adapter of a record: by its topic for ROS4HRI, else by its type."""
    if record.type in _VALUE_ADAPTERS:
        return _VALUE_ADAPTERS[record.type]
    return humans_adapter(record.topic, record.type, namespace) or adapter_for(
        record.type, record.topic
    )


def _value(value: Any, arrival: int) -> Input:
    return cast("Input", value)


_VALUE_ADAPTERS = {kind: Adapter(role, _value, role == "image") for role, kind in VALUES.items()}
_VALUE_ADAPTERS[VOICE] = Adapter("humans", _value)


class _Reader:
    """Converts records to calls of the pipeline, as utterance_node converts messages.

    topics: source of an input -> its most recent topic. texts: (start, end) of final texts, ns.
    recording_allowed: the last value in the recording.
    """

    def __init__(self, node: UtteranceNodeConfig, expects_format: bool) -> None:
        self.counts: Counter[str] = Counter()
        self.warnings: Counter[str] = Counter()
        self.topics: dict[str, str] = {}
        self.texts: list[tuple[int, int]] = []
        self.first = self.last = 0  # ns, time of the first and last record
        self.recording_allowed = node.recording_allowed
        self._node = node
        self._expects_format = expects_format
        self._inputs = InputReader(node.perception.face_rate)
        self._warnings_by_topic: dict[str, str] = {}

    def calls(self, records: Iterable[BagRecord]) -> Iterator[Call]:
        """Yield inputs in their order with clock ticks between them, then a flush."""
        if self._expects_format:
            yield "feed", (FormatExpected(True),)
        for record in records:
            now = self.last = record.time
            self.first = self.first or now
            for tick in self._inputs.ticks(now):
                yield "advance", (tick,)
            if tells_consent(record.topic, record.type):
                self.recording_allowed = bool(record.message.data)
            else:
                yield from self._read(record)
        yield "flush", ()

    def _read(self, record: BagRecord) -> Iterator[Call]:
        adapter = adapter_of(record, self._node.humans_namespace)
        self.topics[adapter.input] = record.topic
        if adapter.input == "image":
            self.counts["frames"] += 1
        if not self._inputs.wants(adapter, record.topic, record.message, record.time):
            return
        value, problem = self._inputs.read(adapter, record.message, record.time)
        if problem:
            warning = self._warnings_by_topic.setdefault(record.topic, f"{record.topic}: {problem}")
            self.warnings[warning] += 1
            self.refused(adapter.input)
            if value is None:
                return
        if isinstance(value, Transcript):
            self.counts["final texts" if value.is_final else "partial texts"] += 1
            if value.is_final and value.start is not None and value.end is not None:
                self.texts.append((value.start, value.end))
        yield "feed", (value,)

    def refused(self, source: str) -> None:
        """Count an input of this source as refused by the pipeline."""
        self._inputs.refused(source)


class EstimateCollector:
    """Calls a pipeline and keeps its estimates.

    Args:
        topics: source of an input -> its topic, for warnings.
        advice: type of a `MicrophoneEvent` -> its meaning for the user.

    keeps_text: False: from now on rows have no text (`recording_allowed`).
    """

    def __init__(
        self, pipeline: Pipeline, topics: Mapping[str, str], advice: Mapping[str, str] = ADVICE
    ) -> None:
        self.rows: list[Row] = []
        self.keeps_text = True
        self.durations: list[int] = []  # ns, of the recognizer, one per estimate
        self.warnings: Counter[str] = Counter()
        self._pipeline = pipeline
        self._topics, self._advice = topics, advice
        self._warnings_by_topic: dict[str, str] = {}

    @property
    def bundle(self) -> BundleName:
        """Name, version and hash of the model package."""
        bundle = self._pipeline.bundle
        return BundleName(bundle.name, bundle.version, bundle.sha256)

    def counts(self) -> Counter[str]:
        """Return the counters of the pipeline."""
        recognition = self._pipeline.recognition
        counts = Counter(self._pipeline.perception.counters())
        counts += Counter({"utterances relabelled": recognition.counts["relabelled"]})
        excluded = recognition.texts_excluded()
        return counts + Counter({f"texts excluded: {name}": n for name, n in excluded.items()})

    def take(self, method: str, *arguments: Any) -> list[PipelineEvent]:
        """Call a method of the pipeline, keep its events and return them."""
        events: list[PipelineEvent] = getattr(self._pipeline, method)(*arguments)
        self.keep(events)
        return events

    def keep(self, events: Iterable[PipelineEvent]) -> None:
        """Update rows and warnings by events."""
        for event in events:
            if isinstance(event, EstimateEvent):
                estimate = event.estimate
                self.durations.append(estimate.latency_total)
                row = row_of_estimate(estimate, self._pipeline.bundle)
                if not self.keeps_text:
                    row = replace(row, text="")
                    self.warnings[TEXTS_LEFT_OUT] += 1
                self.rows = with_row(self.rows, row)
                reason = estimate.text_excluded
                excluded = TextExclusion(reason).explanation if reason else ""
                for note in estimate.notes:
                    result = f": these {WITHOUT_TEXT}" if note == excluded else ""
                    self.warnings[f"estimates: {note}{result}"] += 1
            elif isinstance(event, SpeakerCorrected):
                self.rows = relabelled(
                    self.rows, event.conversation_id, event.utterance_ids, event.after
                )
            elif isinstance(event, InputRefused):
                topic = self._topics.get(event.source, event.source)
                warning = self._warnings_by_topic.setdefault(topic, f"{topic}: {event.reason}")
                self.warnings[warning] += 1
            elif isinstance(event, InputLate):
                topic = self._topics.get(event.source, event.source)
                self.warnings[f"{topic}: messages that are older than the recording's clock"] += 1
            elif isinstance(event, get_args(MicrophoneEvent)):
                self.warnings[f"audio: {self._advice[type(event).__name__]}"] += 1
