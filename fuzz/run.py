"""Inputs made to break the parsers: a target per parser, valid inputs changed at random.

    python -m fuzz.run --inputs 10000 --seed 0 [--target bags]

A parser may refuse an input by the error that it documents; anything else is a find: it is printed,
kept in fuzz/corpus/TARGET, and tried first from then on. Prints how many inputs each target had.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import struct
import sys
import tempfile
import time
import wave
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

CORPUS = Path(__file__).parent / "corpus"


@dataclass(frozen=True)
class Target:
    """read(bytes) raises one of `refusals`, or nothing. seeds: valid inputs to begin with."""

    read: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...]
    seeds: tuple[bytes, ...]


def _file_target(
    name: str, read: Callable[[Path], object], refusals: tuple[type[Exception], ...], *seeds: bytes
) -> Target:
    folder = tempfile.TemporaryDirectory(prefix="erc-fuzz-")

    def read_bytes(data: bytes) -> object:
        file = Path(folder.name, name)  # keeps the folder for as long as the target lives
        file.write_bytes(data)
        return read(file)

    return Target(read_bytes, refusals, seeds)


# --- messages ---


def _numbers(data: bytes) -> Any:
    """Values of every kind out of bytes, the odd ones often."""
    stream = io.BytesIO(data)

    def number(form: str) -> Any:
        size = struct.calcsize(form)
        return struct.unpack(form, stream.read(size).ljust(size, b"\xff"))[0]

    def text() -> str:
        length = number("<B")
        return stream.read(length if length < 200 else 5000).decode("utf-8", "replace")

    return SimpleNamespace(number=number, text=text, rest=stream.read)


def _message(data: bytes) -> None:
    from erc_ros.adapters import ADAPTERS, humans_adapter, size_of

    draw = _numbers(data)
    stamp = SimpleNamespace(sec=draw.number("<i"), nanosec=draw.number("<I"))
    header = SimpleNamespace(stamp=stamp, frame_id=draw.text())
    word = SimpleNamespace(
        word=draw.text(), start_time=draw.number("<d"), end_time=draw.number("<d")
    )
    adapters = list(ADAPTERS.values())
    for topic, kind in (
        ("/humans/candidate_matches", "hri_msgs/msg/IdsMatch"),
        ("/humans/persons/p/face_id", "std_msgs/msg/String"),
        ("/humans/voices/v/speech", "hri_msgs/msg/LiveSpeech"),
    ):
        found = humans_adapter(topic, kind)
        assert found is not None
        adapters.append(found)
    which = adapters[draw.number("<B") % len(adapters)]
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
    size_of(message)
    which.read(message, 10**18)


def _picture(data: bytes) -> object:
    from erc_ros.sensing.frames import Frame
    from erc_ros.sensing.images import image_size, to_bgr, to_gray

    frame = Frame(1, "jpeg", 0, 0, 0, data)
    image_size(frame)
    to_gray(frame, 320)
    return to_bgr(frame)


def _raw_picture(data: bytes) -> object:
    from erc_ros.sensing.frames import Frame
    from erc_ros.sensing.images import _READERS, to_bgr

    draw = _numbers(data)
    names = list(_READERS)
    name = names[draw.number("<B") % len(names)]
    width, height, step = (draw.number("<H") for _ in range(3))
    return to_bgr(Frame(1, name, width, height, step, draw.rest(), "", bool(width % 2)))


# --- sound ---


def _sound(data: bytes) -> None:
    from erc_ros.sensing.audio import _SAMPLE_TYPES, AudioFormat
    from erc_ros.sensing.microphone import Microphone, SoundChunk

    draw = _numbers(data)
    names = [*_SAMPLE_TYPES, "MP3", draw.text()]
    form = AudioFormat(
        draw.number("<H"), draw.number("<B") % 10, names[draw.number("<B") % len(names)]
    )
    microphone = Microphone(form)
    while chunk := draw.rest(64):
        stamp = draw.number("<q")
        list(microphone.feed(SoundChunk(chunk, stamp, 10**18, "")))
    microphone.flush()


def _wave_file(file: Path) -> object:
    from erc_ros.nodes.enrol import read_wave

    return read_wave(file)


def _wave() -> bytes:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as sound:
        sound.setparams((1, 2, 16_000, 0, "NONE", ""))
        sound.writeframes(np.arange(1000, dtype="<i2").tobytes())
    return stream.getvalue()


# --- files ---


def _bag(file: Path) -> None:
    from erc_ros.replay.bag import Bag

    with Bag(file) as bag:
        for _ in bag.messages({topic.name for topic in bag.topics}):
            pass


def _bags() -> dict[str, bytes]:
    from erc_ros.replay.bag import BagWriter

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for storage in ("mcap", "sqlite3"):
            path = Path(folder, storage)
            with BagWriter(path, storage) as writer:
                kind = "std_msgs/msg/String"
                for number in range(5):
                    writer.write("/speech", kind, number, writer.new(kind, data="hello"))
            (file,) = (f for f in path.iterdir() if f.suffix != ".yaml")
            found[file.suffix] = file.read_bytes()
    return found


def _voices(file: Path) -> object:
    from erc_ros.dialogue.speakers.enrolment import load_voices

    return load_voices(file, "a", 2)


def _bundle(file: Path) -> object:
    from erc_ros.inference.bundle import load_bundle

    return load_bundle(file.parent)


def _recipe(file: Path) -> object:
    from erc_ros.training.engine.recipe import read_recipe

    return read_recipe(file, file.parent / "out")


def _annotation(file: Path) -> object:
    from erc_ros.evaluation.truth import read

    return read(file)


def targets() -> dict[str, Target]:
    """By name."""
    from erc_ros.dialogue.speakers.enrolment import EnrolmentError
    from erc_ros.evaluation.truth.marks import TruthError
    from erc_ros.inference.bundle import BundleError
    from erc_ros.replay.bag import BagError
    from erc_ros.resources import model_folder
    from erc_ros.training.engine.recipe import RecipeError

    picture = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    jpeg, png = (cv2.imencode(end, picture)[1].tobytes() for end in (".jpg", ".png"))
    bags = _bags()
    voice = {"total": [1.0, 2.0], "weight": 1.0, "heard": 5.0}
    voices = json.dumps({"format": 2, "model_sha256": "a", "voices": {"Ada": voice}}).encode()
    manifest = (model_folder("edge-small") / "bundle.yaml").read_bytes()
    recipe = yaml.safe_dump({"kind": "text", "seed": 1, "trainer": {"epochs": 1}}).encode()
    csv = b"recording,start,end,label,speaker,text\na,0.0,1.5,joy,A,hello\n"
    rttm = b"SPEAKER a 1 0.00 1.50 <NA> <NA> A <NA> <NA>\n"
    stm = b"a 1 A 0.00 1.50 <o> hello there\n"
    seglst = json.dumps(
        [{"session_id": "a", "start_time": "0", "end_time": "1", "words": "hi", "speaker": "A"}]
    ).encode()
    grid = (
        b'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 1\n'
        b'tiers? <exists>\nsize = 1\nitem []:\n    item [1]:\n        class = "IntervalTier"\n'
        b'        name = "emotion"\n        xmin = 0\n        xmax = 1\n'
        b"        intervals: size = 1\n"
        b"        intervals [1]:\n            xmin = 0\n            xmax = 1\n"
        b'            text = "joy"\n'
    )
    elan = (
        b'<?xml version="1.0"?><ANNOTATION_DOCUMENT><TIME_ORDER>'
        b'<TIME_SLOT TIME_SLOT_ID="t1" TIME_VALUE="0"/>'
        b'<TIME_SLOT TIME_SLOT_ID="t2" TIME_VALUE="900"/></TIME_ORDER>'
        b'<TIER TIER_ID="emotion"><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" '
        b'TIME_SLOT_REF1="t1" TIME_SLOT_REF2="t2"><ANNOTATION_VALUE>joy</ANNOTATION_VALUE>'
        b"</ALIGNABLE_ANNOTATION></ANNOTATION></TIER></ANNOTATION_DOCUMENT>"
    )
    value = (ValueError,)
    found = {
        "messages": Target(_message, value, (bytes(300), bytes(range(256)) * 2)),
        "pictures": Target(_picture, value, (jpeg, png)),
        "raw_pictures": Target(_raw_picture, value, (bytes([0, 4, 0, 4, 0, 0, 0]) + bytes(48),)),
        "sound": Target(_sound, value, (struct.pack("<BHBB", 0, 16_000, 1, 0) + bytes(400),)),
        "wave_files": _file_target("voice.wav", _wave_file, (EnrolmentError,), _wave()),
        "voices": _file_target("voices.json", _voices, (EnrolmentError,), voices),
        "bundles": _file_target("bundle.yaml", _bundle, (BundleError,), manifest),
        "recipes": _file_target("recipe.yaml", _recipe, (RecipeError,), recipe),
        "mcap": _file_target("bag.mcap", _bag, (BagError,), bags[".mcap"]),
        "sqlite": _file_target("bag.db3", _bag, (BagError,), bags[".db3"]),
    }
    for suffix, data in (
        (".csv", csv),
        (".rttm", rttm),
        (".stm", stm),
        (".json", seglst),
        (".TextGrid", grid),
        (".eaf", elan),
    ):
        name = f"annotations{suffix.lower().replace('.', '_')}"
        found[name] = _file_target(f"truth{suffix}", _annotation, (TruthError,), data)
    return found


# --- changed at random ---


@st.composite
def changed(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """One of the seeds with bytes changed, cut out, doubled or put in; sometimes none of it."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=600))
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        what = draw(st.integers(0, 4))
        if what == 0 and at < len(data):
            data[at] = draw(st.integers(0, 255))
        elif what == 1:
            data[at : at + draw(st.integers(1, 64))] = b""
        elif what == 2:
            data[at:at] = data[at : at + draw(st.integers(1, 200))]
        elif what == 3:
            data[at:at] = draw(st.binary(min_size=1, max_size=16))
        else:
            odd = (
                b"\xff" * 8,
                b"\x00" * 8,
                b"-1",
                b"1e400",
                b"nan",
                b"[" * 50,
                b"\x7f\xff\xff\xff",
            )
            data[at : at + 8] = draw(st.sampled_from(odd))
    return bytes(data)


