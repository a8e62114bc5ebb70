from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erc_ros.inference.bundle import Bundle, load_bundle
from erc_ros.inference.emotion_recognizer import DRAFTS, EmotionRecognizer
from erc_ros.inference.estimate import Estimate, leave_one_out_contributions
from erc_ros.values.events import SpeakerCorrected
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import SAMPLE_RATE, FaceCrop, Utterance


@pytest.fixture(scope="module")
def bundle(tiny_folder: Path) -> Bundle:
    return load_bundle(tiny_folder)


@pytest.fixture()
def recognizer(bundle: Bundle) -> Iterator[EmotionRecognizer]:
    with EmotionRecognizer(bundle) as made:
        yield made


def sound(seconds: float = 1.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(-8000, 8000, int(seconds * SAMPLE_RATE), np.int16)


def face(seed: int = 0) -> FaceCrop:
    return FaceCrop(0, np.random.default_rng(seed).integers(0, 255, (96, 96, 3), np.uint8))


def utterance(number: int = 0, **changes: Any) -> Utterance:
    said = Utterance(
        conversation_id="c",
        utterance_id=f"u{number}",
        start=number * NS,
        end=(number + 1) * NS,
        text=f"this is number {number}",
        speaker_id=str(number % 2),
        audio=sound(seed=number),
        faces=(face(number), face(number + 1)),
    )
    return replace(said, **changes)


def only_text(number: int = 0, **changes: Any) -> Utterance:
    return utterance(number, audio=np.zeros(0, np.int16), faces=(), **changes)


def same(one: Estimate, two: Estimate) -> bool:
    return bool((one.probabilities == two.probabilities).all()) and one.weights == two.weights


def test_an_estimate_is_complete(recognizer: EmotionRecognizer) -> None:
    estimate = recognizer.feed(utterance())
    assert estimate.probabilities.shape == (7,) and estimate.probabilities.sum() == pytest.approx(1)
    assert estimate.label == recognizer.bundle.labels[int(estimate.probabilities.argmax())]
    assert estimate.confidence == pytest.approx(estimate.probabilities.max())
    assert estimate.modalities == (True, True, True) and sum(estimate.weights) == pytest.approx(1)
    expected = estimate.probabilities @ recognizer.bundle.anchors
    assert (estimate.valence, estimate.arousal) == pytest.approx(tuple(expected), abs=1e-6)
    assert set(estimate.latency) == {"text", "audio", "visual", "fusion"}
    assert all(duration > 0 for duration in estimate.latency.values())
    assert estimate.latency_total >= estimate.latency["text"] + estimate.latency["fusion"]
    assert estimate.is_final and estimate.utterance.utterance_id == "u0" and estimate.notes == ()


@pytest.mark.parametrize(
    "missing, modalities",
    [
        ({"text": ""}, (False, True, True)),
        ({"text": "  \n"}, (False, True, True)),
        ({"audio": np.zeros(0, np.int16)}, (True, False, True)),
        ({"faces": ()}, (True, True, False)),
        ({"text": "", "faces": ()}, (False, True, False)),
    ],
)
def test_a_missing_modality_has_no_weight(
    recognizer: EmotionRecognizer, missing: dict[str, Any], modalities: tuple[bool, bool, bool]
) -> None:
    estimate = recognizer.feed(utterance(**missing))
    assert estimate.modalities == modalities and sum(estimate.weights) == pytest.approx(1)
    assert [weight > 0 for weight in estimate.weights] == list(modalities)
    assert estimate.notes == ()


def test_nothing_at_all_is_no_idea(recognizer: EmotionRecognizer) -> None:
    estimate = recognizer.feed(only_text(text=""))
    np.testing.assert_allclose(estimate.probabilities, 1 / 7, rtol=1e-6)
    assert estimate.modalities == (False, False, False) and estimate.weights == (0, 0, 0)
    assert estimate.confidence == pytest.approx(1 / 7)


@pytest.mark.parametrize(
    "audio, note",
    [
        (sound(0.29), "shorter than 0.3 s"),
        (np.zeros(SAMPLE_RATE, np.int16), "silent"),
        (np.full(SAMPLE_RATE, np.nan, np.float32), "float32"),
        (np.zeros((SAMPLE_RATE, 2), np.int16), "int16 mono"),
    ],
)
def test_unusable_audio_is_missing_and_noted(
    recognizer: EmotionRecognizer, audio: np.ndarray, note: str
) -> None:
    estimate = recognizer.feed(utterance(audio=audio))
    assert estimate.modalities == (True, False, True) and note in estimate.notes[0]
    assert same(
        estimate, EmotionRecognizer(recognizer.bundle).feed(utterance(audio=audio[:0, ...].ravel()))
    )


def test_audio_at_full_scale_is_used(recognizer: EmotionRecognizer) -> None:
    loud = np.full(SAMPLE_RATE, -32768, np.int16)
    assert recognizer.feed(utterance(audio=loud)).probabilities.sum() == pytest.approx(1)


def test_invalid_faces_are_excluded_and_noted(recognizer: EmotionRecognizer) -> None:
    empty = FaceCrop(0, np.zeros((0, 96, 3), np.uint8))
    estimate = recognizer.feed(utterance(faces=(empty, face(1))))
    assert estimate.notes == ("1 of 2 face crops are not images",) and estimate.modalities[2]
    other = EmotionRecognizer(recognizer.bundle).feed(utterance(faces=(face(1),)))
    assert same(estimate, other)
    none = EmotionRecognizer(recognizer.bundle).feed(utterance(faces=(empty,)))
    assert none.notes == ("1 of 1 face crops are not images",) and not none.modalities[2]


@pytest.mark.parametrize("text", ["word " * 5000, "hm, привет 🙂", "<s1> [MASK]"])
def test_any_text_is_fine(recognizer: EmotionRecognizer, text: str) -> None:
    assert recognizer.feed(only_text(text=text)).modalities == (True, False, False)


@pytest.mark.parametrize("text", ["привет, как дела", "🙂🙂", "\ud800", "... ?! --"])
def test_text_without_a_known_word_is_missing_and_noted(
    recognizer: EmotionRecognizer, text: str
) -> None:
    spoken = replace(utterance(), text=text)
    alone, heard = recognizer.feed(only_text(text=text)), recognizer.feed(spoken)
    assert alone.modalities == (False, False, False)
    assert heard.modalities == (False, True, True)
    assert alone.notes == heard.notes == ("the text has no word that the model knows",)
    unwritten = recognizer.feed(replace(spoken, text=""))
    np.testing.assert_allclose(heard.probabilities, unwritten.probabilities)


def test_what_was_prepared_changes_nothing_but_the_waiting(recognizer: EmotionRecognizer) -> None:
    said = utterance()
    recognizer.prepare(replace(said, text="", is_final=False))
    estimate = recognizer.feed(said)
    assert (
        same(estimate, EmotionRecognizer(recognizer.bundle).feed(said))
        and estimate.latency["audio"] > 0
    )


def test_a_final_with_other_audio_than_its_draft_is_encoded_again(
    recognizer: EmotionRecognizer,
) -> None:
    recognizer.prepare(utterance(audio=sound(2.0, seed=9), is_final=False))
    assert same(
        recognizer.feed(utterance()), EmotionRecognizer(recognizer.bundle).feed(utterance())
    )


def test_a_draft_gets_an_estimate_and_is_not_remembered(recognizer: EmotionRecognizer) -> None:
    first, draft = utterance(0), utterance(1, text="oh", is_final=False)
    recognizer.feed(first)
    assert not recognizer.feed(draft).is_final
    estimate = recognizer.feed(utterance(1))
    other = EmotionRecognizer(recognizer.bundle)
    other.feed(first)
    assert same(estimate, other.feed(utterance(1)))


def test_history_counts_until_the_conversation_changes(recognizer: EmotionRecognizer) -> None:
    alone = recognizer.feed(utterance(5))
    recognizer.reset("c")
    recognizer.feed(utterance(0))
    assert not same(alone, recognizer.feed(utterance(5)))
    changed = recognizer.feed(utterance(5, conversation_id="d", speaker_id="x"))
    assert same(alone, changed)


def test_no_two_work_in_the_text_encoder_at_once(recognizer: EmotionRecognizer) -> None:
    """Utterances without text follow each other, while the first `catch_up` runs."""
    encoder = recognizer._text
    catch_up, inside, met = encoder.catch_up, threading.Lock(), threading.Event()

    def watched() -> None:
        if not inside.acquire(blocking=False):
            met.set()
            return
        try:
            met.wait(0.05)  # another speaker may follow
            catch_up()
        finally:
            inside.release()

    with mock.patch.object(encoder, "catch_up", watched):
        for number, text in enumerate(("Hello there.", "", "", "Hello.")):
            recognizer.feed(only_text(number, text=text))
        recognizer._catching_up.result()
    assert not met.is_set()


def test_reset_forgets_that_conversation_only(recognizer: EmotionRecognizer) -> None:
    alone = recognizer.feed(utterance(5))
    recognizer.reset("another")
    recognizer.feed(utterance(0))
    recognizer.reset("c")
    assert same(alone, recognizer.feed(utterance(5)))


def test_a_corrected_utterance_replaces_itself(recognizer: EmotionRecognizer) -> None:
    recognizer.feed(utterance(0))
    expected = recognizer.feed(utterance(1))
    assert same(expected, recognizer.feed(utterance(1)))


def correction(*ids: str, after: str, conversation_id: str = "c") -> SpeakerCorrected:
    return SpeakerCorrected(conversation_id, ids, 0, NS, "", after)


def talk(count: int, **changes: str) -> list[Utterance]:
    """Return utterances of two alternating people; `changes` has other speakers, as u3="0"."""
    said = [utterance(number, text=f"{number}") for number in range(count)]
    return [replace(u, speaker_id=changes.get(u.utterance_id, u.speaker_id)) for u in said]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(2, 9), st.sampled_from(["0", "1", ""])), max_size=6),
    st.booleans(),
)
def test_after_a_correction_it_is_as_if_the_speaker_had_been_known_at_once(
    bundle: Bundle, mistakes: list[tuple[int, str]], as_a_draft: bool
) -> None:
    wrong = talk(10, **{f"u{number}": speaker for number, speaker in mistakes})
    right = talk(12)
    with EmotionRecognizer(bundle) as one, EmotionRecognizer(bundle) as two:
        for early, late in zip(wrong, right, strict=False):
            one.feed(early)
            two.feed(late)
        for number, _ in mistakes:
            assert one.correct(correction(f"u{number}", after=str(number % 2))) == 1
        if as_a_draft:
            one.prepare(replace(right[10], is_final=False))
        for said in right[10:]:
            assert same(one.feed(said), two.feed(said))


