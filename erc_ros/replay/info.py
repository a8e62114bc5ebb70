"""`erc models` lists the model packages; `erc import` converts a media file to a rosbag2."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from erc_ros.inference.bundle import BundleError, read_manifest
from erc_ros.media.recognizers import SpeechRecognizer
from erc_ros.media.transcripts import Cue
from erc_ros.replay.bag import BagRecord, BagWriter
from erc_ros.replay.progress import Progress, ReportingRecording
from erc_ros.replay.recording import SPEECH, open_recording
from erc_ros.resources import shared
from erc_ros.sensing.frames import Frame
from erc_ros.sensing.microphone import AudioChunk
from erc_ros.values.nanoseconds import NS
from erc_ros.values.transcript import Transcript


def models(argv: Sequence[str]) -> int:
    """`erc models`: list the installed model packages."""
    argparse.ArgumentParser(
        prog="erc models", description="List the installed model packages, for `--bundle NAME`."
    ).parse_args(argv)
    for folder in sorted(shared("models").iterdir()):
        if not (folder / "bundle.yaml").is_file():
            continue
        try:
            manifest = read_manifest(folder)
        except BundleError as error:
            print(f"{folder.name}: cannot be used: {error}", file=sys.stderr)
            continue
        size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
        parts = ("text", "audio", "visual")
        inputs = [name for name in parts if getattr(manifest, name) is not None]
        languages = ", ".join(getattr(manifest, "languages", ())) or "not stated"
        license = _license_of(folder) or str(manifest.training["licence"]).partition(" (")[0]
        print(f"{manifest.name} {manifest.version}")
        print(f"  inputs     {', '.join(inputs)}")
        print(f"  labels     {', '.join(manifest.labels)}")
        print(f"  languages  {languages}")
        print(f"  size       {size / 1e6:.0f} MB")
        print(f"  license    {license}")
        print(f"  folder     {folder}")
    return 0


def _license_of(folder: Path) -> str:
    """Return the SPDX identifier in the LICENSE of a model package, or ""."""
    file = folder / "LICENSE"
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    match = re.search(r"SPDX(?:-License-Identifier)?: ([\w.+-]*\w)", text)
    return match[1] if match else ""


def write_bag(
    path: Path,
    out: Path,
    cues: Sequence[Cue] = (),
    frame_rate: float = 10.0,
    recognizer: SpeechRecognizer | None = None,
    progress: Progress = lambda share: None,
) -> Path:
    """Convert a media file with its transcript to a rosbag2 with the input types of this package.

    Images are written as JPEG to /image/compressed, audio as S16LE to /audio with /audio_info, and
    texts as whisper_msgs/Transcription to /speech, with start and end, without speakers and words.

    Args:
        path: the media file. out: the folder to create. cues: its transcript.
        frame_rate: maximum (Hz). recognizer: transcribes the audio if there is no transcript.
        progress: receives the completed share.

    Raises:
        BagError: the folder exists. MediaError, TranscriptError: the file cannot be used.
    """
    with (
        open_recording(path, cues, frame_rate, recognizer) as opened,
        BagWriter(out) as writer,
    ):
        recording = ReportingRecording(opened, progress)
        names = {topic.name for topic in recording.topics if topic.name in _FIRST}
        has_info = False
        for record in recording.messages(names):
            if isinstance(record.message, AudioChunk) and not has_info:
                _write_info(writer, record)
                has_info = True
            _write(writer, record)
    return out


_FIRST = ("/audio", "/image", SPEECH)


def _write_info(writer: BagWriter, record: BagRecord) -> None:
    format = record.message.format
    kind = "audio_common_msgs/msg/AudioInfo"
    message = writer.new(
        kind,
        channels=format.channels,
        sample_rate=format.rate,
        sample_format=format.sample_format,
        bitrate=0,
        coding_format="WAVE",
    )
    writer.write("/audio_info", kind, record.time, message)


def _write(writer: BagWriter, record: BagRecord) -> None:
    value = record.message
    if isinstance(value, AudioChunk):
        kind = "audio_common_msgs/msg/AudioDataStamped"
        data = writer.new(
            "audio_common_msgs/msg/AudioData", data=np.frombuffer(value.data, np.uint8)
        )
        header = writer.header(value.stamp or record.time)
        writer.write("/audio", kind, record.time, writer.new(kind, header=header, audio=data))
    elif isinstance(value, Frame):
        pixels = np.frombuffer(value.data, np.uint8).reshape(value.height, value.width, 3)
        _, jpeg = cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_QUALITY, 90))
        kind = "sensor_msgs/msg/CompressedImage"
        message = writer.new(
            kind, header=writer.header(value.stamp), format="jpeg", data=jpeg.reshape(-1)
        )
        writer.write("/image/compressed", kind, record.time, message)
    elif isinstance(value, Transcript) and value.start is not None and value.end is not None:
        kind = "whisper_msgs/msg/Transcription"
        message = writer.new(
            kind,
            text=value.text,
            audio_time=(value.end - value.start) / NS,
            transcription_time=(value.arrival - value.end) / NS,
        )
        writer.write("/speech", kind, record.time, message)
