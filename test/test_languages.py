"""Texts in languages that the bundle does not support are excluded: pipeline, replay and nodes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from bundles import write_tiny_bundle_3

from erc_ros import EstimateEvent, Pipeline, PipelineConfig, Transcript
from erc_ros.cli import main
from erc_ros.encoders.language import TextExclusion
from erc_ros.inference.bundle import BundleError, load_bundle
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.inference.estimate import Estimate
from erc_ros.resources import model_folder
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import SAMPLE_RATE, Utterance


def with_languages(folder: Path, *languages: str) -> Path:
    """Return the tiny bundle with these languages."""
    write_tiny_bundle_3(folder)
    manifest = yaml.safe_load((folder / "bundle.yaml").read_text())
    manifest["languages"] = list(languages)
    (folder / "bundle.yaml").write_text(yaml.safe_dump(manifest))
    return folder


def estimate_of(text: str, locale: str = "", bundle: str = "edge-small") -> Estimate:
    config = PipelineConfig(bundle=bundle, speaker_model="none", device="cpu")
    with Pipeline(config) as pipeline:
        events = [
            *pipeline.feed(Transcript(text, arrival=10**18, locale=locale)),
            *pipeline.flush(),
        ]
        excluded = pipeline.recognition.texts_excluded()
    (estimate,) = (event.estimate for event in events if isinstance(event, EstimateEvent))
    assert excluded == ({estimate.text_excluded: 1} if estimate.text_excluded else {})
    return estimate


@pytest.mark.parametrize(
    ("text", "locale", "reason"),
    [
        ("Ich bin so wütend auf dich, verschwinde!", "", "language"),
        ("sono furioso con te", "", "language"),
        ("أنا غاضب جدا", "", "script"),
        ("我今天很难过", "", "script"),
        ("I am furious with you!", "de_DE", "locale"),
        ("I am furious with you!", "en-US", ""),
        ("I am furious with you!", "", ""),
    ],
)
def test_the_default_bundle_says_that_it_does_not_know(text: str, locale: str, reason: str) -> None:
    estimate = estimate_of(text, locale)
    assert estimate.text_excluded == reason and estimate.modalities[0] == (not reason)
    assert estimate.utterance.text == text
    if reason:
        assert TextExclusion(reason).explanation in estimate.notes
        assert estimate.label == "" and estimate.confidence == pytest.approx(1 / 7)
    else:
        assert estimate.label == "anger" and not estimate.notes


def test_voice_and_face_go_on_without_the_text(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    said = Utterance(
        conversation_id="c",
        utterance_id="u",
        start=0,
        end=NS,
        text="Ich weiß nicht, was ich machen soll.",
        audio=noise.integers(-9000, 9000, SAMPLE_RATE).astype(np.int16),
    )
    with EmotionRecognizer(load_bundle(with_languages(tmp_path / "a", "en"))) as recognizer:
        recognizer.prepare(said)
        excluded = recognizer.feed(said)
    with EmotionRecognizer(load_bundle(with_languages(tmp_path / "b"))) as recognizer:
        read = recognizer.feed(said)
    assert excluded.modalities == (False, True, False) and excluded.text_excluded == "language"
    assert read.modalities == (True, True, False) and read.text_excluded == ""


def test_sound_tags_are_no_words_and_are_not_encoded(tmp_path: Path) -> None:
    def feed(recognizer: EmotionRecognizer, text: str) -> Estimate:
        return recognizer.feed(Utterance("c", "u", 0, NS, text))

    with EmotionRecognizer(load_bundle(with_languages(tmp_path, "en"))) as recognizer:
        assert feed(recognizer, "[MUSIC]").text_excluded == "non_speech"
        tagged, plain = feed(recognizer, "[laughs] so good"), feed(recognizer, "so good")
    np.testing.assert_array_equal(tagged.probabilities, plain.probabilities)
    assert tagged.text_excluded == "" and tagged.modalities[0]


@pytest.mark.parametrize(("text", "reason"), [("ok øøø", "unreadable"), ("okay øøø", "")])
def test_a_text_of_mostly_unknown_letters_is_excluded(
    tmp_path: Path, text: str, reason: str
) -> None:
    with EmotionRecognizer(load_bundle(with_languages(tmp_path, "en"))) as recognizer:
        assert recognizer.feed(Utterance("c", "u", 0, NS, text)).text_excluded == reason


def test_a_bundle_names_its_languages_by_tags(tmp_path: Path) -> None:
    for name in ("edge-small", "edge-open"):
        assert load_bundle(model_folder(name)).languages == ("en",)
    assert load_bundle(with_languages(tmp_path, "en", "de-AT")).languages == ("en", "de-AT")
    with pytest.raises(BundleError, match="BCP-47"):
        load_bundle(with_languages(tmp_path, "every language"))


def test_a_replay_counts_what_was_excluded(tmp_path: Path) -> None:
    pytest.importorskip("rosbags", reason="the extra [replay] is not installed")
    from erc_ros.replay.bag import BagWriter

    kind = "hri_msgs/msg/LiveSpeech"
    with BagWriter(tmp_path / "bag") as writer:
        for number, (text, locale) in enumerate(
            [("All is well.", "en-GB"), ("All is well.", "de_DE"), ("Das ist nicht gut.", "")]
        ):
            time = 10**18 + number * 5 * NS
            message = writer.new(
                kind,
                header=writer.header(time),
                incremental="",
                final=text,
                confidence=0.9,
                locale=locale,
            )
            writer.write("/speech", kind, time, message)
    bundle = str(with_languages(tmp_path / "bundle", "en"))
    command = ["replay", str(tmp_path / "bag"), "--bundle", bundle, "--speaker-model", "none"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    lines = (tmp_path / "out" / "estimates.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["text_excluded"] for row in rows] == ["", "locale", "language"]
    assert [row["modalities"]["text"] for row in rows] == [True, False, False]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["counts"]["texts excluded: locale"] == 1
    assert summary["counts"]["texts excluded: language"] == 1