def test_a_speaker_counts_in_what_comes_next(recognizer: EmotionRecognizer) -> None:
    estimates = []
    for corrected in ((), ("u0",), ("u0", "u2")):
        recognizer.reset("c")
        for said in talk(4):
            recognizer.feed(said)
        recognizer.correct(correction(*corrected, after="1"))
        estimates.append(recognizer.feed(utterance(4)))
    assert not any(same(one, two) for one, two in combinations(estimates, 2))


def test_what_is_not_remembered_cannot_be_corrected(recognizer: EmotionRecognizer) -> None:
    said = talk(3)
    recognizer.feed(replace(said[0], conversation_id="before"))
    assert recognizer.correct(correction("u0", after="1")) == 0
    recognizer.feed(said[0])
    recognizer.feed(replace(said[1], is_final=False))
    assert recognizer.correct(correction("u0", after="1", conversation_id="before")) == 0
    assert recognizer.correct(correction("u1", "u7", "", after="1")) == 0
    expected = EmotionRecognizer(recognizer.bundle)
    expected.feed(said[0])
    assert same(recognizer.feed(said[1]), expected.feed(said[1]))
    assert recognizer.correct(correction("u0", "u7", after="1")) == 1
    recognizer.reset("c")
    assert recognizer.correct(correction("u0", after="1")) == 0


