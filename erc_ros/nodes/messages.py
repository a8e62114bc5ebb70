"""Between the core's values and erc_msgs (and hri_msgs/Expression)."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from erc_msgs.msg import EmotionEstimate, EmotionLabels, SpeakerCorrection
from erc_msgs.msg import Utterance as UtteranceMessage
from sensor_msgs.msg import CompressedImage

from erc_ros.adapters import UnusableMessageError
from erc_ros.inference.bundle import Bundle
from erc_ros.inference.estimate import Estimate
from erc_ros.values.events import SpeakerCorrected
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import SAMPLE_RATE, FaceCrop, Utterance

# What hri_msgs/Expression calls the labels; others go out under their own name.
EXPRESSIONS = {
    "anger": "angry",
    "disgust": "disgusted",
    "fear": "scared",
    "joy": "happy",
    "neutral": "neutral",
    "sadness": "sad",
    "surprise": "surprised",
}


def to_time(stamp: int) -> Time:
    """ns -> builtin_interfaces/Time; clipped to what that can hold (the year 2038)."""
    sec, nanosec = divmod(stamp, NS)
    return Time(sec=max(-(2**31), min(2**31 - 1, sec)), nanosec=nanosec)


def from_time(time: Time) -> int:
    """builtin_interfaces/Time -> ns."""
    return int(time.sec) * NS + int(time.nanosec)


def utterance_message(utterance: Utterance, text: bool, media: bool) -> UtteranceMessage:
    """Args: text, media: whether they go into the message."""
    message = UtteranceMessage(
        conversation_id=utterance.conversation_id,
        utterance_id=utterance.utterance_id,
        speaker_id=utterance.speaker_id,
        speaker_confidence=utterance.speaker_confidence,
        overlap=utterance.overlap,
        voice_id=utterance.voice_id,
        face_id=utterance.face_id,
        person_id=utterance.person_id,
        start=to_time(utterance.start),
        end=to_time(utterance.end),
        text=utterance.text if text else "",
        locale=utterance.locale if text else "",
        text_confidence=utterance.text_confidence if text else math.nan,
        is_final=utterance.is_final,
    )
    message.header.stamp = to_time(utterance.end)
    message.header.frame_id = utterance.frame_id
    if media:
        if len(utterance.audio):
            message.sample_rate = SAMPLE_RATE
            message.audio = array("h", utterance.audio.astype(np.int16, copy=False).tobytes())
        message.faces = [_face_message(face, utterance.frame_id) for face in utterance.faces]
    return message


def speaker_correction_message(event: SpeakerCorrected, frame_id: str) -> SpeakerCorrection:
    """Who spoke, as it is understood now."""
    message = SpeakerCorrection(
        conversation_id=event.conversation_id,
        utterance_ids=list(event.utterance_ids),
        start=to_time(event.start),
        end=to_time(event.end),
        old_speaker_id=event.before,
        new_speaker_id=event.after,
    )
    message.header.stamp = to_time(event.end)
    message.header.frame_id = frame_id
    return message


def speaker_correction_value(message: SpeakerCorrection) -> SpeakerCorrected:
    """The correction of a message."""
    return SpeakerCorrected(
        conversation_id=message.conversation_id,
        utterance_ids=tuple(message.utterance_ids),
        start=from_time(message.start),
        end=from_time(message.end),
        before=message.old_speaker_id,
        after=message.new_speaker_id,
    )


def _face_message(face: FaceCrop, frame_id: str) -> CompressedImage:
    # PNG is lossless: both ways of running the nodes see the same pixels.
    done, png = cv2.imencode(".png", face.pixels, (cv2.IMWRITE_PNG_COMPRESSION, 1))
    if not done:
        raise ValueError(f"a face crop of shape {face.pixels.shape} cannot be encoded")
    message = CompressedImage(format="png", data=array("B", png.tobytes()))
    message.header.stamp = to_time(face.stamp)
    message.header.frame_id = frame_id
    return message


def utterance_value(message: UtteranceMessage) -> Utterance:
    """The utterance of a message.

    Raises:
        UnusableMessageError: no ids, another sample rate, an end before the start, a broken crop.
    """
    name = f"utterance {message.utterance_id!r} of conversation {message.conversation_id!r}"
    if not message.conversation_id or not message.utterance_id:
        raise UnusableMessageError(f"{name}: neither id may be empty")
    if len(message.audio) and message.sample_rate != SAMPLE_RATE:
        raise UnusableMessageError(
            f"{name}: audio of {message.sample_rate} Hz, expected {SAMPLE_RATE} Hz"
        )
    start, end = from_time(message.start), from_time(message.end)
    if end < start:
        raise UnusableMessageError(f"{name}: ends {start - end} ns before it starts")
    return Utterance(
        conversation_id=message.conversation_id,
        utterance_id=message.utterance_id,
        start=start,
        end=end,
        text=message.text,
        locale=message.locale,
        text_confidence=message.text_confidence,
        speaker_id=message.speaker_id,
        speaker_confidence=message.speaker_confidence,
        overlap=message.overlap,
        voice_id=message.voice_id,
        face_id=message.face_id,
        person_id=message.person_id,
        is_final=message.is_final,
        frame_id=message.header.frame_id,
        audio=np.array(message.audio, np.int16),
        faces=tuple(_face_value(face, name) for face in message.faces),
    )


def _face_value(message: CompressedImage, name: str) -> FaceCrop:
    data = np.frombuffer(message.data, np.uint8)
    pixels = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    if pixels is None:
        raise UnusableMessageError(f"{name}: a face of format {message.format!r} cannot be decoded")
    return FaceCrop(from_time(message.header.stamp), pixels)


def estimate_message(estimate: Estimate, bundle: Bundle, text: bool) -> EmotionEstimate:
    """text: whether it goes into the message. The latency is filled in by `add_latency`."""
    utterance = estimate.utterance
    message = EmotionEstimate(
        conversation_id=utterance.conversation_id,
        utterance_id=utterance.utterance_id,
        speaker_id=utterance.speaker_id,
        voice_id=utterance.voice_id,
        face_id=utterance.face_id,
        person_id=utterance.person_id,
        start=to_time(utterance.start),
        end=to_time(utterance.end),
        text=utterance.text if text else "",
        labels=list(bundle.labels),
        probabilities=[float(p) for p in estimate.probabilities],
        label=estimate.label,
        confidence=float(estimate.confidence),
        valence=float(estimate.valence),
        arousal=float(estimate.arousal),
        modalities=[bool(seen) for seen in estimate.modalities],
        modality_weights=[float(weight) for weight in estimate.weights],
        is_final=estimate.is_final,
        bundle_name=bundle.name,
        bundle_version=bundle.version,
        bundle_sha256=bundle.sha256,
    )
    message.header.stamp = to_time(utterance.end)
    message.header.frame_id = utterance.frame_id
    return message


def add_latency(message: EmotionEstimate, stages: Mapping[str, int], total: int) -> None:
    """stages: name -> ns, in order; total: ns."""
    message.latency_stages = list(stages)
    message.latency_ns = [max(0, int(duration)) for duration in stages.values()]
    message.latency_total_ns = max(0, total)


def labels_message(bundle: Bundle) -> EmotionLabels:
    """The label set of a bundle."""
    return EmotionLabels(
        labels=list(bundle.labels),
        valence=[float(valence) for valence in bundle.anchors[:, 0]],
        arousal=[float(arousal) for arousal in bundle.anchors[:, 1]],
        bundle_name=bundle.name,
        bundle_version=bundle.version,
        bundle_sha256=bundle.sha256,
    )


def expression_message(message_type: Any, estimate: Estimate) -> Any:
    """hri_msgs/Expression of an estimate."""
    message = message_type(
        expression=EXPRESSIONS.get(estimate.label, estimate.label),
        valence=float(estimate.valence),
        arousal=float(estimate.arousal),
        confidence=float(estimate.confidence),
    )
    message.header.stamp = to_time(estimate.utterance.end)
    message.header.frame_id = estimate.utterance.frame_id
    return message


def with_frame(utterance: Utterance, frame_id: str) -> Utterance:
    """The same utterance with the frame of the inputs, where it has none."""
    return utterance if utterance.frame_id else replace(utterance, frame_id=frame_id)
