"""Emotion recognition in conversation for ROS 2.

The names below are loaded when they are first used, so that importing the package costs nothing and
changes nothing outside it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from erc_ros.pipeline import (
        EstimateEvent,
        InputRefused,
        Perception,
        PerceptionConfig,
        Pipeline,
        PipelineConfig,
        Recognition,
        RecognitionConfig,
    )
    from erc_ros.sensing.frames import Frame
    from erc_ros.sensing.microphone import SoundChunk
    from erc_ros.values.transcript import Transcript, Word
    from erc_ros.values.utterance import Utterance

_PIPELINE = "erc_ros.pipeline"
_MODULES = {
    "EstimateEvent": _PIPELINE,
    "Frame": "erc_ros.sensing.frames",
    "InputRefused": _PIPELINE,
    "Perception": _PIPELINE,
    "PerceptionConfig": _PIPELINE,
    "Pipeline": _PIPELINE,
    "PipelineConfig": _PIPELINE,
    "Recognition": _PIPELINE,
    "RecognitionConfig": _PIPELINE,
    "SoundChunk": "erc_ros.sensing.microphone",
    "Transcript": "erc_ros.values.transcript",
    "Utterance": "erc_ros.values.utterance",
    "Word": "erc_ros.values.transcript",
}

__all__ = [
    "EstimateEvent",
    "Frame",
    "InputRefused",
    "Perception",
    "PerceptionConfig",
    "Pipeline",
    "PipelineConfig",
    "Recognition",
    "RecognitionConfig",
    "SoundChunk",
    "Transcript",
    "Utterance",
    "Word",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'erc_ros' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
