"""The Python interface for recordings and single utterances: `analyze` and `estimate`."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import soxr
from numpy.typing import NDArray

from erc_ros.evaluation.transcripts import cues_for, recognizer_for
from erc_ros.inference.estimate import Estimate
from erc_ros.parameters import RobotConfig
from erc_ros.pipeline import Recognition, RecognitionConfig, crop_size
from erc_ros.replay.offline import replay
from erc_ros.replay.recording import open_recording
from erc_ros.replay.rows import BundleName, Row
from erc_ros.sensing.audio import MAX_RATE, MIN_RATE
from erc_ros.sensing.faces import CROP_SIZE, observe_crop
from erc_ros.sensing.frames import Frame
from erc_ros.values.bounds import PIXELS, UTTERANCE_SAMPLES
from erc_ros.values.events import UtteranceEvent
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import SAMPLE_RATE, FaceCrop, Utterance, speaker_name

if TYPE_CHECKING:
    import pandas as pd
    from pyannote.core import Annotation


@dataclass(frozen=True)
class EmotionSegment:
    """The estimate of one utterance. start, end: s from the start of the recording.

    speaker: a person's name where it is known, else "speaker 1", ...; "" for no speaker.
    emotion: "" where the confidence is below `min_confidence`. probabilities: label -> probability.
    weights: modality ("text", "audio", "visual") -> its share in the result, 0 if it was missing.
    """

    start: float
    end: float
    speaker: str
    text: str
    emotion: str
    confidence: float
    valence: float
    arousal: float
    probabilities: dict[str, float]
    weights: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a flat dictionary; probabilities as `p_joy`, weights as `w_text`."""
        values: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("start", "end", "speaker", "text", "emotion", "confidence")
        }
        values |= {"valence": self.valence, "arousal": self.arousal}
        values |= {f"p_{label}": value for label, value in self.probabilities.items()}
        return values | {f"w_{name}": value for name, value in self.weights.items()}


class Analysis(Sequence[EmotionSegment]):
    """The estimates of a recording, sorted by time.

    bundle: the models. warnings: missing or unreadable inputs, with counts.
    """

    def __init__(
        self, segments: Sequence[EmotionSegment], bundle: BundleName, warnings: Counter[str]
    ) -> None:
        self._segments = tuple(segments)
        self.bundle = bundle
        self.warnings = warnings

    def __len__(self) -> int:
        return len(self._segments)

    @overload
    def __getitem__(self, index: int) -> EmotionSegment: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[EmotionSegment, ...]: ...

    def __getitem__(self, index: int | slice) -> EmotionSegment | tuple[EmotionSegment, ...]:
        return self._segments[index]

    def __iter__(self) -> Iterator[EmotionSegment]:
        return iter(self._segments)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as values that `json.dumps` writes: bundle, warnings, segments."""
        bundle = {"name": self.bundle.name, "version": self.bundle.version}
        warnings = dict(sorted(self.warnings.items()))
        return {"bundle": bundle, "warnings": warnings, "segments": self.to_dicts()}

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return one flat dictionary for each utterance."""
        return [segment.to_dict() for segment in self]

    def to_pandas(self) -> pd.DataFrame:
        """Return a table with one row for each utterance (needs pandas)."""
        import pandas as pd

        return pd.DataFrame(self.to_dicts())

    def to_annotation(self, of: str = "emotion") -> Annotation:
        """Return a `pyannote.core.Annotation` of the emotions or of the speakers.

        Args:
            of: "emotion" or "speaker".
        """
        from pyannote.core import Annotation, Segment

        if of not in ("emotion", "speaker"):
            raise ValueError(f"of is {of!r}; must be 'emotion' or 'speaker'")
        annotation = Annotation()
        for number, segment in enumerate(self):
            if label := getattr(segment, of):
                annotation[Segment(segment.start, segment.end), number] = label
        return annotation


def analyze(
    recording: str | Path,
    transcript: str | Path | None = None,
    *,
    recognizer: str | None = None,
    language: str = "",
    bundle: str = "edge-small",
    **parameters: Any,
) -> Analysis:
    """Estimate who expressed which emotion, and when, in a recording.

    Args:
        recording: a video or audio file, or a rosbag2.
        transcript: words and times of a media file (SRT, WebVTT, Whisper JSON, CSV, ELAN, ...);
            None: the subtitle file of the same name, if there is one.
        recognizer: speech recognizer in place of a transcript, such as "faster-whisper:small.en".
        language: code of the spoken language, for the recognizer; "": unknown.
        bundle: the model package, a folder or a name in `models/`.
        parameters: ROS parameters of the nodes, such as `min_confidence=0.5`.

    Raises:
        ValueError, FileNotFoundError: the recording, transcript or a parameter cannot be used.

    Example:
        >>> import erc_ros
        >>> for segment in erc_ros.analyze("talk.mp4", "talk.srt"):
        ...     print(segment.start, segment.speaker, segment.emotion, segment.confidence)
    """
    path = Path(recording)
    robot = RobotConfig().changed(bundle=bundle, **parameters)
    reader = recognizer_for(recognizer, language)
    cues = cues_for(
        path, None if transcript is None else Path(transcript), recognizer=recognizer or ""
    )
    perception = robot.utterance_node.perception
    with open_recording(path, cues, perception.face_rate, reader, perception) as opened:
        result = replay(opened, {}, robot)
    rows = sorted((row for row in result.rows if row.is_final), key=lambda row: row.start)
    segments = [_segment(row, result.origin) for row in rows]
    return Analysis(segments, result.bundle, result.warnings)