def run(name: str, target: Target, inputs: int, start: int) -> int:
    """Try `inputs` inputs; the number of finds."""
    finds: dict[str, bytes] = {}

    def attempt(data: bytes) -> None:
        try:
            target.read(data)
        except target.refusals:
            pass
        except Exception as error:  # noqa: BLE001  (that is what is looked for)
            trace = error.__traceback__
            while trace is not None and trace.tb_next is not None:
                trace = trace.tb_next
            where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
            finds.setdefault(f"{type(error).__name__} at {where}: {str(error)[:120]}", data)

    for file in sorted((CORPUS / name).glob("*")):
        attempt(file.read_bytes())
    for data in target.seeds:
        attempt(data)

    @seed(start)
    @settings(
        max_examples=inputs,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(changed(target.seeds))
    def explore(data: bytes) -> None:
        attempt(data)

    explore()
    kinds = {}
    for what, data in finds.items():
        kinds.setdefault(
            what.partition(":")[0] + what.partition(":")[2].partition(":")[0], (what, data)
        )
    for what, data in kinds.values():
        (CORPUS / name).mkdir(parents=True, exist_ok=True)
        (CORPUS / name / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
        print(f"  {name}: {what}")
    return len(kinds)


def main(argv: list[str] | None = None) -> int:
    """The number of finds decides: 1 where there was any."""
    parser = argparse.ArgumentParser(prog="fuzz.run", description="Inputs made to break parsers.")
    parser.add_argument("--inputs", type=int, default=1000, help="of each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", help="only this one")
    options = parser.parse_args(argv)
    every = targets()
    if options.target and options.target not in every:
        parser.error(f"--target is one of {', '.join(every)}")
    found = 0
    for name, target in every.items():
        if options.target in (None, name):
            begin = time.monotonic()
            new = run(name, target, options.inputs, options.seed)
            found += new
            wall = time.monotonic() - begin
            print(f"{name:22} {options.inputs:8} inputs {new:3} finds {wall:7.1f} s", flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
