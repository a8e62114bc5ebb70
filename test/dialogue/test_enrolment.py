"""Enrolled voices in a file: writing, reading, errors, recognition."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tones import ToneEmbedding, scene, tone, tone_networks

from erc_ros.dialogue.speakers.clustering import VoiceProfile
from erc_ros.dialogue.speakers.diarization import DiarizationConfig
from erc_ros.dialogue.speakers.diarizer import Diarizer
from erc_ros.dialogue.speakers.enrolment import (
    EnrolmentError,
    enrol,
    load_voices,
    recognise,
    save_voices,
)
from erc_ros.dialogue.speakers.networks import DiarizationNetworks

NETWORK = "a" * 64
LEAST = ToneEmbedding.same_voice - ToneEmbedding.new_voice


@pytest.fixture
def file(tmp_path: Path) -> Path:
    voices = {name: enrol(ToneEmbedding(), tone(n, 6.0)) for name, n in (("Ada", 4), ("Bob", 20))}
    save_voices(tmp_path / "voices.json", NETWORK, voices)
    return tmp_path / "voices.json"


def test_an_enrolled_person_is_recognized_and_a_stranger_is_not(file: Path) -> None:
    known = load_voices(file, NETWORK, 64)
    ears = Diarizer(DiarizationConfig(), tone_networks())
    ears.feed(0, scene((0, 3, 20), (3.2, 6, 9), (6.2, 9, 4), end=9.5))
    ears.begin_update(0)
    ears.flush()
    voices = [voice for _, voice in sorted(ears.profiles().items())]
    assert [recognise(voice, known, LEAST) for voice in voices] == ["Bob", None, "Ada"]
    assert recognise(known["Ada"], {}, LEAST) is None


def test_what_is_written_is_what_is_read(file: Path) -> None:
    written, read = enrol(ToneEmbedding(), tone(4, 6.0)), load_voices(file, NETWORK, 64)["Ada"]
    np.testing.assert_array_equal(read.total, written.total)
    assert (read.weight, read.heard) == (written.weight, written.heard) == (5.0, 6.0)


def test_a_longer_recording_is_no_other_voice() -> None:
    short, long = (enrol(ToneEmbedding(), tone(4, duration)) for duration in (6.0, 30.0))
    np.testing.assert_allclose(short.mean, long.mean, atol=1e-6)


def test_the_shipped_network_knows_the_demos_people_again(networks: DiarizationNetworks) -> None:
    pytest.importorskip("espeakng_loader", reason="the extra [demo] is not installed")
    from erc_ros.demo.conversation_bag import DIALOGUE, VOICES
    from erc_ros.demo.voices import synthesiser

    def speech(speaker: int, texts: slice) -> VoiceProfile:
        turns = [turn for turn in DIALOGUE if turn.speaker == speaker][texts]
        said = [synthesiser().say(t.text, VOICES[speaker], t.delivery) for t in turns]
        return enrol(networks.embedding, np.concatenate(said))

    people = range(len(VOICES))
    known = {str(speaker): speech(speaker, slice(0, 2)) for speaker in people}
    least = networks.embedding.same_voice - networks.embedding.new_voice
    for speaker in people:
        assert recognise(speech(speaker, slice(2, None)), known, least) == str(speaker)


def test_too_little_speech_and_silence_are_refused() -> None:
    with pytest.raises(EnrolmentError, match=r"5\.0 s"):
        enrol(ToneEmbedding(), tone(4, 2.0))
    with pytest.raises(EnrolmentError, match="muted"):
        enrol(ToneEmbedding(), np.zeros(16_000 * 6, np.float32))


def test_voices_of_another_network_are_refused(file: Path) -> None:
    with pytest.raises(EnrolmentError, match="enrol"):
        load_voices(file, "b" * 64, 64)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c | {"format": 1},
        lambda c: c | {"voices": []},
        lambda c: c["voices"]["Ada"].pop("weight") and c,
        lambda c: c["voices"]["Ada"].update(total=[1.0]) or c,
        lambda c: c["voices"]["Ada"].update(heard=float("nan")) or c,
        lambda c: c["voices"]["Ada"].update(weight="much") or c,
        lambda c: c["voices"]["Ada"].update(weight=0) or c,
        lambda c: c["voices"]["Ada"].update(heard=True) or c,
        lambda c: c["voices"]["Ada"].update(pairs=1) or c,
        lambda c: c["voices"].update({"n" * 101: c["voices"]["Ada"]}) or c,
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
    with pytest.raises(EnrolmentError, match="read"):
        load_voices(tmp_path / "none.json", NETWORK, 64)
