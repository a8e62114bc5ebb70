"""Online estimation of the reliability of voice and face."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from bundles import Kinds, write_tiny_bundle_3

from erc_ros.inference import reliability
from erc_ros.inference.bundle import BundleError, load_bundle
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.inference.estimate import Estimate
from erc_ros.inference.manifest import MANIFEST
from erc_ros.inference.reliability import (
    ANOTHER,
    EXPRESSIVE,
    PairConfig,
    PerModality,
    Reading,
    ReliabilityConfig,
    State,
    initial_state,
    step,
)
from erc_ros.replay.rows import row_of_estimate
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import SAMPLE_RATE, FaceCrop, Utterance

LABELS = ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")
PRIOR = (0.47, 0.12, 0.03, 0.07, 0.17, 0.03, 0.11)
CONFIG = ReliabilityConfig(
    prior=PRIOR,
    initial=PerModality(0.15, 0.25),
    mismatch=PerModality(0.4, 0.6),
    unexpressed=0.15,
    change_rate=0.002,
    text_exponent=0.75,
    plain_words=0.25,
    without_text=0.2,
    prior_count=5.0,
)
ALL, WORDS = (True, True, True), (True, False, False)
Draw = Callable[[int, np.random.Generator], int]


def sharp(label: int, sure: float = 0.8) -> np.ndarray:
    row = np.array(PRIOR) * (1 - sure)
    row[label] += sure
    return row


def run(
    voice: Draw,
    count: int = 200,
    state: State | None = None,
    seed: int = 0,
    config: ReliabilityConfig = CONFIG,
) -> tuple[State, np.ndarray, np.ndarray]:
    """Return the state after `count` utterances with words and voice."""
    rng = np.random.default_rng(seed)
    state = initial_state(config) if state is None else state
    labels, predicted = [], []
    for _ in range(count):
        label = int(rng.choice(7, p=PRIOR))
        words = label if rng.random() < 0.6 else int(rng.choice(7, p=PRIOR))
        alone = np.stack([sharp(words, 0.5), sharp(voice(label, rng)), np.array(PRIOR)])
        state, outcome = step(config, state, Reading(alone, np.array([True, True, False])))
        labels.append(label)
        predicted.append(int(outcome.probabilities.argmax()))
    return state, np.array(labels), np.array(predicted)


def telling(label: int, rng: np.random.Generator) -> int:
    return label if rng.random() < 0.7 else int(rng.choice(7, p=PRIOR))


def arbitrary(label: int, rng: np.random.Generator) -> int:
    return int(rng.integers(7))


def always_angry(label: int, rng: np.random.Generator) -> int:
    return 6


def test_words_alone_are_taken_as_they_are() -> None:
    alone = np.stack([sharp(3), sharp(6), sharp(6)])
    state, outcome = step(CONFIG, initial_state(CONFIG), Reading(alone, np.array(WORDS)))
    np.testing.assert_allclose(outcome.probabilities, sharp(3))
    assert state.counts.tolist() == [0, 0] and state.reliability == pytest.approx([0.15, 0.25])


def test_a_working_voice_is_trusted_and_an_arbitrary_one_is_not() -> None:
    works, labels, predicted = run(telling, 300)
    assert works.reliability[0] > 0.9
    broken, _, without = run(arbitrary, 300)
    assert broken.reliability[0] < 0.05
    assert (predicted == labels).sum() >= (without == labels).sum() + 15  # of 300
    assert [s.reliability[1] for s in (works, broken)] == pytest.approx([0.25, 0.25])  # no face
    assert reliability.notes(CONFIG, works, LABELS) == ()
    (note,) = reliability.notes(CONFIG, broken, LABELS)
    assert "voice" in note and "agree" in note


def test_a_voice_that_is_always_angry_changes_nothing() -> None:
    state, _, _ = run(always_angry, 100)
    words = sharp(0, 0.5)
    reading = Reading(np.stack([words, sharp(6, 1.0), words]), np.array([True, True, False]))
    _, outcome = step(CONFIG, state, reading)
    assert outcome.probabilities.argmax() == 0
    (note,) = reliability.notes(CONFIG, state, LABELS)
    assert "anger all the time" in note


def test_the_label_that_a_face_repeats_is_named() -> None:
    reading = Reading(np.stack([PRIOR, PRIOR, sharp(4)]), np.array([True, False, True]))
    state = initial_state(CONFIG)
    for _ in range(100):
        state, _ = step(CONFIG, state, reading)
    (note,) = reliability.notes(CONFIG, state, LABELS)
    assert "face" in note and "joy" in note


def test_a_voice_that_recovers_is_trusted_again() -> None:
    state, _, _ = run(telling, 300)
    state, _, _ = run(arbitrary, 50, state, seed=1)
    broken = float(state.reliability[0])
    state, _, _ = run(telling, 60, state, seed=2)
    assert broken < 0.5 < state.reliability[0]


def test_two_modalities_that_agree_overrule_plain_words() -> None:
    state = initial_state(CONFIG)
    rng = np.random.default_rng(0)
    for _ in range(200):  # both have proved that they work
        label = int(rng.choice(7, p=PRIOR))
        words = label if rng.random() < 0.6 else int(rng.choice(7, p=PRIOR))
        alone = np.stack(
            [sharp(words, 0.5), sharp(telling(label, rng)), sharp(telling(label, rng))]
        )
        state, _ = step(CONFIG, state, Reading(alone, np.array(ALL)))
    plain = np.stack([sharp(0, 0.85), sharp(6, 0.9), sharp(6, 0.9)])
    _, outcome = step(CONFIG, state, Reading(plain, np.array(ALL)))
    assert outcome.probabilities.argmax() == 6
    assert outcome.without[0].argmax() == 6  # voice and face
    assert outcome.without[1, 6] < outcome.probabilities[6]  # without the voice it is less certain


PAIR = PairConfig(
    expressive=0.3,
    another_person=0.1,
    mismatch=0.2,
    unexpressed=0.05,
    change_rate=0.01,
    uninformative_words=1.2,
    uninformative_power=4.5,
    current_count=1.0,
)
PAIRED = replace(CONFIG, pair=PAIR)


def with_all(
    config: ReliabilityConfig, state: State, words: np.ndarray, voice: int, face: int
) -> tuple[State, int]:
    """The state after an utterance with a sure voice and face, and its label."""
    alone = np.stack([words, sharp(voice, 0.95), sharp(face, 0.95)])
    state, outcome = step(config, state, Reading(alone, np.array(ALL)))
    return state, int(outcome.probabilities.argmax())


def first_words(voice: int, face: int, sure: float = 0.92) -> int:
    """Return the label of the first utterance: neutral words, and these two emotions."""
    return with_all(PAIRED, initial_state(PAIRED), sharp(0, sure), voice, face)[1]


def test_two_modalities_that_agree_overrule_plain_words_of_the_first_utterance() -> None:
    assert first_words(6, 6) == 6 and first_words(3, 3) == 3
    assert first_words(6, 3) == first_words(6, 0) == first_words(0, 6) == 0  # they disagree
    without = with_all(CONFIG, initial_state(CONFIG), sharp(0, 0.92), 6, 6)[1]
    assert without == 0  # a bundle without the section


def test_words_that_express_an_emotion_are_not_overruled_at_first() -> None:
    joy = with_all(PAIRED, initial_state(PAIRED), sharp(4, 0.92), 6, 6)[1]
    assert joy == 4


@pytest.mark.parametrize("present", [(True, True, False), (True, False, True)])
def test_one_modality_alone_does_not_overrule_plain_words_at_first(
    present: tuple[bool, bool, bool],
) -> None:
    alone = np.stack([sharp(0, 0.92), sharp(6, 0.95), sharp(6, 0.95)])
    state, outcome = step(PAIRED, initial_state(PAIRED), Reading(alone, np.array(present)))
    assert outcome.probabilities.argmax() == 0
    np.testing.assert_array_equal(state.pair, PAIR.start)  # nothing is learned of the pair


def expressive(config: ReliabilityConfig, speaks_plainly: bool) -> tuple[State, float]:
    """The state after 100 utterances of a speaker whose voice and face agree, and the accuracy.

    speaks_plainly: the words are always neutral; else they are of the emotion in most cases.
    """
    rng, state, right = np.random.default_rng(0), initial_state(config), 0
    for _ in range(100):
        label = int(rng.choice(7))
        words = 0 if speaks_plainly or rng.random() < 0.3 else label
        state, found = with_all(config, state, sharp(words, 0.92), label, label)
        right += found == label
    return state, right / 100


@pytest.mark.parametrize("speaks_plainly", [True, False])
def test_a_speaker_who_shows_emotions_is_recognized_whatever_the_words(
    speaks_plainly: bool,
) -> None:
    state, accuracy = expressive(PAIRED, speaks_plainly)
    assert accuracy > 0.9 and state.pair[EXPRESSIVE] > 0.5
    assert (state.reliability > 0.5).all() and reliability.notes(PAIRED, state, LABELS) == ()


def test_a_television_whose_voice_and_face_agree_is_soon_ignored() -> None:
    rng, state, followed = np.random.default_rng(0), initial_state(PAIRED), []
    for _ in range(100):
        words, shown = (int(n) for n in rng.choice(7, 2, p=PRIOR))
        state, found = with_all(PAIRED, state, sharp(words, 0.92), shown, shown)
        followed.append(found == shown != words)
    assert sum(followed[30:]) <= 3
    assert state.pair[ANOTHER] > 0.8 and (state.reliability < 0.2).all()


def test_a_replaced_camera_makes_a_new_pair() -> None:
    state, _ = expressive(PAIRED, speaks_plainly=True)
    memory = replace(reliability.start(PAIRED), state=state, devices=("mic", "front"))
    moved = reliability.enter(PAIRED, memory, ("c", "u"), ("mic", "back"))
    np.testing.assert_array_equal(moved.state.pair, PAIR.start)
    same = reliability.enter(PAIRED, memory, ("c", "u"), ("mic", "front"))
    np.testing.assert_array_equal(same.state.pair, state.pair)


def test_a_voice_and_a_face_that_always_report_the_same_soon_lose_to_plain_words() -> None:
    state, answers = initial_state(PAIRED), []
    for _ in range(20):
        state, found = with_all(PAIRED, state, sharp(0, 0.92), 6, 6)
        answers.append(found)
    assert answers[0] == 6 and not any(answers[8:])


@pytest.mark.parametrize("config", [CONFIG, PAIRED], ids=["without pairs", "with pairs"])
def test_pipelines_of_a_batch_are_independent(config: ReliabilityConfig) -> None:
    rng = np.random.default_rng(0)
    one, two = initial_state(config), initial_state(config, (2,))
    for _ in range(30):
        alone = rng.dirichlet(np.ones(7), (2, 3))
        present = np.array([ALL, (True, False, bool(rng.integers(2)))])
        two, both = step(config, two, Reading(alone, present))
        one, single = step(config, one, Reading(alone[0], present[0]))
        np.testing.assert_allclose(both.probabilities[0], single.probabilities, rtol=1e-9)
        np.testing.assert_allclose(both.without[0], single.without, rtol=1e-9)
    np.testing.assert_allclose(two.works[0], one.works, rtol=1e-9)
    np.testing.assert_allclose(two.pair[0], one.pair, rtol=1e-9)
    assert two.counts[1, 0] == 0


@pytest.mark.parametrize("face", [2, 6], ids=["all contradict", "the pair agrees"])
def test_a_million_certain_contradictions_stay_finite(face: int) -> None:
    state = initial_state(PAIRED, (1000,))
    rows = np.zeros((1000, 3, 7))
    rows[:, 0, 0] = rows[:, 1, 6] = rows[:, 2, face] = 1.0
    for _ in range(1000):
        state, outcome = step(PAIRED, state, Reading(rows, np.ones((1000, 3), bool)))
    assert np.isfinite(outcome.probabilities).all() and np.isfinite(state.works).all()
    assert np.isfinite(state.pair).all()
    np.testing.assert_allclose(outcome.probabilities.sum(-1), 1)


# --- in the emotion recognizer ---

SECTION: dict[str, Any] = {
    "prior": list(PRIOR),
    "initial": {"audio": 0.15, "visual": 0.25},
    "mismatch": {"audio": 0.4, "visual": 0.6},
    "unexpressed": 0.15,
    "change_rate": 0.002,
    "text_exponent": 0.75,
    "plain_words": 0.25,
}


PAIR_SECTION = {each.name: getattr(PAIR, each.name) for each in fields(PAIR)}


def with_section(folder: Path, **changes: Any) -> Path:
    manifest = yaml.safe_load((folder / MANIFEST).read_text())
    manifest["reliability"] = {**SECTION, **changes}
    (folder / MANIFEST).write_text(yaml.safe_dump(manifest))
    return folder


@pytest.fixture(params=["product", "mixture"])
def recogniser(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[EmotionRecognizer]:
    folder = with_section(write_tiny_bundle_3(tmp_path / "tiny"), combination=request.param)
    with EmotionRecognizer(load_bundle(folder)) as made:
        yield made


def utterance(number: int = 0, **changes: Any) -> Utterance:
    rng = np.random.default_rng(number)
    said = Utterance(
        conversation_id="c",
        utterance_id=f"u{number}",
        start=number * NS,
        end=(number + 1) * NS,
        text=f"this is number {number}",
        speaker_id=str(number % 2),
        audio=rng.integers(-8000, 8000, SAMPLE_RATE, np.int16),
        faces=(FaceCrop(0, rng.integers(0, 255, (96, 96, 3), np.uint8)),),
    )
    return replace(said, **changes)


def same(one: Estimate, two: Estimate) -> bool:
    return bool((one.probabilities == two.probabilities).all()) and one.weights == two.weights


def test_an_estimate_says_why(recogniser: EmotionRecognizer) -> None:
    found = recogniser.feed(utterance())
    why = found.influence
    assert why is not None and found.modalities == ALL
    np.testing.assert_allclose(why.alone.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(why.without.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(why.reliability, [1, 0.15, 0.25], atol=1e-5)
    assert sum(found.weights) == pytest.approx(1) and found.probabilities.sum() == pytest.approx(1)
    assert set(recogniser.reliability) == {"audio", "visual"}


@pytest.mark.parametrize("modalities", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1), (1, 1, 0)])
def test_modalities_come_and_go(
    recogniser: EmotionRecognizer, modalities: tuple[int, int, int]
) -> None:
    text, audio, visual = modalities
    whole = utterance()
    said = replace(
        whole,
        text=whole.text if text else "",
        audio=whole.audio if audio else whole.audio[:0],
        faces=whole.faces if visual else (),
    )
    for number in range(3):
        recogniser.feed(utterance(number + 1))
    found = recogniser.feed(said)
    assert found.modalities == tuple(map(bool, modalities))
    assert found.probabilities.sum() == pytest.approx(1)
    assert [weight > 0 for weight in found.weights] <= list(map(bool, modalities))
    assert sum(found.weights) == pytest.approx(1)


def test_the_state_survives_a_conversation_and_a_clock_that_is_set_back(
    recogniser: EmotionRecognizer,
) -> None:
    for number in range(10):
        recogniser.feed(utterance(number))
    known = recogniser.reliability
    recogniser.reset("c")
    assert recogniser.reliability == known
    earlier = utterance(11, conversation_id="d", start=-5 * NS, end=-4 * NS)
    recogniser.feed(earlier)
    assert recogniser.reliability != known
    recogniser.reset_reliability()
    assert recogniser.reliability == pytest.approx({"audio": 0.15, "visual": 0.25})


def test_a_corrected_text_does_not_count_twice(recogniser: EmotionRecognizer) -> None:
    for number in range(5):
        recogniser.feed(utterance(number))
    known = recogniser.reliability
    first = recogniser.feed(utterance(4))
    assert recogniser.reliability == pytest.approx(known)
    assert same(first, recogniser.feed(utterance(4)))
    recogniser.feed(utterance(2, text="this is another text"))  # earlier ones count no more
    assert recogniser.reliability == pytest.approx(known)


def test_a_draft_is_not_counted(recogniser: EmotionRecognizer) -> None:
    known = recogniser.reliability
    recogniser.feed(utterance(is_final=False, text=""))
    assert recogniser.reliability == known


def test_two_conversations_in_turn_share_the_state(recogniser: EmotionRecognizer) -> None:
    with EmotionRecognizer(recogniser.bundle) as other:
        for number in range(6):
            said = utterance(number, text="")  # without words there is no history that differs
            recogniser.feed(replace(said, conversation_id="ab"[number % 2]))
            other.feed(said)
        assert set(recogniser.reliability) == set(other.reliability)
        assert all(0 < value < 1 for value in recogniser.reliability.values())


def test_another_device_starts_without_knowledge_and_a_known_one_is_remembered(
    recogniser: EmotionRecognizer,
) -> None:
    def seen_by(camera: str, number: int) -> Estimate:
        said = utterance(number, frame_id="microphone")
        return recogniser.feed(
            replace(said, faces=tuple(replace(f, frame_id=camera) for f in said.faces))
        )

    for number in range(8):
        seen_by("front", number)
    known = recogniser.reliability["visual"]
    found = seen_by("back", 8)
    assert found.influence is not None
    assert found.influence.reliability[2] == pytest.approx(0.25)
    found = seen_by("front", 9)
    assert found.influence is not None
    assert found.influence.reliability[2] == pytest.approx(known)
    recogniser.reset_reliability("visual")
    assert recogniser.reliability["visual"] == pytest.approx(0.25)


def test_text_only_bundles_and_replay_from_the_middle(tmp_path: Path) -> None:
    folder = with_section(write_tiny_bundle_3(tmp_path / "text", Kinds("cached", "", "")))
    with EmotionRecognizer(load_bundle(folder)) as recogniser:
        found = recogniser.feed(utterance(700))
        assert found.modalities == WORDS and found.weights == (1, 0, 0)
        assert recogniser.reliability == {} and recogniser.distrust == ()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"prior": [0.5, 0.5]}, "7 labels"),
        ({"prior": [0.5] * 7}, "sums to"),
        ({"prior": [float("nan")] * 7}, "positive"),
        ({"initial": {"audio": 1.5, "visual": 0.2}}, "initial.audio"),
        ({"mismatch": {"audio": 0.5}}, "lacks"),
        ({"change_rate": 0.0}, "change_rate"),
        ({"unexpressed": float("nan")}, "unexpressed"),
        ({"combination": "sum"}, "combination"),
        ({"neutral": 9}, "neutral"),
        ({"trust": 1.0}, "has no"),
        ({"pair": {"expressive": 0.1}}, "lacks"),
        ({"pair": {**PAIR_SECTION, "mismatch": 1.5}}, "mismatch"),
        ({"pair": {**PAIR_SECTION, "expressive": 0.95}}, "less than 1"),
        ({"pair": PAIR_SECTION, "combination": "mixture"}, "combination"),
    ],
)
def test_a_section_that_does_not_fit_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    folder = with_section(write_tiny_bundle_3(tmp_path / "tiny"), **changes)
    with pytest.raises(BundleError, match=message):
        load_bundle(folder)


def test_a_row_of_a_replay_says_why(recogniser: EmotionRecognizer) -> None:
    row = row_of_estimate(recogniser.feed(utterance()), recogniser.bundle)
    assert set(row.why) == {"text", "audio", "visual"}
    assert row.why["text"].reliability == 1.0 and row.why["audio"].reliability == 0.15
    assert row.why["audio"].indicates in LABELS and row.why["visual"].without in LABELS
    only_text = utterance(1, faces=(), audio=utterance().audio[:0])
    row = row_of_estimate(recogniser.feed(only_text), recogniser.bundle)
    assert set(row.why) == {"text"} and row.why["text"].without == ""
