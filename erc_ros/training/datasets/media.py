"""Decode audio and images of a clip in any format that FFmpeg reads (through PyAV)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from erc_ros.encoders.face import spread

LONGEST = 120.0
"""s; a clip of several minutes in MELD's test split contains many utterances and is excluded."""


class UnusableClipError(ValueError):
    """A clip that cannot be used; the message is a short reason, by which faults are counted."""


def check_pictures(clip: Path) -> None:
    """Open a clip and decode its first image.

    Raises:
        UnusableClipError: missing, unreadable, without images, or longer than LONGEST.
    """
    with _opened(clip, "pictures") as container:
        if next(container.decode(video=0), None) is None:
            raise UnusableClipError("no pictures")


def pictures_of(
    clip: Path, most: int, start: int | None = None, end: int | None = None
) -> NDArray[np.uint8]:
    """Decode images (T, H, W, 3) RGB at regular times of a clip, T at most `most`.

    Keeps one image for each of `most` equal parts of the clip, so that memory is bounded.

    Args:
        start, end: ns; only this part of a longer video.

    Raises:
        UnusableClipError: missing, unreadable, without images there, or longer than LONGEST.
    """
    kept: dict[int, NDArray[np.uint8]] = {}
    begin = 0.0 if start is None else start / 1e9
    with _opened(clip, "pictures", is_part=end is not None) as container:
        whole = (container.duration or 0) / av.time_base
        length = whole if end is None else end / 1e9 - begin
        if begin > 0:
            container.seek(round(begin * av.time_base))  # to the last key frame before it
        for number, frame in enumerate(container.decode(video=0)):
            time = (frame.time or 0.0) - begin
            if end is not None and time >= length:
                break
            part = int(time / length * most) if length > 0 else number
            if time >= 0 and part not in kept and len(kept) < most:
                kept[part] = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    if not kept:
        raise UnusableClipError("no pictures")
    return np.stack([kept[part] for part in sorted(kept)])


def crops_of(file: Path, most: int) -> NDArray[np.uint8]:
    """Read face crops (T, S, S, 3) RGB of `erc cut-faces` at regular times, T at most `most`.

    Raises:
        UnusableClipError: missing, or not a column of square images.
    """
    if not file.is_file():
        raise UnusableClipError("missing")
    strip = cv2.imread(str(file), cv2.IMREAD_COLOR)
    if strip is None or strip.shape[0] % strip.shape[1]:
        raise UnusableClipError("unreadable")
    crops = strip.reshape(-1, strip.shape[1], strip.shape[1], 3)
    chosen = crops[spread(len(crops), most)]
    return np.ascontiguousarray(chosen[..., ::-1])


def sound_of(clip: Path) -> tuple[NDArray[np.float32], int]:
    """Decode the audio of a clip as (n,) float32 in [-1, 1], channels averaged, and its rate (Hz).

    Raises:
        UnusableClipError: missing, unreadable, without audio, or longer than LONGEST.
    """
    with _opened(clip, "sound") as container:
        rate = container.streams.audio[0].rate
        resampler = av.AudioResampler(format="fltp", layout=None, rate=rate)
        blocks = [
            block.to_ndarray().mean(axis=0)
            for frame in (*container.decode(audio=0), None)
            for block in resampler.resample(frame)
        ]
    if not blocks:
        raise UnusableClipError("no sound")
    return np.concatenate(blocks).astype(np.float32), rate


@contextmanager
def _opened(
    clip: Path, wanted: str, is_part: bool = False
) -> Iterator[av.container.InputContainer]:
    """Open a clip that has the `wanted` stream; converts FFmpeg's errors."""
    if not clip.is_file():
        raise UnusableClipError("missing")
    try:
        with av.open(str(clip)) as container:
            streams = container.streams
            if not (streams.video if wanted == "pictures" else streams.audio):
                raise UnusableClipError(f"no {wanted}")
            seconds = (container.duration or 0) / av.time_base
            if seconds > LONGEST and not is_part:
                raise UnusableClipError(f"{seconds:.0f} s long")
            yield container
    except (av.FFmpegError, OSError) as error:
        raise UnusableClipError("unreadable") from error
