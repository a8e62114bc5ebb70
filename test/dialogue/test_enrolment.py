"""Known voices in a file: written, read, refused, recognised."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tones import ToneEmbedding, tone

from erc_ros.dialogue.diarization import DiarizationConfig, Diarizer
from erc_ros.dialogue.enrolment import (
    EnrolmentError,
    enrol,
    load_voices,
    recognise,
    save_voices,
)
from erc_ros.sensing.nanoseconds import seconds

NETWORK = "a" * 64


def diarizer() -> Diarizer:
    return Diarizer(DiarizationConfig(), ToneEmbedding())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    voices = {name: enrol(diarizer(), tone(n, 6.0)) for name, n in (("Ada", 4), ("Bob", 20))}
    save_voices(tmp_path / "voices.json", NETWORK, voices)
    return tmp_path / "voices.json"


def test_somebody_enrolled_is_recognised_and_a_stranger_is_not(file: Path) -> None:
    known = load_voices(file, NETWORK, 64)
    ears = diarizer()
    for start, number in ((0, 20), (4, 9), (8, 4)):
        ears.begin(seconds(start), tone(number, 3.0))
        ears.turns(seconds(start + 3), is_closed=True)
    names = [recognise(voice, known, by) for voice, by in ears.voices().values()]
    assert names == ["Bob", None, "Ada"]
    assert recognise(known["Ada"], {}, ears.voices()[0][1]) is None


def test_too_little_speech_and_silence_are_refused() -> None:
    with pytest.raises(EnrolmentError, match=r"5\.0 s are needed"):
        enrol(diarizer(), tone(4, 2.0))
    with pytest.raises(EnrolmentError, match="muted"):
        enrol(diarizer(), np.zeros(16_000 * 6, np.float32))


def test_voices_of_another_network_are_refused(file: Path) -> None:
    with pytest.raises(EnrolmentError, match="enrol the voices again"):
        load_voices(file, "b" * 64, 64)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c | {"format": 2},
        lambda c: c | {"voices": []},
        lambda c: c["voices"]["Ada"].pop("alike") and c,
        lambda c: c["voices"]["Ada"].update(total=[1.0]) or c,
        lambda c: c["voices"]["Ada"].update(heard=float("nan")) or c,
        lambda c: c["voices"]["Ada"].update(windows="many") or c,
        lambda c: c["voices"]["Ada"].update(windows=0) or c,
        lambda c: c["voices"].update({"": c["voices"]["Ada"]}) or c,
    ],
)
def test_a_file_with_anything_wrong_is_refused(file: Path, change: object) -> None:
    content = change(json.loads(file.read_text("utf-8")))  # type: ignore[operator]
    file.write_text(json.dumps(content), "utf-8")
    with pytest.raises(EnrolmentError, match=r"voices\.json"):
        load_voices(file, NETWORK, 64)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[" * 100_000, b"{}"])
def test_rubbish_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "voices.json").write_bytes(content)
    with pytest.raises(EnrolmentError):
        load_voices(tmp_path / "voices.json", NETWORK, 64)
    with pytest.raises(EnrolmentError, match="cannot be read"):
        load_voices(tmp_path / "none.json", NETWORK, 64)
