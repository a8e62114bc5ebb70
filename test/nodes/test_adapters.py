"""Messages of other packages become the core's values, or are refused with the way out."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

pytest.importorskip("erc_msgs")

from audio_common_msgs.msg import AudioData, AudioDataStamped, AudioInfo
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Bool, String

from erc_ros.nodes.adapters import ADAPTERS, UnusableMessageError, message_class, types_of
from erc_ros.sensing.audio import AudioFormat
from erc_ros.sensing.nanoseconds import NS

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


def test_sound_without_a_stamp_has_its_arrival_only() -> None:
    chunk = read(AudioData(data=b"\x01\x02"))
    assert (bytes(chunk.data), chunk.stamp, chunk.arrival) == (b"\x01\x02", None, ARRIVAL)


def test_audio_info_says_what_the_bytes_mean() -> None:
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


def test_live_speech_that_is_not_final_and_one_that_says_nothing() -> None:
    read_speech = ADAPTERS["hri_msgs/msg/LiveSpeech"].read
    partial = read_speech(live_speech(incremental="good mor", locale=""), ARRIVAL)
    assert not partial.is_final and math.isnan(partial.confidence)
    assert read_speech(live_speech(final="  ", locale=""), ARRIVAL) is None


def test_plain_text_and_the_robots_own_voice() -> None:
    assert read(String(data="hello")).text == "hello"
    assert read(String(data=" ")) is None
    assert read(Bool(data=True)).speaking


def test_every_type_of_the_table_has_an_input_and_unknown_packages_are_no_error() -> None:
    inputs = {adapter.input for adapter in ADAPTERS.values()}
    assert inputs == {"image", "audio", "audio_info", "speech", "robot_speaking"}
    assert types_of("audio")[0] == "audio_common_msgs/msg/AudioData"
    assert message_class("no_such_package/msg/Thing") is None
    assert message_class("std_msgs/msg/String") is String
