"""Input of a voice part: speaker embeddings of an utterance and of the speaker's earlier ones.

The embedding of a speaker network (CAM++) also contains emotion ("x-vectors meet emotions",
Pappagari et al. 2020, arXiv 2002.05039), but mostly the identity of the speaker. The part therefore
also takes the earlier utterances of the same speaker, as known from diarization at that time, to
normalize the embedding. Training uses the same input.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erc_ros.dialogue.speakers.embedding import SpeakerEmbedding
from erc_ros.values.utterance import SAMPLE_RATE

REMEMBERED = 128  # maximum number of utterances of a conversation, of all speakers

Features = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class HeardVoice:
    """Speaker embedding (D,) and ids of one utterance. An id "" is unknown."""

    utterance_id: str
    speaker_id: str
    features: Features


def remember(heard: tuple[HeardVoice, ...], voice: HeardVoice) -> tuple[HeardVoice, ...]:
    """Append an utterance and keep the last REMEMBERED ones, oldest first.

    An utterance with the same id is replaced at its position.
    """
    if voice.utterance_id and any(each.utterance_id == voice.utterance_id for each in heard):
        return tuple(voice if each.utterance_id == voice.utterance_id else each for each in heard)
    return (*heard, voice)[-REMEMBERED:]


def attribute(
    heard: tuple[HeardVoice, ...], utterance_ids: Collection[str], speaker_id: str
) -> tuple[HeardVoice, ...]:
    """Assign utterances to the speaker `speaker_id`."""
    named = set(utterance_ids) - {""}
    return tuple(
        replace(each, speaker_id=speaker_id) if each.utterance_id in named else each
        for each in heard
    )


def before(
    heard: Sequence[HeardVoice], utterance_id: str, speaker_id: str, most: int
) -> list[Features]:
    """Return the last `most` utterances of a known speaker before this one, oldest first."""
    earlier: list[Features] = []
    for each in heard:
        if utterance_id and each.utterance_id == utterance_id:
            break
        if speaker_id and each.speaker_id == speaker_id:
            earlier.append(each.features)
    return earlier[-most:] if most else []


def voice_inputs(
    voices: Sequence[HeardVoice], heard: Sequence[HeardVoice], most: int
) -> dict[str, NDArray[Any]]:
    """Return the input of a voice part for B utterances of a conversation.

    Args:
        voices: the utterances.
        heard: all utterances of the conversation, oldest first.
        most: maximum number of earlier utterances of the same speaker.

    Returns:
        voice (B, D), heard (B, most, D) float32, oldest first; is_heard (B, most) bool: False for
        padding, where heard is 0.
    """
    batch = np.stack([voice.features for voice in voices]).astype(np.float32)  # (B, D)
    earlier = np.zeros((len(batch), most, batch.shape[1]), np.float32)
    is_heard = np.zeros((len(batch), most), bool)
    for row, voice in enumerate(voices):
        if features := before(heard, voice.utterance_id, voice.speaker_id, most):
            earlier[row, : len(features)] = features
            is_heard[row, : len(features)] = True
    return {"voice": batch, "heard": earlier, "is_heard": is_heard}


class VoiceFeatures:
    """Computes speaker embeddings of audio.

    Args:
        folder: folder of the speaker network with its speaker.yaml.
        max_seconds: the end of longer audio is used.
        device: "cpu", "cuda", or "auto".

    Raises:
        SpeakerModelError: the content of the folder is invalid.
    """

    def __init__(self, folder: Path, max_seconds: float, device: str = "cpu") -> None:
        self._network = SpeakerEmbedding(folder, device)
        self._most = round(max_seconds * SAMPLE_RATE)

    @property
    def size(self) -> int:
        """D, dimension of an embedding."""
        return self._network.manifest.size

    @property
    def sha256(self) -> str:
        """sha256 of the network."""
        return self._network.manifest.sha256

    def __call__(self, audio: NDArray[np.int16]) -> Features | None:
        """Embed audio, (n,) int16 at 16 kHz, as (D,) of length 1; None for silence."""
        features = self.all_of([audio])[0]
        return features if features.any() else None

    def all_of(self, sounds: Sequence[NDArray[np.int16]]) -> Features:
        """Embed B audio clips, (n,) each, as (B, D); zeros for silence."""
        clips = [sound[-self._most :].astype(np.float32) / np.float32(32768) for sound in sounds]
        return self._network.embed_all([self._network.features(sound) for sound in clips])
