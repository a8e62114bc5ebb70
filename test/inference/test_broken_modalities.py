"""Broken, missing and unusual modalities, in the whole recognizer and pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import Kinds, write_tiny_bundle_3
from late_fusion import ANGER, with_section, write_late_bundle

from erc_ros import EstimateEvent, Pipeline, PipelineConfig, Transcript
from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.inference.estimate import Estimate
from erc_ros.values.events import Event
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import SAMPLE_RATE, FaceCrop, Utterance
from erc_ros.values.why import Distrust


@pytest.fixture(scope="module")
def stuck(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose voice part always reports anger with confidence 1."""
    return write_late_bundle(tmp_path_factory.mktemp("models") / "stuck", is_stuck=True)


@pytest.fixture(params=["product", "subsets"])
def recognizer(
    stuck: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[EmotionRecognizer]:
    """A recognizer with late fusion, or with joint fusion that runs for each modality subset."""
    joint = with_section(write_tiny_bundle_3(tmp_path / "joint"))
    with EmotionRecognizer(load_bundle(stuck if request.param == "product" else joint)) as opened:
        yield opened


def utterance(number: int = 0, **changes: Any) -> Utterance:
    rng = np.random.default_rng(number)
    whole = Utterance(
        conversation_id="c",
        utterance_id=f"u{number}",
        start=number * NS,
        end=(number + 1) * NS,
        text=" ".join(map(str, rng.integers(0, 99, 4))),
        speaker_id=str(number % 2),
        audio=rng.integers(-8000, 8000, SAMPLE_RATE, np.int16),
        faces=(FaceCrop(0, rng.integers(0, 255, (96, 96, 3), np.uint8)),),
    )
    return replace(whole, **changes)


def assert_usable(estimate: Estimate) -> None:
    assert np.isfinite(estimate.probabilities).all()
    assert estimate.probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert np.isfinite(estimate.weights).all() and sum(estimate.weights) == pytest.approx(1)


def test_a_voice_stuck_at_one_emotion_with_confidence_1_is_ignored_within_forty_utterances(
    stuck: Path,
) -> None:
    with (
        EmotionRecognizer(load_bundle(stuck)) as broken,
        EmotionRecognizer(load_bundle(stuck)) as silent,
    ):
        changed = []
        for number in range(120):
            said = utterance(number, faces=())
            estimate, alone = broken.feed(said), silent.feed(replace(said, audio=said.audio[:0]))
            assert_usable(estimate)
            assert estimate.influence is not None
            assert estimate.influence.alone[1, ANGER] == pytest.approx(1)
            changed.append(estimate.label != alone.label)
        assert not any(changed[40:])
        assert broken.reliability["audio"] < 0.5
        assert estimate.influence.distrust[1] == Distrust.CONSTANT
        assert len(broken.distrust) == 1 and "anger" in broken.distrust[0]


def test_embeddings_that_are_not_finite_count_as_missing(
    stuck: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmotionRecognizer(load_bundle(stuck)) as recognizer:
        recognizer.feed(utterance(0))
        before = recognizer.reliability
        real = recognizer.networks["visual"]

        def failing(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {name: np.full_like(rows, np.nan) for name, rows in real(inputs).items()}

        monkeypatch.setitem(recognizer.networks, "visual", failing)
        estimate = recognizer.feed(utterance(1, audio=np.zeros(0, np.int16)))
        assert_usable(estimate)
        assert estimate.modalities == (True, False, False) and estimate.weights == (1, 0, 0)
        assert any("not finite" in note for note in estimate.notes)
        assert recognizer.reliability == pytest.approx(before)


@pytest.mark.parametrize(
    "changes",
    [
        {"audio": np.zeros(SAMPLE_RATE, np.int16), "faces": ()},
        {"audio": np.ones(9, np.int16), "faces": ()},
        {"text": "", "audio": np.zeros(0, np.int16), "faces": ()},
    ],
    ids=["silence", "nine samples", "nothing"],
)
def test_an_utterance_without_usable_voice_or_face_changes_no_reliability(
    recognizer: EmotionRecognizer, changes: dict[str, Any]
) -> None:
    for number in range(4):
        recognizer.feed(utterance(number))
    before = recognizer.reliability
    estimate = recognizer.feed(utterance(4, **changes))
    assert estimate.modalities[1:] == (False, False)
    assert estimate.probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert recognizer.reliability == pytest.approx(before)


def test_a_face_that_comes_and_goes_keeps_its_reliability_while_it_is_away(
    recognizer: EmotionRecognizer,
) -> None:
    for number in range(12):
        is_there = number % 4 < 2
        before = recognizer.reliability["visual"]
        said = utterance(number)
        estimate = recognizer.feed(said if is_there else replace(said, faces=()))
        assert_usable(estimate)
        assert estimate.modalities == (True, True, is_there)
        assert is_there or estimate.weights[2] == 0
        if not is_there:
            assert recognizer.reliability["visual"] == pytest.approx(before, abs=0.05)


def test_two_conversations_in_turn_learn_what_one_learns(recognizer: EmotionRecognizer) -> None:
    """The state belongs to the devices. Without history, the text estimates are the same."""
    with EmotionRecognizer(recognizer.bundle) as other:
        for number in range(20):
            said = utterance(number)
            other.reset("c")
            one = other.feed(said)
            two = recognizer.feed(replace(said, conversation_id=f"c{number}"))
            np.testing.assert_allclose(one.probabilities, two.probabilities, rtol=1e-5)
        assert recognizer.reliability == pytest.approx(other.reliability)


def test_a_clock_set_back_changes_no_result(recognizer: EmotionRecognizer) -> None:
    with EmotionRecognizer(recognizer.bundle) as other:
        for number in range(8):
            said = utterance(number)
            start = number * NS if number < 4 else (number - 3600) * NS
            late = replace(said, start=start, end=start + NS)
            one, two = recognizer.feed(late), other.feed(said)
            np.testing.assert_array_equal(one.probabilities, two.probabilities)
        assert recognizer.reliability == other.reliability


@pytest.mark.parametrize("section", [True, False], ids=["with section", "without"])
def test_a_text_only_bundle_estimates_from_its_words(tmp_path: Path, section: bool) -> None:
    folder = write_tiny_bundle_3(tmp_path / "text", Kinds("cached", "", ""))
    with EmotionRecognizer(load_bundle(with_section(folder) if section else folder)) as recognizer:
        estimates = [recognizer.feed(utterance(number)) for number in range(3)]
        for each in estimates:
            assert_usable(each)
            assert each.modalities == (True, False, False) and each.weights == (1, 0, 0)
        assert recognizer.reliability == {} and recognizer.distrust == ()


# --- through the pipeline ---


def fed(pipeline: Pipeline, numbers: range) -> list[Estimate]:
    events: list[Event] = []
    for number in numbers:
        text = " ".join(map(str, np.random.default_rng(number).integers(0, 99, 4)))
        events += pipeline.feed(Transcript(text, arrival=(10 * number + 1) * NS))
    return [e.estimate for e in (*events, *pipeline.flush()) if isinstance(e, EstimateEvent)]


@pytest.fixture
def config(stuck: Path) -> PipelineConfig:
    return PipelineConfig(bundle=str(stuck), speaker_model="none", min_confidence=0.0)


def test_a_recording_can_be_replayed_from_its_middle(config: PipelineConfig) -> None:
    with Pipeline(config) as whole, Pipeline(config) as half, Pipeline(config) as again:
        assert len(fed(whole, range(10))) == 10
        middle, repeated = fed(half, range(5, 10)), fed(again, range(5, 10))
        assert len(middle) == 5
        for one, two in zip(middle, repeated, strict=True):
            assert_usable(one)
            np.testing.assert_array_equal(one.probabilities, two.probabilities)
            assert one.influence is not None
            np.testing.assert_allclose(one.influence.reliability, [1, 0.15, 0.25], atol=1e-5)
