"""The synthetic recordings of the demo."""

from __future__ import annotations

from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest

from erc_ros.demo.conversation_bag import (
    DIALOGUE,
    START,
    VOICES,
    Phrase,
    SimulatedRecognizer,
    perform,
    portrait,
    write_conversation,
)
from erc_ros.dialogue.speakers.embedding import SpeakerEmbedding
from erc_ros.dialogue.voice_activity import FRAME, SileroVoiceActivity
from erc_ros.replay.bag import Bag, BagError
from erc_ros.values.utterance import SAMPLE_RATE

MODEL = Path(__file__).resolve().parents[2] / "erc_ros" / "models" / "speaker-campplus"
PHRASES = [Phrase(1.0, 2.6, "one two three four"), Phrase(4.0, 5.0, "five")]


def records(folder: Path, topic: str) -> list:
    with Bag(folder) as bag:
        return list(bag.messages({topic}))


def test_the_audio_is_exact_to_the_sample(tmp_path: Path, noise: np.ndarray) -> None:
    write_conversation(tmp_path / "bag", noise, [])
    messages = records(tmp_path / "bag", "/audio")
    data = b"".join(record.message.audio.data.tobytes() for record in messages)
    assert np.abs(np.frombuffer(data, "<i2") / 32767 - noise).max() < 1e-4
    stamps = [r.message.header.stamp.sec * 10**9 + r.message.header.stamp.nanosec for r in messages]
    assert stamps == [START + number * 20_000_000 for number in range(300)]
    assert all(r.time > stamp for r, stamp in zip(messages, stamps, strict=True))


def test_texts_grow_and_become_final_after_a_delay(tmp_path: Path, noise: np.ndarray) -> None:
    write_conversation(
        tmp_path / "bag", noise, PHRASES, recognizer=SimulatedRecognizer(delay=(0.3, 0.8), seed=1)
    )
    messages = records(tmp_path / "bag", "/speech")
    partial = [r.message.incremental for r in messages if not r.message.final]
    assert partial[:2] == ["one", "one two"]
    finals = [r for r in messages if r.message.final]
    assert [r.message.final for r in finals] == [p.text for p in PHRASES]
    delays = [(r.time - START) / 1e9 - p.end for r, p in zip(finals, PHRASES, strict=True)]
    assert all(0.3 <= delay <= 0.8 for delay in delays)


def test_plain_strings_are_finals_only(tmp_path: Path, noise: np.ndarray) -> None:
    recognizer = SimulatedRecognizer(type="std_msgs/msg/String")
    write_conversation(tmp_path / "bag", noise, PHRASES, recognizer=recognizer)
    messages = records(tmp_path / "bag", "/speech")
    assert [r.message.data for r in messages] == [p.text for p in PHRASES]


def test_the_camera_sees_the_face_only_while_its_person_speaks() -> None:
    camera = portrait([Phrase(1.0, 2.0, "")])
    seen, empty = camera(1.5), camera(4.0)
    assert seen.shape == empty.shape == (480, 640, 3)
    assert seen.std() > 2 * empty.std()


def test_a_recording_is_never_overwritten(tmp_path: Path, noise: np.ndarray) -> None:
    write_conversation(tmp_path / "bag", noise, [])
    with pytest.raises(BagError, match="exists"):
        write_conversation(tmp_path / "bag", noise, [])


@pytest.fixture(scope="module")
def demo() -> tuple[np.ndarray, list[Phrase]]:
    """The demo's audio, and the times of the turns of DIALOGUE."""
    pytest.importorskip("espeakng_loader", reason="the extra [demo] is not installed")
    from erc_ros.demo.voices import synthesiser

    return perform(DIALOGUE, synthesiser())


def said(demo: tuple[np.ndarray, list[Phrase]], speaker: int) -> list[np.ndarray]:
    """The turns of one speaker, each (n,)."""
    sound, phrases = demo
    return [
        sound[int(phrase.start * SAMPLE_RATE) : int(phrase.end * SAMPLE_RATE)]
        for phrase, turn in zip(phrases, DIALOGUE, strict=True)
        if turn.speaker == speaker
    ]


def test_three_people_alternate_for_less_than_a_minute(
    demo: tuple[np.ndarray, list[Phrase]],
) -> None:
    sound, phrases = demo
    assert sound.dtype == np.float32
    assert np.abs(sound).max() < 1
    assert 40 < len(sound) / SAMPLE_RATE < 60
    assert [phrase.text for phrase in phrases] == [turn.text for turn in DIALOGUE]
    speakers = [turn.speaker for turn in DIALOGUE]
    assert set(speakers) == set(range(len(VOICES))) == {0, 1, 2}
    assert all(one != other for one, other in pairwise(speakers))


def test_the_demos_voices_are_detected_as_speech(demo: tuple[np.ndarray, list[Phrase]]) -> None:
    for speaker in range(len(VOICES)):
        for turn in said(demo, speaker):
            voice = SileroVoiceActivity()
            frames = turn[: len(turn) // FRAME * FRAME].reshape(-1, FRAME)
            assert np.mean([voice.feed(frame) > 0.5 for frame in frames]) > 0.7


def test_a_speaker_network_distinguishes_the_demos_voices(
    demo: tuple[np.ndarray, list[Phrase]],
) -> None:
    embedding = SpeakerEmbedding(MODEL)
    size = int(1.5 * SAMPLE_RATE)
    voices = []
    for speaker in range(len(VOICES)):
        pieces = [
            embedding.features(turn[first : first + size])
            for turn in said(demo, speaker)
            for first in range(0, len(turn) - size + 1, size)
        ]
        voices.append(embedding.embed_all(pieces))
    within = [(v @ v.T)[np.triu_indices(len(v), 1)].mean() for v in voices]
    between = [(one @ other.T).mean() for one, other in combinations(voices, 2)]
    assert min(within) > max(between) + 0.25


def test_an_unknown_voice_is_refused_by_name() -> None:
    pytest.importorskip("espeakng_loader", reason="the extra [demo] is not installed")
    from erc_ros.demo.voices import Voice, VoiceError, synthesiser

    with pytest.raises(VoiceError, match="nobody"):
        synthesiser().say("Hello.", Voice("nobody"))
