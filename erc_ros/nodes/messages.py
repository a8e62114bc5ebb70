"""Conversion between the core's values and erc_msgs (and hri_msgs/Expression)."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from erc_msgs.msg import EmotionEstimate, EmotionLabels, EmotionStates, SpeakerCorrection
from erc_msgs.msg import EmotionState as EmotionStateMessage
from erc_msgs.msg import Utterance as UtteranceMessage
from sensor_msgs.msg import CompressedImage

from erc_ros.adapters import UnusableMessageError, check_id
from erc_ros.inference.bundle import Bundle
from erc_ros.inference.emotion_state import EmotionState
from erc_ros.inference.estimate import UNKNOWN, Estimate
from erc_ros.inference.message_fields import bundle_fields, estimate_fields, utterance_fields
from erc_ros.sensing.frames import Frame
from erc_ros.sensing.images import ImageError, image_size, to_bgr
from erc_ros.values.bounds import (
    CORRECTED_UTTERANCES,
    FACE_PIXELS,
    FACE_SIDE,
    FACES,
    NAME,
    TEXT,
    UTTERANCE_SAMPLES,
    shown,
)
from erc_ros.values.errors import ErcValueError
from erc_ros.values.events import SpeakerCorrected
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import SAMPLE_RATE, FaceCrop, Utterance

# The constants of hri_msgs/Expression. A receiver that supports only these discards its last
# expression when it receives another value.
EXPRESSIONS = frozenset(
    [
        "neutral",
        "angry",
        "sad",
        "happy",
        "surprised",
        "disgusted",
        "scared",
        "pleading",
        "vulnerable",
        "despaired",
        "guilty",
        "disappointed",
        "embarrassed",
        "horrified",
        "skeptical",
        "annoyed",
        "furious",
        "suspicious",
        "rejected",
        "bored",
        "tired",
        "asleep",
        "confused",
        "amazed",
        "excited",
    ]
)
# Labels of corpora -> constants of hri_msgs/Expression.
EXPRESSION_OF = {
    "anger": "angry",
    "angry": "angry",
    "boredom": "bored",
    "disappointment": "disappointed",
    "disgust": "disgusted",
    "excitement": "excited",
    "fear": "scared",
    "fearful": "scared",
    "frustrated": "annoyed",
    "frustration": "annoyed",
    "happiness": "happy",
    "joy": "happy",
    "joyful": "happy",
    "mad": "angry",
    "sadness": "sad",
    "surprise": "surprised",
}


def to_time(stamp: int) -> Time:
    """Convert ns to builtin_interfaces/Time, clipped to its range (the year 2038)."""
    sec, nanosec = divmod(stamp, NS)
    return Time(sec=max(-(2**31), min(2**31 - 1, sec)), nanosec=nanosec)


def from_time(time: Time) -> int:
    """Convert builtin_interfaces/Time to ns."""
    return int(time.sec) * NS + int(time.nanosec)


def _with_times(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the fields of `message_fields` to those of a message."""
    times = {"start": to_time(fields["start"]), "end": to_time(fields["end"])}
    return {**fields, **times, "text": fields["text"][:TEXT]}


def utterance_message(
    utterance: Utterance, text: bool, media: bool, sequence: int = 0
) -> UtteranceMessage:
    """Return the message of an utterance.

    Args:
        text, media: whether the message contains them.
    """
    fields = _with_times(utterance_fields(utterance, text))
    message = UtteranceMessage(sequence=sequence, **fields)
    message.header.stamp = to_time(utterance.end)
    message.header.frame_id = utterance.frame_id
    if media:
        if len(utterance.audio):
            message.sample_rate = SAMPLE_RATE
            message.audio = array("h", utterance.audio.astype(np.int16, copy=False).tobytes())
        message.faces = [_face_message(face) for face in utterance.faces]
    return message


