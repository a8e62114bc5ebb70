"""`erc info`, `erc models` and `erc import`: what is in a recording, what models there are."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from erc_ros.inference.bundle import BundleError, read_manifest
from erc_ros.media.files import MediaFile
from erc_ros.media.transcripts import Cue
from erc_ros.parameters import RobotConfig
from erc_ros.replay.bag import VALUES, BagRecord, BagWriter
from erc_ros.replay.offline import heard_topics
from erc_ros.replay.recording import SPEECH, is_media, open_recording, recording_files
from erc_ros.replay.session import is_session
from erc_ros.resources import shared
from erc_ros.sensing.frames import Frame
from erc_ros.sensing.microphone import AudioChunk
from erc_ros.values.nanoseconds import NS
from erc_ros.values.transcript import Transcript


def info(argv: Sequence[str]) -> int:
    """`erc info RECORDING`: its topics or tracks, and which of them would be used.

    Raises:
        BagError, MediaError, FileNotFoundError: it cannot be used.
    """
    parser = argparse.ArgumentParser(
        prog="erc info", description="What a recording has, and what would be used of it."
    )
    parser.add_argument("recording", type=Path, help="rosbag2, video or audio file")
    path = parser.parse_args(argv).recording
    with open_recording(path) as recording:
        if is_media(path):
            for file in recording_files(path)[is_session(path) :]:
                print("\n".join(_tracks(file)))
        warnings: Counter[str] = Counter()
        chosen = heard_topics(recording, {}, RobotConfig().utterance_node, warnings)
        used = {topic.name: role for role, topics in chosen.items() for topic in topics}
        for topic in recording.topics:
            count = "" if is_media(path) else f"{topic.count:>8} messages  "
            kind = "" if topic.type in VALUES.values() else f"{topic.type}  "
            role = f"used as {used[topic.name]}" if topic.name in used else "not used"
            print(f"{topic.name:<24}{count}{kind}{role}")
        for text in sorted(warnings + recording.warnings):
            print(f"note: {text}")
    return 0


def _tracks(path: Path) -> list[str]:
    media = MediaFile(path)
    lines = [f"{path.name}: {media.duration / NS:.1f} s"]
    for number, track in enumerate(media.audio):
        language = f", {track.language}" if track.language else ""
        lines.append(
            f"audio {number}: {track.codec}, {track.rate} Hz, {track.channels} channels{language}"
        )
    if media.video is not None:
        video = media.video
        lines.append(f"video: {video.codec}, {video.width} x {video.height}, {video.rate:.2f} Hz")
    return lines


def models(argv: Sequence[str]) -> int:
    """`erc models`: the model packages that are installed."""
    argparse.ArgumentParser(
        prog="erc models", description="The installed model packages, for `--bundle NAME`."
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
        license = str(manifest.training.get("licence", "not stated")).partition(" (")[0]
        print(f"{manifest.name} {manifest.version}")
        print(f"  inputs     {', '.join(inputs)}")
        print(f"  labels     {', '.join(manifest.labels)}")
        print(f"  languages  {languages}")
        print(f"  size       {size / 1e6:.0f} MB")
        print(f"  license    {license}")
        print(f"  folder     {folder}")
    return 0


def write_bag(path: Path, out: Path, cues: Sequence[Cue] = (), frame_rate: float = 10.0) -> Path:
    """Write a media file with its transcript as a rosbag2 with the types of this package's inputs.

    Images become JPEG on /image/compressed, audio S16LE on /audio with its /audio_info, texts
    whisper_msgs/Transcription on /speech, which keep start and end, but neither speakers nor words.

    Args:
        path: the media file. out: the folder to make. cues: its transcript.
        frame_rate: Hz, at most.

    Raises:
        BagError: the folder exists. MediaError, TranscriptError: the file cannot be used.
    """
    with open_recording(path, cues, frame_rate) as recording, BagWriter(out) as writer:
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
