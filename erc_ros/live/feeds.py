"""Live sources and a speech recognizer in separate threads, merged into one stream."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from erc_ros.live.inlet import Inlet
from erc_ros.media.devices import Clock, DeviceError, Source
from erc_ros.media.files import MediaError
from erc_ros.media.recognizers import RecognizedSpeech, SpeechRecognizer
from erc_ros.media.transcripts import Cue
from erc_ros.sensing.frames import Frame
from erc_ros.sensing.microphone import AudioChunk
from erc_ros.values.bounds import TEXT, shown
from erc_ros.values.transcript import Transcript

_AUDIO_BYTES = 2 * 2**20  # bytes of audio queued for the recognizer: a minute or more
_PATIENCE = 10.0, 300.0  # s for the recognizer to end, after a stop by the user and else
_PERIOD = 0.05  # s, maximum time between two values (or None)

Value: TypeAlias = "AudioChunk | Frame | Transcript | str | None"


@dataclass(frozen=True)
class _Ended:
    """A source has event. reason: "" at the end of a file."""

    source: Source
    reason: str


class Feeds:
    """The values of microphones, cameras and a recognizer.

    Args:
        sources: microphones and cameras.
        recognizer: transcribes the audio; None: there are no texts.

    Attributes:
        received: kinds of sources that have sent data. failed: kinds that failed.
    """

    def __init__(self, sources: Sequence[Source], recognizer: SpeechRecognizer | None) -> None:
        self.received: set[str] = set()
        self.failed: set[str] = set()
        self._sources = sources
        self._recognizer = recognizer
        self._inlet = Inlet()
        self._recognizer_audio = Inlet(_AUDIO_BYTES)

    def values(self, clock: Clock, stop: threading.Event) -> Iterator[Value]:
        """Yield values until all sources have event or `stop` is set, then the last texts.

        A str is a message for the user, such as an unplugged device; None is yielded if no value
        arrives within `_PERIOD`.
        """
        reader = None
        if self._recognizer is not None:
            reader = threading.Thread(
                target=self._recognize, args=(self._recognizer, clock), daemon=True
            )
            reader.start()
        for source in self._sources:
            threading.Thread(
                target=self._pump, args=(source, clock, stop), name=source.kind, daemon=True
            ).start()
        try:
            yield from self._running(stop)
        finally:
            is_stopped = stop.is_set()
            stop.set()
            self._recognizer_audio.close()
        end = time.monotonic() + _PATIENCE[not is_stopped]
        while reader is not None and reader.is_alive() and time.monotonic() < end:
            yield self._taken(self._inlet.take(_PERIOD))
        self._inlet.close()
        while not self._inlet.is_finished:
            yield self._taken(self._inlet.take(0.0))

    def _running(self, stop: threading.Event) -> Iterator[Value]:
        running, dropped = len(self._sources), 0
        while running and not stop.is_set():
            value = self._inlet.take(_PERIOD)
            running -= isinstance(value, _Ended)
            yield self._taken(value)
            if not dropped and (dropped := self._inlet.dropped + self._recognizer_audio.dropped):
                yield "warning: the machine is too slow; some input was dropped"

    def _taken(self, value: Value | _Ended) -> Value:
        if isinstance(value, _Ended):
            return self._message(value)
        if isinstance(value, AudioChunk):
            self.received.add("microphone")
            if self._recognizer is not None:
                self._recognizer_audio.put(value, len(value.data))
        elif isinstance(value, Frame):
            self.received.add("camera")
        return value

    def _message(self, event: _Ended) -> str | None:
        if not event.reason:
            return None
        self.failed.add(event.source.kind)
        others = [source.kind for source in self._sources if source.kind not in self.failed]
        continues = f"; the {others[0]} continues" if others else ""
        return f"{event.source.kind}: {event.reason}{continues}"

    def _pump(self, source: Source, clock: Clock, stop: threading.Event) -> None:
        """Enqueue the values of a source (runs in its thread)."""
        reason = ""
        try:
            for value in source.values(clock, stop):
                self._inlet.put(value, len(value.data), wait=source.can_wait)
        except (DeviceError, MediaError, OSError) as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001  (an error of a driver must not end the session)
            reason = f"{type(error).__name__}: {shown(error)}"
        self._inlet.put(_Ended(source, reason))

    def _recognize(self, recognizer: SpeechRecognizer, clock: Clock) -> None:
        """Transcribe queued audio (runs in the thread of the recognizer)."""
        speech = RecognizedSpeech(recognizer)
        try:
            while not self._recognizer_audio.is_finished:
                if (chunk := self._recognizer_audio.take(0.5)) is not None:
                    self._send(speech.feed(chunk), clock)
            self._send(speech.flush(), clock)
        except Exception as error:  # noqa: BLE001  (the libraries raise various types)
            reason = f"{type(error).__name__}: {shown(error)}"
            self._inlet.put(f"the speech recognizer failed; there are no more texts: {reason}")

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
