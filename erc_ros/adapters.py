"""Conversion of ROS messages to the values of the pipeline: one table entry per message type.

Adapters only read fields and import no message packages, so that they also convert messages that
replay has read without ROS. A stamp of zero is unknown.
"""

from __future__ import annotations

import json
import math
import re
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from erc_ros import plugins
from erc_ros.dialogue.speaking_face import LANDMARKS, IdentityMatch, Kind
from erc_ros.pipeline import (
    FaceLandmarks,
    FaceSpeaking,
    Input,
    RobotJoints,
    RobotMoving,
    RobotSpeaking,
    TrackedFace,
    VoiceSound,
    VoiceSpeaking,
)
from erc_ros.resources import installed
from erc_ros.sensing.audio import MAX_CHANNELS, MAX_RATE, MIN_RATE, AudioFormat
from erc_ros.sensing.frames import Frame
from erc_ros.sensing.images import bridged, is_readable
from erc_ros.sensing.microphone import AudioChunk
from erc_ros.values.bounds import (
    CANDIDATES,
    CHUNK_BYTES,
    ID,
    JOINTS,
    NAME,
    SIDE,
    TEXT,
    TOLD_SECONDS,
    WORDS,
    shown,
)
from erc_ros.values.errors import ErcValueError
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.transcript import Transcript, Word


class UnusableMessageError(ErcValueError):
    """A message cannot be used."""


@dataclass(frozen=True)
class Adapter:
    """Converter of one message type.

    input: name of the input of the node. read: function of the message and its arrival (ns) that
    returns a value, or None to ignore the message. is_throttled: whether to read only as many
    messages per second as face detection uses.
    """

    input: str
    read: Callable[[Any, int], Input]
    is_throttled: bool = False


def check_id(name: str, text: str) -> str:
    """Return an id if it is not too long.

    Raises:
        UnusableMessageError: the id is longer than `bounds.ID`.
    """
    if len(text) > ID:
        raise UnusableMessageError(f"{name} has {len(text)} characters, at most {ID} are read")
    return text


def _check_name(name: str, text: str) -> str:
    if len(text) > NAME:
        raise UnusableMessageError(f"{name} has {len(text)} characters, at most {NAME} are read")
    return text


def stamp_of(header: Any) -> int | None:
    """Return the stamp of a header in ns; None if it is zero or negative."""
    stamp = header.stamp.sec * NS + header.stamp.nanosec
    return stamp if stamp > 0 else None


def _frame_id(header: Any) -> str:
    return check_id("frame_id", header.frame_id)


def _image(message: Any, arrival: int) -> Frame:
    frame = Frame(
        stamp=stamp_of(message.header) or arrival,
        encoding=_check_name("encoding of an image", message.encoding),
        width=message.width,
        height=message.height,
        step=message.step,
        data=message.data,
        frame_id=_frame_id(message.header),
        is_bigendian=bool(message.is_bigendian),
    )
    return frame if is_readable(frame) else bridged(frame)


def _compressed_image(message: Any, arrival: int) -> Frame:
    return Frame(
        stamp=stamp_of(message.header) or arrival,
        encoding=_check_name("format of a compressed image", message.format),
        width=0,
        height=0,
        step=0,
        data=message.data,
        frame_id=_frame_id(message.header),
    )


def _audio_data(message: Any, arrival: int) -> AudioChunk:
    return AudioChunk(_sound(message.data), None, arrival, "")


def _audio_data_stamped(message: Any, arrival: int) -> AudioChunk:
    header = message.header
    return AudioChunk(_sound(message.audio.data), stamp_of(header), arrival, _frame_id(header))


def _sound(data: Any) -> Any:
    """Return the data of a chunk if it is not too large.

    Raises:
        UnusableMessageError: the data is larger than `bounds.CHUNK_BYTES`.
    """
    if (size := memoryview(data).nbytes) > CHUNK_BYTES:
        raise UnusableMessageError(
            f"a chunk of {size} bytes of audio, at most {CHUNK_BYTES} are read: "
            "let the capture node send shorter chunks"
        )
    return data


# The audio_common_msgs of audio_common: typed arrays, and PortAudio's sample format numbers.
_TYPED = {
    1: ("float32_data", "<f4", "F32LE"),
    2: ("int32_data", "<i4", "S32LE"),
    8: ("int16_data", "<i2", "S16LE"),
    16: ("int8_data", "i1", "S8"),
    32: ("uint8_data", "u1", "U8"),
}


