"""Command-line options that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path


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
        help="recognize the speech of a media file: faster-whisper:MODEL, "
        "whisper.cpp:MODEL, vosk:FOLDER, pocketsphinx (for trials), or package.module:Class",
    )
    parser.add_argument(
        "--language", default="", metavar="CODE", help="of the recognizer, such as en"
    )
