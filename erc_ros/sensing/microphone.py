"""Conversion of microphone messages to audio, with an audio format that may arrive late.

The format is in each audio message, in an info message, or in parameters. If an info message is
expected, audio is buffered until it arrives, for a limited time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from erc_ros.sensing.audio import (
    AudioEvent,
    AudioFormat,
    AudioStream,
    checked_samples,
    decode,
    duration,
    format_of,
)
from erc_ros.values.bounds import CHUNK_SECONDS, QUEUE_BYTES
from erc_ros.values.errors import ErcValueError
from erc_ros.values.nanoseconds import check_time, seconds

INFO_TIMEOUT = seconds(6.0)  # audio_capture sends its info every 5 s


@dataclass(frozen=True, slots=True, eq=False)
class AudioChunk:
    """Interleaved samples, as bytes or as a numpy array.

    data: bytes in `format`; or an array of float32 or float64 in [-1, 1], int16 or int32, of shape
        (n,), interleaved, or (n, channels). The type and second axis of an array take precedence
        over `format`.
    stamp: ns, time of the first sample; None = unknown.
    arrival: ns, receive time; for audio from a file, the time of its last sample.
    format: sample format; None = that of the pipeline's parameters or of its info message.

    Raises:
        TypeError: a time is not in integer nanoseconds, or the data has another type.
        ValueError: the array has another shape, or floats outside [-1, 1].
    """

    data: Any
    stamp: int | None
    arrival: int
    frame_id: str = ""
    format: AudioFormat | None = None

    def __post_init__(self) -> None:
        check_time("arrival", self.arrival)
        if self.stamp is not None:
            check_time("stamp", self.stamp)
        object.__setattr__(self, "data", checked_samples(self.data))


@dataclass(frozen=True, slots=True)
class NoInfo:
    """No audio_info was received in time: the parameters define the format from `start` (ns)."""

    start: int


@dataclass(frozen=True, slots=True)
class Replugged:
    """Another device replaced the microphone: a new stream whose format is unknown."""


@dataclass(frozen=True, slots=True)
class NotWaited:
    """A chunk received at `start` (ns) was dropped: too much audio is waiting for audio_info."""

    start: int


MicrophoneEvent = AudioEvent | NoInfo | NotWaited | Replugged

ADVICE = {
    "Gap": "samples are missing; the network or the driver may be too slow",
    "Overlap": "duplicate samples were dropped",
    "Jump": "no audio for over 10 s, or its clock was set: speech before and after is separate; "
    "stamps that go back also begin a new conversation",
    "Drift": "the microphone's clock drifts; corrected by its stamps",
    "Repaired": "samples that are not finite or out of range were repaired",
    "RateChange": "the sample rate changed within the stream",
    "Silent": "all samples are zero; the microphone may be muted",
    "Clipping": "the signal is clipped; lower the gain of the microphone",
    "WrongStamps": "the stamps were wrong; times are computed from the number of samples",
    "SecondMicrophone": "two microphones publish on one topic; the first is used: remap the other",
    "NoInfo": "no audio_info was received; the parameters define the format",
    "NotWaited": "too much audio waits for audio_info; the oldest was dropped",
    "Replugged": "another device publishes in place of the previous one",
}
"""Type of a `MicrophoneEvent` -> log message: meaning and what to do."""


class Microphone:
    """Convert the messages of one microphone topic and its audio_info topic.

    Args:
        format: sample format without an info message.
        channel, reference: see `AudioStream`.
        capacity: maximum number of chunks that wait for the info; the oldest is dropped.
        most_bytes: maximum size of the chunks that wait.
    """

    def __init__(
        self,
        format: AudioFormat,
        channel: int | None = None,
        reference: int | None = None,
        capacity: int = 500,
        most_bytes: int = QUEUE_BYTES,
    ) -> None:
        self.stream = AudioStream(channel, reference)
        self.refused = ""  # reason why the audio cannot be decoded, or ""
        self.expects_info = False  # the format will be received in an info message
        self._default = self._format = format
        self._is_informed = False
        self._capacity, self._most_bytes = capacity, most_bytes
        self._waiting: deque[AudioChunk] = deque()
        self._bytes = 0  # size of the waiting chunks

    def inform(self, format: AudioFormat) -> None:
        """Set the format from an info message."""
        self._format, self.refused, self._is_informed = format, "", True

    def refuse(self, reason: str) -> None:
        """Set the reason why the format of the info message cannot be decoded."""
        self.refused, self._is_informed = reason, True

    def feed(self, chunk: AudioChunk) -> Iterator[MicrophoneEvent]:
        """Process a chunk, and the chunks that waited for the format.

        Raises:
            ValueError: the chunk could not be decoded; following chunks are still accepted.
        """
        self._waiting.append(chunk)
        self._bytes += memoryview(chunk.data).nbytes
        while len(self._waiting) > self._capacity or self._bytes > self._most_bytes:
            yield NotWaited(self._next().arrival)
        if not self._waiting:
            return
        if chunk.format is None and self.expects_info and not self._is_informed:
            if chunk.arrival - self._waiting[0].arrival <= INFO_TIMEOUT:
                return
            self._is_informed = True
            yield NoInfo(self._waiting[0].arrival)
        while self._waiting:
            yield from self._listen(self._next())

    def _next(self) -> AudioChunk:
        chunk = self._waiting.popleft()
        self._bytes -= memoryview(chunk.data).nbytes
        return chunk

    def _listen(self, chunk: AudioChunk) -> list[AudioEvent]:
        if chunk.format is None and self.refused:
            raise ErcValueError(self.refused)
        format = format_of(chunk.data, chunk.format, self._format)
        if (longest := duration(chunk.data, format)) > CHUNK_SECONDS:
            raise ErcValueError(
                f"a chunk of {longest:.0f} s of audio, at most {CHUNK_SECONDS} s are read: let the "
                "capture node send shorter chunks, or check rate, channels and sample_format"
            )
        samples = decode(chunk.data, format)
        return self.stream.feed(samples, chunk.stamp, format.rate, chunk.arrival, chunk.frame_id)

    def replug(self) -> Iterator[MicrophoneEvent]:
        """Start a new stream, because another device replaced the previous one."""
        yield from self.stream.flush()
        self._waiting.clear()
        self._bytes = 0
        self._format, self.refused, self._is_informed = self._default, "", False
        yield Replugged()

    def flush(self) -> list[AudioEvent]:
        """End the stream and return the pending audio."""
        return self.stream.flush()
