"""Fuzzing targets: one per parser, with valid inputs and required properties."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import struct
import tempfile
import wave
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import yaml

from erc_ros.values import bounds
from fuzz.changes import Change, in_place, of_bytes, of_png, of_table, of_words, one_word

NOW = 10**18  # ns


@dataclass(frozen=True)
class Target:
    """A parser. read(data) raises one of `refusals`, or no exception.

    seeds: valid inputs. changes: by each of which an input is made of a seed.
    """

    read: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...]
    seeds: tuple[bytes, ...]
    changes: tuple[Change, ...] = (of_bytes, in_place)


def _of_file(
    name: str,
    read: Callable[[Path], object],
    refusal: type[Exception],
    changes: tuple[Change, ...],
    *seeds: bytes,
    beside: str = "",
) -> Target:
    """Return a target whose input is a file. beside: an additional empty file."""
    memory = Path("/dev/shm")  # if available, so that files are not written to a disk
    place = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    folder = tempfile.TemporaryDirectory(prefix="erc-fuzz-", dir=place)

    if beside:
        Path(folder.name, beside).touch()

    def read_bytes(data: bytes) -> object:
        file = Path(folder.name, name)  # keeps the folder while the target exists
        file.write_bytes(data)
        return read(file)

    return Target(read_bytes, (refusal,), seeds, changes)


# --- messages ---


class Draw:
    """Converts bytes to values of all types; after the last byte, all bytes are 255."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)

    def number(self, form: str) -> Any:
        size = struct.calcsize(form)
        return struct.unpack(form, self._stream.read(size).ljust(size, b"\xff"))[0]

    def text(self) -> str:
        length = self.number("<B")
        if length == 250:
            return "x" * (bounds.TEXT + 1)
        return self._stream.read(length if length < 200 else 5000).decode("utf-8", "replace")

    def rest(self, size: int = -1) -> bytes:
        return self._stream.read(size)

    def header(self) -> SimpleNamespace:
        stamp = SimpleNamespace(sec=self.number("<i"), nanosec=self.number("<I"))
        return SimpleNamespace(stamp=stamp, frame_id=self.text())


def _message(data: bytes) -> None:
    from erc_ros.adapters import ADAPTERS, humans_adapter, size_of
    from erc_ros.values.transcript import Transcript

    draw = Draw(data)
    adapters = list(ADAPTERS.values())
    for topic, kind in (
        ("/humans/candidate_matches", "hri_msgs/msg/IdsMatch"),
        ("/humans/persons/p/face_id", "std_msgs/msg/String"),
        ("/humans/voices/v/speech", "hri_msgs/msg/LiveSpeech"),
        ("/humans/faces/f/landmarks", "hri_msgs/msg/FacialLandmarks"),
        ("/humans/voices/v/audio", "audio_common_msgs/msg/AudioDataStamped"),
    ):
        adapter = humans_adapter(topic, kind)
        assert adapter is not None
        adapters.append(adapter)
    which = adapters[draw.number("<B") % len(adapters)]
    header = draw.header()
    word = SimpleNamespace(
        word=draw.text(), start_time=draw.number("<d"), end_time=draw.number("<d")
    )
    message = SimpleNamespace(
        header=header,
        encoding=draw.text(),
        format=draw.text(),
        width=draw.number("<I"),
        height=draw.number("<I"),
        step=draw.number("<I"),
        is_bigendian=draw.number("<B"),
        final=draw.text(),
        incremental=draw.text(),
        confidence=draw.number("<f"),
        locale=draw.text(),
        text=draw.text(),
        audio_time=draw.number("<f"),
        transcription_time=draw.number("<f"),
        sentences=[SimpleNamespace(header=header, words=[word])],
        transcript=[draw.text()],
        coding_format=draw.text(),
        sample_rate=draw.number("<I"),
        channels=draw.number("<B"),
        sample_format=draw.text(),
        id1=draw.text(),
        id2=draw.text(),
        id1_type=draw.number("<b"),
        id2_type=draw.number("<b"),
        position=[draw.number("<d")] * 2,
        velocity=[draw.number("<d")] * 2,
        landmarks=[SimpleNamespace(x=draw.number("<f"), y=draw.number("<f"), c=1.0)] * 70,
    )
    message.data = draw.rest()
    message.audio = SimpleNamespace(data=message.data)
    read = getattr(which.read, "__name__", "")
    if read in ("_string", "read"):
        message.data = message.data.decode("utf-8", "replace")
    if read == "_candidates":
        message.confidence = [message.confidence]
    if read == "_audio_stamped":
        info = SimpleNamespace(format=draw.number("<i"), channels=message.channels, rate=16_000)
        arrays = SimpleNamespace(int16_data=array("h", [1, 2]), float32_data=[0.5])
        message.audio = SimpleNamespace(info=info, audio_data=arrays)
    assert size_of(message) >= 0
    value = which.read(message, NOW)
    if isinstance(value, Transcript):
        assert 0 < len(value.text) <= bounds.TEXT and len(value.locale) <= bounds.NAME
        assert value.confidence is None or 0 < value.confidence <= 1


