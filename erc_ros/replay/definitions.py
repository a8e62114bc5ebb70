"""Definitions of message types that may be missing in a bag and in the stores of rosbags.

Types of this package, audio_common_msgs and hri_msgs are read from their .msg files.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from erc_ros import resources

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

_OTHERS = {
    "foxglove_msgs/msg/RawAudio": (
        "builtin_interfaces/Time timestamp\nuint8[] data\nstring format\nuint32 sample_rate\n"
        "uint32 number_of_channels\n"
    ),
    "whisper_msgs/msg/Transcription": (
        "string text\nfloat32 audio_time\nfloat32 transcription_time\n"
    ),
    "speech_recognition_msgs/msg/WordInfo": (
        "float64 start_time\nfloat64 end_time\nstring word\nfloat64 confidence\nint32 speaker_tag\n"
    ),
    "speech_recognition_msgs/msg/SentenceInfo": (
        "std_msgs/Header header\nspeech_recognition_msgs/WordInfo[] words\n"
    ),
    "speech_recognition_msgs/msg/SpeechRecognitionCandidates": (
        "string[] transcript\nfloat32[] confidence\n"
        "speech_recognition_msgs/SentenceInfo[] sentences\n"
    ),
}
# Another package with the same name and types, but other fields.
OTHER_AUDIO = {
    "audio_common_msgs/msg/AudioData": (
        "float32[] float32_data\nint32[] int32_data\nint16[] int16_data\nint8[] int8_data\n"
        "uint8[] uint8_data\n"
    ),
    "audio_common_msgs/msg/AudioInfo": "int32 format\nint32 channels\nint32 rate\nint32 chunk\n",
    "audio_common_msgs/msg/Audio": (
        "audio_common_msgs/AudioData audio_data\naudio_common_msgs/AudioInfo info\n"
    ),
    "audio_common_msgs/msg/AudioStamped": (
        "std_msgs/Header header\naudio_common_msgs/Audio audio\n"
    ),
}


@functools.lru_cache
def definitions() -> dict[str, str]:
    """Return the definitions by type, such as "erc_msgs/msg/Utterance"."""
    return _OTHERS | {
        f"{package}/msg/{file.stem}": file.read_text(encoding="utf-8")
        for package, folder in resources.definitions().items()
        for file in sorted(folder.glob("*.msg"))
    }


def typestore(wanted: str = "") -> Typestore:
    """Return the standard types of ROS 2 together with `definitions`.

    wanted: the required type; if only `OTHER_AUDIO` has it, those types are used.
    """
    return _typestore(wanted in OTHER_AUDIO and wanted not in definitions())


@functools.lru_cache(maxsize=2)
def _typestore(is_other_audio: bool) -> Typestore:
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS2_KILTED)
    texts = definitions()
    if is_other_audio:
        texts = {n: text for n, text in texts.items() if "audio_common" not in n} | OTHER_AUDIO
    types = {}
    for name, text in texts.items():
        types.update(get_types_from_msg(text, name))
    store.register(types)
    return store


def with_defaults(store: Typestore, kind: str, fields: Mapping[str, Any]) -> Any:
    """Return a message of this type; missing fields are empty or 0.

    Raises:
        TypeError: the type has no such field.
    """
    _, described = store.fielddefs[kind]
    empty = {name: _empty(store, field) for name, field in described if name not in fields}
    return store.types[kind](**empty, **fields)


def _empty(store: Typestore, field: Any) -> Any:
    from rosbags.interfaces import Nodetype

    form, content = field
    if form == Nodetype.NAME:
        return with_defaults(store, content, {})
    if form == Nodetype.BASE:
        return {"string": "", "bool": False}.get(content[0], 0)
    (element, about), size = content
    count = size if form == Nodetype.ARRAY else 0
    if element == Nodetype.BASE and about[0] != "string":
        return np.zeros(count, about[0])
    return [_empty(store, content[0]) for _ in range(count)]
