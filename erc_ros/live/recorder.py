"""`erc live --record`: record audio, video and recognized texts for `erc replay`."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from erc_ros.live.session import Observer
from erc_ros.sensing.audio import AudioFormat
from erc_ros.sensing.faces import FaceObservation
from erc_ros.sensing.frames import Frame
from erc_ros.sensing.images import to_bgr
from erc_ros.sensing.microphone import AudioChunk
from erc_ros.values.errors import ErcValueError
from erc_ros.values.files import write_whole
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.transcript import Transcript

SUFFIX = ".mkv"  # readable up to the last cluster even after a power failure
_WAIT = seconds(5.0)  # maximum wait for the first value of the other source
_BITS = 2_000_000  # per second of video


class Recorder(Observer):
    """Writes a Matroska file, and a WebVTT file with recognized texts. It must be closed.

    The streams of the file are fixed when each source has sent data, or 5 s after the first one.

    Args:
        path: the file, readable by its owner only; it must not exist.
        kinds: kinds of the sources: "microphone", "camera".

    Raises:
        FileExistsError, OSError: the file could not be created.
    """

    def __init__(self, path: Path, kinds: Collection[str]) -> None:
        self.path = path if path.suffix else path.with_suffix(SUFFIX)
        if self.path.suffix != SUFFIX:
            raise ErcValueError(f"{path}: recordings are Matroska files; use the suffix {SUFFIX}")
        self._words = self.path.with_suffix(".vtt")
        if self._words.exists():
            raise FileExistsError(f"{self._words} exists already: choose another name")
        self._file: BinaryIO = os.fdopen(
            os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600), "r+b"
        )
        self._kinds = set(kinds)
        self._early: list[AudioChunk | Frame] = []
        self._container: Any = None
        self._audio: Any = None
        self._video: Any = None
        self._format: AudioFormat | None = None
        self._first = 0  # ns, time 0 of the file
        self._last: dict[str, int] = {}  # last time stamp of each stream
        self._texts: list[Transcript] = []

    def on_audio(self, chunk: AudioChunk) -> None:
        """See `Observer`."""
        self._take(chunk)

    def on_image(self, frame: Frame, faces: Sequence[FaceObservation]) -> None:
        """See `Observer`."""
        self._take(frame)

    def on_text(self, text: Transcript) -> None:
        """See `Observer`."""
        self._texts.append(text)

    def close(self) -> list[Path]:
        """Finish the files and return them."""
        try:
            if self._container is None and self._early:
                self._open()
            if self._container is not None:
                for stream in (self._audio, self._video):
                    if stream is not None:
                        self._container.mux(stream.encode(None))
                self._container.close()
        finally:
            self._file.close()
        if self._container is None:
            self.path.unlink()
            return []
        if not self._texts:
            return [self.path]
        write_whole(self._words, self._subtitles(), is_private=True)
        return [self.path, self._words]

    def _take(self, value: AudioChunk | Frame) -> None:
        if self._container is not None:
            self._write(value)
            return
        self._early.append(value)
        kinds = {"camera" if isinstance(each, Frame) else "microphone" for each in self._early}
        if kinds >= self._kinds or _time(value) - _time(self._early[0]) > _WAIT:
            self._open()

    def _open(self) -> None:
        import av

        self._first = min(map(_time, self._early))
        self._container = av.open(self._file, "w", format="matroska")
        chunk = next((each for each in self._early if isinstance(each, AudioChunk)), None)
        frame = next((each for each in self._early if isinstance(each, Frame)), None)
        if chunk is not None and chunk.format is not None:
            self._format = chunk.format
            self._audio = self._container.add_stream(
                "pcm_s16le", rate=chunk.format.rate, layout="mono"
            )
        if frame is not None:
            self._video = self._container.add_stream("mpeg4", rate=30)
            self._video.width, self._video.height = frame.width // 2 * 2, frame.height // 2 * 2
            self._video.pix_fmt, self._video.bit_rate = "yuv420p", _BITS
            self._video.codec_context.time_base = Fraction(1, 1000)
        for value in self._early:
            self._write(value)
        self._early.clear()

    def _write(self, value: AudioChunk | Frame) -> None:
        import av

        passed = _time(value) - self._first
        if isinstance(value, AudioChunk):
            if self._audio is None or value.format != self._format or self._format is None:
                return
            samples = np.frombuffer(value.data, "<i2").astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "s16", "mono")
            rate = frame.sample_rate = self._format.rate
            stamp, frame.time_base = max(0, passed) * rate // NS, Fraction(1, rate)
            # Smaller deviations of a chunk from the count of samples are ignored.
            if abs(stamp - self._last.get("audio", stamp)) < rate // 50:
                stamp = self._last.get("audio", stamp)
            frame.pts = stamp
            self._last["audio"] = stamp + samples.shape[1]
            self._container.mux(self._audio.encode(frame))
        elif self._video is not None:
            image = av.VideoFrame.from_ndarray(to_bgr(value), format="bgr24")
            image = image.reformat(self._video.width, self._video.height, "yuv420p")
            stamp = passed // 1_000_000
            if stamp > self._last.get("video", -1):
                image.pts, image.time_base = stamp, Fraction(1, 1000)
                self._last["video"] = stamp
                self._container.mux(self._video.encode(image))

    def _subtitles(self) -> str:
        parts = ["WEBVTT\n"]
        for text in self._texts:
            if text.start is None or text.end is None:
                continue
            times = (_clock(max(0, moment - self._first)) for moment in (text.start, text.end))
            words = text.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
            parts.append(f"{' --> '.join(times)}\n{words}\n")
        return "\n".join(parts)


def _time(value: AudioChunk | Frame) -> int:
    if isinstance(value, Frame):
        return value.stamp
    return value.arrival if value.stamp is None else value.stamp


def _clock(moment: int) -> str:
    milliseconds = moment // 1_000_000
    second, millisecond = divmod(milliseconds, 1000)
    return f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}.{millisecond:03}"
