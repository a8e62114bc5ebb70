"""Evaluate one recording with one system: predictions, annotations and their matches."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnxruntime

import erc_ros
from erc_ros.annotations import read
from erc_ros.annotations.agreement import ADJUDICATED, consensus
from erc_ros.annotations.joining import (
    LabelMap,
    check_times,
    join,
    of_recording,
    read_label_map,
    read_tiers,
)
from erc_ros.annotations.marks import AnnotationError, Mark
from erc_ros.annotations.records import Annotations, Segment, TierReading
from erc_ros.evaluation import run
from erc_ros.evaluation.matching import covered, match, unedited
from erc_ros.evaluation.records import Recording
from erc_ros.evaluation.run import EvaluatedSystem, answer
from erc_ros.evaluation.transcripts import cues_for, find_transcript, recognizer_for
from erc_ros.replay.clocks import clock_difference
from erc_ros.replay.part import TimeRange, check_part
from erc_ros.replay.progress import Progress
from erc_ros.replay.recording import open_recording, recording_files
from erc_ros.values.files import explain
from erc_ros.values.nanoseconds import NS
from erc_ros.values.settings import values_of

_CHUNK = 2**20  # bytes


@dataclass(frozen=True, slots=True)
class Annotator:
    """One of several people who annotated a recording.

    files, shared: see `EvaluationJob`. offset: ns, added to the times of the annotations.
    """

    name: str
    files: tuple[Path, ...]
    shared: tuple[Path, ...] = ()
    offset: int = 0


@dataclass(frozen=True, slots=True)
class EvaluationJob:
    """One recording to evaluate with one system.

    Attributes:
        name: of the recording, unique. truth: its files; shared: files that name their recordings.
        label_map, tiers: files that define the meaning of labels and tiers.
        topics: (role, topic) pairs that the user chose. offset: ns, added to annotated times.
        with_media: False excludes audio and faces.
        transcript: of a media file; None: the subtitle file of its name, if there is one.
        recognizer, language: of the speech recognizer that replaces it; empty: not used.
        annotators: where several are named; `truth` and `shared` are then empty.
    """

    name: str
    bag: Path
    system: EvaluatedSystem
    truth: tuple[Path, ...] = ()
    shared: tuple[Path, ...] = ()
    label_map: Path | None = None
    tiers: Path | None = None
    topics: tuple[tuple[str, str], ...] = ()
    part: TimeRange = field(default_factory=TimeRange)
    offset: int = 0
    with_media: bool = True
    transcript: Path | None = None
    recognizer: str = ""
    language: str = ""
    annotators: tuple[Annotator, ...] = ()


def evaluate(job: EvaluationJob, progress: Progress = lambda share: None) -> Recording:
    """Return the recording with annotations, predictions and matches; see `Recording.error`."""
    return joined(job, answered(job, progress))


def answered(job: EvaluationJob, progress: Progress = lambda share: None) -> Recording:
    """Return the recording with predictions only: the slow part, independent of annotations."""
    try:
        cues = cues_for(job.bag, job.transcript, recognizer=job.recognizer)
        recognizer = recognizer_for(job.recognizer, job.language)
        predicted = answer(
            job.bag, job.system, dict(job.topics), job.part, progress, cues, recognizer
        )
    except (ValueError, OSError, RuntimeError) as error:
        return _failed(job, error)
    predictions = predicted.predictions
    if not job.with_media:
        predictions = tuple(replace(each, audio=None, face=None) for each in predictions)
    return Recording(
        job.name,
        job.system.name,
        predicted.origin,
        predicted.end,
        predicted.labels,
        None,
        predictions,
        (),
        predicted.warnings,
        predicted.counts,
        robot=predicted.robot,
    )


def joined(job: EvaluationJob, recording: Recording) -> Recording:
    """Return the recording with annotations and matches."""
    if recording.error:
        return recording
    annotators: dict[str, tuple[Segment, ...]] = {}
    try:
        if job.annotators:
            truths = {
                each.name: truth
                for each, own in annotator_jobs(job)
                if (truth := _truth(own, read_truth(own), recording, each.name)) is not None
            }
            final = truths.pop(ADJUDICATED, None)
            annotators = {name: truth.segments for name, truth in truths.items()}
            truth = consensus(truths, final) if truths else final
        else:
            truth = _truth(job, read_truth(job), recording)
    except (ValueError, OSError) as error:
        return _failed(job, error)
    matches = () if truth is None else match(truth.segments, recording.predictions)
    return replace(recording, truth=truth, matches=matches, annotators=annotators)


def annotator_jobs(job: EvaluationJob) -> list[tuple[Annotator, EvaluationJob]]:
    """Return each annotator with a job that has this annotator's annotations."""
    return [
        (
            each,
            replace(job, truth=each.files, shared=each.shared, offset=each.offset, annotators=()),
        )
        for each in job.annotators
    ]


def check(job: EvaluationJob, labels: Sequence[str]) -> tuple[TierReading, ...]:
    """Check the annotations of a job before the pipeline runs; return how each tier is read.

    Raises:
        AnnotationError: they cannot be used, or are of another recording.
        BagError: the part is not within the recording.
    """
    if job.annotators:
        return tuple(reading for _, own in annotator_jobs(job) for reading in check(own, labels))
    marks, mapping = read_truth(job)
    marks, readings = read_tiers(marks, mapping, labels)
    try:
        recording = open_recording(job.bag)
    except (ValueError, OSError, RuntimeError):
        return readings  # reported with its recording; the other jobs continue
    with recording:
        check_part(recording, job.part)
        first, last = recording.span
    if marks and last:
        check_times(marks, (first, last), job.offset)
    return readings


