"""What the microphone heard: bytes -> samples -> 16 kHz mono, each with its time.

Time comes from counting samples; stamps only correct it (`sensing/clock.py`). A short gap is filled
with zeros, so that the audio stays one line of samples; at a longer one, a jump or a change of the
rate the resampler is flushed, its tail is returned, and a new line begins.

The only mutable part is the soxr stream in `AudioStream`.
"""

from __future__ import annotations

import wave
from dataclasses import dataclass, replace

import numpy as np
import soxr
from numpy.typing import NDArray

from erc_ros.sensing.clock import (
    Chunk,
    Clock,
    ClockEvent,
    ClockStretch,
    NewLine,
    Output,
    SecondMicrophone,
    finish,
    step,
)
from erc_ros.sensing.level import Level, LevelEvent, listen, repair
from erc_ros.values.bounds import shown
from erc_ros.values.errors import ErcTypeError, ErcValueError
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import SAMPLE_RATE

MAX_CHANNELS = 8
MIN_RATE, MAX_RATE = 8_000, 48_000  # Hz


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """What the bytes of a chunk mean.

    rate: Hz, 8000 to 48000. channels: 1 to 8, interleaved. sample_format: S16LE, S32LE, F32LE, S8
    or U8.

    Raises:
        ValueError: anything else.
    """

    rate: int
    channels: int
    sample_format: str = "S16LE"

    def __post_init__(self) -> None:
        _check_rate(self.rate)
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise ErcValueError(f"{self.channels} audio channels; 1 to {MAX_CHANNELS} can be read")
        if self.sample_format.upper() in ("MP3", "MPEG"):
            raise ErcValueError(
                "MP3 audio cannot be read; let the capture node send raw samples "
                "(audio_capture: format:=wave, sample_format:=S16LE)"
            )
        if self.sample_format not in _SAMPLE_TYPES:
            raise ErcValueError(
                f"sample format {shown(self.sample_format)} is unknown; "
                f"known: {', '.join(_SAMPLE_TYPES)}"
            )

    @classmethod
    def of_wave(cls, file: wave.Wave_read) -> AudioFormat:
        """The format of what `file.readframes` returns.

        Raises:
            ValueError: samples of 24 bit, or a rate or number of channels that cannot be read.

        Example:
            >>> with wave.open("talk.wav") as file:
            ...     format = AudioFormat.of_wave(file)
        """
        width = file.getsampwidth()
        if width not in _WAVE_FORMATS:
            raise ErcValueError(
                f"the WAV file has samples of {8 * width} bit; 8, 16 and 32 can be read: convert "
                "it, for example with `ffmpeg -i IN.wav -c:a pcm_s16le OUT.wav`"
            )
        return cls(file.getframerate(), file.getnchannels(), _WAVE_FORMATS[width])


_WAVE_FORMATS = {1: "U8", 2: "S16LE", 4: "S32LE"}  # by bytes of a sample
_SAMPLE_TYPES = {
    "S16LE": ("<i2", 2.0**15),
    "S32LE": ("<i4", 2.0**31),
    "F32LE": ("<f4", 1.0),
    "S8": ("i1", 2.0**7),
    "U8": ("u1", 2.0**7),
}


@dataclass(frozen=True, slots=True, eq=False)
class AudioSamples:
    """samples (n,) float32 mono at 16 kHz in [-1, 1]; the first one was heard at `start` (ns).

    reference: (n,) likewise, what the robot played meanwhile; None where no channel carries it.

    Sounds follow each other without a break, unless a Gap that is not filled or a Jump stands
    between them; while a drift is corrected, `start` moves against the count by at most 0.1 %.
    """

    start: int
    samples: NDArray[np.float32]
    reference: NDArray[np.float32] | None = None


AudioEvent = AudioSamples | ClockEvent | LevelEvent

_ARRAY_FORMATS = {"f4": "F32LE", "i2": "S16LE", "i4": "S32LE"}  # by numpy's name of the type
_OVERSHOOT = 2.0  # resampling overshoots 1 a little; integers passed as floats exceed this


