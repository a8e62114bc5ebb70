"""Recordings for replay: a rosbag2, or a media file with its transcript."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from operator import attrgetter
from pathlib import Path
from types import TracebackType

import numpy as np

from erc_ros.adapters import ADAPTERS, types_of
from erc_ros.media.files import ORIGIN, SUFFIXES, MediaFile
from erc_ros.media.recognizers import RecognizedSpeech, SpeechRecognizer
from erc_ros.media.transcripts import Cue, TranscriptError, check_fit, transcripts_of
from erc_ros.pipeline import PerceptionConfig, microphone_of
from erc_ros.replay.bag import (
    BAG_SUFFIXES,
    LIVE_SPEECH,
    VALUES,
    Bag,
    BagError,
    BagRecord,
    OpenRecording,
    Topic,
    carries_its_role,
)
from erc_ros.replay.session import SUFFIX, SessionRecording, is_session, read_session
from erc_ros.sensing.audio import AudioFormat, AudioSamples
from erc_ros.sensing.microphone import AudioChunk
from erc_ros.values.bounds import TEXT
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.transcript import Transcript
from erc_ros.values.utterance import SAMPLE_RATE

IMAGE, SPEECH = "/image", "/speech"
RECOGNIZED = "/recognized_speech"  # texts of a speech recognizer that is run on a rosbag2
FRAME_RATE = 5.0  # Hz
MIN_DIFFERENCE = seconds(2.0)  # reported difference between the ends of two tracks
_FORMAT = AudioFormat(SAMPLE_RATE, 1, "S16LE")


class MediaRecording:
    """A media file and its transcript as a recording.

    Time 0 of the file is `media.files.ORIGIN`. A text arrives 0.3 s after its words have ended.

    Its topics are `/image`, `/speech`, and `/audio`, `/audio1`, ... for its audio tracks.

    Args:
        path: the media file.
        cues: its transcript; empty: none.
        frame_rate: maximum number of frames per second that are decoded (Hz).
        recognizer: transcribes the first used audio track if there is no transcript.

    Raises:
        MediaError: the file cannot be used. TranscriptError: it belongs to another recording.
    """

    def __init__(
        self,
        path: Path,
        cues: Collection[Cue] = (),
        frame_rate: float = FRAME_RATE,
        recognizer: SpeechRecognizer | None = None,
    ) -> None:
        self.path = path
        self._media = MediaFile(path)
        self._frame_rate = frame_rate
        self._recognizer = None if cues else recognizer
        check_fit(list(cues), self._media.duration)
        self._transcripts = transcripts_of(cues)
        self.warnings = self._media.warnings
        if not self._media.audio:
            self.warnings["the file has no audio track"] += 1
        if self._media.video is None:
            self.warnings["the file has no video track"] += 1
        if self._media.audio and self._media.video is not None:
            _compare_ends(self._media.audio[0].end, self._media.video.end, self.warnings)
        self._tracks = {f"/audio{track or ''}": track for track in range(len(self._media.audio))}
        length = self._media.duration / NS
        self.topics = [
            Topic(name, VALUES["audio"], max(1, round(length * 10))) for name in self._tracks
        ]
        if self._media.video is not None:
            self.topics.append(Topic(IMAGE, VALUES["image"], max(1, round(length * frame_rate))))
        if self._transcripts or self._recognizer is not None:
            self.topics.append(Topic(SPEECH, VALUES["speech"], max(1, len(self._transcripts))))

    @property
    def span(self) -> tuple[int, int]:
        """Times (ns) of its start and end; (0, 0) if the file does not state its duration."""
        length = self._media.duration
        return (ORIGIN, ORIGIN + length) if length else (0, 0)

    def messages(self, topics: Collection[str]) -> Iterator[BagRecord]:
        """Yield values in the order of their arrival; the first one marks time 0."""
        sources: list[Iterator[BagRecord]] = []
        recognizer = self._recognizer if SPEECH in topics else None
        for name, track in self._tracks.items():
            if name in topics:
                sources.append(self._audio(name, track, recognizer))
                recognizer = None
        if IMAGE in topics and self._media.video is not None:
            sources.append(
                BagRecord(frame.stamp, IMAGE, VALUES["image"], frame)
                for frame in self._media.frames(self._frame_rate)
            )
        if SPEECH in topics:
            sources.append(
                BagRecord(text.arrival, SPEECH, VALUES["speech"], text)
                for text in self._transcripts
            )
        if sources:
            yield BagRecord(ORIGIN, SPEECH, VALUES["speech"], None)
        yield from heapq.merge(*sources, key=attrgetter("time"))

    def _audio(
        self, topic: str, track: int, recognizer: SpeechRecognizer | None
    ) -> Iterator[BagRecord]:
        """Yield the audio of a track, and recognized texts when their segments have ended."""
        speech = None if recognizer is None else RecognizedSpeech(recognizer)
        now = ORIGIN
        for chunk in self._media.chunks(track):
            now = chunk.arrival
            yield BagRecord(now, topic, VALUES["audio"], chunk)
            if speech is not None:
                yield from recognized(speech.feed(chunk), now)
        if speech is not None:
            yield from recognized(speech.flush(), now)

    def close(self) -> None:
        """Do nothing: no file is kept open between calls."""

    def __enter__(self) -> MediaRecording:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _compare_ends(audio: int, video: int, warnings: Counter[str]) -> None:
    """Warn of a track that ends long before the other one (ns; 0: unknown)."""
    first, last = sorted((audio, video))
    if first and last - first > max(MIN_DIFFERENCE, last // 10):
        name, lacks = ("video", "a face") if video < audio else ("audio", "a voice")
        warnings[
            f"{name} ends at {first / NS:.1f} s of {last / NS:.1f} s: later utterances lack {lacks}"
        ] += 1


class RecognizedBag(Bag):
    """A rosbag2 whose texts come from a speech recognizer instead of its own speech topics.

    Args:
        path: the rosbag2.
        recognizer: transcribes the used audio topic.
        config: configuration of the microphone; None: the defaults.

    Raises:
        BagError: it cannot be used. TranscriptError: it has no audio topic.
    """

    def __init__(
        self, path: Path, recognizer: SpeechRecognizer, config: PerceptionConfig | None = None
    ) -> None:
        super().__init__(path)
        self._recognizer = recognizer
        self._config = PerceptionConfig() if config is None else config
        if not any(topic.type in types_of("audio") for topic in self.topics):
            self.close()
            raise TranscriptError(f"{path} has no audio topic to recognize speech in")
        kinds = {*types_of("speech"), LIVE_SPEECH}
        named = sorted(t.name for t in self.topics if t.type in kinds and carries_its_role(t))
        if named:
            self.warnings[f"speech: recognized again, without {', '.join(named)}"] += 1
        self.topics = [topic for topic in self.topics if topic.name not in named]
        self.topics.append(Topic(RECOGNIZED, VALUES["speech"], 1))

    def messages(self, topics: Collection[str]) -> Iterator[BagRecord]:
        """Yield messages in the order of time, and texts when their segments have ended."""
        records = super().messages(set(topics) - {RECOGNIZED})
        if RECOGNIZED not in topics:
            yield from records
            return
        speech, microphone = RecognizedSpeech(self._recognizer), microphone_of(self._config)
        roles = {topic.name: _role(topic) for topic in self.topics if topic.name in topics}
        microphone.expects_info = "audio_info" in roles.values()
        now = 0
        for record in records:
            now = record.time
            yield record
            if roles.get(record.topic) not in ("audio", "audio_info"):
                continue
            try:
                value = ADAPTERS[record.type].read(record.message, record.time)
                if isinstance(value, AudioFormat):
                    microphone.inform(value)
                elif isinstance(value, AudioChunk):
                    yield from _recognized(microphone.feed(value), speech, now)
            except (ValueError, TypeError, AttributeError):
                continue  # the replay counts and reports it
        yield from _recognized(microphone.flush(), speech, now)
        yield from recognized(speech.flush(), now, RECOGNIZED)


def _role(topic: Topic) -> str:
    return ADAPTERS[topic.type].input if topic.type in ADAPTERS else ""


def _recognized(
    events: Iterable[object], speech: RecognizedSpeech, now: int
) -> Iterator[BagRecord]:
    for event in events:
        if isinstance(event, AudioSamples):
            samples = np.clip(np.rint(event.samples * 32768), -32768, 32767).astype("<i2")
            chunk = AudioChunk(samples.tobytes(), event.start, now, format=_FORMAT)
            yield from recognized(speech.feed(chunk), now, RECOGNIZED)


def recognized(cues: Collection[Cue], now: int, topic: str = SPEECH) -> Iterator[BagRecord]:
    """Yield the texts of cues (on the clock of the recording) as received at `now` (ns)."""
    for cue in cues:
        text = Transcript(
            cue.text[:TEXT],
            arrival=now,
            start=cue.start,
            end=cue.end,
            words=cue.words,
            confidence=cue.confidence,
            locale=cue.locale,
        )
        yield BagRecord(now, topic, VALUES["speech"], text)


def is_media(path: Path) -> bool:
    """Return whether a path has the suffix of a media file or of a session of several."""
    return is_session(path) or (path.suffix.casefold() in SUFFIXES and not path.is_dir())


def recording_name(path: Path) -> str:
    """Return the name of a recording in results."""
    return path.name[: -len(SUFFIX)] if is_session(path) else path.resolve().stem


def recording_files(path: Path) -> list[Path]:
    """Return the recording and, for a session, its files."""
    return [path, *(file.path for file in read_session(path).files)] if is_session(path) else [path]


def duration(path: Path) -> int:
    """Return the duration of a media file or session (ns); 0 if it is not stated."""
    with open_recording(path) as recording:
        return recording.span[1] - recording.span[0]


def _check_is_bag(path: Path) -> None:
    """Check that a path is a rosbag2, before the library for rosbags is imported.

    Raises:
        FileNotFoundError: the path does not exist. BagError: it is not a recording.
    """
    if "://" in str(path):
        raise BagError(f"{path} is a URL: download the file first")
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give a media file or a rosbag2 folder")
    names = [each.name for each in path.iterdir()] if path.is_dir() else [path.name]
    if any(name.endswith(BAG_SUFFIXES) or name == "metadata.yaml" for name in names):
        return
    kinds = ", ".join(SUFFIXES)
    raise BagError(
        f"{path} is not a recording: give a rosbag2 (its folder, .mcap or .db3) or a media file "
        f"({kinds})"
    )


def open_recording(
    path: Path,
    cues: Collection[Cue] = (),
    frame_rate: float = FRAME_RATE,
    recognizer: SpeechRecognizer | None = None,
    config: PerceptionConfig | None = None,
) -> OpenRecording:
    """Open a rosbag2, a media file, or a session of several, with its transcript.

    Args:
        cues: transcript of a media file. frame_rate: frame rate of a media file (Hz).
        recognizer: transcribes the audio if there is no transcript.
        config: configuration of the microphone of a rosbag2.

    Raises:
        BagError, MediaError, TranscriptError, FileNotFoundError: it cannot be used.
    """
    if not is_media(path):
        _check_is_bag(path)
        if cues:
            raise TranscriptError(
                f"{path} is a rosbag2: its transcript is a topic; --transcript is for media files"
            )
        if recognizer is not None:
            return RecognizedBag(path, recognizer, config)
        return Bag(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give a media file or a rosbag2 folder")
    kind = SessionRecording if is_session(path) else MediaRecording
    return kind(path, cues, frame_rate, recognizer)
