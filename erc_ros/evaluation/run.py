"""Process a recording with the pipeline, as on the robot, through `erc_ros.replay`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from erc_ros.annotations.marks import TEXT_ALONE
from erc_ros.evaluation.records import Prediction
from erc_ros.inference.bundle import Bundle, load_bundle
from erc_ros.inference.label_map import read_label_map
from erc_ros.media.recognizers import SpeechRecognizer
from erc_ros.media.transcripts import Cue
from erc_ros.parameters import RobotConfig
from erc_ros.pipeline import EstimateEvent, PipelineEvent
from erc_ros.replay.consent import withheld_times
from erc_ros.replay.offline import TEXTS_LEFT_OUT, replay
from erc_ros.replay.part import PartOfRecording, TimeRange, check_part, time_of
from erc_ros.replay.progress import Progress, ReportingRecording
from erc_ros.replay.recording import open_recording
from erc_ros.replay.rows import Row
from erc_ros.resources import model_folder
from erc_ros.values.utterance import SAMPLE_RATE, Utterance

FRAME = SAMPLE_RATE // 50  # samples of one level measurement
LEFT_OUT = "recording_allowed is false: words, audio and faces of utterances are excluded"
QUIET = 10  # per cent of the frames of an utterance that count as its noise


@dataclass(frozen=True, slots=True)
class EvaluatedSystem:
    """A robot's parameters, and the name of this system in the results."""

    name: str
    robot: RobotConfig = field(default_factory=RobotConfig)

    def bundle(self) -> Bundle:
        """Return its models.

        Raises:
            BundleError, LabelMapError, FileNotFoundError: they cannot be used.
        """
        node = self.robot.emotion_node.recognition
        bundle = load_bundle(model_folder(node.bundle, "bundle.yaml"))
        label_map = read_label_map(node.label_map, bundle.labels)
        return bundle if label_map is None else label_map.bundle(bundle)

    def model_folders(self) -> list[Path]:
        """Return the folders and files of its models."""
        perception = self.robot.utterance_node.perception
        bundle = self.robot.emotion_node.recognition.bundle
        names = [bundle, perception.speaker_model, perception.segmentation_model]
        files = [Path(name) for name in (perception.face_model, perception.known_voices) if name]
        return [model_folder(name) for name in names if name not in ("", "none")] + files


def parse_time(option: str, text: str) -> int:
    """Convert a command-line option in seconds to ns.

    Raises:
        ValueError: not a finite number; the message names the option.
    """
    try:
        return time_of(float(text))
    except ValueError as error:
        raise ValueError(f"{option} {text}: must be a number of seconds") from error


@dataclass(frozen=True, slots=True)
class SystemAnswers:
    """The predictions for one recording. end: ns since the origin, of its last message.

    robot: (start, end) in ns since the origin, in which the robot spoke.
    """

    labels: tuple[str, ...]
    predictions: tuple[Prediction, ...]
    origin: int
    end: int
    warnings: Mapping[str, int]
    counts: Mapping[str, int]
    robot: tuple[tuple[int, int], ...] = ()


def answer(
    bag: Path,
    system: EvaluatedSystem,
    topics: Mapping[str, str],
    part: TimeRange | None = None,
    progress: Progress = lambda share: None,
    cues: Collection[Cue] = (),
    recognizer: SpeechRecognizer | None = None,
) -> SystemAnswers:
    """Feed a recording through the pipeline.

    Words, audio and face of an utterance are removed if `recording_allowed` was false at any time
    between its beginning and its estimate, also if it became false before the part.

    Raises:
        BagError, BundleError, SpeakerModelError, FileNotFoundError: as `replay` does.
    """
    utterances = _Utterances()
    labels = system.bundle().labels
    rate = system.robot.utterance_node.perception.face_rate
    part = part or TimeRange()
    config = system.robot.utterance_node.perception
    with open_recording(bag, cues, rate, recognizer, config) as recording:
        check_part(recording, part)
        withheld = withheld_times(recording)
        opened = PartOfRecording(ReportingRecording(recording, progress), part)
        result = replay(opened, topics, system.robot, utterances.watch)
        if opened.is_empty:
            check_part(recording, part, (opened.origin or 0, opened.last))
    origin = opened.origin or 0
    predictions = []
    warnings = Counter(result.warnings)
    for row in sorted(result.rows, key=lambda row: (row.start, row.end)):
        if not row.is_final:
            continue
        utterance, face, answered = utterances.of(row)
        prediction = _prediction(row, utterance, face, answered, origin)
        if withheld.touch(min(row.start, answered), answered):
            prediction = replace(prediction, text="", audio=None, face=None)
            warnings[LEFT_OUT] += 1
        predictions.append(prediction)
    del warnings[TEXTS_LEFT_OUT]  # included in LEFT_OUT
    return SystemAnswers(
        labels,
        tuple(predictions),
        origin,
        max(0, opened.last - origin),
        dict(sorted(warnings.items())),
        dict(sorted(result.counts.items())),
        opened.robot(),
    )


