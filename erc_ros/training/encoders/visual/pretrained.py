"""Video encoders of Hugging Face, for clips (TimeSformer) or images (ViT, ResNet)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoImageProcessor, AutoModel, AutoModelForImageClassification

from erc_ros.encoders.face import clip_input, resized
from erc_ros.training.encoders import pretrained
from erc_ros.training.encoders.sample import Sample
from erc_ros.values.settings import check, setting
from erc_ros.values.utterance import FaceCrop

READINGS = ("first", "mean", "classes")


@dataclass(frozen=True, slots=True)
class VideoEncoderConfig:
    """The section of a video encoder."""

    model: str
    """A folder, or a name in the local Hugging Face cache."""
    reading: str = setting(
        "first",
        "the first token (TimeSformer, ViT), the mean of all tokens or places (VideoMAE, ResNet),"
        " or the logits of an image classifier, such as the 1000 of ImageNet",
        choices=READINGS,
    )
    frames: int = setting(
        8, "of an utterance, where the model sees single images; their embeddings are averaged", "",
        (1, 64),
    )  # fmt: skip
    size: int = setting(
        0, "width of the embedding, by a linear layer after the model; 0: the model's", "",
        (0, 100_000),
    )  # fmt: skip
    batch_size: int = setting(4, "clips encoded together", "", (1, 10_000))

    def __post_init__(self) -> None:
        check(self)


class VideoEncoder:
    """Encoder of frames; see `sample.Encoder` and `pretrained.Trainable`.

    A video model gets its own number of frames (TimeSformer 8, VideoMAE 16), an image model
    `frames`, at regular times of the utterance; frames of a shorter one are repeated.

    Raises:
        FileNotFoundError: the model or its image processor is not on this machine.
        ValueError: the model could not be loaded, does not take images, or has no such reading.
    """

    modality = "visual"

    def __init__(self, config: VideoEncoderConfig) -> None:
        folder = pretrained.local_folder(config.model)
        self.config = config
        self.batch_size = config.batch_size
        classifies = config.reading == "classes"
        auto = AutoModelForImageClassification if classifies else AutoModel
        self.model: nn.Module = pretrained.load(auto, folder)
        self._process = pretrained.load_processor(AutoImageProcessor, folder)
        if self.model.main_input_name != "pixel_values":
            raise ValueError(f"{folder}: {type(self.model).__name__} does not take images")
        shape = self.model.config
        self._is_video = hasattr(shape, "num_frames")
        self.frames = int(shape.num_frames) if self._is_video else config.frames
        self.side = int(getattr(shape, "image_size", 0)) or _side(self._process)
        if hasattr(shape, "hidden_sizes") and config.reading == "first":
            raise ValueError(f"{folder} has no first token: set reading to mean or classes")
        hidden = shape.hidden_sizes[-1] if hasattr(shape, "hidden_sizes") else shape.hidden_size
        width = int(shape.num_labels if classifies else hidden)
        if config.size:
            pretrained.add_projection(self.model, width, config.size, folder)
        self.dimension = config.size or width
        settings = asdict(config) | {"model": "", "batch_size": 0}  # without effect on embeddings
        if self._is_video:
            del settings["frames"]
        if not config.size:
            del settings["size"]  # keeps the name of an encoder without it
        self.name = f"video-{pretrained.digest(folder, **settings)}"

    @property
    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of R, G, B in [0, 1] for normalization."""
        if not self._process.do_normalize:
            return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        return tuple(self._process.image_mean), tuple(self._process.image_std)

    def refuses(self, sample: Sample) -> str:
        """Refuse samples without frames (T, H, W, 3) uint8."""
        if sample.frames is None or len(sample.frames) == 0:
            return "no frames"
        shape, kind = sample.frames.shape, sample.frames.dtype
        if len(shape) != 4 or shape[3] != 3 or kind != np.uint8 or 0 in shape:
            return f"frames of shape {shape} and type {kind}"
        return ""

    def size(self, sample: Sample) -> int:
        """Return 1: all samples have the same cost."""
        return self.frames

    def collate(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        """Return pixel_values (N, T, 3, S, S) float32."""
        clips = []
        for sample in samples:
            assert sample.frames is not None
            if not self._is_video:  # as on the robot
                crops = [FaceCrop(0, frame[..., ::-1].copy()) for frame in sample.frames]
                clip = clip_input(crops, self.frames, self.side, *self.normalisation)
                clips.append(torch.from_numpy(clip))
                continue
            chosen = sample.frames[evenly(len(sample.frames), self.frames)]
            clips.append(self._process(list(chosen), return_tensors="pt")["pixel_values"])
        return {"pixel_values": torch.cat([clip.reshape(1, *clip.shape[-4:]) for clip in clips])}

    @property
    def can_reduce(self) -> bool:
        """Whether `reduced` can be used: resizing an image again does not change it."""
        return not self._is_video or _side(self._process) == self.side == _shortest(self._process)

    def reduced(self, sample: Sample) -> Sample:
        """Return the sample with the used frames only, resized; its embedding is the same."""
        assert sample.frames is not None
        chosen = sample.frames[evenly(len(sample.frames), self.frames)]
        if self._is_video:
            shown = self._process(
                list(chosen), do_rescale=False, do_normalize=False, return_tensors="np"
            )["pixel_values"]
            images = np.asarray(shown).reshape(-1, 3, self.side, self.side)
            return replace(sample, frames=images.transpose(0, 2, 3, 1).astype(np.uint8))
        return replace(sample, frames=np.stack([resized(image, self.side) for image in chosen]))

    def embed(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return embeddings (N, d) for inputs of `collate`."""
        return read_clips(self.model, inputs["pixel_values"], self.config.reading)

    def encode(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """Return embeddings (N, d); see `pretrained.encode`."""
        return pretrained.encode(self, samples)

    def save(self, folder: Path) -> None:
        """Write model and image processor as a Hugging Face folder."""
        pretrained.save(folder, self.model, self._process)


def read_clips(model: nn.Module, clips: Tensor, reading: str) -> Tensor:
    """Embed clips (N, T, 3, S, S) as (N, d): by a video model, or as the mean over images."""
    if hasattr(model.config, "num_frames"):
        states = model(pixel_values=clips).last_hidden_state  # (N, L, d)
        read = states[:, 0] if reading == "first" else states.mean(dim=1)
        return pretrained.projected(model, read)
    answer = model(pixel_values=clips.flatten(0, 1))
    if reading == "classes":
        images = answer.logits  # (N * T, C)
    elif answer.last_hidden_state.ndim == 4:
        images = answer.last_hidden_state.mean(dim=(2, 3))  # of (N * T, d, h, w)
    else:
        states = answer.last_hidden_state  # (N * T, L, d)
        images = states[:, 0] if reading == "first" else states.mean(dim=1)
    read = images.reshape(-1, clips.shape[1], images.shape[-1]).mean(dim=1)
    return pretrained.projected(model, read)


def _side(process: Any) -> int:
    """Return the side of the square images of an image processor."""
    size = getattr(process, "crop_size", None) or process.size
    side = size.get("height") or size.get("shortest_edge")
    if not side:
        raise ValueError(f"the image processor makes images of {dict(size)}, a side is needed")
    return int(side)


def _shortest(process: Any) -> int:
    """Return the length to which an image processor resizes the shorter side before it crops."""
    return int(process.size.get("height") or process.size.get("shortest_edge") or 0)


def evenly(count: int, wanted: int) -> list[int]:
    """Return the indices of the frames in the middle of `wanted` equal parts of `count` frames."""
    return [(2 * part + 1) * count // (2 * wanted) for part in range(wanted)]
