"""Every encoder that can be trained, by its configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from erc_ros.training.encoders.audio.pretrained import SpeechEncoder, SpeechEncoderConfig
from erc_ros.training.encoders.pretrained import Trainable
from erc_ros.training.encoders.robot import FacesEncoder, LogMelEncoder, is_robots
from erc_ros.training.encoders.text.pretrained import PretrainedTextEncoder, TextEncoderConfig
from erc_ros.training.encoders.visual.pretrained import VideoEncoder, VideoEncoderConfig

CONFIGS: dict[str, type[Any]] = {
    "text": TextEncoderConfig,
    "audio": SpeechEncoderConfig,
    "visual": VideoEncoderConfig,
}
"""modality -> its configuration."""


def make_encoder(config: Any) -> Trainable:
    """The encoder that a configuration asks for: a published one, or one of the robot's own.

    Raises:
        FileNotFoundError: the model is not on this machine.
        ValueError: it cannot be read, or is of another kind.
    """
    kinds: dict[type[Any], Callable[[Any], Trainable]] = {
        TextEncoderConfig: PretrainedTextEncoder,
        SpeechEncoderConfig: SpeechEncoder,
        VideoEncoderConfig: VideoEncoder,
    }
    if is_robots(config.model):
        kinds |= {SpeechEncoderConfig: LogMelEncoder, VideoEncoderConfig: FacesEncoder}
    return kinds[type(config)](config)
