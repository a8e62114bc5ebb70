"""`erc info`: the content of a recording, and which topics or tracks would be used."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from erc_ros.evaluation.transcripts import cues_for
from erc_ros.media.files import MediaFile
from erc_ros.parameters import RobotConfig
from erc_ros.replay.bag import VALUES
from erc_ros.replay.offline import NO_TEXT, heard_topics
from erc_ros.replay.recording import is_media, open_recording, recording_files
from erc_ros.replay.session import is_session
from erc_ros.values.nanoseconds import NS


def info(argv: Sequence[str]) -> int:
    """`erc info RECORDING`: its topics or tracks, and which of them would be used.

    Raises:
        BagError, MediaError, TranscriptError, FileNotFoundError: the recording cannot be used.
    """
    parser = argparse.ArgumentParser(
        prog="erc info", description="Content of a recording, and what erc_ros would use of it."
    )
    parser.add_argument("recording", type=Path, help="video or audio file, session, or rosbag2")
    path = parser.parse_args(argv).recording
    cues = cues_for(path, None, print)
    with open_recording(path, cues) as recording:
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
        notes = warnings + recording.warnings
        if is_media(path):
            del notes[NO_TEXT]  # the line about the transcript reports it
        for text in sorted(notes):
            print(f"note: {text}")
    return 0


def _tracks(path: Path) -> list[str]:
    media = MediaFile(path)
    lines = [f"{path.name}: {media.duration / NS:.1f} s"]
    for number, track in enumerate(media.audio):
        language = f", {track.language}" if track.language not in ("", "und") else ""
        channels = "mono" if track.channels == 1 else f"{track.channels} channels"
        lines.append(f"audio {number}: {track.codec}, {track.rate} Hz, {channels}{language}")
    if media.video is not None:
        video = media.video
        lines.append(f"video: {video.codec}, {video.width} x {video.height}, {video.rate:.2f} Hz")
    return lines
