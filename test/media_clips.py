"""Small media files for tests, written with PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

AUDIO_CODECS = {
    ".wav": "pcm_s16le", ".flac": "flac", ".mp3": "libmp3lame", ".m4a": "aac", ".mp4": "aac",
    ".mov": "aac", ".mkv": "libopus", ".webm": "libopus", ".ogg": "libopus", ".avi": "pcm_s16le",
}  # fmt: skip
VIDEO_CODECS = {".webm": "libvpx", ".avi": "mpeg4"}


def tone(seconds: float, rate: int = 48_000, frequency: float = 440.0) -> NDArray[np.float32]:
    """Return (n,) float32, a sine with amplitude 0.5."""
    time = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def write_media(
    path: Path,
    tracks: Sequence[NDArray[np.float32]] = (),
    *,
    rate: int = 48_000,
    layout: str = "mono",
    codec: str = "",
    images: Sequence[tuple[float, NDArray[np.uint8]]] = (),
    audio_start: float = 0.0,
) -> Path:
    """Write a media file.

    Args:
        tracks: audio tracks, (n,) float32; each goes to all channels of `layout`.
        images: (time in s, (height, width, 3) uint8 BGR), in the order of time.
        audio_start: s; time of the first sample.
    """
    with av.open(str(path), "w") as container:
        streams: list[Any] = []
        for _ in tracks:
            name = codec or AUDIO_CODECS[path.suffix]
            streams.append(container.add_stream(name, rate=rate, layout=layout))
        video: Any = None
        if images:
            video = container.add_stream(VIDEO_CODECS.get(path.suffix, "libx264"), rate=30)
            video.height, video.width = images[0][1].shape[:2]
            video.pix_fmt, video.codec_context.time_base = "yuv420p", Fraction(1, 1000)
        for time, pixels in images:
            frame = av.VideoFrame.from_ndarray(pixels, format="bgr24")
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            container.mux(video.encode(frame))
        if video is not None:
            container.mux(video.encode(None))
        for stream, samples in zip(streams, tracks, strict=True):
            channels = stream.codec_context.channels
            whole = np.repeat(samples[None], channels, axis=0)
            for at in range(0, len(samples), 960):
                block = np.ascontiguousarray(whole[:, at : at + 960])
                frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
                frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
                frame.pts = at + round(audio_start * rate)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


def image(left: int, right: int, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """Return a gray image whose halves have these values."""
    pixels = np.full((height, width, 3), left, np.uint8)
    pixels[:, width // 2 :] = right
    return pixels