def test_a_correction_costs_no_more_than_the_history(recognizer: EmotionRecognizer) -> None:
    context = recognizer.bundle.fusion.context
    for number in range(3 * context):
        recognizer.feed(only_text(number, text=f"{number}"))
    read = mock.Mock(wraps=recognizer._text)
    recognizer._text = read
    everybody = [f"u{number}" for number in range(3 * context)]
    for after in ("1", "0", "7"):
        assert context <= recognizer.correct(correction(*everybody, after=after)) < 3 * context
    assert not read.called
    recognizer.feed(only_text(3 * context))
    assert 1 < read.call_count <= context + 1


def test_only_the_last_utterances_count(bundle: Bundle) -> None:
    # Audio only (a text embedding also depends on the history), and speakers unknown (their
    # numbers are given over the whole conversation).
    context = bundle.fusion.context
    said = [utterance(n, text="", faces=(), speaker_id="") for n in range(context + 5)]
    with (
        EmotionRecognizer(bundle) as long,
        EmotionRecognizer(bundle) as short,
        EmotionRecognizer(bundle) as shorter,
    ):
        for one in said:
            answer = long.feed(one)
        for one in said[-context:]:
            expected = short.feed(one)
        for one in said[-context + 1 :]:
            other = shorter.feed(one)
    assert same(answer, expected) and not same(answer, other)


