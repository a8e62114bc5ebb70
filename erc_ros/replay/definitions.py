"""Message types that a bag may not carry and that no rosbags store knows: ours and our neighbours'.

The texts equal the files in `interfaces/` (a test compares the type hashes).
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

DEFINITIONS = {
    "audio_common_msgs/msg/AudioData": "uint8[] data\n",
    "audio_common_msgs/msg/AudioDataStamped": (
        "std_msgs/Header header\naudio_common_msgs/AudioData audio\n"
    ),
    "audio_common_msgs/msg/AudioInfo": (
        "uint8 channels\nuint32 sample_rate\nstring sample_format\nuint32 bitrate\n"
        "string coding_format\n"
    ),
    "erc_msgs/msg/EmotionEstimate": (
        "std_msgs/Header header\nuint64 sequence\n"
        "string conversation_id\nstring utterance_id\nstring speaker_id\n"
        "float32 speaker_confidence\nfloat32 overlap\nstring voice_id\nstring face_id\n"
        "string person_id\nbuiltin_interfaces/Time start\nbuiltin_interfaces/Time end\n"
        "string text\nstring locale\nfloat32 text_confidence\nstring[] labels\n"
        "float32[] probabilities\nstring label\nfloat32 confidence\nfloat32 valence\n"
        "float32 arousal\nstring[] modality_names\nbool[] modalities\n"
        "float32[] modality_weights\nstring text_excluded\nstring[] modality_labels\n"
        "float32[] modality_confidences\nfloat32[] modality_reliability\n"
        "string[] modality_distrust\nstring[] labels_without\nfloat32[] confidences_without\n"
        "bool is_final\nstring bundle_name\n"
        "string bundle_version\nstring bundle_sha256\nstring[] latency_stages\n"
        "int64[] latency_ns\nint64 latency_total_ns\n"
    ),
    "foxglove_msgs/msg/RawAudio": (
        "builtin_interfaces/Time timestamp\nuint8[] data\nstring format\nuint32 sample_rate\n"
        "uint32 number_of_channels\n"
    ),
    "hri_msgs/msg/LiveSpeech": (
        "std_msgs/Header header\nstring incremental\nstring final\nfloat64 confidence\n"
        "string locale\n"
    ),
    "hri_msgs/msg/FacialLandmarks": (
        "std_msgs/Header header\nhri_msgs/NormalizedPointOfInterest2D[70] landmarks\n"
        "uint32 height\nuint32 width\n"
    ),
    "hri_msgs/msg/NormalizedPointOfInterest2D": "float32 x\nfloat32 y\nfloat32 c\n",
    "hri_msgs/msg/IdsMatch": (
        "string id1\nint8 id1_type\nstring id2\nint8 id2_type\nfloat32 confidence\n"
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
# The other package of this name: the same names of types, other fields.
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


def typestore(wanted: str = "") -> Typestore:
    """The standard types of ROS 2 together with `DEFINITIONS`.

    wanted: a type of `OTHER_AUDIO` that `DEFINITIONS` lacks brings in those instead.
    """
    return _typestore(wanted in OTHER_AUDIO and wanted not in DEFINITIONS)


@functools.lru_cache(maxsize=2)
def _typestore(is_other_audio: bool) -> Typestore:
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS2_KILTED)
    texts = DEFINITIONS
    if is_other_audio:
        texts = {n: text for n, text in DEFINITIONS.items() if "audio_common" not in n}
        texts |= OTHER_AUDIO
    types = {}
    for name, text in texts.items():
        types.update(get_types_from_msg(text, name))
    store.register(types)
    return store
