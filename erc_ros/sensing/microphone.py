"""A microphone's messages -> audio, whatever is known about their format, and whenever.

What the bytes mean is told by every message itself, by an info message in addition (late, maybe
never), or by parameters. Where an info is to be expected, sound waits for it, but not for ever.
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

    data: bytes, read as `format` says. Or an array of float32 or float64 in [-1, 1], of int16 or of
        int32, of shape (n,) (interleaved) or (n, channels): its type and its second axis count,
        rate and channels of (n,) are those of `format`.
    stamp: ns of the first sample, None = unknown. arrival: ns, when it was received; where the
        audio is read from a file, the time of its last sample.
    format: what the bytes mean, None: as the pipeline's parameters or its `AudioFormat` say.

    Raises:
        TypeError: a time that is not in integer nanoseconds; data of another type.
        ValueError: an array of another shape, or floats outside of [-1, 1].
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
    """No audio_info in time: from `start` (ns) on, the parameters define the format."""

    start: int


@dataclass(frozen=True, slots=True)
class Replugged:
    """Another device publishes in place of the previous one: a new stream of unknown format."""


@dataclass(frozen=True, slots=True)
class NotWaited:
    """A chunk received at `start` (ns) was dropped: too much audio waits for audio_info."""

    start: int


MicrophoneEvent = AudioEvent | NoInfo | NotWaited | Replugged

ADVICE = {
    "Gap": "samples are missing; the network or the driver may be too slow",
    "Overlap": "duplicate samples were dropped",
    "Jump": "the stamps jumped; the audio continues as a new segment",
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
"""Type of a `MicrophoneEvent` -> its meaning, and what to do, for the user."""


class Microphone:
    """One microphone topic and its info.

    Args:
        format: what the bytes mean without an info message.
        channel, reference: see AudioStream.
        capacity: chunks that wait for the info at most; the oldest is dropped.
        most_bytes: of the chunks that wait.
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
        self.refused = ""  # why nothing can be read, "" while it can
        self.expects_info = False  # an info message will give the format
        self._default = self._format = format
        self._is_informed = False
        self._capacity, self._most_bytes = capacity, most_bytes
        self._waiting: deque[AudioChunk] = deque()
        self._bytes = 0  # of those

    def inform(self, format: AudioFormat) -> None:
        """The info came."""
        self._format, self.refused, self._is_informed = format, "", True

    def refuse(self, reason: str) -> None:
        """The info came, and tells of audio that cannot be read."""
        self.refused, self._is_informed = reason, True

    def feed(self, chunk: AudioChunk) -> Iterator[MicrophoneEvent]:
        """Hear a chunk, and those that waited.

        Raises:
            ValueError: it cannot be read; the next one may be.
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
        """Another device has taken the place of the former one."""
        yield from self.stream.flush()
        self._waiting.clear()
        self._bytes = 0
        self._format, self.refused, self._is_informed = self._default, "", False
        yield Replugged()

    def flush(self) -> list[AudioEvent]:
        """The audio has ended."""
        return self.stream.flush()