def speaker_correction_message(
    event: SpeakerCorrected, frame_id: str, sequence: int = 0
) -> SpeakerCorrection:
    """Return the message that assigns utterances to another speaker."""
    message = SpeakerCorrection(
        sequence=sequence,
        conversation_id=event.conversation_id,
        utterance_ids=list(event.utterance_ids)[-CORRECTED_UTTERANCES:],
        start=to_time(event.start),
        end=to_time(event.end),
        old_speaker_id=event.before,
        new_speaker_id=event.after,
    )
    message.header.stamp = to_time(event.end)
    message.header.frame_id = frame_id
    return message


def speaker_correction_value(message: SpeakerCorrection) -> SpeakerCorrected:
    """Return the correction of a message.

    Raises:
        UnusableMessageError: an id or the list of utterances exceeds its bound.
    """
    if len(message.utterance_ids) > CORRECTED_UTTERANCES:
        raise UnusableMessageError(
            f"a speaker correction names {len(message.utterance_ids)} utterances, "
            f"at most {CORRECTED_UTTERANCES} are allowed"
        )
    ids = (message.conversation_id, message.old_speaker_id, message.new_speaker_id)
    for text in (*ids, *message.utterance_ids):
        check_id("an id of a speaker correction", text)
    return SpeakerCorrected(
        conversation_id=message.conversation_id,
        utterance_ids=tuple(message.utterance_ids),
        start=from_time(message.start),
        end=from_time(message.end),
        before=message.old_speaker_id,
        after=message.new_speaker_id,
    )


def _face_message(face: FaceCrop) -> CompressedImage:
    # PNG is lossless, so that one process and two processes use the same pixels.
    is_encoded, png = cv2.imencode(".png", face.pixels, (cv2.IMWRITE_PNG_COMPRESSION, 1))
    if not is_encoded:
        raise ErcValueError(f"a face crop of shape {face.pixels.shape} could not be encoded")
    message = CompressedImage(format="png", data=array("B", png.tobytes()))
    message.header.stamp = to_time(face.stamp)
    message.header.frame_id = face.frame_id
    return message


def utterance_value(message: UtteranceMessage) -> Utterance:
    """Return the utterance of a message.

    Raises:
        UnusableMessageError: an id is missing, the sample rate differs, the end is before the
            start, a crop is damaged, or a bound of `values/bounds.py` is exceeded. The bounds are
            checked before anything is decoded.
    """
    name = f"utterance {shown(message.utterance_id)} of {shown(message.conversation_id)}"
    _check_sizes(message, name)
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
        text_confidence=_share(message.text_confidence),
        speaker_id=message.speaker_id,
        speaker_confidence=_share(message.speaker_confidence),
        overlap=_share(message.overlap),
        voice_id=message.voice_id,
        face_id=message.face_id,
        person_id=message.person_id,
        is_final=message.is_final,
        frame_id=message.header.frame_id,
        audio=np.array(message.audio, np.int16),
        faces=_faces(message.faces, name),
    )


def _share(value: float) -> float:
    """Return the value if it is in [0, 1], else NaN (unknown)."""
    return value if 0.0 <= value <= 1.0 else math.nan


def _check_sizes(message: UtteranceMessage, name: str) -> None:
    for field in ("conversation_id", "utterance_id", "speaker_id"):
        check_id(f"{field} of an utterance", getattr(message, field))
    for field in ("voice_id", "face_id", "person_id"):
        check_id(f"{name}: {field}", getattr(message, field))
    check_id(f"{name}: frame_id", message.header.frame_id)
    for face in message.faces:
        check_id(f"{name}: frame_id of a face", face.header.frame_id)
    for quantity, size, limit in (
        ("characters of text", len(message.text), TEXT),
        ("characters of locale", len(message.locale), NAME),
        ("samples of audio", len(message.audio), UTTERANCE_SAMPLES),
        ("faces", len(message.faces), FACES),
    ):
        if size > limit:
            raise UnusableMessageError(f"{name}: {size} {quantity}, at most {limit} are allowed")


