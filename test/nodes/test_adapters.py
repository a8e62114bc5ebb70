"""Messages of other packages are converted to the core's values, or refused with a remedy."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

pytest.importorskip("erc_msgs.msg._utterance")

from audio_common_msgs.msg import AudioData, AudioDataStamped, AudioInfo
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Bool, String

from erc_ros import adapters
from erc_ros.adapters import (
    ADAPTERS,
    UnusableMessageError,
    humans_adapter,
    message_class,
    type_hash,
    types_of,
)
from erc_ros.dialogue.speaking_face import IdentityMatch
from erc_ros.pipeline import FaceLandmarks, FaceSpeaking, TrackedFace, VoiceSound
from erc_ros.sensing.audio import AudioFormat
from erc_ros.values.nanoseconds import NS
from erc_ros.values.transcript import Transcript

ARRIVAL = 77 * NS


def read(message: object, arrival: int = ARRIVAL) -> object:
    kind = type(message)
    return ADAPTERS[f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"].read(message, arrival)


def stamped(message, sec: int, frame: str = "head"):
    message.header.stamp.sec, message.header.frame_id = sec, frame
    return message


def test_a_zero_stamp_is_unknown() -> None:
    assert read(stamped(AudioDataStamped(), 0)).stamp is None
    assert read(stamped(AudioDataStamped(), 5)).stamp == 5 * NS
    assert read(stamped(Image(), 0)).stamp == ARRIVAL
    assert read(stamped(Image(), 5)).stamp == 5 * NS


def test_an_image_keeps_its_layout_and_is_not_copied() -> None:
    message = stamped(Image(encoding="rgb8", width=2, height=1, step=8), 1)
    message.data = bytes(8)
    frame = read(message)
    assert (frame.encoding, frame.width, frame.height, frame.step) == ("rgb8", 2, 1, 8)
    assert frame.frame_id == "head" and frame.data is message.data


def test_a_compressed_image_keeps_its_format() -> None:
    assert read(CompressedImage(format="rgb8; jpeg compressed bgr8")).encoding.count("jpeg") == 1


def test_audio_without_a_stamp_has_only_an_arrival_time() -> None:
    chunk = read(AudioData(data=b"\x01\x02"))
    assert (bytes(chunk.data), chunk.stamp, chunk.arrival) == (b"\x01\x02", None, ARRIVAL)


def test_audio_info_defines_the_sample_format() -> None:
    info = AudioInfo(channels=2, sample_rate=44100, sample_format="S32LE", coding_format="WAVE")
    assert read(info) == AudioFormat(44100, 2, "S32LE")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"coding_format": "MP3"}, "format:=wave"),
        ({"channels": 0}, "channels"),
        ({"sample_rate": 96000}, "96000"),
        ({"sample_format": "S24LE"}, "S24LE"),
    ],
)
def test_audio_that_cannot_be_understood_is_refused(change: dict, word: str) -> None:
    fields = {
        "channels": 1,
        "sample_rate": 16000,
        "sample_format": "S16LE",
        "coding_format": "WAVE",
    }
    with pytest.raises(UnusableMessageError, match=word):
        read(AudioInfo(**{**fields, **change}))


def live_speech(**fields: object) -> SimpleNamespace:
    header = SimpleNamespace(stamp=SimpleNamespace(sec=3, nanosec=5), frame_id="")
    return SimpleNamespace(
        **{"header": header, "incremental": "", "final": "", "confidence": 0.0, **fields}
    )


@pytest.mark.parametrize("field", ["locale", "language"])
def test_live_speech_old_and_new(field: str) -> None:
    message = live_speech(final="good morning", confidence=0.5, **{field: "en_GB"})
    transcript = ADAPTERS["hri_msgs/msg/LiveSpeech"].read(message, ARRIVAL)
    assert transcript.text == "good morning" and transcript.is_final
    assert (transcript.locale, transcript.stamp) == ("en_GB", 3 * NS + 5)
    assert (transcript.arrival, transcript.confidence) == (ARRIVAL, 0.5)


def test_partial_and_empty_live_speech_is_read() -> None:
    read_speech = ADAPTERS["hri_msgs/msg/LiveSpeech"].read
    partial = read_speech(live_speech(incremental="good mor", locale=""), ARRIVAL)
    assert not partial.is_final and partial.confidence is None
    assert read_speech(live_speech(final="  ", locale=""), ARRIVAL) is None


def test_plain_text_and_the_robots_own_voice() -> None:
    assert read(String(data="hello")).text == "hello"
    assert read(String(data=" ")) is None
    assert read(Bool(data=True)).speaking


def test_every_type_of_the_table_has_an_input_and_unknown_packages_are_no_error() -> None:
    inputs = {adapter.input for adapter in ADAPTERS.values()}
    assert inputs == {"image", "audio", "audio_info", "speech", "robot_speaking", "robot_moving"}
    assert types_of("audio")[0] == "audio_common_msgs/msg/AudioData"
    assert message_class("no_such_package/msg/Thing") is None
    assert message_class("std_msgs/msg/String") is String


# --- the other audio_common_msgs ---


def audio_stamped(format: int, rate: int = 44_100, channels: int = 2, **arrays: object) -> object:
    names = ("float32_data", "int32_data", "int16_data", "int8_data", "uint8_data")
    data = SimpleNamespace(**{**dict.fromkeys(names, ()), **arrays})
    info = SimpleNamespace(format=format, rate=rate, channels=channels, chunk=512)
    header = SimpleNamespace(stamp=SimpleNamespace(sec=3, nanosec=0), frame_id="mic")
    return SimpleNamespace(header=header, audio=SimpleNamespace(audio_data=data, info=info))


@pytest.mark.parametrize(
    ("format", "field", "values", "name", "size"),
    [
        (1, "float32_data", [0.5, -0.5], "F32LE", 8),
        (2, "int32_data", [1, -1], "S32LE", 8),
        (8, "int16_data", [1, -1], "S16LE", 4),
        (16, "int8_data", [1, -1], "S8", 2),
        (32, "uint8_data", [1, 255], "U8", 2),
    ],
)
def test_typed_arrays_tell_their_own_format(
    format: int, field: str, values: list[float], name: str, size: int
) -> None:
    message = audio_stamped(format, **{field: values})
    chunk = ADAPTERS["audio_common_msgs/msg/AudioStamped"].read(message, ARRIVAL)
    assert chunk.format == AudioFormat(44_100, 2, name)
    assert len(chunk.data) == size and (chunk.stamp, chunk.frame_id) == (3 * NS, "mic")


@pytest.mark.parametrize(
    ("change", "word"),
    [({"format": 4}, "sample format 4"), ({"rate": 0}, "0 Hz"), ({"channels": 9}, "9 ")],
)
def test_typed_arrays_that_cannot_be_read_are_refused(change: dict, word: str) -> None:
    fields = {"format": 8, "int16_data": [0, 0], **change}
    with pytest.raises(ValueError, match=word):
        ADAPTERS["audio_common_msgs/msg/AudioStamped"].read(audio_stamped(**fields), ARRIVAL)


def test_a_type_of_the_same_name_with_other_fields_is_not_accepted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Other:
        @classmethod
        def get_fields_and_field_types(cls) -> dict[str, str]:
            return {"int16_data": "sequence<int16>"}

    package = SimpleNamespace(AudioData=Other)
    monkeypatch.setattr(adapters, "import_module", lambda name: package)
    assert message_class("audio_common_msgs/msg/AudioData") is None


def test_the_hash_of_an_installed_type_is_known_and_that_of_others_is_not() -> None:
    known = type_hash("std_msgs/msg/Bool")
    if not known:
        pytest.skip("this distribution has no type descriptions (before Iron)")
    assert known.startswith("RIHS01_") and len(known) == 71
    assert type_hash("no_such_package/msg/Thing") == ""
    assert type_hash("std_msgs/msg/NoSuchThing") == ""


# --- recognizers that tell times ---


def test_whisper_durations_give_start_and_end() -> None:
    read_text = ADAPTERS["whisper_msgs/msg/Transcription"].read
    told = SimpleNamespace(text=" Hello.", audio_time=2.0, transcription_time=0.5)
    said = read_text(told, ARRIVAL)
    assert isinstance(said, Transcript)
    assert (said.start, said.end) == (ARRIVAL - 5 * NS // 2, ARRIVAL - NS // 2)
    for odd in (0.0, -1.0, math.nan, math.inf):
        said = read_text(SimpleNamespace(text="x", audio_time=odd, transcription_time=0.5), ARRIVAL)
        assert isinstance(said, Transcript) and said.start is None
    assert read_text(SimpleNamespace(text=" ", audio_time=1.0, transcription_time=0.1), 0) is None


def test_candidates_give_the_best_text_and_the_times_of_its_words() -> None:
    read_text = ADAPTERS["speech_recognition_msgs/msg/SpeechRecognitionCandidates"].read
    words = [
        SimpleNamespace(word="good", start_time=0.5, end_time=0.75),
        SimpleNamespace(word="day", start_time=1.0, end_time=1.5),
    ]
    header = SimpleNamespace(stamp=SimpleNamespace(sec=3, nanosec=0), frame_id="")
    message = SimpleNamespace(
        transcript=["good day", "could stay"],
        confidence=[0.8, 0.2],
        sentences=[SimpleNamespace(header=header, words=words)],
    )
    said = read_text(message, ARRIVAL)
    assert isinstance(said, Transcript)
    assert (said.text, said.confidence) == ("good day", 0.8)
    assert [(w.text, w.start / NS, w.end / NS) for w in said.words] == [
        ("good", 3.5, 3.75),
        ("day", 4.0, 4.5),
    ]
    message.confidence = [0.2, 0.8]
    assert read_text(message, ARRIVAL).text == "could stay"
    assert read_text(message, ARRIVAL).words == ()  # they are of the first one
    empty = SimpleNamespace(transcript=[], confidence=[], sentences=[])
    assert read_text(empty, ARRIVAL) is None
    older = SimpleNamespace(transcript=["hello"], confidence=[])  # without sentences
    assert read_text(older, ARRIVAL).text == "hello"


# --- ROS4HRI ---


def test_the_topics_of_ros4hri_say_whose_they_are() -> None:
    def value(topic: str, kind: str, message: object) -> object:
        adapter = humans_adapter(topic, kind)
        assert adapter is not None
        return adapter.read(message, ARRIVAL)

    image = stamped(Image(encoding="rgb8", width=2, height=1, step=6), 5)
    image.data = bytes(6)
    face = value("/humans/faces/f1/cropped", "sensor_msgs/msg/Image", image)
    assert isinstance(face, TrackedFace)
    assert (face.face_id, face.frame.stamp) == ("f1", 5 * NS)
    speaks = value("/humans/faces/f1/is_speaking", "std_msgs/msg/Bool", Bool(data=True))
    assert speaks == FaceSpeaking("f1", ARRIVAL, True)
    text = value("/humans/voices/v9/speech", "hri_msgs/msg/LiveSpeech", live_speech(final="hi"))
    assert isinstance(text, Transcript) and text.voice_id == "v9"
    match = value("/humans/persons/p/voice_id", "std_msgs/msg/String", String(data="v9"))
    assert match == IdentityMatch(("person", "p"), ("voice", "v9"), 1.0)
    assert value("/humans/persons/p/face_id", "std_msgs/msg/String", String(data="")) is None


def points(count: int = 70, **fields: float) -> SimpleNamespace:
    known = {"x": 0.5, "y": 0.25, "c": 1.0, **fields}
    parts = [SimpleNamespace(**known) for _ in range(count)]
    header = SimpleNamespace(stamp=SimpleNamespace(sec=5, nanosec=0), frame_id="")
    return SimpleNamespace(header=header, landmarks=parts, width=640, height=480)


def test_landmarks_are_read_in_pixels() -> None:
    adapter = humans_adapter("/humans/faces/f1/landmarks", "hri_msgs/msg/FacialLandmarks")
    assert adapter is not None
    value = adapter.read(points(), ARRIVAL)
    assert isinstance(value, FaceLandmarks)
    assert (value.face_id, value.stamp, value.points.shape) == ("f1", 5 * NS, (70, 2))
    assert value.points[7].tolist() == [320.0, 120.0]
    for broken in (points(68), points(x=math.nan), points(y=math.inf), points(x=640.0)):
        with pytest.raises(UnusableMessageError, match="landmarks"):
            adapter.read(broken, ARRIVAL)
    wide = points()
    wide.width = 2**32 - 1
    with pytest.raises(UnusableMessageError, match="4294967295x480"):
        adapter.read(wide, ARRIVAL)


def test_the_audio_of_a_voice_is_read_like_that_of_a_microphone() -> None:
    kind = "audio_common_msgs/msg/AudioData"
    adapter = humans_adapter("/humans/voices/v1/audio", kind)
    assert adapter is not None and adapter.input == "voice_sound"
    value = adapter.read(SimpleNamespace(data=b"1234"), ARRIVAL)
    assert isinstance(value, VoiceSound)
    assert (value.voice_id, bytes(value.chunk.data), value.chunk.stamp) == ("v1", b"1234", None)
    with pytest.raises(UnusableMessageError, match="chunks"):
        adapter.read(SimpleNamespace(data=bytes(2**24 + 1)), ARRIVAL)
    assert humans_adapter("/humans/voices/erc_c1_0/audio", kind) is None  # our own


@pytest.mark.parametrize(
    "topic",
    [
        "/humans/faces/f1/aligned",
        "/humans/faces/f1/roi",
        "/faces/f1/cropped",
        "/humans/x/faces/f/cropped",
    ],
)
def test_other_topics_say_nothing(topic: str) -> None:
    assert humans_adapter(topic, "sensor_msgs/msg/Image") is None
    assert humans_adapter("/humans/faces/f1/cropped", "std_msgs/msg/Bool") is None


def test_candidate_matches_of_persons_faces_and_voices_are_read() -> None:
    adapter = humans_adapter("/r/humans/candidate_matches", "hri_msgs/msg/IdsMatch", "/r/humans")
    assert adapter is not None

    def read_match(one: int, other: int, confidence: float) -> object:
        fields = {"id1": "a", "id1_type": one, "id2": "b", "id2_type": other}
        return adapter.read(SimpleNamespace(**fields, confidence=confidence), ARRIVAL)

    assert read_match(2, 4, 0.5) == IdentityMatch(("face", "a"), ("voice", "b"), 0.5)
    assert read_match(2, 3, 0.5) is None and read_match(0, 1, 0.5) is None  # bodies, unset
    with pytest.raises(UnusableMessageError, match="confidence"):
        read_match(1, 2, math.nan)
