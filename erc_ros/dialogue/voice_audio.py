"""History of the separated audio of single voices from ROS4HRI."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from erc_ros.sensing.audio import AudioFormat, AudioSamples, duration, format_of
from erc_ros.sensing.level import within_full_scale
from erc_ros.sensing.microphone import AudioChunk, Microphone
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.utterance import SAMPLE_RATE

MAX_VOICES = 16  # maximum number of voices
LEAST = 0.5  # minimum duration relative to the microphone audio of an utterance


@dataclass(slots=True, eq=False)
class _Voice:
    """Audio stream of one voice, and its last audio in order."""

    stream: Microphone
    sounds: deque[tuple[int, NDArray[np.int16]]] = field(default_factory=deque)


class VoiceAudio:
    """The last audio of every separated voice.

    Args:
        format: sample format of messages without one.
        kept: s of audio to keep of each voice.
    """

    def __init__(self, format: AudioFormat, kept: float) -> None:
        self._format, self._kept = format, seconds(kept)
        self._voices: dict[str, _Voice] = {}

    def feed(self, voice_id: str, chunk: AudioChunk) -> None:
        """Append a chunk; a chunk without a stamp ends at its arrival, since voices pause.

        Raises:
            ValueError: the chunk could not be decoded; following chunks are still accepted.
        """
        voice = self._voices.pop(voice_id, None) or _Voice(Microphone(self._format))
        self._voices[voice_id] = voice
        if len(self._voices) > MAX_VOICES:  # delete the voice that was silent for longest
            del self._voices[next(iter(self._voices))]
        if chunk.stamp is None:
            format = format_of(chunk.data, chunk.format, self._format)
            lasts = seconds(duration(chunk.data, format))
            chunk = AudioChunk(
                chunk.data, chunk.arrival - lasts, chunk.arrival, chunk.frame_id, chunk.format
            )
        for event in voice.stream.feed(chunk):
            if isinstance(event, AudioSamples):
                samples = np.round(within_full_scale(event.samples) * 32767).astype(np.int16)
                voice.sounds.append((event.start, samples))
                if event.start < voice.sounds[0][0]:  # the clock was set back
                    voice.sounds = deque([voice.sounds[-1]])
        while voice.sounds and voice.sounds[0][0] < voice.sounds[-1][0] - self._kept:
            voice.sounds.popleft()

    def instead_of(
        self, heard: NDArray[np.int16], voice_id: str, start: int, end: int
    ) -> NDArray[np.int16]:
        """Return the audio (n,) of a voice from `start` to `end` (ns), without pauses.

        Returns `heard`, the audio of the microphone, if the voice has too little audio.
        """
        alone = self._samples(voice_id, start, end)
        return alone if len(alone) > LEAST * len(heard) else heard

    def clear(self) -> None:
        """Delete all voices."""
        self._voices.clear()

    def _samples(self, voice_id: str, start: int, end: int) -> NDArray[np.int16]:
        voice, parts = self._voices.get(voice_id), []
        for begin, samples in () if voice is None else voice.sounds:
            first = max(0, (start - begin) * SAMPLE_RATE // NS)
            last = min(len(samples), (end - begin) * SAMPLE_RATE // NS)
            parts.append(samples[first : max(first, last)])
        return np.concatenate(parts) if parts else np.zeros(0, np.int16)
