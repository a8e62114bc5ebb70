"""Make any encoder that can be trained, from its configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from erc_ros.training.encoders.audio.emotion2vec import KIND, Emotion2vecEncoder
from erc_ros.training.encoders.audio.pretrained import SpeechEncoder, SpeechEncoderConfig
from erc_ros.training.encoders.features import FEATURES, FeaturesEncoder, asks_for_features
from erc_ros.training.encoders.pretrained import Trainable
from erc_ros.training.encoders.robot import FacesEncoder, LogMelEncoder, network_kind
from erc_ros.training.encoders.text.pretrained import PretrainedTextEncoder, TextEncoderConfig
from erc_ros.training.encoders.visual.pretrained import VideoEncoder, VideoEncoderConfig

CONFIGS: dict[str, type[Any]] = {
    "text": TextEncoderConfig,
    "audio": SpeechEncoderConfig,
    "visual": VideoEncoderConfig,
}
"""Modality -> encoder configuration."""


def make_encoder(config: Any) -> Trainable:
    """Return the encoder of a configuration.

    One of Hugging Face, emotion2vec, one of the robot's encoders, or a network on features.

    Raises:
        FileNotFoundError: the model is not on this machine.
        ValueError: the model cannot be read, or is of another kind.
    """
    kinds: dict[type[Any], Callable[[Any], Trainable]] = {
        TextEncoderConfig: PretrainedTextEncoder,
        SpeechEncoderConfig: SpeechEncoder,
        VideoEncoderConfig: VideoEncoder,
    }
    kind = network_kind(config.model)
    if kind == FEATURES or asks_for_features(config.model):
        modality = next(name for name, cls in CONFIGS.items() if isinstance(config, cls))
        return FeaturesEncoder(modality, config.model, config.batch_size)
    if kind == KIND:
        kinds |= {SpeechEncoderConfig: Emotion2vecEncoder}
    elif kind:
        kinds |= {SpeechEncoderConfig: LogMelEncoder, VideoEncoderConfig: FacesEncoder}
    return kinds[type(config)](config)
