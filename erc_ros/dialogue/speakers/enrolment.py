"""Enrolled voices in a private file; without such a file no person is recognized by voice.

A voice is a `VoiceProfile`: sums of embeddings of one speaker network. Speech cannot be restored
from them, but a person can be recognized: they are personal data. The file is JSON, is checked
completely, and can be used only with the network that computed the embeddings. Errors do not
contain names, because errors are logged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erc_ros.dialogue import voice_activity
from erc_ros.dialogue.speakers.clustering import VoiceProfile
from erc_ros.dialogue.speakers.networks import EmbeddingNetwork
from erc_ros.dialogue.voice_activity import (
    FRAME,
    FRAME_TIME,
    Activity,
    Began,
    Ended,
    VoiceActivity,
    VoiceActivityConfig,
)
from erc_ros.values.errors import ErcValueError
from erc_ros.values.files import explain, write_whole
from erc_ros.values.nanoseconds import NS
from erc_ros.values.settings import check, setting
from erc_ros.values.utterance import SAMPLE_RATE

FORMAT = 2
WINDOW = 1.2  # s, length of an embedded window
LEAST = 5.0  # s, minimum speech of a person
MAX_NAME = 100  # characters
MAX_BYTES = 20_000_000  # size of a file
GREATEST = 1e30  # largest number in a file


@dataclass(frozen=True, slots=True)
class VoiceRecognitionConfig:
    """Settings of the recognition of enrolled voices.

    Raises:
        ValueError: a value is outside its range.
    """

    certainty: float = setting(
        0.8,
        "maximum difference of a recognized voice, as a share of `new_voice` of the network",
        range=(0.0, 2.0),
        source="test/dialogue/test_enrolment.py",
    )

    def __post_init__(self) -> None:
        check(self)


class EnrolmentError(ErcValueError):
    """A recording or file of enrolled voices cannot be used."""


# --- enrolling a voice ---


def speech_in(samples: NDArray[np.float32], network: VoiceActivity) -> NDArray[np.float32]:
    """Remove the pauses: (n,) samples -> (m,) samples of speech, float32 at 16 kHz."""
    config = VoiceActivityConfig()
    network.reset()
    activity = Activity()
    events: list[Began | Ended] = []
    for first in range(0, len(samples) - FRAME + 1, FRAME):
        probability = network.feed(samples[first : first + FRAME])
        time = first // FRAME * FRAME_TIME
        activity, step_events = voice_activity.step(activity, config, time, probability)
        events += step_events
    events += voice_activity.finish(activity, config)[1]
    spans = [(max(0, event.start), event.end) for event in events if isinstance(event, Ended)]
    parts = [samples[a * SAMPLE_RATE // NS : b * SAMPLE_RATE // NS] for a, b in spans]
    return np.concatenate([np.zeros(0, np.float32), *parts])


def enrol(embedding: EmbeddingNetwork, samples: NDArray[np.float32]) -> VoiceProfile:
    """Compute the profile of a voice.

    samples: (n,) float32 at 16 kHz, speech of one person without long pauses.

    Raises:
        EnrolmentError: there are less than `LEAST` s, or silence.
    """
    duration = len(samples) / SAMPLE_RATE
    if duration < LEAST:
        raise EnrolmentError(f"{duration:.1f} s of speech were found; record at least {LEAST} s")
    size = round(WINDOW * SAMPLE_RATE)
    parts = [samples[first : first + size] for first in range(0, len(samples) - size + 1, size)]
    vectors = embedding.embed_all([embedding.features(part) for part in parts])
    voiced = [vector for vector in vectors if vector.any()]
    if not voiced:
        raise EnrolmentError("the recording is silent: is the microphone muted?")
    return VoiceProfile(
        np.sum(voiced, axis=0, dtype=np.float32), float(len(voiced)), len(voiced) * WINDOW
    )


# --- the file ---


def save_voices(path: Path, model_sha256: str, voices: Mapping[str, VoiceProfile]) -> None:
    """Write name -> voice to a file. model_sha256: of the network that computed them.

    Raises:
        EnrolmentError: a name is empty or too long, or the file cannot be written.
    """
    for name in voices:
        _check_name(path, name)
    content = {
        "format": FORMAT,
        "model_sha256": model_sha256,
        "voices": {
            name: {
                "total": [float(value) for value in voice.total],
                "weight": voice.weight,
                "heard": voice.heard,
            }
            for name, voice in voices.items()
        },
    }
    _write(path, content)


def load_voices(path: Path, model_sha256: str, size: int) -> dict[str, VoiceProfile]:
    """Read name -> voice from a file.

    model_sha256: checksum of the network with which the voices must have been computed. size:
    dimension of its embeddings.

    Raises:
        EnrolmentError: the file is missing, invalid, or was made with another network.
    """
    content = _read(path)
    if content.get("model_sha256") != model_sha256:
        raise EnrolmentError(
            f"{path}: made with the network {content.get('model_sha256')!r}, this one is "
            f"{model_sha256!r}: enrol the voices again"
        )
    voices = enumerate(content["voices"].items(), 1)
    return {_check_name(path, name): _voice(path, place, v, size) for place, (name, v) in voices}


def remove_voice(path: Path, name: str) -> None:
    """Delete a voice from the file, whichever network it was made with.

    Raises:
        EnrolmentError: the file is invalid, or does not contain the name.
    """
    content = _read(path)
    if name not in content["voices"]:
        raise EnrolmentError(f"{path} has no voice of this name")
    del content["voices"][name]
    _write(path, content)


def _read(path: Path) -> dict[str, Any]:
    """Read the file and check only its format and that `voices` is a mapping."""
    try:
        if path.exists() and not path.is_file():
            raise EnrolmentError(f"{path} is not a file")
        if path.stat().st_size > MAX_BYTES:
            raise EnrolmentError(f"{path} has more than {MAX_BYTES} bytes")
        content = json.loads(path.read_text("utf-8"))
    except EnrolmentError:
        raise
    except (OSError, ValueError, RecursionError) as error:  # also a number of 10,000 digits
        raise EnrolmentError(f"{path} cannot be read ({error})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise EnrolmentError(f"{path} is not a file of voices in format {FORMAT}")
    if not isinstance(content.get("voices"), dict):
        raise EnrolmentError(f"{path}: voices must be a mapping of names")
    return content


def _write(path: Path, content: Mapping[str, Any]) -> None:
    try:
        write_whole(path, json.dumps(content), is_private=True)
    except OSError as error:
        raise EnrolmentError(f"{path} cannot be written ({explain(error)})") from error


def _check_name(path: Path, name: str) -> str:
    if not 0 < len(name) <= MAX_NAME:
        raise EnrolmentError(f"{path}: a name has {len(name)} characters; must be 1 to {MAX_NAME}")
    return name


def _voice(path: Path, place: int, raw: Any, size: int) -> VoiceProfile:
    numbers = ("weight", "heard")
    if not isinstance(raw, dict) or set(raw) != {"total", *numbers}:
        raise EnrolmentError(f"{path}: voice {place} must have total, {', '.join(numbers)}")
    values = raw["total"] if isinstance(raw["total"], list) else []
    if len(values) != size or not all(_is_number(v) for v in [*values, *map(raw.get, numbers)]):
        raise EnrolmentError(
            f"{path}: voice {place} must have {size} numbers in `total`, and numbers elsewhere"
        )
    if raw["weight"] <= 0 or raw["heard"] <= 0:
        raise EnrolmentError(f"{path}: voice {place} has no speech")
    total = np.array(values, np.float32)
    return VoiceProfile(total, float(raw["weight"]), float(raw["heard"]))


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return -GREATEST < value < GREATEST  # excludes NaN and numbers beyond float32


# --- recognizing ---


def least_alike(
    embedding: EmbeddingNetwork, config: VoiceRecognitionConfig = VoiceRecognitionConfig()
) -> float:
    """Return the minimum similarity of two voices of one person (see `recognise`)."""
    return 1.0 - config.certainty * embedding.new_voice / embedding.same_voice


def recognise(voice: VoiceProfile, known: Mapping[str, VoiceProfile], least: float) -> str | None:
    """Return the name of the most similar enrolled voice; None if none is similar enough.

    least: minimum cosine similarity, see `least_alike`. A few seconds of speech are needed to
    reach it.
    """
    alike = {name: _alike(voice, other) for name, other in known.items()}
    name = max(alike, key=lambda n: alike[n], default=None)
    return name if name is not None and alike[name] >= least else None


def recognise_each(
    voices: Mapping[int, VoiceProfile], known: Mapping[str, VoiceProfile], least: float
) -> dict[int, str]:
    """Return speaker -> name of the enrolled speakers; a name goes to the most similar speaker."""
    matches: dict[str, tuple[float, int]] = {}
    for speaker, voice in voices.items():
        name = recognise(voice, known, least)
        if name is not None:
            alike = _alike(voice, known[name]), speaker
            matches[name] = max(matches.get(name, alike), alike)
    return {speaker: name for name, (_, speaker) in matches.items()}


def _alike(voice: VoiceProfile, other: VoiceProfile) -> float:
    lengths = float(np.linalg.norm(voice.total) * np.linalg.norm(other.total))
    return float(voice.total @ other.total) / max(lengths, 1e-9)
