"""Speaker-relative voice input: causal, bounded, corrected, reset."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from bundles import HEARD, Kinds, write_tiny_bundle_3
from hypothesis import given, settings
from hypothesis import strategies as st

from erc_ros.inference.bundle import BundleError, load_bundle
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.inference.voice import (
    REMEMBERED,
    HeardVoice,
    VoiceFeatures,
    attribute,
    before,
    remember,
    voice_inputs,
)
from erc_ros.networks.network import observed
from erc_ros.resources import model_folder
from erc_ros.values.events import SpeakerCorrected
from erc_ros.values.utterance import SAMPLE_RATE, Utterance

SPEAKERS = st.sampled_from(["", "0", "1", "2"])


def voice(name: int, speaker: str = "0") -> HeardVoice:
    return HeardVoice(f"u{name}", speaker, np.full(3, name, np.float32))


def all_of(voices: list[HeardVoice]) -> tuple[HeardVoice, ...]:
    heard: tuple[HeardVoice, ...] = ()
    for each in voices:
        heard = remember(heard, each)
    return heard


@given(st.lists(SPEAKERS, max_size=200), SPEAKERS, st.integers(0, 6))
def test_only_the_last_of_the_same_speaker_count_and_never_a_later_one(
    speakers: list[str], own: str, most: int
) -> None:
    voices = [voice(number, speaker) for number, speaker in enumerate(speakers)]
    heard = all_of(voices)
    assert len(heard) == min(len(voices), REMEMBERED)
    place = len(voices) // 2
    earlier = before(heard, f"u{place}", own, most)
    kept = [v.features[0] for v in voices[-REMEMBERED:] if own and v.speaker_id == own]
    expected = [number for number in kept if number < place]
    assert [features[0] for features in earlier] == (expected[-most:] if most else [])


@given(st.lists(SPEAKERS, min_size=1, max_size=30), st.data())
def test_a_correction_is_as_if_it_had_been_known_from_the_beginning(
    speakers: list[str], data: st.DataObject
) -> None:
    wrong = data.draw(st.lists(SPEAKERS, min_size=len(speakers), max_size=len(speakers)))
    corrected = all_of([voice(number, speaker) for number, speaker in enumerate(wrong)])
    for number, speaker in enumerate(speakers):
        corrected = attribute(corrected, [f"u{number}"], speaker)
    known = all_of([voice(number, speaker) for number, speaker in enumerate(speakers)])
    assert [(v.utterance_id, v.speaker_id) for v in corrected] == [
        (v.utterance_id, v.speaker_id) for v in known
    ]


def test_an_utterance_that_comes_again_stays_in_its_place() -> None:
    heard = all_of([voice(0), voice(1), voice(2)])
    again = remember(heard, replace(voice(1), speaker_id="2"))
    assert [(v.utterance_id, v.speaker_id) for v in again] == [
        ("u0", "0"),
        ("u1", "2"),
        ("u2", "0"),
    ]
    assert [f[0] for f in before(again, "u1", "0", 9)] == [0]


@settings(max_examples=30)
@given(st.lists(SPEAKERS, min_size=1, max_size=12), st.integers(0, 5))
def test_several_at_once_are_as_each_alone(speakers: list[str], most: int) -> None:
    voices = [voice(number, speaker) for number, speaker in enumerate(speakers)]
    heard = all_of(voices)
    together = voice_inputs(voices, heard, most)
    assert together["heard"].shape == (len(voices), most, 3)
    assert not together["heard"][~together["is_heard"]].any()
    for row, each in enumerate(voices):
        for name, array in voice_inputs([each], heard, most).items():
            np.testing.assert_array_equal(array[0], together[name][row])


def utterance(number: int, speaker: str, **changes: Any) -> Utterance:
    noise = np.random.default_rng(number)
    said = Utterance(
        conversation_id="c",
        utterance_id=f"u{number}",
        start=0,
        end=0,
        text="well",
        speaker_id=speaker,
        audio=noise.integers(-8000, 8000, SAMPLE_RATE, np.int16),
    )
    return replace(said, **changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle_3(tmp_path_factory.mktemp("b") / "tiny", Kinds("cached", "voice", ""))


def heard_by_the_part(recognizer: EmotionRecognizer, *said: Utterance) -> list[int]:
    """Return the number of earlier utterances in each input of the part."""
    counts: list[int] = []

    def look(file: Path, inputs: Any) -> None:
        if file.name == "audio.onnx":
            counts.append(int(inputs["is_heard"].sum()))

    with observed(look):
        for each in said:
            recognizer.feed(each)
    return counts


def test_what_a_speaker_said_before_counts_up_to_a_bound(folder: Path) -> None:
    with EmotionRecognizer(load_bundle(folder)) as recognizer:
        said = [utterance(n, "0" if n != 2 else "1") for n in range(8)]
        assert heard_by_the_part(recognizer, *said) == [0, 1, 0, 2, 3, 4, HEARD, HEARD]


def test_drafts_unknown_speakers_and_other_conversations_do_not_count(folder: Path) -> None:
    with EmotionRecognizer(load_bundle(folder)) as recognizer:
        draft = utterance(0, "0", is_final=False)
        nobody = utterance(1, "")
        first = utterance(2, "0")
        again = replace(
            first, text="well, well"
        )  # corrected: its own earlier utterance is not used
        elsewhere = utterance(3, "0", conversation_id="d")
        assert heard_by_the_part(recognizer, draft, nobody, first, again, elsewhere) == [0] * 5


def test_a_reset_forgets_voices(folder: Path) -> None:
    with EmotionRecognizer(load_bundle(folder)) as recognizer:
        assert heard_by_the_part(recognizer, utterance(0, "0"), utterance(1, "0")) == [0, 1]
        recognizer.reset("c")
        assert heard_by_the_part(recognizer, utterance(2, "0")) == [0]


def test_a_correction_beyond_the_fusions_window_still_moves_the_voice(folder: Path) -> None:
    with EmotionRecognizer(load_bundle(folder)) as recognizer:
        count = recognizer.bundle.fusion.context + 2
        heard_by_the_part(recognizer, *(utterance(n, "1" if n else "0") for n in range(count)))
        recognizer.correct(SpeakerCorrected("c", ("u0",), 0, 0, "0", "2"))
        assert heard_by_the_part(recognizer, utterance(99, "2"))[-1] == 1


def test_after_a_correction_voices_count_as_if_the_speaker_had_been_known_at_once(
    folder: Path,
) -> None:
    bundle = load_bundle(folder)
    last = replace(utterance(9, "0"), audio=np.zeros(0, np.int16))  # only the history has a voice
    estimates = []
    for mistaken in ("0", "1"):
        with EmotionRecognizer(bundle) as recognizer:
            for number in range(3):
                recognizer.feed(utterance(number, mistaken if number == 1 else "0"))
            if mistaken == "1":
                assert recognizer.correct(SpeakerCorrected("c", ("u1",), 0, 0, "1", "0")) == 1
            estimates.append(recognizer.feed(last).probabilities)
    np.testing.assert_array_equal(*estimates)


def test_digital_noise_without_a_voice_is_not_used(folder: Path) -> None:
    steady = np.full(SAMPLE_RATE, 9000, np.int16)  # a direct current: no frequency has any of it
    with EmotionRecognizer(load_bundle(folder)) as recognizer:
        estimate = recognizer.feed(utterance(0, "0", audio=steady))
    assert estimate.modalities == (True, False, False)
    assert estimate.notes == ("there is no voice in the audio",)


def test_only_the_end_of_long_audio_is_used() -> None:
    features = VoiceFeatures(model_folder("speaker-campplus"), 1.0)
    sound = np.random.default_rng(0).integers(-8000, 8000, 3 * SAMPLE_RATE, np.int16)
    whole, end = features(sound), features(sound[-SAMPLE_RATE:])
    assert whole is not None and end is not None
    np.testing.assert_array_equal(whole, end)
    assert whole.shape == (features.size,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"speaker_sha256": "0" * 64}, "was trained on 000000000000"),
        ({"speaker_network": "nobody"}, "audio.speaker_network: there is no model 'nobody'"),
        ({"speaker_network": "../speaker-campplus"}, "only plain names"),
        ({"features": 64}, "expected"),
        ({"heard": 1000}, r"audio: heard must be in \[0, 128\]"),
    ],
)
def test_another_speaker_network_is_refused(
    folder: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    manifest = yaml.safe_load((tmp_path / "bundle.yaml").read_text())
    manifest["audio"] |= change
    (tmp_path / "bundle.yaml").write_text(yaml.safe_dump(manifest))
    with pytest.raises(BundleError, match=message):
        load_bundle(tmp_path)
