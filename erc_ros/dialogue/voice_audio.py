"""The audio of single voices, as ROS4HRI separates it: who speaks beside others is heard alone."""

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

MAX_VOICES = 16  # that are kept; ids of voices come and go
LEAST = 0.5  # of what the microphone heard: less is no audio of the whole utterance


@dataclass(slots=True, eq=False)
class _Voice:
    """A stream of its own, and the sounds that it gave lately, in their order."""

    stream: Microphone
    sounds: deque[tuple[int, NDArray[np.int16]]] = field(default_factory=deque)


class VoiceAudio:
    """The last audio of every voice that comes by itself.

    Args:
        format: what the bytes mean where the message does not say it.
        kept: s of each voice.
    """

    def __init__(self, format: AudioFormat, kept: float) -> None:
        self._format, self._kept = format, seconds(kept)
        self._voices: dict[str, _Voice] = {}

    def feed(self, voice_id: str, chunk: AudioChunk) -> None:
        """Take a chunk. One without a stamp ends when it came: voices pause between utterances.

        Raises:
            ValueError: it cannot be read; the next one may be.
        """
        voice = self._voices.pop(voice_id, None) or _Voice(Microphone(self._format))
        self._voices[voice_id] = voice
        if len(self._voices) > MAX_VOICES:  # the person who has been silent for longest
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
                if event.start < voice.sounds[0][0]:  # its clock was set back
                    voice.sounds = deque([voice.sounds[-1]])
        while voice.sounds and voice.sounds[0][0] < voice.sounds[-1][0] - self._kept:
            voice.sounds.popleft()

    def instead_of(
        self, heard: NDArray[np.int16], voice_id: str, start: int, end: int
    ) -> NDArray[np.int16]:
        """(n,) what the voice said from `start` to `end` (ns), without its pauses.

        `heard`, the microphone's, where nothing came of the voice or too little.
        """
        alone = self._samples(voice_id, start, end)
        return alone if len(alone) > LEAST * len(heard) else heard

    def clear(self) -> None:
        """Forget them."""
        self._voices.clear()

    def _samples(self, voice_id: str, start: int, end: int) -> NDArray[np.int16]:
        voice, parts = self._voices.get(voice_id), []
        for begin, samples in () if voice is None else voice.sounds:
            first = max(0, (start - begin) * SAMPLE_RATE // NS)
            last = min(len(samples), (end - begin) * SAMPLE_RATE // NS)
            parts.append(samples[first : max(first, last)])
        return np.concatenate(parts) if parts else np.zeros(0, np.int16)