def checked_samples(data: object) -> object:
    """Audio data as a caller passes it: bytes as they are, typed samples in an array.

    Args:
        data: bytes, or anything with a buffer of bytes: passed on as it is. A numpy array (or
            another typed buffer) of float32 or float64 in [-1, 1], of int16 or of int32:
            (n,) interleaved, or (n, channels).

    Returns:
        The bytes, or a contiguous array of float32, int16 or int32.

    Raises:
        TypeError: neither bytes nor an array of these types.
        ValueError: an array of another shape, or floats that are not in [-1, 1].
    """
    try:
        view = memoryview(data)  # type: ignore[arg-type]
    except (TypeError, ValueError, BufferError) as error:
        raise ErcTypeError(
            f"audio data is a {type(data).__name__}; give bytes, or a numpy array of float32 in "
            "[-1, 1] or int16"
        ) from error
    if view.format in ("B", "b", "c"):
        return data
    samples = np.asarray(data if isinstance(data, np.ndarray) else view)
    kind = samples.dtype.str[1:]
    if kind not in ("f4", "f8", "i2", "i4"):
        raise ErcTypeError(
            f"audio data is an array of {samples.dtype}; float32 and float64 in [-1, 1], int16 and "
            "int32 can be read: convert it"
        )
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and samples.shape[1] > MAX_CHANNELS):
        raise ErcValueError(
            f"audio data is an array of shape {samples.shape}; (n,) or (n, channels) with at most "
            f"{MAX_CHANNELS} channels is needed: transpose (channels, n)"
        )
    if kind in ("i2", "i4"):
        return np.ascontiguousarray(samples, f"<{kind}")
    # NaN and infinity pass: `AudioStream.feed` replaces and counts them
    peak = float(np.max(np.abs(samples), initial=0.0, where=np.isfinite(samples)))
    if peak > _OVERSHOOT:
        raise ErcValueError(
            f"audio data is an array of {samples.dtype} with values up to {peak:.6g}; floats must "
            "be in [-1, 1]: divide samples of 16 bit by 32768, or pass them as int16"
        )
    return np.ascontiguousarray(samples, "<f4")


def format_of(data: object, given: AudioFormat | None, default: AudioFormat) -> AudioFormat:
    """What the samples of a chunk mean: an array knows its type, and of two axes its channels.

    Args:
        data: see `checked_samples`. given: of the chunk. default: where the chunk has none.

    Raises:
        ValueError: the array has other channels than `given`.
    """
    format = given or default
    sample_format = _ARRAY_FORMATS.get(data.dtype.str[1:]) if isinstance(data, np.ndarray) else None
    if not isinstance(data, np.ndarray) or sample_format is None:
        return format
    channels = data.shape[1] if data.ndim == 2 else format.channels
    if given is not None and channels != given.channels:
        raise ErcValueError(
            f"audio data has {channels} channels, its format {given.channels}: give the number of "
            "the array"
        )
    return replace(format, channels=channels, sample_format=sample_format)


def decode(data: bytes | bytearray | memoryview, format: AudioFormat) -> NDArray[np.float32]:
    """Interleaved little-endian bytes -> (n, channels) float32; integers are scaled to [-1, 1).

    Floats are passed as they are: `AudioStream.feed` repairs NaN and values out of range.

    Raises:
        ValueError: the bytes are no whole number of samples on every channel.
    """
    sample_type, scale = _SAMPLE_TYPES[format.sample_format]
    width = np.dtype(sample_type).itemsize * format.channels
    size = memoryview(data).nbytes
    if size % width:
        raise ErcValueError(
            f"{size} bytes of audio are no multiple of {width} ({format.channels} channels of "
            f"{format.sample_format}): check channels and sample_format"
        )
    samples = np.frombuffer(data, sample_type).reshape(-1, format.channels)
    if format.sample_format == "U8":
        samples = samples.astype(np.float64) - scale
    if scale == 1.0:
        return samples.astype(np.float32)
    # S32 in float64 first: float32 would round 2^31 - 1 up before the division
    return (samples / scale).astype(np.float32)


def duration(data: bytes | bytearray | memoryview, format: AudioFormat) -> float:
    """Duration of the bytes of a chunk, s; nothing is decoded."""
    width = np.dtype(_SAMPLE_TYPES[format.sample_format][0]).itemsize * format.channels
    return memoryview(data).nbytes / (width * format.rate)


