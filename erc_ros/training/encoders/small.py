"""The robot's own small speech encoder, as a part in ONNX: a corpus then sounds as on the robot."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from erc_ros.encoders.audio import WINDOW, audio_input
from erc_ros.networks.network import Network
from erc_ros.networks.session import signature
from erc_ros.training.encoders.audio.pretrained import waveform
from erc_ros.training.encoders.sample import Sample, check, unusable_sound
from erc_ros.values.utterance import SAMPLE_RATE


class BundleSpeechEncoder:
    """Sound -> embedding by an audio.onnx, such as runs/audio/best/audio.onnx; (N, 128).

    Raises:
        FileNotFoundError: no such file.
        ValueError: a part with other inputs.
    """

    modality = "audio"

    def __init__(self, part: Path) -> None:
        self._network = _part(part, ["features", "frames"])
        self.name = f"log-mel-{_digest(part)}"
        self.dimension = _width(part)

    def refuses(self, sample: Sample) -> str:
        """Finite sound of at least 25 ms is needed."""
        return unusable_sound(sample, WINDOW)

    def encode(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """(N, 128); see `sample.Encoder`."""
        check(self, samples)
        rows = []
        for sample in samples:
            # As the robot's microphone gives it: 16 bits at 16 kHz.
            sound = np.clip(waveform(sample, SAMPLE_RATE), -1, 1) * 32767
            features = audio_input(np.round(sound).astype(np.int16))
            frames = np.array([len(features)], np.int64)
            answer = self._network({"features": features[None], "frames": frames})
            rows.append(answer["embedding"])
        return np.concatenate(rows)


def _part(file: Path, inputs: list[str]) -> Network:
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: train it first, or take a bundle's part")
    found = list(signature(file).inputs)
    if "voice" in found and "features" in inputs:
        raise ValueError(
            f"{file} hears what a speaker network says of a voice, and this encodes sound as"
            " log-mel: give the folder of one that hears it, such as runs/audio_log_mel/best (erc"
            " train config/training/audio_log_mel.yaml)"
        )
    if found != inputs:
        raise ValueError(f"{file} takes {found}, not {inputs}: it is a part for another modality")
    return Network(file)


def _width(file: Path) -> int:
    size = signature(file).outputs["embedding"][1][-1]
    if size is None:
        raise ValueError(f"{file} does not say how large its embedding is: export it again")
    return size


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]
