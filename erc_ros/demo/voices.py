"""Synthetic voices for the demo: eSpeak NG, a formant synthesizer without any recorded person.

The wheel `espeakng-loader` carries the library and its data. eSpeak NG is GPL-3.0-or-later: a
program of its own that the extra `[demo]` installs, no part of this package.
"""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from erc_ros.values.utterance import SAMPLE_RATE

# From eSpeak NG's speak_lib.h.
_SYNCHRONOUS = 2
_UTF8 = 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


class VoiceError(RuntimeError):
    """The synthesizer is missing or refuses a voice."""


@dataclass(frozen=True)
class Voice:
    """A synthetic speaker. variant: a voice of eSpeak NG; pitch: 0..100."""

    variant: str
    pitch: int = 50


@dataclass(frozen=True)
class Delivery:
    """How a sentence is said.

    rate: words per minute; pitch: added to the voice's; range: melody, 0..100. loudness: of the
    peak, 0 to 1. tilt: of the timbre, from -0.9 (sharp) over 0 (as it is) to 0.9 (dull).
    """

    rate: int = 165
    pitch: int = 0
    range: int = 50
    loudness: float = 1.0
    tilt: float = 0.0


class Synthesiser:
    """Speaks sentences. There is one engine per process: use `synthesiser()`."""

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError as error:
            raise VoiceError(
                "synthetic voices need espeakng-loader: in the source tree, pip install '.[demo]'"
            ) from error
        data = Path(espeakng_loader.get_data_path())
        self._library: Any = ctypes.CDLL(espeakng_loader.get_library_path())
        self._rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, str(data.parent).encode(), 0)
        if self._rate <= 0:
            raise VoiceError(f"eSpeak NG does not start with its data in {data}")
        self._chunks: list[NDArray[np.int16]] = []
        self._callback = _Callback(self._collect)  # kept: the library calls it later
        self._library.espeak_SetSynthCallback(self._callback)

    def say(self, text: str, voice: Voice, delivery: Delivery | None = None) -> NDArray[np.float32]:
        """The sentence as (n,) float32 at 16 kHz, its peak 0.7 of the loudness.

        Raises:
            VoiceError: an unknown variant, or nothing to say.
        """
        delivery = delivery or Delivery()
        if self._library.espeak_SetVoiceByName(voice.variant.encode()):
            raise VoiceError(f"eSpeak NG has no voice {voice.variant!r}")
        pitch = min(100, max(0, voice.pitch + delivery.pitch))
        for parameter, value in ((_RATE, delivery.rate), (_PITCH, pitch), (_RANGE, delivery.range)):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._chunks.clear()
        sentence = text.encode() + b"\0"
        self._library.espeak_Synth(sentence, len(sentence), 0, 1, 0, _UTF8, None, None)
        if not self._chunks:
            raise VoiceError(f"nothing to say in {text!r}")
        sound = np.concatenate(self._chunks).astype(np.float32) / 32768
        sound = soxr.resample(sound, self._rate, SAMPLE_RATE)
        sound[1:] += delivery.tilt * sound[:-1]
        peak = 0.7 * delivery.loudness / max(1e-6, float(np.abs(sound).max()))
        return np.asarray(sound * peak, np.float32)

    def _collect(self, samples: Any, count: int, _events: Any) -> int:
        if count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0  # go on


@functools.lru_cache(maxsize=1)
def synthesiser() -> Synthesiser:
    """The process's synthesizer, started once."""
    return Synthesiser()