def _utterance(data: bytes) -> None:
    from erc_ros.nodes.messages import utterance_value

    draw = Draw(data)
    time = SimpleNamespace(sec=draw.number("<i"), nanosec=draw.number("<I"))
    face = SimpleNamespace(
        header=draw.header(), format=draw.text(), data=array("B", draw.rest(draw.number("<H")))
    )
    names = ("conversation_id", "utterance_id", "text", "locale", "speaker_id", "voice_id")
    message = SimpleNamespace(
        header=draw.header(),
        start=time,
        end=SimpleNamespace(sec=draw.number("<i"), nanosec=draw.number("<I")),
        **{name: draw.text() for name in (*names, "face_id", "person_id")},
        text_confidence=draw.number("<f"),
        speaker_confidence=draw.number("<f"),
        overlap=draw.number("<f"),
        is_final=bool(draw.number("<B") % 2),
        sample_rate=draw.number("<I"),
        faces=[face] * (draw.number("<B") % 80),
    )
    samples = draw.rest()
    message.audio = array("h", samples[: len(samples) // 2 * 2])
    value = utterance_value(message)
    assert value.end >= value.start and len(value.faces) <= bounds.FACES
    assert len(value.audio) <= bounds.UTTERANCE_SAMPLES and len(value.text) <= bounds.TEXT
    for share in (value.text_confidence, value.speaker_confidence, value.overlap):
        assert math.isnan(share) or 0 <= share <= 1


def _utterance_bytes(picture: bytes) -> bytes:
    time = struct.pack("<iI", 1, 0)
    face = time + b"\0" + b"\3png" + struct.pack("<H", len(picture)) + picture
    header = time + b"\0"
    texts = b"\1c\1u\5hello\2en\0\0\0\0"
    numbers = struct.pack("<fffBI", 0.5, 0.5, 0.1, 1, 16_000)
    return (
        time
        + face
        + header
        + struct.pack("<iI", 2, 0)
        + texts
        + numbers
        + bool(picture).to_bytes(1, "big")
        + bytes(40)
    )


def _picture(data: bytes) -> None:
    from erc_ros.sensing.frames import Frame
    from erc_ros.sensing.images import image_size, to_bgr, to_gray

    frame = Frame(1, "jpeg", 0, 0, 0, data)
    width, height = image_size(frame)
    assert to_gray(frame, 320).shape[1] <= 320
    assert to_bgr(frame).shape == (height, width, 3)


def _raw_picture(data: bytes) -> None:
    from erc_ros.sensing.frames import Frame
    from erc_ros.sensing.images import _READERS, to_bgr, to_gray

    draw = Draw(data)
    names = [*_READERS, "rgba32", ""]
    name = names[draw.number("<B") % len(names)]
    width, height, step = (draw.number("<H") for _ in range(3))
    pixels = draw.rest()
    if draw.number("<B") % 2 and width < 64 and height < 64:
        pixels = pixels.ljust(width * height * 4, b"\7")  # enough of them to be decoded
    frame = Frame(1, name, width, height, step, pixels, "", bool(width % 2))
    assert to_bgr(frame).shape == (height, width, 3)
    assert to_gray(frame).shape == (height, width)


# --- audio ---


def _sound(data: bytes) -> None:
    from erc_ros.sensing.audio import _SAMPLE_TYPES, AudioFormat
    from erc_ros.sensing.microphone import AudioChunk, Microphone

    draw = Draw(data)
    names = [*_SAMPLE_TYPES, "MP3", draw.text()]
    rates = (16_000, 8_000, 44_100, 48_000, draw.number("<H"))
    form = AudioFormat(
        rates[draw.number("<B") % 5], draw.number("<B") % 10, names[draw.number("<B") % len(names)]
    )
    microphone = Microphone(form)
    stamp = 10**12
    while chunk := draw.rest(64):
        jumps = (0, 10**7, -(10**9), 10**12, draw.number("<q"))
        stamp += jumps[draw.number("<B") % 5]
        microphone.feed(AudioChunk(chunk, stamp, NOW, ""))
    microphone.flush()


def _wave_file(file: Path) -> None:
    from erc_ros.nodes.enrol import read_wave

    samples = read_wave(file)
    assert samples.ndim == 1 and np.isfinite(samples).all()


def _wave(channels: int, width: int, rate: int) -> bytes:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as sound:
        sound.setparams((channels, width, rate, 0, "NONE", ""))
        sound.writeframes(np.arange(200, dtype="<i2").tobytes())
    return stream.getvalue()


# --- files ---


def _bag(file: Path) -> None:
    from erc_ros.replay.bag import Bag

    with Bag(file) as bag:
        assert len(bag.topics) <= bounds.TOPICS
        for _ in bag.messages({topic.name for topic in bag.topics}):
            pass


def _bags() -> dict[str, bytes]:
    """Write a small recording of each type."""
    from erc_ros.replay.bag import BagWriter

    bags = {}
    with tempfile.TemporaryDirectory() as folder:
        for storage in ("mcap", "sqlite3"):
            path = Path(folder, storage)
            with BagWriter(path, storage) as writer:
                kind = "std_msgs/msg/String"
                for number in range(3):
                    writer.write("/speech", kind, number, writer.new(kind, data="hello"))
            (file,) = (f for f in path.iterdir() if f.suffix != ".yaml")
            bags[file.suffix] = file.read_bytes()
    return bags


def _metadata(file: Path) -> None:
    from erc_ros.replay.bag import _packing

    assert _packing(file.parent) in ("", "file", "message")


def _voices(file: Path) -> None:
    from erc_ros.dialogue.speakers.enrolment import load_voices

    for voice in load_voices(file, "a", 2).values():
        assert voice.total.shape == (2,) and np.isfinite(voice.total).all() and voice.heard > 0


def _bundle(file: Path) -> None:
    from erc_ros.inference.bundle import read_manifest

    manifest = read_manifest(file.parent)
    assert set(manifest.anchors) >= set(manifest.labels)


def _speaker_network(file: Path) -> None:
    from erc_ros.dialogue.speakers.embedding import load_manifest

    load_manifest(file.parent)


def _segmentation_network(file: Path) -> None:
    from erc_ros.dialogue.speakers.segmentation import load_manifest

    load_manifest(file.parent)


def _recipe(file: Path) -> None:
    from erc_ros.training.engine.recipe import read_recipe

    assert isinstance(read_recipe(file, file.parent / "out").kind, str)


def _annotation(file: Path) -> None:
    from erc_ros.annotations import read
    from erc_ros.annotations.marks import MAX_SECONDS
    from erc_ros.values.nanoseconds import NS

    for mark in read(file):
        assert isinstance(mark.start, int) and isinstance(mark.end, int)
        assert abs(mark.start) <= MAX_SECONDS * NS and abs(mark.end) <= MAX_SECONDS * NS


def _transcript(file: Path) -> None:
    from erc_ros.media.transcripts import read_cues, transcripts_of

    for text in transcripts_of(read_cues(file)):
        assert text.start is not None and text.end is not None
        assert 0 <= text.start <= text.end < text.arrival < 2**63
        assert 0 < len(text.text) <= bounds.TEXT and len(text.person_id) <= bounds.ID
        assert all(0 <= word.start < 2**63 and 0 <= word.end < 2**63 for word in text.words)
        assert text.confidence is None or 0 <= text.confidence <= 1


def _session(file: Path) -> None:
    from erc_ros.replay.session import read_session

    session = read_session(file)
    for each in session.files:
        assert each.path.is_relative_to(file.parent) and ".." not in each.path.parts
        assert len(each.person) <= bounds.ID


def _small_manifest(folder: Path) -> bytes:
    """Return the manifest of the default bundle without documentation, as JSON (valid YAML)."""
    content = yaml.safe_load((folder / "bundle.yaml").read_bytes())
    content |= {"metrics": {}, "training": {"data": ["a"], "licence": "b"}}
    return json.dumps(content).encode()


CSV = b"recording,start,end,label,speaker,text\na,0.0,1.5,joy,A,hello\na,2,3,,B,so\n"
RTTM = b"SPEAKER a 1 0.00 1.50 <NA> <NA> A <NA> <NA>\n"
STM = b"a 1 A 0.00 1.50 <o> hello there\n"
SEGLST = b'[{"session_id": "a", "start_time": "0", "end_time": "1", "words": "hi", "speaker": "A"}]'
LABEL_STUDIO = (
    b'[{"data": {"audio": "/data/a.wav"}, "annotations": [{"was_cancelled": false, "result": ['
    b'{"from_name": "emotion", "value": {"start": 0.5, "end": 1.5, "labels": ["joy"]}}, '
    b'{"from_name": "words", "value": {"start": "1", "end": 2, "text": ["hi"]}}]}]}]'
)
ELAN_TEXT = (
    b"emotion\tA\t00:00:00.500\t00:00:01.250\tjoy\nwords\t\t00:00:01,5\t00:00:02.0\thello there\n"
)
SRT = (
    b"1\n00:00:00,500 --> 00:00:01,500\nAnna: Hello there.\n\n"
    b"2\n00:00:01,600 --> 00:00:02,000\nAnna: <i>So</i> it goes.\n"
)
VTT = (
    b"WEBVTT\n\n00:00.500 --> 00:01.500 align:start\n<v Anna>Hello <00:00:01.000>there.</v>\n\n"
    b"00:01:01.600 --> 00:01:02.000\n<v.loud Ben>So &amp; so.\n<v Anna>Yes.\n"
)
WHISPER = (
    b'{"language": "en", "segments": [{"start": 0.5, "end": 1.5, "text": " Hello there.", '
    b'"avg_logprob": -0.3, "speaker": "A", "words": [{"word": " Hello", "start": 0.5, "end": 1}, '
    b'{"word": " there.", "start": 1.0, "end": 1.5}]}]}'
)
WHISPER_CPP = (
    b'{"result": {"language": "en"}, "transcription": [{"offsets": {"from": 500, "to": 1500}, '
    b'"text": " Hello there.", "tokens": [{"text": "[_BEG_]", "offsets": {"from": 0, "to": 0}}, '
    b'{"text": " Hello", "offsets": {"from": 500, "to": 1000}}, '
    b'{"text": " there.", "offsets": {"from": 1000, "to": 1500}}]}]}'
)
VOSK = (
    b'[{"result": [{"word": "hello", "start": 0.5, "end": 1.0, "conf": 0.9}, '
    b'{"word": "there", "start": 1.0, "end": 1.5, "conf": 1.0}], "text": "hello there"}]'
)
CTM = b";; words\na 1 0.50 0.40 hello 0.9\na 1 1.00 0.40 there\na 2 3.00 0.50 so\n"
SESSION = (
    b'{"transcript": "words.srt", "files": [{"file": "room.mp4", "role": "camera", "offset": -0.4}'
    b', {"file": "ana.wav", "role": "microphone", "person": "Ana"}]}'
)
GRID = (
    b'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 1\n'
    b'tiers? <exists>\nsize = 1\nitem []:\n    item [1]:\n        class = "IntervalTier"\n'
    b'        name = "emotion"\n        xmin = 0\n        xmax = 1\n'
    b"        intervals: size = 1\n"
    b"        intervals [1]:\n            xmin = 0\n            xmax = 1\n"
    b'            text = "joy"\n'
)
ELAN = (
    b'<?xml version="1.0"?><ANNOTATION_DOCUMENT AUTHOR="" DATE="2026-01-01T00:00:00+00:00" '
    b'FORMAT="3.0" VERSION="3.0" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
    b'xsi:noNamespaceSchemaLocation="EAFv3.0.xsd">'
    b'<HEADER MEDIA_FILE="" TIME_UNITS="milliseconds"/><TIME_ORDER>'
    b'<TIME_SLOT TIME_SLOT_ID="t1" TIME_VALUE="0"/>'
    b'<TIME_SLOT TIME_SLOT_ID="t2" TIME_VALUE="900"/></TIME_ORDER>'
    b'<TIER TIER_ID="emotion" LINGUISTIC_TYPE_REF="default"><ANNOTATION>'
    b'<ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" '
    b'TIME_SLOT_REF1="t1" TIME_SLOT_REF2="t2"><ANNOTATION_VALUE>joy</ANNOTATION_VALUE>'
    b"</ALIGNABLE_ANNOTATION></ANNOTATION></TIER>"
    b'<LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="default" TIME_ALIGNABLE="true"/></ANNOTATION_DOCUMENT>'
)


def targets() -> dict[str, Target]:
    """Return the targets by name, without `utterances` if erc_msgs is not installed."""
    from erc_ros.annotations.marks import AnnotationError
    from erc_ros.dialogue.speakers.embedding import SpeakerModelError
    from erc_ros.dialogue.speakers.enrolment import EnrolmentError
    from erc_ros.inference.bundle import BundleError
    from erc_ros.media.files import MediaError
    from erc_ros.media.transcripts import TranscriptError
    from erc_ros.replay.bag import BagError
    from erc_ros.resources import model_folder
    from erc_ros.training.engine.recipe import RecipeError

    cv2.setNumThreads(0)  # threads do not survive a fork
    picture = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    jpeg, png = (cv2.imencode(end, picture)[1].tobytes() for end in (".jpg", ".png"))
    dot = cv2.imencode(".png", picture[:2, :2])[1].tobytes()
    bags = _bags()
    voice = {"total": [1.0, 2.0], "weight": 1.0, "heard": 5.0}
    voices = json.dumps({"format": 2, "model_sha256": "a", "voices": {"Ada": voice}}).encode()
    recipe = b'{"kind": "text", "seed": 1, "trainer": {"epochs": 1}}'
    metadata = b'{"rosbag2_bagfile_information": {"version": 9, "compression_mode": "file"}}'

    def network(name: str, file: str) -> bytes:
        content = yaml.safe_load((model_folder(name) / file).read_bytes())
        content |= {"source": "", "bytes": 0, "sha256": hashlib.sha256().hexdigest()}
        return json.dumps(content).encode()

    text = (of_words, one_word, of_bytes)
    table = (of_table, of_table, one_word, of_words, of_bytes)
    raw = bytes([4, 0, 4, 0, 0, 0]) + bytes(48)
    sounds = tuple(bytes([0, 0, 125, n, 1, n]) + bytes(300) for n in range(4))
    refused = (ValueError,)
    all_targets = {
        "messages": Target(_message, refused, tuple(bytes([n]) + bytes(300) for n in range(16))),
        "pictures": Target(_picture, refused, (jpeg, png), (of_bytes, in_place, of_png)),
        "raw_pictures": Target(_raw_picture, refused, tuple(bytes([n]) + raw for n in range(24))),
        "sound": Target(_sound, refused, sounds),
        "wave_files": _of_file(
            "voice.wav",
            _wave_file,
            EnrolmentError,
            (of_bytes, in_place),
            _wave(1, 2, 16_000),
            _wave(2, 4, 48_000),
            _wave(1, 1, 8_000),
        ),
        "voices": _of_file("voices.json", _voices, EnrolmentError, table, voices),
        "bundles": _of_file(
            "bundle.yaml", _bundle, BundleError, table, _small_manifest(model_folder("edge-small"))
        ),
        "speaker_networks": _of_file(
            "speaker.yaml",
            _speaker_network,
            SpeakerModelError,
            table,
            network("speaker-campplus", "speaker.yaml"),
            beside="speaker.onnx",
        ),
        "segmentation": _of_file(
            "segmentation.yaml",
            _segmentation_network,
            SpeakerModelError,
            table,
            network("segmentation", "segmentation.yaml"),
            beside="segmentation.onnx",
        ),
        "recipes": _of_file("recipe.yaml", _recipe, RecipeError, table, recipe),
        "mcap": _of_file("bag.mcap", _bag, BagError, (of_bytes, in_place), bags[".mcap"]),
        "sqlite": _of_file("bag.db3", _bag, BagError, (of_bytes, in_place), bags[".db3"]),
        "sessions": _of_file("a.session.yaml", _session, MediaError, table, SESSION),
        "bag_metadata": _of_file("metadata.yaml", _metadata, BagError, table, metadata),
    }
    if getattr(find_spec("erc_msgs"), "origin", None):  # a folder of definitions has none
        all_targets["utterances"] = Target(
            _utterance, refused, (_utterance_bytes(b""), _utterance_bytes(dot))
        )
    for suffix, changes, *seeds in (
        (".csv", text, CSV),
        (".rttm", text, RTTM),
        (".stm", text, STM),
        (".json", table, SEGLST, LABEL_STUDIO),
        (".TextGrid", text, GRID),
        (".eaf", text, ELAN),
        (".txt", text, ELAN_TEXT),
    ):
        name = f"annotations_{suffix.lower()[1:]}"
        all_targets[name] = _of_file(f"a{suffix}", _annotation, AnnotationError, changes, *seeds)
    for suffix, changes, *seeds in (
        (".srt", text, SRT),
        (".vtt", text, VTT),
        (".json", table, WHISPER, WHISPER_CPP, VOSK, SEGLST),
        (".ctm", text, CTM),
        (".stm", text, STM),
        (".csv", text, CSV),
    ):
        name = f"transcripts_{suffix[1:]}"
        all_targets[name] = _of_file(f"a{suffix}", _transcript, TranscriptError, changes, *seeds)
    return all_targets
