"""Conversion of the audio and faces of an utterance to the inputs of a bundle's networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erc_ros.encoders.audio import audio_input, waveform_input
from erc_ros.encoders.face import check_picture, clip_input, face_input
from erc_ros.inference.manifest import FaceCrops, LogMelAudio, VisualPart, WaveformAudio
from erc_ros.values.utterance import SAMPLE_RATE, FaceCrop

SHORTEST_SOUND = SAMPLE_RATE * 3 // 10  # samples; shorter audio is not used
SILENCE = 32  # int16 (-60 dBFS); audio with a lower peak is not used

Inputs = dict[str, NDArray[Any]]


def audio_inputs(part: LogMelAudio | WaveformAudio, audio: NDArray[np.int16]) -> Inputs:
    """Convert audio (n,) int16 to the input of the audio network, with a batch of one."""
    if isinstance(part, LogMelAudio):
        features = audio_input(audio, part.max_seconds)
        return {"features": features[None], "frames": np.array([len(features)], np.int64)}
    return {"waveform": waveform_input(audio, part.max_seconds, part.normalise)[None]}


def visual_inputs(part: VisualPart, crops: Sequence[FaceCrop]) -> tuple[Inputs | None, str]:
    """Convert crops to the input of the visual network, or None; also return a note, or ""."""
    note = ""
    pictures = [crop for crop in crops if _is_picture(crop)]
    if len(pictures) < len(crops):
        note = f"{len(crops) - len(pictures)} of {len(crops)} face crops are not images"
    if not pictures:
        return None, note
    if isinstance(part, FaceCrops):
        return {"faces": face_input(pictures, part.max_crops, part.size)}, note
    return {"clip": clip_input(pictures, part.frames, part.size, part.mean, part.std)[None]}, note


def unusable(audio: NDArray[Any]) -> str:
    """Return why audio cannot be used, or ""."""
    if audio.ndim != 1 or audio.dtype != np.int16:
        return f"the audio is {audio.dtype} {audio.shape} instead of int16 mono"
    if len(audio) < SHORTEST_SOUND:
        return "the audio is shorter than 0.3 s"
    # No abs(), because -32768 has no positive counterpart in int16.
    if audio.max() < SILENCE and audio.min() > -SILENCE:
        return "the audio is silent"
    return ""


def _is_picture(crop: FaceCrop) -> bool:
    try:
        check_picture(crop.pixels)
    except ValueError:
        return False
    return True
