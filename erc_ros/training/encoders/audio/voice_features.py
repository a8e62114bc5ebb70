"""Speaker embeddings of all clips of the speech corpora, computed once for all trainings.

The features are those of the robot (`inference.voice.VoiceFeatures`). Clips have a clean version
and versions with a room, noise or a telephone; in a version all clips of a speaker have the same
channel.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from erc_ros.inference.voice import VoiceFeatures
from erc_ros.resources import model_folder
from erc_ros.training.datasets import corpora
from erc_ros.training.datasets.speech import Clip
from erc_ros.training.encoders.augmentation import Channel, ChannelAugmentation, no_voices
from erc_ros.training.engine.runs import write_with

FILE = "features.safetensors"
SEED = 1234  # of the channels of the clips, the same for every seed of a training
MAX_SECONDS = 4.0  # the end of an utterance; the network's time grows with its length
NO_VOICES = 400
TOGETHER = 64  # clips per batch


@dataclass(frozen=True, eq=False)
class VoiceClips:
    """Features (D numbers) of N clips in V versions, of which the first is clean.

    features (N, V, D), NaN where a clip has no such version; labels (N,): of utterances.LABELS;
    corpora, speakers, sexes (N,): names; negatives (M, D): of non-speech audio.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    corpora: NDArray[np.str_]
    speakers: NDArray[np.str_]
    sexes: NDArray[np.str_]
    negatives: NDArray[np.float32]

    @property
    def is_ordinary(self) -> NDArray[np.bool_]:
        """(N,) True for ordinary speech, which has no label but neutral."""
        return np.char.startswith(self.corpora, f"{corpora.ORDINARY}-")

    def of(self, chosen: NDArray[np.bool_]) -> VoiceClips:
        """Return some of the clips, and all negatives."""
        return VoiceClips(
            self.features[chosen],
            self.labels[chosen],
            self.corpora[chosen],
            self.speakers[chosen],
            self.sexes[chosen],
            self.negatives,
        )


def voice_clips(
    clips: Sequence[Clip],
    how: ChannelAugmentation,
    speaker_network: str,
    file: Path,
    say: Callable[[str], None] = print,
) -> VoiceClips:
    """Return the features of clips; they are kept in `file` (about 20 ms per clip and version).

    Args:
        speaker_network: a folder, or a name in `models/`.
        file: computed again if clips, network or channels differ.

    Raises:
        SpeakerModelError, FileNotFoundError: the network cannot be used.
    """
    network = VoiceFeatures(model_folder(speaker_network), MAX_SECONDS)
    digest = hashlib.sha256()
    for clip in clips:
        digest.update(f"{clip.corpus}/{clip.name}/{len(clip.samples)}".encode())
    made_of = json.dumps(
        {"network": network.sha256, "channels": asdict(how), "clips": digest.hexdigest()}
    )
    arrays = _kept(file, made_of)
    if arrays is None:
        arrays = _embedded(clips, how, network, say)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_with(file, lambda new: save_file(arrays, new, {"made_of": made_of}))
    return VoiceClips(
        arrays["features"],
        np.array([clip.label for clip in clips], np.int64),
        np.array([clip.corpus for clip in clips]),
        np.array([clip.speaker for clip in clips]),
        np.array([clip.sex for clip in clips]),
        arrays["negatives"],
    )


def _kept(file: Path, made_of: str) -> dict[str, NDArray[np.float32]] | None:
    if not file.is_file():
        return None
    try:
        with safe_open(file, "np") as kept:
            if (kept.metadata() or {}).get("made_of") != made_of:
                return None
            return {name: kept.get_tensor(name) for name in ("features", "negatives")}
    except SafetensorError:
        return None


def _embedded(
    clips: Sequence[Clip],
    how: ChannelAugmentation,
    network: VoiceFeatures,
    say: Callable[[str], None],
) -> dict[str, NDArray[np.float32]]:
    generator = np.random.default_rng(SEED)
    channels: dict[str, list[Channel]] = {}
    features = np.full((len(clips), how.versions, network.size), np.nan, np.float32)
    # Clips of one length go through the network together.
    order = sorted(range(len(clips)), key=lambda row: (len(clips[row].samples), row))
    for begin in range(0, len(order), TOGETHER):
        places, sounds = [], []
        for row in order[begin : begin + TOGETHER]:
            clip = clips[row]
            if clip.speaker not in channels:
                drawn = [Channel.drawn(how, generator) for _ in range(how.versions - 1)]
                channels[clip.speaker] = [Channel(), *drawn]
            is_changed = generator.random() < how.changed
            for version in range(how.versions if is_changed else 1):
                carried = channels[clip.speaker][version].carry(clip.samples, generator)
                places.append((row, version))
                sounds.append(_pcm(carried))
        features[tuple(zip(*places, strict=True))] = network.all_of(sounds)
        if begin // TOGETHER % 16 == 0:
            say(f"encoded {begin} of {len(clips)} clips")
    negatives = network.all_of([_pcm(sound) for sound in no_voices(NO_VOICES, generator)])
    return {"features": features, "negatives": negatives}


def _pcm(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    """Return 16-bit samples, as of the robot's microphone."""
    return np.rint(samples * 32767).astype(np.int16)