def read_truth(job: EvaluationJob) -> tuple[list[Mark], LabelMap]:
    """Return its annotations, and the meaning of labels and tiers.

    Raises:
        AnnotationError: they cannot be read.
    """
    of_labels = LabelMap() if job.label_map is None else read_label_map(job.label_map)
    of_tiers = LabelMap() if job.tiers is None else read_label_map(job.tiers, "tiers")
    mapping = LabelMap(
        {**of_tiers.labels, **of_labels.labels}, {**of_labels.tiers, **of_tiers.tiers}
    )
    return list(_marks(job)), mapping


def _failed(job: EvaluationJob, error: Exception) -> Recording:
    reason = explain(error) if isinstance(error, OSError) and error.errno else str(error)
    return Recording(job.name, job.system.name, 0, 0, (), error=reason or repr(error))


def _marks(job: EvaluationJob) -> Iterator[Mark]:
    for path in job.truth:
        yield from of_recording(read(path), job.name)
    for path in job.shared:
        named = [mark for mark in read(path) if mark.recording == job.name]
        yield from named


def _truth(
    job: EvaluationJob,
    read: tuple[Sequence[Mark], LabelMap],
    recording: Recording,
    name: str = "",
) -> Annotations | None:
    """Return the annotation of a recording, by the annotator `name` if several are named."""
    marks, mapping = read
    if not job.truth and not marks:
        return None
    truth = join(
        marks,
        origin=recording.origin,
        duration=recording.duration,
        labels=recording.labels,
        mapping=mapping,
        offset=job.offset,
    )
    kept = tuple(each for each in truth.segments if each.start >= job.part.start)
    left = len(truth.segments) - len(kept)
    if left and not kept:
        raise AnnotationError("all annotations are before --from: there is nothing to compare with")
    repaired = Counter(truth.repaired) + Counter({"segments before --from, excluded": left})
    notices = truth.notices
    if late := clock_difference(kept, recording.predictions):
        notices += (
            f"{', '.join(truth.files)}: the annotations fit the speech clearly better if moved by "
            f"{-late / NS:+.1f} s: a different clock? Check it, and give --offset "
            f"{name and name + '='}{(job.offset - late) / NS:.1f}",
        )
    unannotated = sum(not covered(each, kept) for each in recording.predictions)
    if not late and 2 * unannotated > len(recording.predictions):
        notices += (
            f"{unannotated} of {len(recording.predictions)} utterances are at times without "
            "annotation, which DER, TEER and cpWER count as errors: was only a part of the "
            "recording, or of the people, annotated?",
        )
    if equal := unedited(kept, recording.predictions, recording.duration):
        notices += (_unedited(equal, len(kept), name),)
    return replace(truth, segments=kept, repaired=dict(sorted(repaired.items())), notices=notices)


def _unedited(equal: int, total: int, name: str) -> str:
    """A sentence on annotations that equal the estimates."""
    of = f"{name}: " if name else ""
    if equal == total:
        return (
            f"{of}all {total} annotations equal the estimates in times, words and emotions, as in "
            "a draft of `erc annotate` without edits: the scores do not measure accuracy"
        )
    return (
        f"{of}{equal} of {total} annotations equal an estimate in times, words and emotion, as in "
        "a draft of `erc annotate`: unless an annotator confirmed them, the scores are too high"
    )


def key(job: EvaluationJob) -> str:
    """Return a hash of everything on which the predictions depend.

    Raises:
        OSError, ValueError: one of these files cannot be read.
    """
    values = {
        "name": job.name,
        "topics": sorted(job.topics),
        "part": [job.part.start, job.part.end],
        "with_media": job.with_media,
        "recognizer": [job.recognizer, job.language],
        "system": job.system.name,
        "parameters": [
            values_of(node)
            for node in (job.system.robot.utterance_node, job.system.robot.emotion_node)
        ],
        "libraries": [np.__version__, onnxruntime.__version__],
    }
    total = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    transcript = find_transcript(job.bag) if job.transcript is None else job.transcript
    groups = [
        recording_files(job.bag),
        [] if transcript is None else [transcript],
        job.system.model_folders(),
        _sources(),
    ]
    for group in groups:
        for path in group:
            for file in _files(path):
                total.update(f"\0{file.name}\0".encode())
                with file.open("rb") as stream:
                    while chunk := stream.read(_CHUNK):
                        total.update(chunk)
        total.update(b"\0\0")
    return total.hexdigest()


def _sources() -> list[Path]:
    """Return the source files of this package that compute predictions."""
    package = Path(erc_ros.__file__).parent
    names = {"cli.py", "demo", "evaluation", "metrics", "nodes", "training"}
    return [*(p for p in sorted(package.iterdir()) if p.name not in names), Path(run.__file__)]


def _files(path: Path) -> list[Path]:
    """Return the file, or the files of the folder without compiled Python."""
    if not path.is_dir():
        return [path]
    files = (file for file in path.rglob("*") if file.is_file())
    return sorted(file for file in files if "__pycache__" not in file.parts)