def _faces(messages: Sequence[CompressedImage], name: str) -> tuple[FaceCrop, ...]:
    """Decode the crops, after their sizes were checked in the headers."""
    frames = [
        Frame(from_time(face.header.stamp), face.format, 0, 0, 0, face.data, face.header.frame_id)
        for face in messages
    ]
    try:
        sizes = [image_size(frame) for frame in frames]
        if any(not 0 < side <= FACE_SIDE for size in sizes for side in size):
            raise UnusableMessageError(
                f"{name}: face crops of {sizes[:3]} pixels, at most {FACE_SIDE} per side allowed"
            )
        if sum(width * height for width, height in sizes) > FACE_PIXELS:
            raise UnusableMessageError(
                f"{name}: {len(sizes)} face crops have more than {FACE_PIXELS} pixels in total"
            )
        return tuple(FaceCrop(frame.stamp, to_bgr(frame), frame.frame_id) for frame in frames)
    except ImageError as error:
        raise UnusableMessageError(f"{name}: a face could not be decoded: {error}") from error


def estimate_message(
    estimate: Estimate, bundle: Bundle, text: bool, sequence: int = 0
) -> EmotionEstimate:
    """Return the message of an estimate; `add_latency` adds its latency.

    Args:
        text: whether the message contains the text.
    """
    utterance = estimate.utterance
    fields = _with_times(estimate_fields(estimate, bundle, text))
    message = EmotionEstimate(sequence=sequence, **fields)
    message.header.stamp = to_time(utterance.end)
    message.header.frame_id = utterance.frame_id
    return message


def add_latency(message: EmotionEstimate, stages: Mapping[str, int], total: int) -> None:
    """Set the latency of a message. stages: name -> ns, in order; total: ns."""
    message.latency_stages = list(stages)
    message.latency_ns = [max(0, int(duration)) for duration in stages.values()]
    message.latency_total_ns = max(0, total)


def labels_message(bundle: Bundle) -> EmotionLabels:
    """Return the message with the label set of a bundle."""
    return EmotionLabels(
        labels=list(bundle.labels),
        valence=[float(valence) for valence in bundle.anchors[:, 0]],
        arousal=[float(arousal) for arousal in bundle.anchors[:, 1]],
        **bundle_fields(bundle),
    )


def states_message(
    states: Sequence[EmotionState], bundle: Bundle, now: int, min_confidence: float = 0.0
) -> EmotionStates:
    """Return the emotions at `now` (ns); a label less probable than `min_confidence` is unknown."""
    message = EmotionStates(labels=list(bundle.labels))
    message.header.stamp = to_time(now)
    message.states = [
        EmotionStateMessage(
            person_id=state.person.person_id,
            conversation_id=state.person.conversation_id,
            speaker_id=state.person.speaker_id,
            probabilities=[float(p) for p in state.probabilities],
            label=bundle.labels[int(state.probabilities.argmax())]
            if state.probabilities.max() >= min_confidence
            else UNKNOWN,
            valence=state.valence,
            arousal=state.arousal,
            uncertainty=state.uncertainty,
            last=to_time(state.last),
            age=max(0, now - state.last) / NS,
            utterances=state.utterances,
        )
        for state in states
    ]
    return message


def expression_message(message_type: Any, estimate: Estimate) -> Any:
    """Return hri_msgs/Expression of an estimate; None if it has no constant for the label."""
    name = EXPRESSION_OF.get(estimate.label, estimate.label)
    if name not in EXPRESSIONS:
        return None
    message = message_type(
        expression=name,
        valence=float(estimate.valence),
        arousal=float(estimate.arousal),
        confidence=float(estimate.confidence),
    )
    message.header.stamp = to_time(estimate.utterance.end)
    message.header.frame_id = estimate.utterance.frame_id
    return message
