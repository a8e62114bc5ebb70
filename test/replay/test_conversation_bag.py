"""The recordings that are made here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from erc_ros.dialogue.utterance import SAMPLE_RATE
from erc_ros.dialogue.voice_activity import FRAME, SpeechProbability
from erc_ros.replay.bag import Bag, BagError
from erc_ros.replay.conversation_bag import (
    DIALOGUE,
    START,
    VOICES,
    Phrase,
    Recogniser,
    perform,
    portrait,
    write_conversation,
)

PHRASES = [Phrase(1.0, 2.6, "one two three four"), Phrase(4.0, 5.0, "five")]


def records(folder: Path, topic: str) -> list:
    with Bag(folder) as bag:
        return list(bag.messages({topic}))


def test_the_sound_is_there_to_the_sample(tmp_path: Path, noise: np.ndarray) -> None:
    write_conversation(tmp_path / "bag", noise, [])
    found = records(tmp_path / "bag", "/audio")
    data = b"".join(record.message.audio.data.tobytes() for record in found)
    assert np.abs(np.frombuffer(data, "<i2") / 32767 - noise).max() < 1e-4
    stamps = [r.message.header.stamp.sec * 10**9 + r.message.header.stamp.nanosec for r in found]
    assert stamps == [START + number * 20_000_000 for number in range(300)]
    assert all(r.time > stamp for r, stamp in zip(found, stamps, strict=True))


def test_texts_grow_and_become_final_after_a_delay(tmp_path: Path, noise: np.ndarray) -> None:
    write_conversation(
        tmp_path / "bag", noise, PHRASES, recogniser=Recogniser(delay=(0.3, 0.8), seed=1)
    )
    found = records(tmp_path / "bag", "/speech")
    partial = [r.message.incremental for r in found if not r.message.final]
    assert partial[:2] == ["one", "one two"]
    finals = [r for r in found if r.message.final]
    assert [r.message.final for r in finals] == [p.text for p in PHRASES]
    delays = [(r.time - START) / 1e9 - p.end for r, p in zip(finals, PHRASES, strict=True)]
    assert all(0.3 <= delay <= 0.8 for delay in delays)


def test_plain_strings_are_finals_only(tmp_path: Path, noise: np.ndarray) -> None:
    recogniser = Recogniser(type="std_msgs/msg/String")
    write_conversation(tmp_path / "bag", noise, PHRASES, recogniser=recogniser)
    found = records(tmp_path / "bag", "/speech")
    assert [r.message.data for r in found] == [p.text for p in PHRASES]


def test_the_camera_sees_the_face_only_while_its_person_speaks() -> None:
    camera = portrait([Phrase(1.0, 2.0, "")])
    seen, empty = camera(1.5), camera(4.0)
    assert seen.shape == empty.shape == (480, 640, 3)
    assert seen.std() > 2 * empty.std()


def test_a_recording_is_never_overwritten(tmp_path: Path, noise: np.ndarray) -> None:
    write_conversation(tmp_path / "bag", noise, [])
    with pytest.raises(BagError, match="exists already"):
        write_conversation(tmp_path / "bag", noise, [])


def test_the_demos_voices_are_heard_as_speech_and_differ() -> None:
    pytest.importorskip("espeakng_loader", reason="the extra [demo] is not installed")
    from erc_ros.replay.voices import synthesiser

    sound, phrases = perform(DIALOGUE[:2], synthesiser())
    assert sound.dtype == np.float32
    assert np.abs(sound).max() < 1
    pitches = []
    for phrase in phrases:
        said = sound[int(phrase.start * SAMPLE_RATE) : int(phrase.end * SAMPLE_RATE)]
        voice = SpeechProbability()
        frames = said[: len(said) // FRAME * FRAME].reshape(-1, FRAME)
        heard = [voice.feed(frame) > 0.5 for frame in frames]
        assert np.mean(heard) > 0.8
        pitches.append(pitch(said))
    assert abs(pitches[0] - pitches[1]) > 30
    assert len(VOICES) == 2


def pitch(sound: np.ndarray) -> float:
    """Median fundamental frequency, Hz, by autocorrelation."""
    found = []
    for start in range(0, len(sound) - 1024, 1024):
        window = sound[start : start + 1024]
        if window.std() > 0.02:
            correlation = np.correlate(window, window, "full")[1023:]
            lag = 40 + int(correlation[40:230].argmax())
            found.append(SAMPLE_RATE / lag)
    return float(np.median(found))


def test_an_unknown_voice_is_refused_by_name() -> None:
    pytest.importorskip("espeakng_loader", reason="the extra [demo] is not installed")
    from erc_ros.replay.voices import Voice, VoiceError, synthesiser

    with pytest.raises(VoiceError, match="nobody"):
        synthesiser().say("Hello.", Voice("nobody"))