class AudioStream:
    """A microphone: feed chunks of any size, get 16 kHz mono and what happened to it.

    channel: the channel to listen to, from 0; None = the mean of all but `reference`.
    reference: the channel on which the robot's own playback is looped back; None = no such channel.
    """

    def __init__(self, channel: int | None = None, reference: int | None = None) -> None:
        for number in (channel, reference):
            if number is not None and not 0 <= number < MAX_CHANNELS:
                raise ErcValueError(f"audio channel {number}; 0 to {MAX_CHANNELS - 1}, or None")
        if channel is not None and channel == reference:
            raise ErcValueError(
                f"channel {channel} cannot be both the microphone and the reference"
            )
        self._channel, self._reference = channel, reference
        self.reset()

    def reset(self) -> None:
        """Forget everything; what was not flushed is lost."""
        self._clock, self._level = Clock(), Level()
        self._resampler: soxr.ResampleStream | None = None
        self._line_start, self._sent, self._shift = 0, 0, 0

    def feed(
        self,
        samples: NDArray[np.float32],
        stamp: int | None,
        rate: int,
        arrival: int | None = None,
        source: str = "",
    ) -> list[AudioEvent]:
        """Hear a chunk.

        samples: (n, c) float32, not changed, but sounds may be views of it.
        stamp: ns, of the first sample; None or 0 and less = unknown.
        arrival: ns, when the chunk came: places the audio where no stamp ever is known. Without
            both, time is counted on from the last known, or from 0.
        rate: Hz.
        source: frame of the microphone, which distinguishes two on one topic.

        Raises:
            ValueError: a shape, a number of channels or a rate that cannot be.
        """
        _check_rate(rate)
        if samples.ndim != 2 or not 1 <= samples.shape[1] <= MAX_CHANNELS:
            raise ErcValueError(
                f"audio of shape {samples.shape}; (samples, channels) with 1 to {MAX_CHANNELS} "
                "channels is needed"
            )
        for number in (self._channel, self._reference):
            if number is not None and number >= samples.shape[1]:
                raise ErcValueError(
                    f"audio with {samples.shape[1]} channels has no channel {number} (from 0): "
                    "choose another audio_channel or reference_channel"
                )
        if self._reference is not None and samples.shape[1] < 2:
            raise ErcValueError(f"the only audio channel, {self._reference}, is the reference")
        if not len(samples):
            return []
        given = stamp if stamp is not None and stamp > 0 else None
        chunk = Chunk(samples[:, 0], given, rate, source=source)
        if given is None and arrival is not None and arrival > 0:
            chunk = replace(chunk, stamp=arrival - chunk.duration, is_exact=False)
        start = self._clock.now + self._clock.held_duration if self._clock.rate else chunk.stamp
        samples, events = repair(samples, start or 0)
        self._clock, outputs = step(self._clock, replace(chunk, samples=self._mix(samples)))
        if not any(isinstance(output, SecondMicrophone) for output in outputs):
            heard = self._without_reference(samples)
            self._level, level_events = listen(self._level, heard, start or 0, rate)
            events += level_events
        return [*events, *self._run(outputs)]

    def flush(self) -> list[AudioEvent]:
        """End the stream and return what is pending; the next chunk starts a new stream."""
        _, outputs = finish(self._clock)
        events = [*self._run(outputs), *self._tail()]
        self.reset()
        return events

    def _without_reference(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._reference is None:
            return samples
        return np.delete(samples, self._reference, axis=1)

    def _mix(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, c) -> (n,), or with a reference (n, 2)."""
        if self._channel is not None:
            mixed = samples[:, self._channel].astype(np.float32, copy=False)
        elif samples.shape[1] == 1:
            mixed = samples[:, 0].astype(np.float32, copy=False)
        else:
            mixed = self._without_reference(samples).mean(axis=1, dtype=np.float32)
        if self._reference is None:
            return mixed
        return np.stack([mixed, samples[:, self._reference]], axis=1).astype(np.float32, copy=False)

    def _run(self, outputs: list[Output]) -> list[AudioEvent]:
        events: list[AudioEvent] = []
        for output in outputs:
            if isinstance(output, NewLine):
                events += self._tail()
                self._begin_line(output)
            elif isinstance(output, ClockStretch):
                self._shift = output.shift
                events += self._sound(self._resample(output.samples))
            else:
                events.append(output)
        return events

    def _begin_line(self, line: NewLine) -> None:
        self._line_start, self._sent, self._shift = line.start, 0, 0
        self._resampler = None
        if line.rate != SAMPLE_RATE:
            channels = 1 if self._reference is None else 2
            self._resampler = soxr.ResampleStream(line.rate, SAMPLE_RATE, channels, dtype="float32")

    def _resample(self, samples: NDArray[np.float32], is_last: bool = False) -> NDArray[np.float32]:
        if self._resampler is None:
            return samples
        resampled: NDArray[np.float32] = self._resampler.resample_chunk(samples, last=is_last)
        # the filter overshoots at steps
        return np.asarray(np.clip(resampled, -1.0, 1.0), np.float32)

    def _tail(self) -> list[AudioEvent]:
        """What the resampler still holds, about 20 ms at 48 kHz, 60 ms at 8 kHz."""
        if not self._clock.rate:
            return []
        nothing = np.zeros(0 if self._reference is None else (0, 2), np.float32)
        return self._sound(self._resample(nothing, is_last=True))

    def _sound(self, samples: NDArray[np.float32]) -> list[AudioEvent]:
        """Counts samples sent, so that the resampler's delay does not move their times."""
        if not len(samples):
            return []
        start = self._line_start + self._sent * NS // SAMPLE_RATE + self._shift
        self._sent += len(samples)
        if self._reference is None:
            return [AudioSamples(start, samples)]
        return [AudioSamples(start, np.ascontiguousarray(samples[:, 0]), samples[:, 1].copy())]


def _check_rate(rate: int) -> None:
    if not MIN_RATE <= rate <= MAX_RATE:
        raise ErcValueError(f"an audio rate of {rate} Hz; {MIN_RATE} to {MAX_RATE} Hz can be read")
