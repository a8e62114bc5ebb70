"""Emotion recognition in conversation for ROS 2.

The names below are loaded at their first use, so that importing the package is fast. The import
disables the telemetry of libraries (`NO_TELEMETRY`), in this process and its child processes.
"""

from __future__ import annotations

import os
import sys
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

NO_TELEMETRY = {
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime 1.31 and later, enabled by default
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub and transformers
}
"""Environment variables that disable the telemetry of libraries."""

# ONNX Runtime reads its variable when it is loaded, so this precedes every other import. Commands,
# nodes, the launch file, scripts and workers all import this module first.
if "onnxruntime" in sys.modules and os.environ.get("ORT_DISABLE_TELEMETRY") != "1":
    warnings.warn(
        "onnxruntime was imported before erc_ros, so its telemetry may be enabled: import erc_ros "
        "first, or set the environment variable ORT_DISABLE_TELEMETRY=1",
        stacklevel=2,
    )
os.environ.update(NO_TELEMETRY)

if TYPE_CHECKING:
    from erc_ros.evaluation.analysis import Analysis, EmotionSegment, analyze, estimate
    from erc_ros.pipeline import (
        EstimateEvent,
        InputLate,
        InputRefused,
        Perception,
        PerceptionConfig,
        Pipeline,
        PipelineConfig,
        Recognition,
        RecognitionConfig,
        RobotSpeaking,
    )
    from erc_ros.sensing.audio import AudioFormat
    from erc_ros.sensing.frames import Frame
    from erc_ros.sensing.microphone import AudioChunk
    from erc_ros.values.events import SpeakerCorrected
    from erc_ros.values.transcript import Transcript, Word
    from erc_ros.values.utterance import Utterance

_PIPELINE = "erc_ros.pipeline"
_ANALYSIS = "erc_ros.evaluation.analysis"
_MODULES = {
    "Analysis": _ANALYSIS,
    "AudioFormat": "erc_ros.sensing.audio",
    "EmotionSegment": _ANALYSIS,
    "EstimateEvent": _PIPELINE,
    "Frame": "erc_ros.sensing.frames",
    "InputLate": _PIPELINE,
    "InputRefused": _PIPELINE,
    "Perception": _PIPELINE,
    "PerceptionConfig": _PIPELINE,
    "Pipeline": _PIPELINE,
    "PipelineConfig": _PIPELINE,
    "Recognition": _PIPELINE,
    "RecognitionConfig": _PIPELINE,
    "RobotSpeaking": _PIPELINE,
    "AudioChunk": "erc_ros.sensing.microphone",
    "SpeakerCorrected": "erc_ros.values.events",
    "Transcript": "erc_ros.values.transcript",
    "Utterance": "erc_ros.values.utterance",
    "Word": "erc_ros.values.transcript",
    "analyze": _ANALYSIS,
    "estimate": _ANALYSIS,
}

__all__ = [
    "Analysis",
    "AudioChunk",
    "AudioFormat",
    "EmotionSegment",
    "EstimateEvent",
    "Frame",
    "InputLate",
    "InputRefused",
    "Perception",
    "PerceptionConfig",
    "Pipeline",
    "PipelineConfig",
    "Recognition",
    "RecognitionConfig",
    "RobotSpeaking",
    "SpeakerCorrected",
    "Transcript",
    "Utterance",
    "Word",
    "analyze",
    "estimate",
]


_FORMER = {"SoundChunk": "AudioChunk"}
"""Former name -> name; accepted for one release."""


def __getattr__(name: str) -> Any:
    if name in _FORMER:
        warnings.warn(
            f"erc_ros.{name} is now erc_ros.{_FORMER[name]}", DeprecationWarning, stacklevel=2
        )
        name = _FORMER[name]
    if name not in _MODULES:
        raise AttributeError(f"module 'erc_ros' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
