"""Media files (MP4, MKV, WebM, WAV, FLAC, MP3, ...) as audio chunks and camera frames, with PyAV.

The container format is detected from the first bytes and never from the name, so that a file cannot
make the demuxer open playlists, other files or network addresses. Times count from the start of the
media timeline, as in a player; `ORIGIN` is that start on the pipeline's clock.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erc_ros.sensing.audio import MAX_RATE, MIN_RATE, AudioFormat
from erc_ros.sensing.frame_throttle import FrameThrottle
from erc_ros.sensing.frames import Frame
from erc_ros.sensing.microphone import AudioChunk
from erc_ros.values.bounds import (
    MEDIA_CHANNELS,
    MEDIA_MAX_RATE,
    MEDIA_MIN_RATE,
    MEDIA_PACKETS,
    MEDIA_SECONDS,
    MEDIA_TRACKS,
    PIXELS,
    SIDE,
    shown,
)
from erc_ros.values.errors import ErcValueError
from erc_ros.values.nanoseconds import NS, seconds

ORIGIN = NS  # ns; the pipeline treats a stamp of 0 as unknown
CHUNK = seconds(0.1)  # duration of an audio chunk
MAX_SIDE = 1280  # pixels; larger frames are scaled down, as the face detector would do
_GAP = seconds(0.002)  # deviation from the expected time that starts a new chunk
_LIMITS = {"max_pixels": str(PIXELS)}  # FFmpeg decodes images even while it opens a file
_SHORT = seconds(2.0)  # tolerance for the end of a track
_START = {  # first bytes of a file -> name of FFmpeg's demuxer
    b"\x1a\x45\xdf\xa3": "matroska",
    b"fLaC": "flac",
    b"OggS": "ogg",
    b"ID3": "mp3",
}
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")  # QuickTime, MP4
SUFFIXES = (
    ".aac", ".avi", ".flac", ".m4a", ".m4v", ".mkv", ".mov", ".mp3", ".mp4", ".oga", ".ogg",
    ".opus", ".wav", ".webm",
)  # fmt: skip
"""Suffixes of media files; their type is determined from the content."""


class MediaError(ErcValueError):
    """A media file cannot be used; the message states the reason and a remedy."""


@dataclass(frozen=True, slots=True)
class AudioTrack:
    """One audio track. rate: Hz. language: as stated in the file; "": unknown.

    stream: its number among the audio streams of the file. end: stated end, ns from the start of
    the media timeline; 0: unknown.
    """

    rate: int
    channels: int
    codec: str
    language: str
    stream: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True)
class VideoTrack:
    """The video track. width, height: pixels as displayed. rate: mean frames per second.

    end: stated end, ns from the start of the media timeline; 0: unknown.
    """

    width: int
    height: int
    rate: float
    codec: str
    end: int = 0


class MediaFile:
    """One media file; every method reads it from its start.

    Args:
        path: the file.

    Attributes:
        duration: duration of the longest track (ns); 0: unknown.
        audio, video: its usable tracks. warnings: unusable content -> count.

    Raises:
        MediaError: it is not a media file, has no usable track, or is longer than allowed.
        FileNotFoundError: the file does not exist.

    Example:
        >>> media = MediaFile(Path("talk.mp4"))
        >>> for chunk in media.chunks():
        ...     pipeline.feed(chunk)
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.warnings: Counter[str] = Counter()
        with self._opened() as container:
            self.audio = tuple(self._audio_tracks(container))
            self.video = self._video_track(container)
            self.duration = _duration(container)
        if not self.audio and self.video is None:
            reasons = "".join(f"; {text}" for text in sorted(self.warnings))
            raise MediaError(f"{path} has neither an audio nor a video track{reasons}")
        if self.duration > MEDIA_SECONDS * NS:
            raise MediaError(
                f"{path} lasts {self.duration / NS / 3600:.1f} h; at most "
                f"{MEDIA_SECONDS // 3600} h are allowed: cut it into parts"
            )

    def _audio_tracks(self, container: Any) -> Iterator[AudioTrack]:
        for number, stream in enumerate(container.streams.audio[:MEDIA_TRACKS]):
            track = _audio_track(stream, number, _start(container))
            if not MEDIA_MIN_RATE <= track.rate <= MEDIA_MAX_RATE:
                self.warnings[f"audio {number}: {track.rate} Hz is not supported, ignored"] += 1
            elif not 0 < stream.codec_context.channels <= MEDIA_CHANNELS:
                count = stream.codec_context.channels
                self.warnings[f"audio {number}: {count} channels are not supported, ignored"] += 1
            else:
                yield track

    def _video_track(self, container: Any) -> VideoTrack | None:
        images = [s for s in container.streams.video if not _is_cover(s)]
        if not images:
            return None
        track = _video_track(images[0], _start(container))
        if 0 < track.width * track.height <= PIXELS and max(track.width, track.height) <= SIDE:
            return track
        self.warnings[f"video: its size is unknown or above {PIXELS} pixels, ignored"] += 1
        return None

    def chunks(self, track: int = 0, rate: int = 0) -> Iterator[AudioChunk]:
        """Yield the audio of a track as mono int16 chunks of about 0.1 s, in the order of time.

        The `stamp` of a chunk is the time of its first sample, `arrival` the end of its last one.

        Args:
            track: its index in `audio`. rate: Hz; 0: that of the track, in the usable range.

        Raises:
            MediaError: the track does not exist.
        """
        if not 0 <= track < len(self.audio):
            raise MediaError(
                f"{self.path} has no audio track {track}; it has {len(self.audio)}, from 0"
            )
        rate = rate or min(max(self.audio[track].rate, MIN_RATE), MAX_RATE)
        format = AudioFormat(rate, 1, "S16LE")
        parts: list[NDArray[np.int16]] = []
        start = size = 0
        for stamp, samples in self._samples(track, rate):
            if parts and abs(stamp - start - size * NS // rate) > _GAP:
                yield _chunk(parts, start, format)
                parts, size = [], 0
            start = start if parts else stamp
            parts.append(samples)
            size += len(samples)
            if size * NS >= CHUNK * rate:
                yield _chunk(parts, start, format)
                start, parts, size = start + size * NS // rate, [], 0
        if parts:
            yield _chunk(parts, start, format)
        self._check_end("audio", start + size * NS // rate, self.audio[track].end)

    def frames(self, rate: float) -> Iterator[Frame]:
        """Yield at most `rate` frames per second (bgr8, upright), in the order of time."""
        throttle = FrameThrottle(rate)
        with self._opened() as container:
            if self.video is None:
                return
            stream = next(s for s in container.streams.video if not _is_cover(s))
            stream.thread_type = "AUTO"
            stream.codec_context.options = _LIMITS
            if float(stream.average_rate or 0) >= 2 * rate:
                stream.codec_context.skip_frame = "NONREF"  # unreferenced frames
            start = _start(container)
            last = ORIGIN - 1
            for frame in self._decoded(container, stream):
                if frame.width * frame.height > PIXELS or max(frame.width, frame.height) > SIDE:
                    self.warnings["video: a frame has too many pixels, skipped"] += 1
                    continue
                stamp = _stamp(frame, start)
                if stamp is None or stamp <= last:
                    self.warnings["video: a frame without a usable time, skipped"] += 1
                    continue
                if stamp - ORIGIN > MEDIA_SECONDS * NS:
                    self.warnings["video: longer than allowed, cut"] += 1
                    return
                last = stamp
                if throttle.takes(stamp):
                    pixels = _pixels(frame)
                    yield Frame(
                        stamp=stamp,
                        encoding="bgr8",
                        width=pixels.shape[1],
                        height=pixels.shape[0],
                        step=pixels.shape[1] * 3,
                        data=pixels.tobytes(),
                    )
            if self.video.rate >= 1:  # a slide may last for minutes
                self._check_end("video", last, self.video.end)

    def _check_end(self, kind: str, end: int, stated: int) -> None:
        """Warn of a track that ends before the end that the file states."""
        if stated - (end - ORIGIN) > max(_SHORT, stated // 50):
            self.warnings[
                f"{kind}: ends at {max(0, end - ORIGIN) / NS:.1f} s, although the file states "
                f"{stated / NS:.1f} s: it was truncated or is damaged"
            ] += 1

    def _samples(self, track: int, rate: int) -> Iterator[tuple[int, NDArray[np.int16]]]:
        """Yield (time of the first sample in ns, mono int16 samples) of each decoded part."""
        import av

        with self._opened() as container:
            stream = container.streams.audio[self.audio[track].stream]
            start = _start(container)
            resampler = shape = None
            end: int | None = None  # ns, end of the previous samples
            for frame in self._decoded(container, stream):
                stamp = _stamp(frame, start)
                if stamp is not None and stamp - ORIGIN > MEDIA_SECONDS * NS:
                    self.warnings["audio: longer than allowed, cut"] += 1
                    return
                if shape != (frame.format.name, frame.layout.name, frame.sample_rate):
                    shape = frame.format.name, frame.layout.name, frame.sample_rate
                    resampler = av.AudioResampler("s16", "mono", rate)
                assert resampler is not None
                try:
                    parts = resampler.resample(frame)
                except av.FFmpegError:
                    self.warnings["audio: a part could not be converted, skipped"] += 1
                    shape = None
                    continue
                for part in parts:
                    times = (_stamp(part, start), stamp, end)
                    first = next((time for time in times if time is not None), None)
                    if first is None:
                        self.warnings["audio: a part without a time, skipped"] += 1
                        continue
                    samples = np.asarray(part.to_ndarray(), np.int16).reshape(-1)
                    end = first + len(samples) * NS // rate
                    yield first, samples

    def _decoded(self, container: Any, stream: Any) -> Iterator[Any]:
        """Yield every decodable frame; count damage, and end early if the file is truncated."""
        import av

        packets, start = container.demux(stream), _start(container)
        time = count = 0  # s, packets
        while True:
            if count > MEDIA_PACKETS * (time + 10):
                self.warnings[f"{stream.type}: over {MEDIA_PACKETS} packets per second, cut"] += 1
                return
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (av.FFmpegError, OSError):
                self.warnings[f"{stream.type}: the file is truncated or damaged, read partly"] += 1
                return
            count += 1
            if packet.pts is not None and packet.time_base:
                time = max(time, _since(packet, start) // NS)
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self.warnings[f"{stream.type}: a part could not be decoded, skipped"] += 1
                continue
            yield from frames

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        import av

        with self.path.open("rb") as stream:
            kind = _kind(stream.read(12))
            if kind is None:
                raise MediaError(
                    f"{self.path} is not a supported media file; "
                    "convert it, for example to MP4 or WAV"
                )
            stream.seek(0)
            try:
                container = av.open(stream, format=kind, options=_LIMITS)
            except (av.FFmpegError, OSError) as error:
                raise MediaError(
                    f"{self.path} could not be opened as {kind}: the file is damaged, or its "
                    "recording was interrupted"
                ) from error
            with container:
                yield container


def _kind(head: bytes) -> str | None:
    for start, name in _START.items():
        if head.startswith(start):
            return name
    if head[4:8] in _BOXES:
        return "mov"
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"RIFF" and head[8:11] == b"AVI":
        return "avi"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return "aac" if head[1] & 0x06 == 0 else "mp3"
    return None


def _is_cover(stream: Any) -> bool:
    """Whether a stream is a cover image, which is stored as a video track of one frame."""
    attached = getattr(stream.disposition, "attached_pic", None)
    return bool(stream.disposition & attached) if attached is not None else False


def _audio_track(stream: Any, number: int, start: Fraction) -> AudioTrack:
    codec = stream.codec_context
    language = shown(stream.metadata.get("language", "")).strip("'")
    rate, channels = codec.sample_rate or MIN_RATE, codec.channels or 1
    return AudioTrack(rate, channels, codec.name, language, number, _end(stream, start))


def _video_track(stream: Any, start: Fraction) -> VideoTrack:
    codec = stream.codec_context
    rate = float(stream.average_rate or 0)
    return VideoTrack(codec.width, codec.height, rate, codec.name, _end(stream, start))


def _end(stream: Any, start: Fraction) -> int:
    """Return ns from `start` (s) to the stated end of a track; 0: unknown."""
    if stream.duration and stream.time_base:
        return int(
            ((stream.start_time or 0) + stream.duration) * stream.time_base * NS - start * NS
        )
    clock = re.fullmatch(r"(\d{1,4}):(\d\d):(\d\d\.\d{1,9})", stream.metadata.get("DURATION", ""))
    if clock is None:  # Matroska states it as text
        return 0
    return seconds(int(clock[1]) * 3600 + int(clock[2]) * 60 + float(clock[3]))


def _duration(container: Any) -> int:
    if container.duration:
        return int(container.duration) * 1000
    lengths = [s.duration * s.time_base for s in container.streams if s.duration and s.time_base]
    return int(max(lengths, default=Fraction(0)) * NS)


def _start(container: Any) -> Fraction:
    """Return the start of the media timeline (s)."""
    return Fraction(container.start_time or 0, 1_000_000)


def _stamp(frame: Any, start: Fraction) -> int | None:
    if frame.pts is None or frame.time_base is None:
        return None
    return ORIGIN + _since(frame, start)


def _since(timed: Any, start: Fraction) -> int:
    """Return ns from `start` (s) to the time of a packet or frame, in fast integer arithmetic."""
    base = timed.time_base
    ticks = timed.pts * base.numerator * start.denominator - start.numerator * base.denominator
    return int(ticks * NS // (base.denominator * start.denominator))


def _chunk(parts: list[NDArray[np.int16]], start: int, format: AudioFormat) -> AudioChunk:
    samples = np.concatenate(parts)
    end = start + len(samples) * NS // format.rate
    return AudioChunk(samples.astype("<i2", copy=False).tobytes(), start, end, format=format)


def _pixels(frame: Any) -> NDArray[np.uint8]:
    """Return (height, width, 3) uint8 BGR, upright, at most MAX_SIDE pixels per side."""
    scale = min(1.0, MAX_SIDE / max(frame.width, frame.height))
    size = {
        "width": max(2, round(frame.width * scale)),
        "height": max(2, round(frame.height * scale)),
    }
    pixels: NDArray[np.uint8] = frame.reformat(format="bgr24", **size).to_ndarray()
    turns = round((frame.rotation or 0) / 90) % 4  # counterclockwise, from the display matrix
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels
