"""Command-line options shared by several commands."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any


def transcript_options(parser: argparse.ArgumentParser) -> None:
    """Add `--transcript`, `--recognizer` and `--language`, for commands that take media files."""
    parser.add_argument(
        "--transcript",
        type=Path,
        metavar="FILE",
        help="transcript of a media file: .srt .vtt .json (Whisper, WhisperX, whisper.cpp, "
        "Vosk) .ctm .stm .csv .tsv .eaf .TextGrid; default: NAME.srt or NAME.vtt next to it",
    )
    parser.add_argument(
        "--recognizer",
        metavar="KIND:MODEL",
        help="recognize the speech of a media file or rosbag: faster-whisper:MODEL, "
        "whisper.cpp:MODEL, vosk:FOLDER, pocketsphinx (for trials), or package.module:Class",
    )
    parser.add_argument(
        "--language",
        default="",
        metavar="CODE",
        help="spoken language, such as en; default: detected by the recognizer",
    )


ROLES = ("image", "audio", "speech")


def part_options(parser: argparse.ArgumentParser) -> None:
    """Add `--from` and `--to`, which select a part of a recording."""
    parser.add_argument(
        "--from",
        dest="start",
        type=float,
        default=0.0,
        metavar="S",
        help="start of the used part (s)",
    )
    parser.add_argument(
        "--to", dest="end", type=float, metavar="S", help="end of the used part (s)"
    )


def recording_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that select a part of a recording and its topics."""
    part_options(parser)
    for role in ROLES:
        parser.add_argument(
            f"--{role}", metavar="TOPIC", help=f"{role} topic; default: selected by type"
        )
    parser.add_argument(
        "--tuning", metavar="YAML", help="file with internal settings, as `tuning_file`"
    )
    parser.add_argument(
        "--speaker-model",
        help="folder or name of the speaker network; none: no speaker diarization",
    )
    parser.add_argument("--no-text", action="store_true", help="exclude texts from the output")
    parser.add_argument(
        "--no-media", action="store_true", help="exclude audio and images from the output"
    )


def topics_of(options: argparse.Namespace) -> tuple[tuple[str, str], ...]:
    """Return (role, topic) of the topics that the user selected."""
    return tuple((role, topic) for role in ROLES if (topic := getattr(options, role)))


class _Private(argparse.Action):
    """Make all files and folders created from now on accessible by their owner only."""

    def __init__(self, option_strings: list[str], dest: str, help: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, *_: Any) -> None:
        os.umask(0o077)


def private_option(parser: argparse.ArgumentParser) -> None:
    """Add `--private`, for commands whose results may contain texts, audio or faces."""
    parser.add_argument(
        "--private",
        action=_Private,
        help="make results readable only by their owner (mode 0600); default: set by the umask",
    )
