"""Known voices, in a file that its owner keeps: off unless somebody makes such a file.

A voice is what `diarization.Voice` says of it: sums of embeddings of one speaker network, from
which speech cannot be restored, but by which a person can be recognised again: personal data. The
file is JSON, of which everything is checked; it fits only the network that it was made with.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erc_ros.dialogue.diarization import Diarizer, Measure, Voice, voice_distance
from erc_ros.dialogue.utterance import SAMPLE_RATE
from erc_ros.sensing.nanoseconds import NS

FORMAT = 1
LEAST = 5.0  # s of speech of a person
MAX_NAME = 100  # characters
MAX_BYTES = 20_000_000  # of a file


class EnrolmentError(ValueError):
    """Known voices that cannot be used; says what is wrong and where."""


def enrol(diarizer: Diarizer, samples: NDArray[np.float32]) -> Voice:
    """A voice from speech of one person, (n,) float32 at 16 kHz, without long pauses.

    The diarizer forgets its conversation.

    Raises:
        EnrolmentError: too short, or nothing to hear.
    """
    duration = len(samples) / SAMPLE_RATE
    if duration < LEAST:
        raise EnrolmentError(f"{duration:.1f} s of speech, at least {LEAST} s are needed")
    diarizer.reset()
    diarizer.begin(0, samples)
    voice = diarizer.whole_voice(len(samples) * NS // SAMPLE_RATE)
    diarizer.reset()
    if voice is None:
        raise EnrolmentError("nothing to hear in it: is the microphone muted?")
    return voice


def save_voices(path: Path, model_sha256: str, voices: Mapping[str, Voice]) -> None:
    """Write name -> voice. model_sha256: of the network that made them.

    Raises:
        EnrolmentError: a name is empty or too long.
        OSError: the file cannot be written.
    """
    for name in voices:
        _check_name(path, name)
    content = {
        "format": FORMAT,
        "model_sha256": model_sha256,
        "voices": {
            name: {
                "total": [float(value) for value in voice.total],
                "windows": voice.windows,
                "alike": voice.alike,
                "pairs": voice.pairs,
                "heard": voice.heard,
            }
            for name, voice in voices.items()
        },
    }
    path.write_text(json.dumps(content), "utf-8")


def load_voices(path: Path, model_sha256: str, size: int) -> dict[str, Voice]:
    """Read name -> voice; they must be of the network with this checksum and vectors of `size`.

    Raises:
        EnrolmentError: missing, unreadable, of another network, or not what `save_voices` writes.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise EnrolmentError(f"{path}: more than {MAX_BYTES} bytes")
        content = json.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise EnrolmentError(f"{path}: cannot be read ({error})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise EnrolmentError(f"{path}: no file of voices of format {FORMAT}")
    if content.get("model_sha256") != model_sha256:
        raise EnrolmentError(
            f"{path}: made with the network {content.get('model_sha256')!r}, this one is "
            f"{model_sha256!r}: enrol the voices again"
        )
    voices = content.get("voices")
    if not isinstance(voices, dict):
        raise EnrolmentError(f"{path}: voices must be a mapping of names")
    return {_check_name(path, name): _voice(path, name, v, size) for name, v in voices.items()}


def _check_name(path: Path, name: str) -> str:
    if not 0 < len(name) <= MAX_NAME:
        raise EnrolmentError(f"{path}: a name has {len(name)} characters, 1 to {MAX_NAME} may be")
    return name


def _voice(path: Path, name: str, raw: Any, size: int) -> Voice:
    numbers = ("windows", "alike", "pairs", "heard")
    if not isinstance(raw, dict) or set(raw) != {"total", *numbers}:
        raise EnrolmentError(f"{path}: {name} must have total, {', '.join(numbers)}")
    values = raw["total"] if isinstance(raw["total"], list) else []
    if len(values) != size or not all(_is_number(v) for v in [*values, *map(raw.get, numbers)]):
        raise EnrolmentError(f"{path}: {name} must have {size} numbers in total, and numbers else")
    if raw["windows"] < 1 or raw["pairs"] < 0 or raw["heard"] <= 0:
        raise EnrolmentError(f"{path}: {name} has no speech")
    total = np.array(values, np.float32)
    return Voice(total, int(raw["windows"]), raw["alike"], int(raw["pairs"]), raw["heard"])


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def recognise(voice: Voice, known: Mapping[str, Voice], by: Measure) -> str | None:
    """The name whose voice this is; None: nobody's who is known.

    The nearest, if it is no further than a voice may be from itself.
    """
    distances = {name: voice_distance(voice, other, by) for name, other in known.items()}
    name = min(distances, key=lambda n: distances[n], default=None)
    return name if name is not None and distances[name] <= by.apart else None