def _audio_stamped(message: Any, arrival: int) -> AudioChunk:
    info, data = message.audio.info, message.audio.audio_data
    if info.format not in _TYPED:
        raise UnusableMessageError(
            f"AudioStamped has PortAudio's sample format {info.format}; 1 (float32), 2 (int32), "
            "8 (int16), 16 (int8) and 32 (uint8) can be read: set `format` of its capture node"
        )
    field, kind, name = _TYPED[info.format]
    raw = _sound(np.asarray(getattr(data, field)))
    samples = raw.astype(kind, copy=False).tobytes()
    header, format = message.header, AudioFormat(info.rate, info.channels, name)
    return AudioChunk(samples, stamp_of(header), arrival, _frame_id(header), format)


def _audio_info(message: Any, arrival: int) -> AudioFormat:
    coding = message.coding_format[:NAME].upper()
    if coding not in ("WAVE", "RAW", "PCM", ""):
        raise UnusableMessageError(
            f"audio is coded as {shown(message.coding_format)}, only plain samples are understood: "
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
            f"audio_info says sample format {shown(message.sample_format)}, supported are {formats}"
        )
    return AudioFormat(message.sample_rate, message.channels, message.sample_format)


def _live_speech(message: Any, arrival: int) -> Transcript | None:
    final, incremental = _text(message.final), _text(message.incremental)
    text = final or incremental
    if not text.strip():
        return None
    # Called `language` before hri_msgs 2.2.1.
    locale: str = message.locale if hasattr(message, "locale") else getattr(message, "language", "")
    return Transcript(
        text=text,
        arrival=arrival,
        stamp=stamp_of(message.header),
        is_final=bool(final.strip()),
        confidence=_confidence(message.confidence),
        locale=_check_name("locale of a text", locale),
    )


def _text(text: str) -> str:
    """Return the beginning of a text, at most `bounds.TEXT` characters.

    The dialogue has a lower limit (`max_text`) and counts the texts that it cuts.
    """
    return text[:TEXT]


def _confidence(value: float) -> float | None:
    return value if 0.0 < value <= 1.0 else None  # 0: not set by the speech recognizer


def _string(message: Any, arrival: int) -> Transcript | None:
    text = _text(message.data)
    return Transcript(text=text, arrival=arrival) if text.strip() else None


def _transcription(message: Any, arrival: int) -> Transcript | None:
    """Read a message of whisper_ros, with durations of audio and processing, without a stamp."""
    text = _text(message.text)
    if not text.strip():
        return None
    transcript = Transcript(text=text, arrival=arrival, no_speech=_no_speech(message))
    audio_duration, took = float(message.audio_time), float(message.transcription_time)
    if not (0 < audio_duration <= TOLD_SECONDS and 0 <= took <= TOLD_SECONDS):
        return transcript
    end = arrival - seconds(took)
    return replace(transcript, start=end - seconds(audio_duration), end=end)


def _no_speech(message: Any) -> float | None:
    """Return the probability of silence, or None if the message does not have it."""
    value = float(getattr(message, "no_speech_prob", math.nan))
    return value if 0.0 <= value <= 1.0 else None


def _candidates(message: Any, arrival: int) -> Transcript | None:
    """Read the best candidate, with word times if there are sentences (s after their stamp)."""
    texts = list(message.transcript[:CANDIDATES])
    confidences = [float(c) for c in message.confidence[:CANDIDATES]]
    if not texts:
        return None
    confidences += [0.0] * (len(texts) - len(confidences))
    ranks = [c if math.isfinite(c) else 0.0 for c in confidences]
    best = max(range(len(texts)), key=lambda n: (ranks[n], -n))
    text = _text(texts[best])
    if not text.strip():
        return None
    return Transcript(
        text=text,
        arrival=arrival,
        words=_words(getattr(message, "sentences", [])) if best == 0 else (),
        confidence=_confidence(ranks[best]),
    )


def _words(sentences: Any) -> tuple[Word, ...]:
    """Return the word times, or () if a time is missing or invalid, or there are too many."""
    words: list[Word] = []
    if len(sentences) > WORDS or sum(len(sentence.words) for sentence in sentences) > WORDS:
        return ()
    for sentence in sentences:
        stamp = stamp_of(sentence.header)
        for word in sentence.words:
            times = (word.start_time, word.end_time)
            if stamp is None or not all(0 <= time <= TOLD_SECONDS for time in times):
                return ()
            start, end = (stamp + seconds(time) for time in times)
            words.append(Word(_text(word.word), start, end))
    return tuple(words)