def test_a_thousand_utterances_leave_bounded_memory(recognizer: EmotionRecognizer) -> None:
    for number in range(1000):
        recognizer.prepare(only_text(number, text="", speaker_id=f"p{number}", is_final=False))
        if number % 3:  # every third never becomes final
            recognizer.feed(only_text(number, speaker_id=f"p{number}"))
    assert len(recognizer._history.utterances) == recognizer.bundle.fusion.context
    assert len(recognizer._history.speakers) == 9 and len(recognizer._drafts) <= DRAFTS


def test_an_embedding_that_is_not_finite_is_missing(
    recognizer: EmotionRecognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = np.full((1, 128), np.nan, np.float32)
    monkeypatch.setitem(recognizer.networks, "audio", lambda inputs: {"embedding": broken})
    estimate = recognizer.feed(utterance())
    assert estimate.notes == ("the embedding of the sound is not finite",)
    assert estimate.modalities == (True, False, True)


def test_an_output_that_is_not_finite_gives_the_uniform_distribution(
    recognizer: EmotionRecognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = {
        "logits": np.full((1, 1, 7), np.nan, np.float32),
        "weights": np.ones((1, 1, 3), np.float32),
    }
    monkeypatch.setattr(recognizer, "_fusion", lambda inputs: nothing)
    estimate = recognizer.feed(utterance())
    np.testing.assert_allclose(estimate.probabilities, 1 / 7, rtol=1e-6)
    assert estimate.modalities == (False, False, False) and "not finite" in estimate.notes[0]


def test_a_weight_is_the_change_of_the_output_without_the_modality() -> None:
    sure = np.array([4.0, 0.0, 0.0], np.float32)
    without = np.array([[0.0, 4.0, 0.0], [4.0, 0.0, 0.0], [0.0, 0.0, 4.0]], np.float32)
    gates = np.array([0.2, 0.3, 0.5], np.float32)
    close = partial(np.testing.assert_allclose, rtol=1e-5)
    close(leave_one_out_contributions(sure, without, (True, True, True), gates), [0.5, 0, 0.5])
    close(leave_one_out_contributions(sure, without, (True, True, False), gates), [1, 0, 0])
    close(leave_one_out_contributions(sure, np.tile(sure, (3, 1)), (True,) * 3, gates), gates)


def test_warming_up_remembers_nothing(bundle: Bundle) -> None:
    with EmotionRecognizer(bundle) as warm, EmotionRecognizer(bundle) as cold:
        warm.warm_up()
        assert same(warm.feed(utterance()), cold.feed(utterance()))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "ok", "what on earth are you doing"]),
            st.sampled_from([0.0, 0.1, 0.5]),
            st.integers(0, 2),
            st.sampled_from(["", "0", "1", "7"]),
            st.sampled_from(["a", "a", "a", "b"]),
            st.booleans(),
        ),
        max_size=8,
    )
)
def test_the_estimates_depend_only_on_the_utterances(bundle: Bundle, talk: list[Any]) -> None:
    """Any mix of modalities, speakers, conversations and drafts gives the same estimates again."""
    said = [
        utterance(
            number,
            text=text,
            audio=sound(seconds, number),
            faces=tuple(map(face, range(faces))),
            speaker_id=speaker,
            conversation_id=conversation,
        )
        for number, (text, seconds, faces, speaker, conversation, _) in enumerate(talk)
    ]
    with EmotionRecognizer(bundle) as one, EmotionRecognizer(bundle) as two:
        for each, (*_, prepared) in zip(said, talk, strict=True):
            if prepared:
                one.prepare(replace(each, text="", is_final=False))
            first, second = one.feed(each), two.feed(each)
            assert same(first, second) and np.isfinite(first.probabilities).all()
            assert first.probabilities.sum() == pytest.approx(1)


def test_the_runtime_does_not_import_torch(bundle: Bundle, tmp_path: Path) -> None:
    folder = shutil.copytree(bundle.folder, tmp_path / "bundle")
    code = (
        "import sys\n"
        "from erc_ros.inference.bundle import load_bundle\n"
        "from erc_ros.inference.emotion_recognizer import EmotionRecognizer\n"
        f"EmotionRecognizer(load_bundle({str(folder)!r})).warm_up()\n"
        "found = {'torch', 'transformers', 'scipy', 'sklearn', 'rclpy'} & set(sys.modules)\n"
        "assert not found, found\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_former_name_works_with_a_warning() -> None:
    from erc_ros.inference import recogniser as former

    with pytest.warns(DeprecationWarning):
        assert former.Recogniser is EmotionRecognizer