class _Utterances:
    """Audio and face of each utterance, and the time of its estimate."""

    def __init__(self) -> None:
        self._utterances: dict[tuple[str, str], tuple[Utterance, bytes | None, int]] = {}

    def watch(self, event: PipelineEvent, now: int) -> None:
        """Keep the utterance of an estimate, with one face: an hour's crops would fill memory."""
        if isinstance(event, EstimateEvent) and event.estimate.is_final:
            utterance = event.estimate.utterance
            key = utterance.conversation_id, utterance.utterance_id
            face = _png(utterance)
            self._utterances[key] = replace(utterance, faces=()), face, now

    def of(self, row: Row) -> tuple[Utterance, bytes | None, int]:
        return self._utterances[row.conversation_id, row.utterance_id]


def _png(utterance: Utterance) -> bytes | None:
    """Return the middle face crop."""
    if not utterance.faces:
        return None
    done, data = cv2.imencode(".png", utterance.faces[len(utterance.faces) // 2].pixels)
    return bytes(data) if done else None


def _prediction(
    row: Row, utterance: Utterance, face: bytes | None, answered: int, origin: int
) -> Prediction:
    confidence = utterance.speaker_confidence
    audio = utterance.audio if len(utterance.audio) else None
    modalities, weights = row.modalities, row.weights
    start, end = row.start - origin, row.end - origin
    if end <= start:  # a text without audio: the time of its arrival
        start = end - TEXT_ALONE
    start = max(0, start)  # a stamp may be before the arrival of the first message
    end = max(end, start + 1)
    return Prediction(
        utterance_id=row.utterance_id,
        conversation_id=row.conversation_id,
        start=start,
        end=end,
        speaker=row.speaker_id,
        text=row.text,
        label=row.most_probable,
        is_unknown=not row.label,
        confidence=row.confidence,
        probabilities=np.array(list(row.probabilities.values()), np.float64),
        valence=row.valence,
        arousal=row.arousal,
        modalities=(modalities["text"], modalities["audio"], modalities["visual"]),
        weights=(weights["text"], weights["audio"], weights["visual"]),
        speaker_confidence=None if np.isnan(confidence) else round(float(confidence), 6),
        overlap=row.overlap,
        latency=max(0, answered - row.end),
        signal_to_noise=None if audio is None else signal_to_noise(audio),
        audio=audio,
        face=face,
        why=row.why,
        person=row.person_id,
    )


def signal_to_noise(audio: NDArray[np.int16]) -> float | None:
    """Estimate the signal-to-noise ratio (dB, 0 to 60); None: too short or silent.

    The quietest frames (20 ms), between words, give the noise; the mean over all frames gives
    speech plus noise.
    """
    frames = audio[: len(audio) // FRAME * FRAME].reshape(-1, FRAME).astype(np.float64)
    if len(frames) < 10:
        return None
    power = np.square(frames).mean(axis=1)
    noise, whole = float(np.percentile(power, QUIET)), float(power.mean())
    if whole <= 0:
        return None
    speech = max(whole - noise, whole * 1e-6)
    return round(float(np.clip(10 * np.log10(speech / max(noise, 1e-9)), 0, 60)), 2)
