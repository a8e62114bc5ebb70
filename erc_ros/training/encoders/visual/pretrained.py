"""Video by any encoder of Hugging Face, such as TimeSformer and VideoMAE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoImageProcessor, AutoModel

from erc_ros.training.encoders import pretrained
from erc_ros.training.encoders.sample import Sample
from erc_ros.values.settings import check, setting

READINGS = ("first", "mean")


@dataclass(frozen=True, slots=True)
class VideoEncoderConfig:
    """The section of a video encoder."""

    model: str
    """A folder, or a name in the local Hugging Face cache."""
    reading: str = setting(
        "first", "the first token (TimeSformer) or the mean of all (VideoMAE)", choices=READINGS
    )
    batch_size: int = setting(4, "clips encoded together", "", (1, 10_000))

    def __post_init__(self) -> None:
        check(self)


class VideoEncoder:
    """Frames -> embedding; see `sample.Encoder` and `pretrained.Trainable`.

    As many frames as the model was made for (TimeSformer 8, VideoMAE 16), evenly over the
    utterance; of a shorter one some frames count twice.

    Raises:
        FileNotFoundError: the model or its image processor is not on this machine.
        ValueError: the model cannot be read, or does not take frames.
    """

    modality = "visual"

    def __init__(self, config: VideoEncoderConfig) -> None:
        folder = pretrained.local_folder(config.model)
        self.config = config
        self.batch_size = config.batch_size
        self.model: nn.Module = pretrained.load(AutoModel, folder)
        self._process = pretrained.load_processor(AutoImageProcessor, folder)
        if not hasattr(self.model.config, "num_frames"):
            raise ValueError(f"{folder} has no num_frames in config.json: it is no video encoder")
        self.frames = int(self.model.config.num_frames)
        self.side = int(self.model.config.image_size)
        self.dimension = int(self.model.config.hidden_size)
        settings = asdict(config) | {"model": "", "batch_size": 0}  # neither changes an embedding
        self.name = f"video-{pretrained.digest(folder, **settings)}"

    @property
    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of R, G, B in [0, 1] that images are normalized with."""
        if not self._process.do_normalize:
            return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        return tuple(self._process.image_mean), tuple(self._process.image_std)

    def refuses(self, sample: Sample) -> str:
        """Frames (T, H, W, 3) uint8 are needed, at least one."""
        if sample.frames is None or len(sample.frames) == 0:
            return "no frames"
        shape, kind = sample.frames.shape, sample.frames.dtype
        if len(shape) != 4 or shape[3] != 3 or kind != np.uint8 or 0 in shape:
            return f"frames of shape {shape} and type {kind}"
        return ""

    def size(self, sample: Sample) -> int:
        """All cost the same."""
        return self.frames

    def collate(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        """pixel_values (N, T, 3, S, S) float32."""
        clips = []
        for sample in samples:
            assert sample.frames is not None
            chosen = sample.frames[evenly(len(sample.frames), self.frames)]
            clips.append(self._process(list(chosen), return_tensors="pt")["pixel_values"])
        return {"pixel_values": torch.cat([clip.reshape(1, *clip.shape[-4:]) for clip in clips])}

    def embed(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """What `collate` made -> (N, d)."""
        states = self.model(pixel_values=inputs["pixel_values"]).last_hidden_state  # (N, L, d)
        read: Tensor = states[:, 0] if self.config.reading == "first" else states.mean(dim=1)
        return read

    def encode(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """(N, d); see `pretrained.encode`."""
        return pretrained.encode(self, samples)

    def save(self, folder: Path) -> None:
        """Model and image processor as a Hugging Face folder."""
        pretrained.save(folder, self.model, self._process)


def evenly(count: int, wanted: int) -> list[int]:
    """Which of `count` frames to take: the middles of `wanted` equal parts, in order."""
    return [(2 * part + 1) * count // (2 * wanted) for part in range(wanted)]
