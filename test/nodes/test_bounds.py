"""Every field of every message that is read has a bound, checked before anything is decoded."""

from __future__ import annotations

import re
import struct
import sys
import threading
import time
import zlib
from array import array
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from audio_common_msgs.msg import AudioDataStamped, AudioInfo
from erc_msgs.msg import SpeakerCorrection
from erc_msgs.msg import Utterance as UtteranceMessage
from node_bench import image_message, sound_message
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage

from erc_ros.adapters import ADAPTERS, UnusableMessageError, size_of
from erc_ros.nodes.messages import (
    speaker_correction_message,
    speaker_correction_value,
    utterance_message,
    utterance_value,
)
from erc_ros.nodes.spinning import Spinning
from erc_ros.resources import definitions
from erc_ros.sensing.audio import AudioFormat
from erc_ros.sensing.images import ImageError, image_size, to_bgr, to_gray
from erc_ros.sensing.microphone import AudioChunk, Microphone
from erc_ros.values import bounds
from erc_ros.values.events import SpeakerCorrected
from erc_ros.values.utterance import Utterance


def png(width: int, height: int) -> bytes:
    """A black picture of one bit per pixel: a few kilobytes, whatever its size."""

    def part(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    row = bytes(1 + (width + 7) // 8)
    packer = zlib.compressobj()
    body = b"".join(packer.compress(row * 100) for _ in range(height // 100)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", body) + part(b"IEND", b"")


def said(**fields: Any) -> UtteranceMessage:
    return UtteranceMessage(conversation_id="c", utterance_id="u", is_final=True, **fields)


def face(data: bytes, format: str = "png") -> CompressedImage:
    return CompressedImage(format=format, data=array("B", data))


def test_images_that_unpack_to_gigabytes_are_refused_by_their_headers() -> None:
    bomb = face(png(20_000, 20_000))
    begin = time.thread_time()
    with pytest.raises(UnusableMessageError, match="20000"):
        utterance_value(said(faces=[bomb, bomb, bomb]))
    assert time.thread_time() - begin < 0.1  # decoding one takes seconds
    many = face(png(1000, 1000))
    with pytest.raises(UnusableMessageError, match="pixels"):
        utterance_value(said(faces=[many] * 9))
    assert len(utterance_value(said(faces=[many] * 8)).faces) == 8


@pytest.mark.parametrize(
    "fields",
    [
        {"conversation_id": "c" * 300},
        {"utterance_id": "u" * 300},
        {"speaker_id": "s" * 300},
        {"voice_id": "v" * 300},
        {"face_id": "f" * 300},
        {"person_id": "p" * 300},
        {"locale": "l" * 300},
        {"text": "t" * (bounds.TEXT + 1)},
        {"audio": array("h", bytes(2 * (bounds.UTTERANCE_SAMPLES + 1))), "sample_rate": 16_000},
        {"faces": [face(png(100, 100))] * (bounds.FACES + 1)},
        {"faces": [face(b"II*\x00 a TIFF, which OpenCV would open", "tiff")]},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_an_utterance_with_too_much_of_anything_is_refused(fields: dict[str, Any]) -> None:
    message = said()
    for name, value in fields.items():
        setattr(message, name, value)
    with pytest.raises(UnusableMessageError) as refused:
        utterance_value(message)
    assert len(str(refused.value)) < 500


def test_a_correction_with_too_much_of_anything_is_refused() -> None:
    for fields in (
        {"utterance_ids": ["u"] * (bounds.CORRECTED_UTTERANCES + 1)},
        {"utterance_ids": ["u" * 300]},
        {"conversation_id": "c" * 300},
        {"new_speaker_id": "c" * 300},
    ):
        with pytest.raises(UnusableMessageError):
            speaker_correction_value(SpeakerCorrection(**fields))


def declared() -> dict[str, str]:
    """Message.field -> its type in the definition."""
    lines = {
        file.stem: re.findall(r"^([\w/<=\[\]]+) (\w+) +#", file.read_text("utf-8"), re.MULTILINE)
        for folder in ("msg", "srv")
        for file in (definitions()["erc_msgs"].parent / folder).glob("*")
    }
    return {f"{name}.{field}": kind for name, pairs in lines.items() for kind, field in pairs}


def test_the_message_definitions_have_the_bounds_of_the_nodes() -> None:
    ids, kinds = f"string<={bounds.ID}", declared()
    for name, kind in kinds.items():
        field = name.partition(".")[2]
        if field.endswith("_id"):
            assert kind == ids, name
        if field == "text":
            assert kind == f"string<={bounds.TEXT}", name
        if field == "locale":
            assert kind == f"string<={bounds.NAME}", name
    assert kinds["Utterance.faces"].endswith(f"[<={bounds.FACES}]")
    assert kinds["Utterance.audio"] == f"int16[<={bounds.UTTERANCE_SAMPLES}]"
    assert kinds["SpeakerCorrection.utterance_ids"] == f"{ids}[<={bounds.CORRECTED_UTTERANCES}]"


def test_what_the_nodes_send_is_within_the_bounds_of_its_type() -> None:
    most = bounds.CORRECTED_UTTERANCES
    ids = tuple(str(number) for number in range(most + 5))
    message = speaker_correction_message(SpeakerCorrected("c", ids, 0, 1, "0", "1"), "")
    assert list(message.utterance_ids) == list(ids[-most:])
    utterance = Utterance("c", "u", 0, 1, text="t" * (bounds.TEXT + 1))
    assert len(utterance_message(utterance, True, True).text) == bounds.TEXT


def test_a_message_beyond_a_bound_of_its_type_does_not_end_the_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """rclpy of Humble always checks bounds where it takes a message; later ones do if required."""
    try:
        bad, good = UtteranceMessage(check_fields=False), UtteranceMessage(check_fields=False)
    except AssertionError:
        pytest.skip("messages of this distribution are always checked, so none can be sent")
    bad.text, good.text = "t" * (bounds.TEXT + 1), "I got the job!"
    module = sys.modules[UtteranceMessage.__module__]
    monkeypatch.setattr(module, "ros_python_check_fields", "1")
    context, received = Context(), threading.Event()
    context.init()
    node = Node("bounded", context=context)
    node.create_subscription(UtteranceMessage, "bounded", lambda _: received.set(), 10)
    publisher = node.create_publisher(UtteranceMessage, "bounded", 10)
    spinning = Spinning([node], context)
    try:
        end = time.monotonic() + 30
        while not received.wait(0.1) and time.monotonic() < end:
            publisher.publish(bad)
            publisher.publish(good)
        assert received.is_set() and spinning.failure is None
    finally:
        assert spinning.stop()
        node.destroy_node()
        context.try_shutdown()


HEADER = SimpleNamespace(stamp=SimpleNamespace(sec=1, nanosec=0), frame_id="")
LONG = SimpleNamespace(stamp=HEADER.stamp, frame_id="f" * 100_000)


def image(**fields: Any) -> SimpleNamespace:
    known = {"header": HEADER, "encoding": "rgb8", "width": 2, "height": 2, "step": 6}
    return SimpleNamespace(**{**known, "data": bytes(12), "is_bigendian": 0, **fields})


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("sensor_msgs/msg/Image", image(encoding="e" * 100_000)),
        ("sensor_msgs/msg/Image", image(header=LONG)),
        (
            "sensor_msgs/msg/CompressedImage",
            SimpleNamespace(header=HEADER, format="jpeg" * 100, data=b""),
        ),
        ("audio_common_msgs/msg/AudioData", SimpleNamespace(data=bytes(bounds.CHUNK_BYTES + 1))),
        (
            "audio_common_msgs/msg/AudioDataStamped",
            SimpleNamespace(header=LONG, audio=SimpleNamespace(data=b"")),
        ),
        (
            "audio_common_msgs/msg/AudioInfo",
            SimpleNamespace(
                coding_format="WAVE", sample_rate=16_000, channels=1, sample_format="S" * 100_000
            ),
        ),
        (
            "hri_msgs/msg/LiveSpeech",
            SimpleNamespace(
                header=HEADER, final="hi", incremental="", confidence=1.0, locale="l" * 100_000
            ),
        ),
    ],
)
def test_a_message_with_too_much_of_anything_is_refused_in_few_words(
    kind: str, message: Any
) -> None:
    with pytest.raises(ValueError) as refused:
        ADAPTERS[kind].read(message, 1)
    assert len(str(refused.value)) < 500


def transcript(kind: str, **fields: Any) -> Any:
    return ADAPTERS[kind].read(SimpleNamespace(**fields), 10**18)


def test_a_text_of_megabytes_is_cut_before_anything_is_done_with_it() -> None:
    endless = "word " * 1_000_000
    for read in (
        transcript("std_msgs/msg/String", data=endless),
        transcript(
            "whisper_msgs/msg/Transcription", text=endless, audio_time=1, transcription_time=1
        ),
        transcript(
            "speech_recognition_msgs/msg/SpeechRecognitionCandidates",
            transcript=[endless] * 1000,
            confidence=[1.0],
        ),
        transcript(
            "hri_msgs/msg/LiveSpeech",
            header=HEADER,
            final=endless,
            incremental=endless,
            confidence=0.5,
            locale="en",
        ),
    ):
        assert len(read.text) == bounds.TEXT


@pytest.mark.parametrize("time", [float("nan"), float("inf"), 1e300, -1.0])
def test_times_that_cannot_be_are_as_good_as_none(time: float) -> None:
    word = SimpleNamespace(word="hi", start_time=time, end_time=time)
    read = transcript(
        "speech_recognition_msgs/msg/SpeechRecognitionCandidates",
        transcript=["hi"],
        confidence=[float("nan")],
        sentences=[SimpleNamespace(header=HEADER, words=[word])],
    )
    assert (read.text, read.words) == ("hi", ())
    read = transcript(
        "whisper_msgs/msg/Transcription", text="hi", audio_time=time, transcription_time=0
    )
    assert (read.start, read.end) == (None, None)


@pytest.mark.parametrize("look", [to_bgr, to_gray])
def test_an_image_that_is_too_large_is_not_decoded(look: Callable[..., Any]) -> None:
    adapter = ADAPTERS["sensor_msgs/msg/CompressedImage"]
    for data, word in (
        (png(20_000, 100), "20000x100"),
        (png(8192, 8000), "pixels"),
        (b"\xff\xd8" + bytes(bounds.COMPRESSED_BYTES), "bytes"),
        (
            b"\xff\xd8\xff\xc2\x00\x0b\x08\x10\x00\x10\x00\x01\x01\x11\x00"
            + b"\xff\xda\x00\x02" * 1000
            + b"\xff\xd9",
            "scans",
        ),
    ):
        message = SimpleNamespace(header=HEADER, format="jpeg", data=data)
        with pytest.raises(ImageError, match=word):
            look(adapter.read(message, 1))
    assert image_size(
        adapter.read(SimpleNamespace(header=HEADER, format="png", data=png(640, 400)), 1)
    ) == (640, 400)


def test_an_audio_chunk_of_several_minutes_is_refused() -> None:
    microphone = Microphone(AudioFormat(8000, 1, "U8"))
    with pytest.raises(ValueError, match="61 s"):
        list(microphone.feed(AudioChunk(bytes(61 * 8000), 10**18, 10**18, "")))
    assert list(microphone.feed(AudioChunk(bytes(800), 10**18, 10**18, ""))) is not None


def test_the_node_works_after_images_that_unpack_to_gigabytes(make_bench: Any) -> None:
    bench = make_bench(split=True)
    talker = bench.talker(UtteranceMessage, "utterances")
    bomb = face(png(20_000, 20_000))
    talker.publish(said(faces=[bomb, bomb, bomb]))
    bench.wait(lambda: bench.value("emotion_node: recognizer", "unusable") == "1", "it is counted")
    assert bench.say("still here").text == "still here"


def test_crops_that_are_smaller_than_the_models_expect_are_reported(
    make_bench: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    bench = make_bench(split=True)
    small = cv2.imencode(".png", np.zeros((16, 16, 3), np.uint8))[1].tobytes()
    bench.talker(UtteranceMessage, "utterances").publish(said(text="hello", faces=[face(small)]))
    bench.wait(lambda: bench.estimates, "an estimate")
    assert "face_crop_size" in capfd.readouterr().err


def test_what_an_error_shows_of_a_text_from_outside_is_short_and_harmless() -> None:
    assert bounds.shown("c1") == "'c1'"
    assert len(bounds.shown("\x1b[31m\n" * 10_000)) < 500
    assert "\n" not in bounds.shown("\n") and "\x1b" not in bounds.shown("\x1b[31m")


def test_bounds_let_through_what_robots_send() -> None:
    four_k = np.zeros((2160, 3840, 3), np.uint8)
    message = image(width=3840, height=2160, step=3 * 3840, data=four_k.tobytes())
    assert to_bgr(ADAPTERS["sensor_msgs/msg/Image"].read(message, 1)).shape == four_k.shape
    second = SimpleNamespace(data=bytes(4 * 8 * 48_000))  # 1 s of 8 channels
    assert ADAPTERS["audio_common_msgs/msg/AudioData"].read(second, 1) is not None


def test_the_size_of_a_message_is_that_of_its_arrays_and_texts() -> None:
    assert size_of(image_message(1, width=64, height=48)) == pytest.approx(3 * 64 * 48, abs=200)
    assert size_of(sound_message(np.zeros(1000, np.int16), 1)) == pytest.approx(2000, abs=200)
    crop = face(png(100, 100))
    message = said(faces=[crop, crop], text="t" * 1000)
    assert size_of(message) == pytest.approx(2 * len(crop.data) + 1000, abs=500)
    # Beyond what every message of its type has, exactly its data.
    assert size_of(message) - size_of(said(faces=[crop, crop], text="")) == 1000
    one, two = (sound_message(np.zeros(count, np.int16), 1) for count in (1000, 3000))
    assert size_of(two) - size_of(one) == 4000
    one, two = (image_message(1, width=64, height=height) for height in (48, 96))
    assert size_of(two) - size_of(one) == 3 * 64 * 48


def test_a_flood_of_huge_chunks_stays_within_the_bytes_of_its_queue(make_bench: Any) -> None:
    bench = make_bench(parameters={"image_type": "none"})
    busy, go_on = threading.Event(), threading.Event()

    def block(method: str, *arguments: object) -> None:
        if any(isinstance(argument, AudioFormat) for argument in arguments):
            busy.set()
            go_on.wait(20)

    bench.nodes[0]._record = block
    info = bench.talker(AudioInfo, "audio_info")
    info.publish(
        AudioInfo(channels=1, sample_rate=16_000, sample_format="S16LE", coding_format="WAVE")
    )
    assert busy.wait(10)
    microphone = bench.talker(AudioDataStamped, "audio", 50)
    huge = sound_message(np.zeros(7_000_000, np.int16), bench.now())
    for number in range(1, 13):
        microphone.publish(huge)
        bench.wait(
            lambda n=number: bench.nodes[0]._inputs["audio"]._meter.count == n, "it has come"
        )
    assert bench.nodes[0]._inbox.bytes("audio") <= bounds.QUEUE_BYTES
    bench.wait(lambda: bench.value("utterance_node: audio", "dropped") == "3", "and is counted")
    assert int(bench.value("utterance_node: audio", "queued_bytes")) > bounds.QUEUE_BYTES // 2
    go_on.set()


def test_what_dds_loses_is_estimated_and_reported(make_bench: Any) -> None:
    bench = make_bench(parameters={"image_type": "none"})
    microphone = bench.talker(AudioDataStamped, "audio", QoSProfile(depth=1))
    microphone.publish(sound_message(np.zeros(160, np.int16), bench.now()))
    bench.wait(lambda: bench.value("utterance_node: audio", "received") == "1", "the first")
    published = 1

    def loses() -> bool:
        nonlocal published
        for _ in range(200):  # faster than the reader's history can take them
            microphone.publish(sound_message(np.zeros(160, np.int16), bench.now()))
            published += 1
        return int(bench.value("utterance_node: audio", "lost_by_dds") or 0) > 0

    bench.wait(loses, "something is lost")

    bench.wait(lambda: bench.nodes[0]._inbox.depth("audio") == 0, "what came is read")
    microphone.publish(sound_message(np.zeros(160, np.int16), bench.now()))  # and one that arrives

    def accounted_for() -> int:
        names = ("received", "lost_by_dds")
        return sum(int(bench.value("utterance_node: audio", name)) for name in names)

    bench.wait(lambda: accounted_for() == published + 1, "sent = received + lost")
