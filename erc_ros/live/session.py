"""Live sources through the pipeline: one thread for each source and for the speech recognizer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from erc_ros.live.inlet import Inlet
from erc_ros.media.devices import Clock, DeviceError, Source
from erc_ros.media.files import MediaError
from erc_ros.media.recognizers import RecognizedSpeech, SpeechRecognizer
from erc_ros.media.transcripts import Cue
from erc_ros.pipeline import EstimateEvent, Pipeline
from erc_ros.replay.offline import TICK, ReplayedAnswers
from erc_ros.replay.rows import Row
from erc_ros.sensing.faces import FaceObservation
from erc_ros.sensing.frame_throttle import FrameThrottle
from erc_ros.sensing.frames import Frame
from erc_ros.sensing.microphone import SoundChunk
from erc_ros.values.bounds import TEXT, shown
from erc_ros.values.nanoseconds import NS
from erc_ros.values.transcript import Transcript

KEPT_ROWS = 200  # the most recent estimates, for those who look
_UNREAD = 2 * 2**20  # bytes of audio that may wait for the recognizer: a minute or more
_PATIENCE = 10.0, 300.0  # s for the recognizer to end: after the user has stopped, else
_NETWORKS = 20  # durations that are kept

Say = Callable[[str], None]


class Observer:
    """Receives what happens in a session; each method may be overridden.

    All are called by the thread of `LiveSession.run`.
    """

    def begin(self, origin: int) -> None:
        """The session begins at `origin` (ns)."""

    def hear(self, chunk: SoundChunk) -> None:
        """Audio was received."""

    def see(self, frame: Frame, faces: Sequence[FaceObservation]) -> None:
        """An image was received; `faces`: where faces were detected last."""

    def read(self, text: Transcript) -> None:
        """Speech was recognized."""

    def estimate(self, row: Row, rows: Sequence[Row]) -> None:
        """`row` is new; `rows` are the most recent ones, with corrected speakers."""

    def note(self, text: str) -> None:
        """A line for the user, such as that a device was unplugged."""


@dataclass(frozen=True)
class _Ended:
    """A source has ended. reason: "" at the end of a file."""

    source: Source
    reason: str


class LiveSession:
    """Runs sources through a pipeline until they end or `stop` is set.

    A device that fails is reported in a line; the other one continues.

    Args:
        pipeline: loaded, so that no audio waits for models.
        sources: microphones and cameras.
        recognizer: None: there are no words.
        face_rate: Hz; images that the pipeline receives.
        observers: receive what happens.

    Attributes:
        received: kinds of sources that have sent something. failed: kinds that failed.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        sources: Sequence[Source],
        recognizer: SpeechRecognizer | None,
        face_rate: float,
        observers: Sequence[Observer],
    ) -> None:
        self.received: set[str] = set()
        self.failed: set[str] = set()
        self._pipeline = pipeline
        self._answers = ReplayedAnswers(pipeline, {})
        self._sources = sources
        self._recognizer = recognizer
        self._throttle = FrameThrottle(face_rate)
        self._observers = observers
        self._inlet = Inlet()
        self._unread = Inlet(_UNREAD)
        self._warned: set[str] = set()

    def run(self, clock: Clock, stop: threading.Event) -> None:
        """Run until all sources have ended or `stop` is set, then finish open utterances."""
        for observer in self._observers:
            observer.begin(clock.start)
        threads = [
            threading.Thread(
                target=self._pump, args=(source, clock, stop), name=source.kind, daemon=True
            )
            for source in self._sources
        ]
        reader = None
        if self._recognizer is not None:
            reader = threading.Thread(
                target=self._recognize, args=(self._recognizer, clock), daemon=True
            )
            reader.start()
        for thread in threads:
            thread.start()
        try:
            self._loop(clock, stop, len(threads))
        finally:
            is_stopped = stop.is_set()
            stop.set()
            self._unread.close()
        self._finish(reader, is_stopped)

    def _loop(self, clock: Clock, stop: threading.Event, running: int) -> None:
        tick = clock.now()
        while running and not stop.is_set():
            value = self._inlet.take(0.05)
            running -= isinstance(value, _Ended)
            self._take(value)
            tick = self._advance(tick, clock.now() if value is None else _arrival(value, tick))
            if self._inlet.dropped + self._unread.dropped:
                self._warn("this machine is too slow: some input was dropped")

    def _finish(self, reader: threading.Thread | None, is_stopped: bool) -> None:
        """The sources have ended: take the last texts, and end the conversation."""
        end = time.monotonic() + _PATIENCE[not is_stopped]
        while reader is not None and reader.is_alive() and time.monotonic() < end:
            self._take(self._inlet.take(0.05))
        self._inlet.close()
        while not self._inlet.is_finished:
            self._take(self._inlet.take(0.0))
        self._feed("flush")

    def _advance(self, tick: int, now: int) -> int:
        if now - tick > 60 * NS:  # the machine was suspended
            tick = now - TICK
        while tick <= now:
            self._feed("advance", tick)
            tick += TICK
        return tick

    def _take(self, value: object) -> None:
        if isinstance(value, _Ended):
            self._end(value)
        elif isinstance(value, SoundChunk):
            self.received.add("microphone")
            for observer in self._observers:
                observer.hear(value)
            if self._recognizer is not None:
                self._unread.put(value, len(value.data))
            self._feed("feed", value)
        elif isinstance(value, Frame):
            self.received.add("camera")
            if self._throttle.takes(value.stamp):
                self._feed("feed", value)
            for observer in self._observers:
                observer.see(value, self._pipeline.perception.faces)
        elif isinstance(value, Transcript):
            for observer in self._observers:
                observer.read(value)
            self._feed("feed", value)
        elif isinstance(value, str):
            self._note(value)

    def _feed(self, method: str, *arguments: object) -> None:
        answers = self._answers
        for event in answers.take(method, *arguments):
            if isinstance(event, EstimateEvent):
                ids = event.estimate.utterance.utterance_id, event.estimate.is_final
                row = next(r for r in answers.rows[::-1] if (r.utterance_id, r.is_final) == ids)
                for observer in self._observers:
                    observer.estimate(row, answers.rows[-KEPT_ROWS:])
        del answers.rows[:-KEPT_ROWS], answers.durations[:-_NETWORKS]
        for text in answers.warnings:
            self._warn(text)

    def _end(self, ended: _Ended) -> None:
        if ended.reason:
            self.failed.add(ended.source.kind)
            others = [s.kind for s in self._sources if s.kind not in self.failed]
            continues = f"; {' and '.join(others)} continue" if others else ""
            continues = continues if len(others) != 1 else f"; the {others[0]} continues"
            self._note(f"{ended.source.kind}: {ended.reason}{continues}")

    def _pump(self, source: Source, clock: Clock, stop: threading.Event) -> None:
        """Thread of a source."""
        reason = ""
        try:
            for value in source.values(clock, stop):
                self._inlet.put(value, len(value.data), wait=source.can_wait)
        except (DeviceError, MediaError, ModuleNotFoundError, OSError) as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001  (a driver's fault must not end the session)
            reason = f"{type(error).__name__}: {shown(error)}"
        self._inlet.put(_Ended(source, reason))

    def _recognize(self, recognizer: SpeechRecognizer, clock: Clock) -> None:
        """Thread of the recognizer."""
        speech = RecognizedSpeech(recognizer)
        try:
            while not self._unread.is_finished:
                if (chunk := self._unread.take(0.5)) is not None:
                    self._send(speech.feed(chunk), clock)
            self._send(speech.flush(), clock)
        except Exception as error:  # noqa: BLE001  (the libraries raise many kinds)
            reason = f"{type(error).__name__}: {shown(error)}"
            self._inlet.put(f"the speech recognizer failed, there are no more words: {reason}")

    def _send(self, cues: Sequence[Cue], clock: Clock) -> None:
        for cue in cues:
            text = Transcript(
                cue.text[:TEXT],
                arrival=clock.now(),
                start=cue.start,
                end=cue.end,
                words=cue.words,
                confidence=cue.confidence,
                locale=cue.locale,
            )
            self._inlet.put(text)

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self._note(f"warning: {text}")

    def _note(self, text: str) -> None:
        for observer in self._observers:
            observer.note(text)


def _arrival(value: object, default: int) -> int:
    """When a value came, ns."""
    if isinstance(value, (SoundChunk, Transcript)):
        return value.arrival
    return value.stamp if isinstance(value, Frame) else default
