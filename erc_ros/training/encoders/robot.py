"""The robot's small networks as encoders that can be fine-tuned like published ones.

`model: log-mel` and `model: faces` in a recipe start with new weights; a folder that `save` wrote
continues with its weights (network.json, model.safetensors).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from erc_ros.encoders.audio import WINDOW, audio_input
from erc_ros.encoders.face import face_input
from erc_ros.training.encoders import own_network, pretrained
from erc_ros.training.encoders.audio.model import EMBEDDING as AUDIO_EMBEDDING
from erc_ros.training.encoders.audio.model import AudioNetwork, AudioNetworkConfig, pad
from erc_ros.training.encoders.audio.pretrained import SpeechEncoderConfig, waveform
from erc_ros.training.encoders.sample import Sample, unusable_sound
from erc_ros.training.encoders.visual.model import EMBEDDING as FACE_EMBEDDING
from erc_ros.training.encoders.visual.model import FaceNetwork, FaceNetworkConfig
from erc_ros.training.encoders.visual.pretrained import VideoEncoderConfig
from erc_ros.values.utterance import SAMPLE_RATE, FaceCrop

Sizes = TypeVar("Sizes")
LOG_MEL, FACES = "log-mel", "faces"


def network_kind(model: str) -> str:
    """Return log-mel, faces, or the kind in a folder's network.json; "": a Hugging Face model."""
    if model in (LOG_MEL, FACES):
        return model
    return own_network.kind_of(Path(model))


class LogMelEncoder:
    """Encoder of audio by log-mel features -> embedding (N, 128); see `pretrained.Trainable`.

    Raises:
        ValueError: the folder has another kind of network.
    """

    modality = "audio"
    dimension = AUDIO_EMBEDDING

    def __init__(self, config: SpeechEncoderConfig) -> None:
        self.config = config
        self._sizes = _begin(LOG_MEL, config.model, AudioNetworkConfig)
        self.model: nn.Module = AudioNetwork(self._sizes)
        self.batch_size = config.batch_size
        self.name = _loaded(self.model, config.model, LOG_MEL, max_seconds=config.max_seconds)

    def refuses(self, sample: Sample) -> str:
        """Refuse audio that is missing, not finite, or shorter than 25 ms."""
        return unusable_sound(sample, WINDOW)

    def size(self, sample: Sample) -> int:
        """Return the duration of the audio that is encoded, ms."""
        assert sample.sound is not None
        seconds = len(sample.sound) / sample.sample_rate
        return round(1000 * min(seconds, self.config.max_seconds))

    def collate(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        """Return features (N, T, 64) and frames (N,), computed as on the robot."""
        inputs = []
        for sample in samples:
            sound = np.clip(waveform(sample, SAMPLE_RATE), -1, 1) * 32767
            whole = np.round(sound).astype(np.int16)
            inputs.append(audio_input(whole, self.config.max_seconds))
        features, frames = pad(inputs)
        return {"features": features, "frames": frames}

    def embed(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return embeddings (N, 128) for inputs of `collate`."""
        embedding: Tensor = self.model(inputs["features"], inputs["frames"])
        return embedding

    def encode(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """Return embeddings (N, 128); see `pretrained.encode`."""
        return pretrained.encode(self, samples)

    def save(self, folder: Path) -> None:
        """Write network.json and model.safetensors."""
        own_network.save(self.model, folder, LOG_MEL, self._sizes)


class FacesEncoder:
    """Encoder of face crops -> mean of their embeddings (N, 128); see `pretrained.Trainable`.

    The corpus must have face crops: meld-faces, iemocap-6-faces (`erc cut-faces`).

    Raises:
        ValueError: the folder has another kind of network.
    """

    modality = "visual"
    dimension = FACE_EMBEDDING

    def __init__(self, config: VideoEncoderConfig) -> None:
        self.config = config
        self._sizes = _begin(FACES, config.model, FaceNetworkConfig)
        self.model: nn.Module = FaceNetwork(self._sizes)
        self.batch_size = config.batch_size
        self.name = _loaded(self.model, config.model, FACES)

    def refuses(self, sample: Sample) -> str:
        """Refuse samples without images."""
        return "no frames" if sample.frames is None or len(sample.frames) == 0 else ""

    def size(self, sample: Sample) -> int:
        """Return 1: the cost is about the same for all samples."""
        return 1

    def collate(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        """Return faces (M, 1, 48, 48), at most 8 per sample, and their sample: owner (M,)."""
        faces, owners = [], []
        for number, sample in enumerate(samples):
            assert sample.frames is not None
            blue_first = np.ascontiguousarray(sample.frames[..., ::-1])
            crops = face_input([FaceCrop(n, pixels) for n, pixels in enumerate(blue_first)])
            faces.append(torch.from_numpy(crops))
            owners.append(torch.full((len(crops),), number))
        return {"faces": torch.cat(faces), "owner": torch.cat(owners)}

    def embed(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return embeddings (N, 128) for inputs of `collate`."""
        owner = inputs["owner"]
        each = self.model(inputs["faces"])  # (M, 128)
        count = torch.bincount(owner)  # (N,)
        total = each.new_zeros(len(count), each.shape[1]).index_add(0, owner, each)  # (N, 128)
        mean: Tensor = total / count[:, None]
        return mean

    def encode(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """Return embeddings (N, 128); see `pretrained.encode`."""
        return pretrained.encode(self, samples)

    def save(self, folder: Path) -> None:
        """Write network.json and model.safetensors."""
        own_network.save(self.model, folder, FACES, self._sizes)


def _begin(kind: str, model: str, cls: type[Sizes]) -> Sizes:
    if model == kind:
        return cls()
    if not own_network.kind_of(Path(model)):
        raise ValueError(f"the network {model!r} is for another modality than {kind!r}")
    return own_network.read_sizes(Path(model), kind, cls)


def _loaded(network: nn.Module, model: str, kind: str, **settings: float) -> str:
    """Load the weights if `model` is a folder; returns the encoder's name."""
    if model == kind:
        return f"{kind}-new"
    own_network.load(network, Path(model))
    return f"{kind}-{pretrained.digest(Path(model), **settings)}"
