"""Command-line options that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path


def transcript_option(parser: argparse.ArgumentParser) -> None:
    """Add `--transcript`, for a command that takes one media file."""
    parser.add_argument(
        "--transcript",
        type=Path,
        metavar="FILE",
        help="what was said in a media file: .srt .vtt .json (Whisper, WhisperX, whisper.cpp, "
        "Vosk) .ctm .stm .csv .tsv .eaf .TextGrid; default: NAME.srt or NAME.vtt next to it",
    )
