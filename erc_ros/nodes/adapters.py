"""Messages of other packages -> the core's values: one table, one entry per message type.

Adapters read fields only and import no message package, so that the types need not be installed
(and replay can use them on messages that it read without ROS). A stamp of zero is unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from erc_ros.dialogue.transcript import Transcript
from erc_ros.sensing.audio import MAX_CHANNELS, MAX_RATE, MIN_RATE, AudioFormat
from erc_ros.sensing.frames import Frame
from erc_ros.sensing.nanoseconds import NS


class UnusableMessageError(ValueError):
    """A message that has to be refused; says what is wrong with it and the way out."""


@dataclass(frozen=True)
class SoundChunk:
    """Interleaved samples as bytes. stamp: ns of the first sample, None = unknown."""

    data: Any
    stamp: int | None
    arrival: int
    frame_id: str


@dataclass(frozen=True)
class RobotSpeaking:
    """Whether the robot itself speaks, from `stamp` (ns) on."""

    stamp: int
    speaking: bool


Value = SoundChunk | AudioFormat | Frame | Transcript | RobotSpeaking | None


@dataclass(frozen=True)
class Adapter:
    """One entry of the table.

    input: which input of the node it feeds. read(message, arrival in ns) -> value; None = nothing.
    """

    input: str
    read: Callable[[Any, int], Value]


def stamp_of(header: Any) -> int | None:
    """ns; None where the stamp is zero or negative."""
    stamp = header.stamp.sec * NS + header.stamp.nanosec
    return stamp if stamp > 0 else None


def _image(message: Any, arrival: int) -> Frame:
    return Frame(
        stamp=stamp_of(message.header) or arrival,
        encoding=message.encoding,
        width=message.width,
        height=message.height,
        step=message.step,
        data=message.data,
        frame_id=message.header.frame_id,
        is_bigendian=bool(message.is_bigendian),
    )


def _compressed_image(message: Any, arrival: int) -> Frame:
    return Frame(
        stamp=stamp_of(message.header) or arrival,
        encoding=message.format,
        width=0,
        height=0,
        step=0,
        data=message.data,
        frame_id=message.header.frame_id,
    )


def _audio_data(message: Any, arrival: int) -> SoundChunk:
    return SoundChunk(message.data, None, arrival, "")


def _audio_data_stamped(message: Any, arrival: int) -> SoundChunk:
    header = message.header
    return SoundChunk(message.audio.data, stamp_of(header), arrival, header.frame_id)


def _audio_info(message: Any, arrival: int) -> AudioFormat:
    coding = message.coding_format.upper()
    if coding not in ("WAVE", "RAW", "PCM", ""):
        raise UnusableMessageError(
            f"audio is coded as {message.coding_format!r}, only plain samples are understood: "
            "start the capture node with format:=wave (audio_capture's default is mp3)"
        )
    if not (MIN_RATE <= message.sample_rate <= MAX_RATE and 1 <= message.channels <= MAX_CHANNELS):
        raise UnusableMessageError(
            f"audio_info says {message.sample_rate} Hz and {message.channels} channels, "
            f"supported are {MIN_RATE} to {MAX_RATE} Hz and 1 to {MAX_CHANNELS} channels"
        )
    formats = ("S16LE", "S32LE", "F32LE")
    if message.sample_format not in formats:
        raise UnusableMessageError(
            f"audio_info says sample format {message.sample_format!r}, supported are {formats}"
        )
    return AudioFormat(message.sample_rate, message.channels, message.sample_format)


def _live_speech(message: Any, arrival: int) -> Transcript | None:
    text = message.final or message.incremental
    if not text.strip():
        return None
    locale = getattr(message, "locale", None)
    return Transcript(
        text=text,
        arrival=arrival,
        stamp=stamp_of(message.header),
        is_final=bool(message.final.strip()),
        confidence=_confidence(message.confidence),
        # Called `language` before hri_msgs 2.2.1.
        locale=getattr(message, "language", "") if locale is None else locale,
    )


def _confidence(value: float) -> float:
    return value if 0.0 < value <= 1.0 else float("nan")  # 0: the recogniser left it unset


def _string(message: Any, arrival: int) -> Transcript | None:
    return Transcript(text=message.data, arrival=arrival) if message.data.strip() else None


def _bool(message: Any, arrival: int) -> RobotSpeaking:
    return RobotSpeaking(arrival, bool(message.data))


ADAPTERS: dict[str, Adapter] = {
    "sensor_msgs/msg/Image": Adapter("image", _image),
    "sensor_msgs/msg/CompressedImage": Adapter("image", _compressed_image),
    "audio_common_msgs/msg/AudioData": Adapter("audio", _audio_data),
    "audio_common_msgs/msg/AudioDataStamped": Adapter("audio", _audio_data_stamped),
    "audio_common_msgs/msg/AudioInfo": Adapter("audio_info", _audio_info),
    "hri_msgs/msg/LiveSpeech": Adapter("speech", _live_speech),
    "std_msgs/msg/String": Adapter("speech", _string),
    "std_msgs/msg/Bool": Adapter("robot_speaking", _bool),
}


def types_of(input: str) -> list[str]:
    """The message types that can feed an input, the preferred one first."""
    return [name for name, adapter in ADAPTERS.items() if adapter.input == input]


def message_class(type_name: str) -> type | None:
    """The class of "package/msg/Name"; None where the package is not installed."""
    package, _, name = type_name.partition("/msg/")
    try:
        found: type | None = getattr(import_module(f"{package}.msg"), name, None)
    except ImportError:
        return None
    return found