def _bool(message: Any, arrival: int) -> RobotSpeaking:
    return RobotSpeaking(arrival, bool(message.data))


def _moving(message: Any, arrival: int) -> RobotMoving:
    return RobotMoving(arrival, bool(message.data))


def _joints(message: Any, arrival: int) -> RobotJoints:
    for values in (message.position, message.velocity):
        if len(values) > JOINTS:
            raise UnusableMessageError(f"{len(values)} joints, at most {JOINTS} are read")
    positions = np.asarray(message.position, np.float64)
    velocities = np.asarray(message.velocity, np.float64)
    return RobotJoints(stamp_of(message.header) or arrival, positions, velocities)


BOOL = "std_msgs/msg/Bool"
_MOVING = Adapter("robot_moving", _moving)  # a Bool like `robot_speaking`, selected by name
ADAPTERS: dict[str, Adapter] = {
    "sensor_msgs/msg/Image": Adapter("image", _image, True),
    "sensor_msgs/msg/CompressedImage": Adapter("image", _compressed_image, True),
    "audio_common_msgs/msg/AudioData": Adapter("audio", _audio_data),
    "audio_common_msgs/msg/AudioDataStamped": Adapter("audio", _audio_data_stamped),
    "audio_common_msgs/msg/AudioStamped": Adapter("audio", _audio_stamped),
    "audio_common_msgs/msg/AudioInfo": Adapter("audio_info", _audio_info),
    "hri_msgs/msg/LiveSpeech": Adapter("speech", _live_speech),
    "std_msgs/msg/String": Adapter("speech", _string),
    "speech_recognition_msgs/msg/SpeechRecognitionCandidates": Adapter("speech", _candidates),
    "whisper_msgs/msg/Transcription": Adapter("speech", _transcription),
    BOOL: Adapter("robot_speaking", _bool),
    "sensor_msgs/msg/JointState": Adapter("robot_moving", _joints),
}


def size_of(message: Any) -> int:
    """Return the approximate number of bytes of a message or value with arrays and texts."""
    if isinstance(message, str):
        return len(message)
    if isinstance(message, np.ndarray):
        return int(message.nbytes)
    if isinstance(message, (bytes, bytearray, memoryview, array)):
        return memoryview(message).nbytes
    if isinstance(message, (list, tuple)):
        return sum(size_of(part) for part in message)
    names: Iterable[str] = getattr(message, "__slots__", ()) or getattr(message, "__dict__", ())
    return 8 + sum(size_of(getattr(message, name)) for name in names)


class SpeechMessage(Protocol):
    """Interface of a reader for the messages of a speech recognizer.

    Contract:

    - `message_type` is the ROS type, "package/msg/Name"; the entry point has the same name.
    - The class is called without arguments. `read` is called by one thread at a time.
    - The result of `read` depends only on its arguments: no clock, no state, and no import of the
      message package (which may be missing in replay).
    - It returns a `Transcript`, or None for a message without words. Times are ns on the clock of
      the message's stamps; an unknown time is None.
    - It raises `UnusableMessageError` for a message that cannot be used. The text names the field
      and the value, never spoken words. Texts and lists are untrusted: at most
      `values.bounds.TEXT` characters and `values.bounds.WORDS` words are kept.
    """

    message_type: ClassVar[str]

    def read(self, message: Any, arrival: int) -> Transcript | None:
        """Return the transcript in a message that arrived at `arrival` (ns).

        Raises:
            UnusableMessageError: the message cannot be used.
        """


def types_of(input: str) -> list[str]:
    """Return the message types of an input, the preferred one first."""
    own = [name for name, adapter in ADAPTERS.items() if adapter.input == input]
    if input == _MOVING.input:
        return [BOOL, *own]
    if input != "speech":
        return own
    return [*own, *(name for name in plugins.names(plugins.SPEECH_MESSAGES) if name not in own)]


