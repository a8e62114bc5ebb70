"""Synthetic annotations and estimates, for tests of scores."""

from __future__ import annotations

import numpy as np

from erc_ros.annotations.records import Annotations, Segment, Source
from erc_ros.evaluation.matching import match
from erc_ros.evaluation.records import Prediction, Recording
from erc_ros.values.nanoseconds import seconds

LABELS = ("anger", "joy", "neutral")


def segment(
    start: float,
    end: float,
    speaker: str,
    emotion: str | None = None,
    text: str | None = None,
    valence: float | None = None,
) -> Segment:
    return Segment(
        seconds(start),
        seconds(end),
        speaker,
        text,
        emotion,
        valence,
        source=Source("truth.csv", "", 2),
    )


def prediction(
    start: float,
    end: float,
    speaker: str,
    label: str,
    text: str = "",
    *,
    confidence: float = 0.8,
    conversation: str = "1",
    number: int | None = None,
    latency: float | None = None,
    valence: float = 0.0,
    modalities: tuple[bool, bool, bool] = (True, True, False),
    signal_to_noise: float | None = None,
) -> Prediction:
    others = (1 - confidence) / (len(LABELS) - 1)
    return Prediction(
        utterance_id=str(number if number is not None else round(start * 10)),
        conversation_id=conversation,
        start=seconds(start),
        end=seconds(end),
        speaker=speaker,
        text=text,
        label=label,
        probabilities=np.array([confidence if each == label else others for each in LABELS]),
        valence=valence,
        arousal=0.0,
        modalities=modalities,
        weights=(0.5, 0.5, 0.0),
        latency=None if latency is None else seconds(latency),
        signal_to_noise=signal_to_noise,
    )


def recording(
    truth: list[Segment] | None,
    predictions: list[Prediction],
    name: str = "talk",
    system: str = "a",
    duration: float = 60.0,
) -> Recording:
    return Recording(
        name,
        system,
        0,
        seconds(duration),
        LABELS,
        None if truth is None else Annotations(tuple(truth), files=("truth.csv",)),
        tuple(predictions),
        () if truth is None else match(truth, predictions),
    )
