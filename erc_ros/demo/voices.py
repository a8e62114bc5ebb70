"""Synthetic voices of eSpeak NG, a formant synthesizer without recordings of people.

The wheel `espeakng-loader` contains the library and its data. eSpeak NG has the license
GPL-3.0-or-later; it is not part of this package, and is installed by the extra `[demo]`.
"""

from __future__ import annotations

import _ctypes
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
VIBRATO_HZ = 7.8
_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


class VoiceError(RuntimeError):
    """The synthesizer is not installed, or a voice or text is invalid."""


@dataclass(frozen=True)
class Voice:
    """A synthetic speaker. variant: name of a voice of eSpeak NG. pitch: 0..100."""

    variant: str
    pitch: int = 50


@dataclass(frozen=True)
class Delivery:
    """Prosody of a sentence.

    rate: words per minute. pitch: added to that of the voice. range: pitch range, 0..100. loudness:
    relative peak, 0 to 1. tilt: spectral tilt, from -0.9 (bright) to 0.9 (dull); 0 = unchanged.
    vibrato: relative depth of a modulation of pitch at VIBRATO_HZ, below 1.
    """

    rate: int = 165
    pitch: int = 0
    range: int = 50
    loudness: float = 1.0
    tilt: float = 0.0
    vibrato: float = 0.0


class Synthesiser:
    """Speech synthesizer. There is one engine per process: use `synthesiser()`.

    A sentence always gives the same samples. The library keeps the phases of its oscillators from
    one sentence to the next, also when it is initialized again, so it is loaded for each (20 ms).
    """

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError as error:
            raise VoiceError(
                "synthetic voices need espeakng-loader: in the source tree, pip install '.[demo]'"
            ) from error
        self._data = Path(espeakng_loader.get_data_path())
        self._file = espeakng_loader.get_library_path()
        self._chunks: list[NDArray[np.int16]] = []
        self._callback = _Callback(self._collect)  # a reference, because the library calls it

    def say(self, text: str, voice: Voice, delivery: Delivery | None = None) -> NDArray[np.float32]:
        """Synthesize a sentence as (n,) float32 at 16 kHz with a peak of 0.7 times the loudness.

        Raises:
            VoiceError: the variant is unknown, or the text gives no audio.
        """
        delivery = delivery or Delivery()
        self._chunks.clear()
        library: Any = ctypes.CDLL(self._file)
        try:
            rate = self._synthesize(library, text, voice, delivery)
        finally:
            library.espeak_Terminate()
            _ctypes.dlclose(library._handle)
        if not self._chunks:
            raise VoiceError(f"the text {text!r} gives no audio")
        samples = np.concatenate(self._chunks).astype(np.float32) / 32768
        sound = np.asarray(soxr.resample(samples, rate, SAMPLE_RATE), np.float32)
        sound[1:] += delivery.tilt * sound[:-1]
        if delivery.vibrato:
            sound = _with_vibrato(sound, delivery.vibrato)
        peak = 0.7 * delivery.loudness / max(1e-6, float(np.abs(sound).max()))
        return np.asarray(sound * peak, np.float32)

    def _synthesize(self, library: Any, text: str, voice: Voice, delivery: Delivery) -> int:
        """Collect the samples of the sentence; return their rate."""
        rate: int = library.espeak_Initialize(_SYNCHRONOUS, 0, str(self._data.parent).encode(), 0)
        if rate <= 0:
            raise VoiceError(f"eSpeak NG does not start with its data in {self._data}")
        library.espeak_SetSynthCallback(self._callback)
        if library.espeak_SetVoiceByName(voice.variant.encode()):
            raise VoiceError(f"eSpeak NG has no voice {voice.variant!r}")
        pitch = min(100, max(0, voice.pitch + delivery.pitch))
        for parameter, value in ((_RATE, delivery.rate), (_PITCH, pitch), (_RANGE, delivery.range)):
            library.espeak_SetParameter(parameter, value, 0)
        sentence = text.encode() + b"\0"
        library.espeak_Synth(sentence, len(sentence), 0, 1, 0, _UTF8, None, None)
        return rate

    def _collect(self, samples: Any, count: int, _events: Any) -> int:
        if count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0  # continue


def _with_vibrato(sound: NDArray[np.float32], depth: float) -> NDArray[np.float32]:
    """Play audio at a speed that changes periodically; the duration stays the same."""
    speed = 1 + depth * np.sin(2 * np.pi * VIBRATO_HZ * np.arange(len(sound)) / SAMPLE_RATE)
    position = np.cumsum(speed) * len(sound) / speed.sum()
    return np.asarray(np.interp(position, np.arange(len(sound)), sound), np.float32)


@functools.lru_cache(maxsize=1)
def synthesiser() -> Synthesiser:
    """Return the synthesizer of the process, which is started once."""
    return Synthesiser()