def adapter_for(type_name: str, name: str = "") -> Adapter:
    """Return the adapter of a message type.

    Args:
        name: name of the input or topic, which defines the meaning of a Bool.

    Raises:
        PluginError: no adapter or `SpeechMessage` class reads the type.
    """
    if type_name == BOOL and name.rpartition("/")[2] == _MOVING.input:
        return _MOVING
    if type_name not in ADAPTERS:
        speech_type(type_name)
    return ADAPTERS[type_name]


def speech_type(name: str) -> str:
    """Return the message type of a `speech_type` parameter, and register its reader.

    Args:
        name: "auto", "none", a message type, or a `SpeechMessage` as module:Class.

    Raises:
        PluginError: the class does not exist, or is for a type that this package already reads.
    """
    if name in ("auto", "none") or name in ADAPTERS:
        return name
    reader = plugins.make(plugins.SPEECH_MESSAGES, name)
    kind = str(reader.message_type)
    if ":" not in name and kind != name:
        raise plugins.PluginError(
            f"the entry point {name!r} is for messages of type {kind}; it must have the same name"
        )
    if kind in ADAPTERS and kind not in _NAMED:
        raise plugins.PluginError(
            f"{name} reads messages of type {kind}, which this package reads already: set "
            f"speech_type to {kind}, or publish a type of your own"
        )
    _NAMED.add(kind)
    ADAPTERS[kind] = Adapter("speech", reader.read)
    return kind


_NAMED: set[str] = set()
"""Message types registered by `speech_type`."""


# --- ROS4HRI (REP-155): the name of a topic defines its meaning ---

_KINDS: dict[int, Kind] = {1: "person", 2: "face", 4: "voice"}
OWN_VOICE = "erc_"  # prefix of the voice ids that utterance_node publishes
HUMAN_ID = "[A-Za-z][A-Za-z0-9_]*"
_ID = f"({HUMAN_ID})"
OUTSIDE = 10.0  # maximum landmark coordinate in image sizes; cropped faces have some outside


def humans_adapter(topic: str, type_name: str, namespace: str = "/humans") -> Adapter | None:
    """Return the adapter of a ROS4HRI topic; None for other topics.

    namespace: namespace of ROS4HRI; relative to /; "": ROS4HRI is not used.
    """
    root = f"/{namespace.strip('/')}"
    if not namespace or not topic.startswith(f"{root}/"):
        return None
    for pattern, kind, make in _HUMANS:
        match = re.fullmatch(pattern, topic[len(root) :])
        if match and topic.startswith(f"{root}/voices/{OWN_VOICE}"):
            return None  # published by utterance_node itself
        if match and type_name == kind:
            return make(*match.groups())
    return None


def _tracked_face(face: str) -> Adapter:
    return Adapter("humans", lambda m, arrival: TrackedFace(face, _image(m, arrival)), True)


def _face_speaking(face: str) -> Adapter:
    return Adapter("humans", lambda m, arrival: FaceSpeaking(face, arrival, bool(m.data)))


def _face_landmarks(face: str) -> Adapter:
    def read(message: Any, arrival: int) -> FaceLandmarks:
        if len(message.landmarks) != LANDMARKS:
            raise UnusableMessageError(
                f"landmarks of a face have {len(message.landmarks)} points; must be {LANDMARKS}"
            )
        size = max(1, message.width), max(1, message.height)
        points = np.array([(point.x, point.y) for point in message.landmarks], np.float32)
        if not (max(size) <= SIDE and (np.abs(points) <= OUTSIDE).all()):  # false for NaN as well
            raise UnusableMessageError(
                f"landmarks of a face are outside an image of {size[0]}x{size[1]}: REP-155 defines "
                "them as fractions of its width and height"
            )
        stamp = stamp_of(message.header) or arrival
        return FaceLandmarks(face, stamp, points * np.array(size, np.float32))

    return Adapter("humans", read, True)


def _voice_sound(voice: str, type_name: str) -> Adapter:
    read = ADAPTERS[type_name].read

    def of_voice(message: Any, arrival: int) -> VoiceSound:
        chunk = read(message, arrival)
        assert isinstance(chunk, AudioChunk)
        return VoiceSound(voice, chunk)

    return Adapter("voice_sound", of_voice)


def _voice_speaking(voice: str) -> Adapter:
    return Adapter("humans", lambda m, arrival: VoiceSpeaking(voice, arrival, bool(m.data)))


def _voice_speech(voice: str) -> Adapter:
    def read(message: Any, arrival: int) -> Transcript | None:
        transcript = _live_speech(message, arrival)
        return None if transcript is None else replace(transcript, voice_id=voice)

    return Adapter("speech", read)