def _segment(row: Row, origin: int) -> EmotionSegment:
    return EmotionSegment(
        start=max(0.0, round((row.start - origin) / NS, 3)),
        end=max(0.0, round((row.end - origin) / NS, 3)),
        speaker=speaker_name(row.speaker_id, row.person_id),
        text=row.text,
        emotion=row.label,
        confidence=row.confidence,
        valence=row.valence,
        arousal=row.arousal,
        probabilities=row.probabilities,
        weights=row.weights,
    )


@functools.lru_cache(maxsize=2)
def _recognition(bundle: str, device: str) -> Recognition:
    return Recognition(RecognitionConfig(bundle=bundle, device=device))


def estimate(
    text: str = "",
    audio: NDArray[Any] | None = None,
    face: NDArray[np.uint8] | None = None,
    *,
    rate: int = 16_000,
    bundle: str = "edge-small",
    device: str = "cpu",
) -> Estimate:
    """Estimate the emotion of one utterance without its conversation.

    Args:
        text: the transcript of the utterance.
        audio: (n,) or (n, channels) samples; int16, or float in [-1, 1].
        face: (height, width, 3) uint8 BGR image of the speaker's face, as `cv2.imread` reads it.
        rate: Hz, of the audio. bundle: the model package. device: see the parameter `device`.

    Raises:
        ValueError: nothing is given, or an array has the wrong type, shape or size.

    Example:
        >>> erc_ros.estimate(text="I got the job!").label
        'joy'
    """
    if not text.strip() and audio is None and face is None:
        raise ValueError("give at least one of text, audio and face")
    recognition = _recognition(bundle, device)
    samples = np.zeros(0, np.int16) if audio is None else _speech(audio, rate)
    end = NS + len(samples) * NS // SAMPLE_RATE
    faces = () if face is None else (_crop(face, bundle, end),)
    utterance = Utterance(
        "single", "u1", start=NS, end=end, text=text, speaker_id="0", audio=samples, faces=faces
    )
    recognition.reset()
    (event,) = recognition.feed(UtteranceEvent(utterance))
    recognition.reset()
    return event.estimate


def _speech(audio: NDArray[Any], rate: int) -> NDArray[np.int16]:
    """Convert audio to (n,) int16 at 16 kHz."""
    if not MIN_RATE <= rate <= MAX_RATE:
        raise ValueError(f"rate is {rate}; must be {MIN_RATE} to {MAX_RATE} Hz")
    samples = np.asarray(audio)
    if samples.dtype.kind not in "fi":
        raise ValueError("audio must be an array of samples; for a file use erc_ros.analyze")
    if samples.dtype.kind == "f":
        if not np.isfinite(samples).all() or np.abs(samples).max(initial=0.0) > 1.0 + 1e-3:
            raise ValueError("float audio must be finite and within [-1, 1]")
    elif samples.dtype != np.int16:
        raise ValueError(f"audio is {samples.dtype}; must be int16, or float in [-1, 1]")
    if samples.ndim == 1:
        samples = samples[:, None]
    if samples.ndim != 2 or not 1 <= samples.shape[1] <= 8:
        raise ValueError(f"audio has the shape {audio.shape}; must be (n,) or (n, channels)")
    if len(samples) > UTTERANCE_SAMPLES * rate // SAMPLE_RATE:
        raise ValueError(f"audio lasts {len(samples) / rate:.0f} s; at most 60 s are one utterance")
    scale = 1.0 if samples.dtype.kind == "f" else 1 / 32768
    mono = samples.astype(np.float32).mean(axis=1) * np.float32(scale)
    whole = soxr.resample(mono, rate, SAMPLE_RATE)
    return np.asarray(np.clip(np.rint(whole * 32768), -32768, 32767), np.int16)


def _crop(face: NDArray[np.uint8], bundle: str, stamp: int) -> FaceCrop:
    pixels = np.ascontiguousarray(face)
    if not isinstance(face, np.ndarray):
        raise ValueError("face must be an image array, as cv2.imread returns it for a file")
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"face is {face.dtype} {face.shape}; must be uint8 (height, width, 3)")
    height, width = pixels.shape[:2]
    if not 0 < height * width <= PIXELS:
        raise ValueError(f"face has {height} x {width} pixels; must be 1 to {PIXELS}")
    frame = Frame(stamp, "bgr8", width, height, width * 3, pixels.tobytes())
    crop = observe_crop("face", frame, max(CROP_SIZE, crop_size(bundle))).crop
    assert crop is not None
    return crop
