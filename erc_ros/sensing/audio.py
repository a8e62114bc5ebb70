"""Conversion of microphone data to 16 kHz mono samples with their times.

Times are computed from the number of samples and corrected by the stamps (`sensing/clock.py`). A
short gap is filled with zeros, so that the stream stays continuous. At a longer gap, a clock jump
or a change of the sample rate the resampler is flushed and a new stream begins.

The only mutable state is the soxr stream in `AudioStream`.
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
    """Sample format of audio data.

    rate: sample rate, 8000 to 48000 Hz.
    channels: number of interleaved channels, 1 to 8.
    sample_format: S16LE, S32LE, F32LE, S8 or U8.

    Raises:
        ValueError: a value is not supported.
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
        """Return the format of the bytes that `file.readframes` returns.

        Raises:
            ValueError: the sample width, rate or number of channels is not supported.

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
    """Consecutive audio samples.

    samples: (n,) float32 in [-1, 1], 16 kHz mono. start: ns, time of the first sample.
    reference: (n,) float32, audio played by the robot at the same time; None without a reference
        channel.

    Each object continues the previous one without a break, except after a Jump or a Gap that is
    not filled. While clock drift is corrected, `start` differs from the sample count by at most
    0.1 %.
    """

    start: int
    samples: NDArray[np.float32]
    reference: NDArray[np.float32] | None = None


AudioEvent = AudioSamples | ClockEvent | LevelEvent

_ARRAY_FORMATS = {"f4": "F32LE", "i2": "S16LE", "i4": "S32LE"}  # by NumPy type
_OVERSHOOT = 2.0  # resampled floats slightly exceed 1; unscaled integers exceed this


def checked_samples(data: object) -> object:
    """Check audio data of a caller and return it as bytes or as a NumPy array.

    Args:
        data: bytes (or another buffer of bytes), returned unchanged; or a NumPy array (or another
            typed buffer) of float32 or float64 in [-1, 1], int16 or int32, of shape (n,),
            interleaved, or (n, channels).

    Returns:
        The bytes, or a contiguous array of float32, int16 or int32.

    Raises:
        TypeError: neither bytes nor an array of these types.
        ValueError: the array has another shape, or floats outside [-1, 1].
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
    # NaN and infinity are accepted here: `AudioStream.feed` replaces and counts them
    peak = float(np.max(np.abs(samples), initial=0.0, where=np.isfinite(samples)))
    if peak > _OVERSHOOT:
        raise ErcValueError(
            f"audio data is an array of {samples.dtype} with values up to {peak:.6g}; floats must "
            "be in [-1, 1]: divide samples of 16 bit by 32768, or pass them as int16"
        )
    return np.ascontiguousarray(samples, "<f4")


def format_of(data: object, given: AudioFormat | None, default: AudioFormat) -> AudioFormat:
    """Return the sample format of a chunk; for an array, its type and channels take precedence.

    Args:
        data: see `checked_samples`.
        given: format of the chunk, if it has one.
        default: format of a chunk without one.

    Raises:
        ValueError: the number of channels differs from that of `given`.
    """
    format = given or default
    sample_format = _ARRAY_FORMATS.get(data.dtype.str[1:]) if isinstance(data, np.ndarray) else None
    if not isinstance(data, np.ndarray) or sample_format is None:
        return format
    channels = data.shape[1] if data.ndim == 2 else format.channels
    if given is not None and channels != given.channels:
        raise ErcValueError(
            f"audio data has {channels} channels, but its format has {given.channels}: set the "
            "number of channels of the format to that of the array"
        )
    return replace(format, channels=channels, sample_format=sample_format)


def decode(data: bytes | bytearray | memoryview, format: AudioFormat) -> NDArray[np.float32]:
    """Decode interleaved little-endian bytes to (n, channels) float32, integers as [-1, 1).

    Floats are not changed: `AudioStream.feed` replaces NaN and clips values out of range.

    Raises:
        ValueError: the number of bytes is not a multiple of the channels times the sample width.
    """
    sample_type, scale = _SAMPLE_TYPES[format.sample_format]
    width = np.dtype(sample_type).itemsize * format.channels
    size = memoryview(data).nbytes
    if size % width:
        raise ErcValueError(
            f"{size} bytes of audio are not a multiple of {width} ({format.channels} channels of "
            f"{format.sample_format}): check channels and sample_format"
        )
    samples = np.frombuffer(data, sample_type).reshape(-1, format.channels)
    if format.sample_format == "U8":
        samples = samples.astype(np.float64) - scale
    if scale == 1.0:
        return samples.astype(np.float32)
    # S32 is divided in float64: float32 would round 2^31 - 1 up
    return (samples / scale).astype(np.float32)


def duration(data: bytes | bytearray | memoryview, format: AudioFormat) -> float:
    """Return the duration of a chunk in s, without decoding it."""
    width = np.dtype(_SAMPLE_TYPES[format.sample_format][0]).itemsize * format.channels
    return memoryview(data).nbytes / (width * format.rate)


class AudioStream:
    """Convert chunks of any size to 16 kHz mono and report gaps, clock jumps and signal defects.

    channel: index of the microphone channel, from 0; None = mean of all channels but `reference`.
    reference: index of the channel that carries the robot's own playback; None = no such channel.
    """

    def __init__(self, channel: int | None = None, reference: int | None = None) -> None:
        for number in (channel, reference):
            if number is not None and not 0 <= number < MAX_CHANNELS:
                raise ErcValueError(
                    f"audio channel is {number}; must be 0 to {MAX_CHANNELS - 1}, or None"
                )
        if channel is not None and channel == reference:
            raise ErcValueError(
                f"channel {channel} cannot be both the microphone and the reference"
            )
        self._channel, self._reference = channel, reference
        self.reset()

    def reset(self) -> None:
        """Reset the state and discard pending samples; see `flush`."""
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
        """Process a chunk.

        samples: (n, c) float32, not changed, but the returned samples may be views of it.
        stamp: ns, time of the first sample; None, 0 or less = unknown.
        rate: sample rate in Hz.
        arrival: ns, receive time; used if no chunk has a stamp. If neither is known, the chunk
            continues the previous one, or starts at 0.
        source: frame_id of the microphone, which distinguishes two microphones on one topic.

        Raises:
            ValueError: the shape, number of channels or rate is not supported.
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
            microphone = self._without_reference(samples)
            self._level, level_events = listen(self._level, microphone, start or 0, rate)
            events += level_events
        return [*events, *self._run(outputs)]

    def flush(self) -> list[AudioEvent]:
        """End the stream and return the pending samples; the next chunk starts a new stream."""
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
        # the filter overshoots at signal steps
        return np.asarray(np.clip(resampled, -1.0, 1.0), np.float32)

    def _tail(self) -> list[AudioEvent]:
        """Flush the resampler: about 20 ms at 48 kHz, 60 ms at 8 kHz."""
        if not self._clock.rate:
            return []
        nothing = np.zeros(0 if self._reference is None else (0, 2), np.float32)
        return self._sound(self._resample(nothing, is_last=True))

    def _sound(self, samples: NDArray[np.float32]) -> list[AudioEvent]:
        """Return samples with their start time from the number of samples returned so far.

        This excludes the delay of the resampler from the times.
        """
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
