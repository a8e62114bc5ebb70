"""A live session: sources, pipeline and observers."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from erc_ros.input_reader import InputReader
from erc_ros.live.feeds import Feeds, Value
from erc_ros.media.devices import Clock, Source
from erc_ros.media.recognizers import SpeechRecognizer
from erc_ros.pipeline import EstimateEvent, Pipeline
from erc_ros.replay.offline import EstimateCollector
from erc_ros.replay.rows import Row
from erc_ros.sensing.faces import FaceObservation
from erc_ros.sensing.frames import Frame
from erc_ros.sensing.microphone import AudioChunk
from erc_ros.values.transcript import Transcript

KEPT_ROWS = 200  # the most recent estimates, passed to observers
_KEPT_DURATIONS = 20


class Observer:
    """Receives the events of a session; each method may be overridden.

    The thread of `LiveSession.run` calls them.
    """

    def begin(self, origin: int) -> None:
        """The session begins at `origin` (ns)."""

    def on_audio(self, chunk: AudioChunk) -> None:
        """Audio was received."""

    def on_image(self, frame: Frame, faces: Sequence[FaceObservation]) -> None:
        """An image was received; `faces`: the last detections."""

    def on_text(self, text: Transcript) -> None:
        """Speech was recognized."""

    def estimate(self, row: Row, rows: Sequence[Row]) -> None:
        """An estimate was made; `rows`: the most recent ones, with corrected speakers."""

    def note(self, text: str) -> None:
        """A message for the user, such as an unplugged device."""


class LiveSession:
    """Runs sources through a pipeline until they end or `stop` is set.

    A failed device is reported to the observers; the other one continues.

    Args:
        pipeline: with loaded models, so that audio is processed at once.
        sources: microphones and cameras.
        recognizer: None: there are no texts.
        face_rate: rate of images for the pipeline (Hz).
        observers: receive the events.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        sources: Sequence[Source],
        recognizer: SpeechRecognizer | None,
        face_rate: float,
        observers: Sequence[Observer],
    ) -> None:
        self._pipeline = pipeline
        self._collector = EstimateCollector(pipeline, {})
        self._feeds = Feeds(sources, recognizer)
        self._reader = InputReader(face_rate)
        self._observers = observers
        self._warned: set[str] = set()

    @property
    def received(self) -> set[str]:
        """Kinds of sources that have sent data."""
        return self._feeds.received

    @property
    def failed(self) -> set[str]:
        """Kinds of sources that failed."""
        return self._feeds.failed

    def run(self, clock: Clock, stop: threading.Event) -> None:
        """Run until all sources have ended or `stop` is set, then finish open utterances."""
        for observer in self._observers:
            observer.begin(clock.start)
        now = clock.now()
        for value in self._feeds.values(clock, stop):
            now = max(now, clock.now() if value is None else _arrival(value, now))
            for tick in self._reader.ticks(now):
                self._feed("advance", tick)
            self._take(value)
        self._feed("flush")

    def _take(self, value: Value) -> None:
        if isinstance(value, AudioChunk):
            for observer in self._observers:
                observer.on_audio(value)
            self._feed("feed", value)
        elif isinstance(value, Frame):
            if self._reader.is_due("camera", value.stamp):
                self._feed("feed", value)
            for observer in self._observers:
                observer.on_image(value, self._pipeline.perception.faces)
        elif isinstance(value, Transcript):
            for observer in self._observers:
                observer.on_text(value)
            self._feed("feed", value)
        elif value is not None:
            self._note(value)

    def _feed(self, method: str, *arguments: object) -> None:
        collector = self._collector
        for event in collector.take(method, *arguments):
            if isinstance(event, EstimateEvent):
                ids = event.estimate.utterance.utterance_id, event.estimate.is_final
                row = next(r for r in collector.rows[::-1] if (r.utterance_id, r.is_final) == ids)
                for observer in self._observers:
                    observer.estimate(row, collector.rows[-KEPT_ROWS:])
        del collector.rows[:-KEPT_ROWS], collector.durations[:-_KEPT_DURATIONS]
        for text in collector.warnings:
            if text not in self._warned:
                self._warned.add(text)
                self._note(f"warning: {text}")

    def _note(self, text: str) -> None:
        for observer in self._observers:
            observer.note(text)


def _arrival(value: Value, default: int) -> int:
    """Return the arrival time of a value (ns)."""
    if isinstance(value, (AudioChunk, Transcript)):
        return value.arrival
    return value.stamp if isinstance(value, Frame) else default
