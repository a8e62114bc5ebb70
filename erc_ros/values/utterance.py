"""An utterance: one speaker's segment of speech with its text, audio and faces."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

MODALITIES = ("text", "audio", "visual")  # the order of all arrays with one entry per modality
SAMPLE_RATE = 16_000  # Hz; all audio after the microphone adapter is 16 kHz mono


@dataclass(frozen=True, slots=True, eq=False)
class FaceCrop:
    """The image of one face, cropped from a camera frame.

    stamp: ns, of the frame. pixels: (S, S, 3) uint8, BGR. frame_id: of the camera, "" = unknown.
    """

    stamp: int
    pixels: NDArray[np.uint8]
    frame_id: str = ""


def speaker_name(speaker_id: str, person_id: str = "") -> str:
    """Return the display name of a speaker: "Ana", or "speaker 1"; "" if unknown."""
    if person_id:
        return person_id
    return f"speaker {int(speaker_id) + 1}" if speaker_id.isdecimal() else speaker_id


def _no_sound() -> NDArray[np.int16]:
    return np.zeros(0, np.int16)


@dataclass(frozen=True, slots=True, eq=False)
class Utterance:
    """Text, audio and face crops of one speaker from `start` to `end`.

    Unknown ids are "", unknown confidences are NaN. A draft (`is_final` False) has audio and faces
    but no text yet; the final utterance with the same id follows.
    """

    conversation_id: str
    utterance_id: str  # unique within the conversation; a draft and its final utterance share it
    start: int  # ns
    end: int  # ns
    text: str = ""
    locale: str = ""
    text_confidence: float = float("nan")  # 0..1
    speaker_id: str = ""  # index within the conversation, "0", "1", ...; never an identity
    speaker_confidence: float = float("nan")  # 0..1
    overlap: float = float("nan")  # 0..1, share of the time in which two or more people speak
    voice_id: str = ""
    face_id: str = ""
    person_id: str = ""  # ROS4HRI person, or the name of an enrolled voice
    is_final: bool = True
    frame_id: str = ""
    audio: NDArray[np.int16] = field(default_factory=_no_sound)  # (n,) mono at SAMPLE_RATE
    faces: tuple[FaceCrop, ...] = ()  # sorted by stamp