def _part_of_person(person: str, kind: str) -> Adapter:
    part: Kind = "face" if kind == "face" else "voice"

    def read(message: Any, arrival: int) -> IdentityMatch | None:
        if not message.data.strip():
            return None
        part_id = check_id(f"{kind}_id of a person", message.data.strip())
        return IdentityMatch(("person", check_id("id of a person", person)), (part, part_id), 1.0)

    return Adapter("humans", read)


def _candidate_match() -> Adapter:
    def read(message: Any, arrival: int) -> IdentityMatch | None:
        kinds = _KINDS.get(message.id1_type), _KINDS.get(message.id2_type)
        if kinds[0] is None or kinds[1] is None:
            return None  # a body, or an unknown kind
        for text in (message.id1, message.id2):
            check_id("an id of a match", text)
        confidence = float(message.confidence)
        if not 0.0 <= confidence <= 1.0:
            raise UnusableMessageError(
                f"a match of {message.id1!r} and {message.id2!r} has confidence {confidence}, "
                "must be 0 to 1"
            )
        if message.id1.startswith(OWN_VOICE) or message.id2.startswith(OWN_VOICE):
            return None  # published by utterance_node itself
        return IdentityMatch((kinds[0], message.id1), (kinds[1], message.id2), confidence)

    return Adapter("humans", read)


_HUMANS: tuple[tuple[str, str, Callable[..., Adapter]], ...] = (
    (f"/faces/{_ID}/cropped", "sensor_msgs/msg/Image", _tracked_face),
    (f"/faces/{_ID}/is_speaking", "std_msgs/msg/Bool", _face_speaking),
    (f"/faces/{_ID}/landmarks", "hri_msgs/msg/FacialLandmarks", _face_landmarks),
    (f"/voices/{_ID}/is_speaking", "std_msgs/msg/Bool", _voice_speaking),
    *(
        (f"/voices/{_ID}/audio", kind, partial(_voice_sound, type_name=kind))
        for kind in types_of("audio")
    ),
    (f"/voices/{_ID}/speech", "hri_msgs/msg/LiveSpeech", _voice_speech),
    (f"/persons/{_ID}/(face|voice)_id", "std_msgs/msg/String", _part_of_person),
    ("/candidate_matches", "hri_msgs/msg/IdsMatch", _candidate_match),
)


# --- installed message types ---

# Two packages are called audio_common_msgs. Fields that identify the types in the table.
_FIELDS = {
    "audio_common_msgs/msg/AudioData": {"data"},
    "audio_common_msgs/msg/AudioDataStamped": {"header", "audio"},
    "audio_common_msgs/msg/AudioInfo": {"channels", "sample_rate", "sample_format"},
    "audio_common_msgs/msg/AudioStamped": {"header", "audio"},
}
TWO_PACKAGES = (
    "two packages are called audio_common_msgs: that of ros-drivers (AudioData, AudioDataStamped, "
    "AudioInfo) and that of audio_common by mgonzs13 (AudioStamped); sender and receiver need the "
    "same one, and only one can be installed in an environment"
)


def message_class(type_name: str) -> type | None:
    """Return the class of "package/msg/Name"; None if it is not installed or differs."""
    package, _, name = type_name.partition("/msg/")
    try:
        kind: Any = getattr(import_module(f"{package}.msg"), name, None)
    except ImportError:
        return None
    if kind is None or not _FIELDS.get(type_name, set()) <= set(fields_of(kind)):
        return None
    return kind  # type: ignore[no-any-return]


def fields_of(message_type: Any) -> list[str]:
    """Return the names of the fields of a message."""
    return list(message_type.get_fields_and_field_types())


@lru_cache(maxsize=256)
def type_hash(type_name: str) -> str:
    """Return the hash (REP-2011) of an installed type; "" if unknown (before Iron)."""
    package, _, name = type_name.partition("/msg/")
    try:
        share = installed(package) or Path()
        text = (share / "msg" / f"{name}.json").read_text(encoding="utf-8")
        entries = json.loads(text)["type_hashes"]
        hashes = {entry["type_name"]: entry["hash_string"] for entry in entries}
    except (ImportError, LookupError, OSError, ValueError):
        return ""
    return str(hashes.get(type_name, ""))
