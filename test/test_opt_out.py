"""Nothing is inferred about people who opted out; others are not affected; without ROS."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundles import write_tiny_bundle
from tones import LoudIsSpeech, scene, tone_networks

from erc_ros import (
    AudioChunk,
    EstimateEvent,
    Frame,
    Perception,
    PerceptionConfig,
    Pipeline,
    PipelineConfig,
    Transcript,
)
from erc_ros.dialogue.assembler import AssemblerConfig, UtteranceAssembler
from erc_ros.dialogue.face_history import FaceHistory
from erc_ros.dialogue.speakers.enrolment import EnrolmentError
from erc_ros.dialogue.speaking_face import IdentityMatch
from erc_ros.dialogue.voice_audio import VoiceAudio
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.pipeline import FaceSpeaking, PipelineEvent, TrackedFace, VoiceSound
from erc_ros.values.events import UtteranceEvent
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import Utterance


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> PipelineConfig:
    bundle = write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")
    return PipelineConfig(
        bundle=str(bundle), speaker_model="none", device="cpu", min_confidence=0.0
    )


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[Utterance]:
    """Record every utterance of which any part reaches the encoders."""
    utterances: list[Utterance] = []
    encode = EmotionRecognizer._encode

    def record(self: EmotionRecognizer, utterance: Utterance) -> object:
        utterances.append(utterance)
        return encode(self, utterance)

    monkeypatch.setattr(EmotionRecognizer, "_encode", record)
    return utterances


def image(face: str, number: int) -> TrackedFace:
    frame = Frame(number * NS // 5, "bgr8", 48, 48, 144, bytes([100 + number]) * 6912)
    return TrackedFace(face, frame)


def estimated(events: Iterable[PipelineEvent]) -> list[Utterance]:
    return [event.estimate.utterance for event in events if isinstance(event, EstimateEvent)]


def text(words: str, second: int, voice: str = "") -> Transcript:
    return Transcript(words, arrival=second * NS, voice_id=voice)


def test_a_person_of_ros4hri_opts_out_with_face_voice_and_words(
    config: PipelineConfig, encoded: list[Utterance], monkeypatch: pytest.MonkeyPatch
) -> None:
    observed: list[str] = []
    add = FaceHistory.add
    monkeypatch.setattr(
        FaceHistory,
        "add",
        lambda self, track, crop: (observed.append(track), add(self, track, crop)),
    )
    monkeypatch.setattr(VoiceAudio, "feed", lambda self, voice, chunk: observed.append(voice))
    with Pipeline(config) as pipeline:
        encoded.clear()  # the warm-up
        for one, other in (
            (("person", "anna"), ("voice", "v1")),
            (("person", "anna"), ("face", "f1")),
        ):
            pipeline.feed(IdentityMatch(one, other, 1.0))
        pipeline.opt_out("anna")
        samples = bytes(32_000)
        pipeline.feed(VoiceSound("v1", AudioChunk(samples, NS, 2 * NS)))
        for number in range(5, 15):
            pipeline.feed(image("f1", number))
        events = [
            *pipeline.feed(text("I hate this.", 3, "v1")),
            *pipeline.feed(text("Hello.", 4, "v2")),
        ]
        events += pipeline.flush()
        assert [said.text for said in estimated(events)] == ["Hello."]
        assert not any(
            isinstance(event, UtteranceEvent) and event.utterance.person_id for event in events
        )
        assert [said.text for said in encoded] == ["Hello."] and observed == []
        assert pipeline.perception.counts["opted_out"] == 1
        assert pipeline.perception.counts["tracked_faces"] == 0
        pipeline.opt_out("anna", False)
        again = [*pipeline.feed(text("I hate this.", 60, "v1")), *pipeline.flush()]
        assert [said.person_id for said in estimated(again)] == ["anna"]


def test_another_face_is_not_taken_for_the_one_that_opted_out(config: PipelineConfig) -> None:
    with Pipeline(config) as pipeline:
        pipeline.opt_out("f1")
        for number in range(5, 20):
            pipeline.feed(image("f1", number))
            pipeline.feed(image("f2", number))
        events = pipeline.feed(text("Who of us said this, I wonder?", 3))
        pipeline.feed(FaceSpeaking("f1", 5 * NS, True))
        pipeline.feed(image("f2", 27))
        events += [*pipeline.feed(text("And who said that, I wonder?", 7)), *pipeline.flush()]
    (unclear,) = estimated(events)
    assert (unclear.face_id, unclear.faces) == ("", ())


def test_what_a_speaker_says_later_without_a_face_is_dropped_as_well(
    config: PipelineConfig,
) -> None:
    assembler = UtteranceAssembler(AssemblerConfig(), LoudIsSpeech(), tone_networks())
    perception = Perception(config.perception, assembler)
    perception.opt_outs.change("f1", True)

    def play(start: int, voice: int) -> list[Utterance]:
        samples = (scene((0.5, 4, voice), end=8) * 32_767).astype("<i2")
        events = []
        for first in range(0, len(samples), 1600):
            at = start * NS + first * NS // 16_000
            chunk = AudioChunk(samples[first : first + 1600].tobytes(), at, at + NS // 10)
            events += [*perception.feed(chunk), *perception.advance(at + NS // 10)]
        return [e.utterance for e in events if isinstance(e, UtteranceEvent)]

    perception.feed(FaceSpeaking("f1", 100 * NS, True))
    assert play(100, 4) == []  # the face says who it is
    perception.feed(FaceSpeaking("f1", 108 * NS, False))
    assert play(108, 4) == []  # the voice does
    others = play(116, 40)
    assert others and all(said.is_final for said in others)  # and no drafts
    perception.opt_outs.change("f1", False)
    assert play(124, 4)  # withdrawn in the same conversation
    with pytest.raises(EnrolmentError):
        perception.opt_outs.change("eve", True)
        perception.enrol("eve")
    perception.close()


@pytest.mark.parametrize("used", [("text",), ("audio", "visual"), ("text", "visual")])
def test_modalities_that_are_not_used_are_not_encoded(
    config: PipelineConfig, encoded: list[Utterance], used: tuple[str, ...]
) -> None:
    chosen = replace(
        config,
        perception=replace(config.perception, sensed=used),
        recognition=replace(config.recognition, used=used),
    )
    with Pipeline(chosen) as pipeline:
        encoded.clear()
        noise = np.random.default_rng(0).integers(-9000, 9000, 32_000).astype("<i2").tobytes()
        pipeline.feed(VoiceSound("v1", AudioChunk(noise, NS, 3 * NS)))
        pipeline.feed(IdentityMatch(("voice", "v1"), ("face", "f1"), 1.0))
        for number in range(5, 15):
            pipeline.feed(image("f1", number))
        said = Transcript("Hello.", arrival=3 * NS, start=NS, end=3 * NS, voice_id="v1")
        events = [*pipeline.feed(said), *pipeline.flush()]
    (answer,) = (event.estimate for event in events if isinstance(event, EstimateEvent))
    assert answer.modalities == tuple(name in used for name in ("text", "audio", "visual"))
    assert answer.utterance.text == "Hello."  # it is part of the dialogue
    (given,) = encoded
    assert (bool(given.text), bool(len(given.audio)), bool(given.faces)) == answer.modalities


def test_a_config_of_text_alone_looks_at_no_image(config: PipelineConfig, tmp_path: Path) -> None:
    perception = Perception(replace(PerceptionConfig(speaker_model="none"), sensed=("text",)))
    perception.feed(Frame(NS, "bgr8", 48, 48, 144, bytes(6912)))
    perception.flush()
    assert perception.counts["frames_searched"] == 0
    perception.close()
