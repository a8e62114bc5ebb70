"""Any recording for replay: a rosbag2, or a media file with its transcript."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator
from operator import attrgetter
from pathlib import Path
from types import TracebackType

from erc_ros.media.files import ORIGIN, SUFFIXES, MediaFile
from erc_ros.media.recognizers import RecognizedSpeech, SpeechRecognizer
from erc_ros.media.transcripts import Cue, TranscriptError, check_fit, transcripts_of
from erc_ros.replay.bag import VALUES, Bag, BagRecord, OpenRecording, Topic
from erc_ros.values.bounds import TEXT
from erc_ros.values.nanoseconds import NS
from erc_ros.values.transcript import Transcript

IMAGE, SPEECH = "/image", "/speech"
FRAME_RATE = 5.0  # Hz


class MediaRecording:
    """A media file and its transcript as a recording.

    Time 0 of the file is `media.files.ORIGIN`. A text arrives 0.3 s after its words have ended.

    Its topics are `/image`, `/speech`, and `/audio`, `/audio1`, ... for its audio tracks.

    Args:
        path: the media file.
        cues: its transcript; empty: there is none.
        frame_rate: Hz; at most so many frames per second are decoded to pixels.
        recognizer: reads the first audio track that is used, where there is no transcript.

    Raises:
        MediaError: the file cannot be used. TranscriptError: it is that of another recording.
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
        """Times (ns) of its beginning and end; (0, 0) where the file does not say."""
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
        """The audio of a track, and what is recognized in it when its segment has ended."""
        speech = None if recognizer is None else RecognizedSpeech(recognizer)
        now = ORIGIN
        for chunk in self._media.chunks(track):
            now = chunk.arrival
            yield BagRecord(now, topic, VALUES["audio"], chunk)
            if speech is not None:
                yield from _recognized(speech.feed(chunk), now)
        if speech is not None:
            yield from _recognized(speech.flush(), now)

    def close(self) -> None:
        """Nothing is kept open between calls."""

    def __enter__(self) -> MediaRecording:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _recognized(cues: Collection[Cue], now: int) -> Iterator[BagRecord]:
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
        yield BagRecord(now, SPEECH, VALUES["speech"], text)


def is_media(path: Path) -> bool:
    """Return whether a path is named like a media file."""
    return path.suffix.casefold() in SUFFIXES and not path.is_dir()


def open_recording(
    path: Path,
    cues: Collection[Cue] = (),
    frame_rate: float = FRAME_RATE,
    recognizer: SpeechRecognizer | None = None,
) -> OpenRecording:
    """Open a rosbag2, or a media file with its transcript.

    Raises:
        BagError, MediaError, TranscriptError, FileNotFoundError: it cannot be used.
    """
    if not is_media(path):
        if cues or recognizer is not None:
            raise TranscriptError(
                f"{path} is a rosbag2: its transcript is a topic; --transcript and "
                "--recognizer are for media files"
            )
        return Bag(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give a media file or a rosbag2 folder")
    return MediaRecording(path, cues, frame_rate, recognizer)
