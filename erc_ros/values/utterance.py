"""An utterance: one speaker's segment of speech with its text, audio and faces."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

MODALITIES = ("text", "audio", "visual")  # the order of everything that has three entries
SAMPLE_RATE = 16_000  # Hz; everything behind the microphone adapter is 16 kHz mono


@dataclass(frozen=True, slots=True, eq=False)
class FaceCrop:
    """One face, cut out of a camera frame.

    stamp: ns, of the frame. pixels: (S, S, 3) uint8, BGR. frame_id: of the camera, "" = unknown.
    """

    stamp: int
    pixels: NDArray[np.uint8]
    frame_id: str = ""


def speaker_name(speaker_id: str, person_id: str = "") -> str:
    """Return what results call a speaker: "Ana", or "speaker 1"; "" where it is unknown."""
    if person_id:
        return person_id
    return f"speaker {int(speaker_id) + 1}" if speaker_id.isdecimal() else speaker_id


def _no_sound() -> NDArray[np.int16]:
    return np.zeros(0, np.int16)


@dataclass(frozen=True, slots=True, eq=False)
class Utterance:
    """What was said (and heard, and seen) from `start` to `end`.

    Unknown ids are "", unknown confidences are NaN. A draft (`is_final` False) has its audio and
    faces but still waits for its text; the final utterance of the same id follows.
    """

    conversation_id: str
    utterance_id: str  # unique within the conversation, drafts and finals share it
    start: int  # ns
    end: int  # ns
    text: str = ""
    locale: str = ""
    text_confidence: float = float("nan")  # 0..1
    speaker_id: str = ""  # index within the conversation, "0", "1", ...; never an identity
    speaker_confidence: float = float("nan")  # 0..1
    overlap: float = float("nan")  # 0..1, share of its time in which two or more people speak
    voice_id: str = ""
    face_id: str = ""
    person_id: str = ""  # of ROS4HRI, or the name of a known voice
    is_final: bool = True
    frame_id: str = ""
    audio: NDArray[np.int16] = field(default_factory=_no_sound)  # (n,) mono at SAMPLE_RATE
    faces: tuple[FaceCrop, ...] = ()  # in the order of their stamps
