"""Small video clips for tests."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

RATE = 24


def write_clip(
    file: Path, seconds: float = 0.5, pictures: bool = True, sound: bool = True, hertz: float = 440
) -> Path:
    """Write MPEG-4 images of 32x24 that become brighter, and a stereo AAC tone at 44.1 kHz."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(file), "w") as container:
        # All streams before the first packet.
        video = container.add_stream("mpeg4", rate=RATE) if pictures else None
        audio = container.add_stream("aac", rate=44_100) if sound else None
        if video is not None:
            video.width, video.height, video.pix_fmt = 32, 24, "yuv420p"
            count = round(seconds * RATE)
            for number in range(count):
                picture = np.full((24, 32, 3), 250 * number // count, np.uint8)
                container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(video.encode())
        if audio is not None:
            time = np.arange(round(seconds * 44_100)) / 44_100
            tone = np.float32(0.5) * np.sin(2 * np.pi * hertz * time).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(np.stack([tone, tone]), "fltp", "stereo")
            frame.rate = 44_100
            fifo = av.AudioFifo()
            fifo.write(frame)
            while block := fifo.read(1024, partial=True):
                container.mux(audio.encode(block))
            container.mux(audio.encode())
    return file
