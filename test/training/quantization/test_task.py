"""What is measured is what the robot would have answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundles import Kinds, write_tiny_bundle_3
from data_folder import need

from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.networks.network import Network, observed
from erc_ros.networks.session import signature
from erc_ros.resources import model_folder
from erc_ros.training.quantization.gate import Bench
from erc_ros.training.quantization.schemes import check_calibration
from erc_ros.training.quantization.task import (
    ENCODERS,
    PARTS,
    CorpusMaterial,
    Material,
    Task,
    draw,
    material_of,
    read_material,
)


def all_logits(task: Task, split: str = "dev") -> np.ndarray:
    embeddings = {part: task.embed(part, Network(task.file(part)), split) for part in ENCODERS}
    return task.logits(Network(task.file("fusion")), embeddings, split)


def test_the_answers_are_those_of_the_recogniser(task: Task) -> None:
    material = task.material["dev"]
    embeddings = {part: task.embed(part, Network(task.file(part)), "dev") for part in ENCODERS}
    text_only = task.logits(Network(task.file("fusion")), embeddings, "dev", (True, False, False))
    count = len(material.labels)
    said = [replace(u, audio=u.audio[:0], faces=()) for u in task.utterances("dev", count)]
    with EmotionRecognizer(task.bundle) as recognizer:
        answers = np.array([recognizer.feed(utterance).probabilities for utterance in said])
    scaled = text_only / task.bundle.calibration.temperature
    expected = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(answers, expected, atol=1e-4)


def test_every_modality_counts_and_a_missing_one_does_not(task: Task) -> None:
    embeddings = {part: task.embed(part, Network(task.file(part)), "dev") for part in ENCODERS}
    fusion = Network(task.file("fusion"))
    whole = task.logits(fusion, embeddings, "dev")
    for number, part in enumerate(ENCODERS):
        seen = [other != number for other in range(3)]
        without = task.logits(fusion, embeddings, "dev", seen)
        assert np.abs(whole - without).max() > 1e-3
        changed = {**embeddings, part: embeddings[part] + 1}
        np.testing.assert_array_equal(task.logits(fusion, changed, "dev", seen), without)


@pytest.mark.parametrize("part", PARTS)
def test_recorded_inputs_fit_their_network(part: str, task: Task) -> None:
    feeds = task.feeds(part, "calibration", 9)
    assert 5 <= len(feeds) <= 9
    check_calibration(task.file(part), feeds)
    assert set(feeds[0]) == set(signature(task.file(part)).inputs)


@pytest.mark.parametrize("part", ["text", "audio", "visual", "fusion"])
def test_recorded_inputs_are_those_that_the_network_got_and_always_the_same(
    part: str, task: Task
) -> None:
    given: list[dict[str, np.ndarray]] = []

    def note(file: Path, inputs: Mapping[str, np.ndarray]) -> None:
        if file == task.file(part):
            given.append({name: value.copy() for name, value in inputs.items()})

    with observed(note):
        feeds = task.feeds(part, "calibration", 40)
    again = task.feeds(part, "calibration", 40)
    assert len(feeds) > 5
    for first, second, really in zip(feeds, again, given, strict=False):
        for name, value in first.items():
            np.testing.assert_array_equal(value, really[name])
            np.testing.assert_array_equal(value, second[name])


def test_calibration_inputs_come_from_the_training_data_only(task: Task) -> None:
    empty = Task(task.bundle, {"calibration": task.material["calibration"]})
    for part in PARTS:
        assert empty.feeds(part, "calibration", 3)  # dev and test are not even there
    with pytest.raises(KeyError):
        all_logits(empty, "dev")


def test_clips_have_the_utterance_s_label_but_for_the_share_of_mismatch() -> None:
    rng = np.random.default_rng(0)
    labels, clips = rng.integers(0, 7, 5000), rng.permutation(np.arange(140) % 7)
    assert (clips[draw(labels, clips, 0.0, 1)] == labels).all()
    equal = (clips[draw(labels, clips, 0.5, 1)] == labels).mean()
    assert 0.5 < equal < 0.65  # a random label is right one time in seven
    np.testing.assert_array_equal(draw(labels, clips, 0.5, 1), draw(labels, clips, 0.5, 1))


def test_material_without_a_label_s_clip_is_refused(material: dict[str, Material]) -> None:
    with pytest.raises(ValueError, match=r"sound.*neutral"):
        replace(material["dev"], sound_labels=np.maximum(material["dev"].sound_labels, 1))
    with pytest.raises(ValueError, match="utterance"):
        replace(material["dev"], conversations=())


def test_missing_data_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"train_sent_emo\.csv"):
        read_material(tmp_path, load_bundle(model_folder("edge-small")))


@pytest.mark.data
def test_the_real_data_make_three_splits() -> None:
    data = need("meld_annotations", "ravdess_speech_16k", "emodb", "fer2013plus")
    splits = read_material(data, load_bundle(model_folder("edge-small")))
    assert {split: len(m.labels) for split, m in splits.items() if split != "calibration"} == {
        "dev": 1109,
        "test": 2610,
    }
    assert 200 < len(splits["calibration"].labels) < 1000


OWN = Kinds(text="magtkd", audio="waveform", visual="clip", tokens="roberta")


@pytest.fixture(scope="module")
def own(generated_meld: Path, tmp_path_factory: pytest.TempPathFactory) -> Task:
    """A bundle that says that it learned from the generated corpus; one clip is silent."""
    folder = write_tiny_bundle_3(tmp_path_factory.mktemp("bundle") / "own", OWN)
    bundle = replace(load_bundle(folder), training={"corpus": "meld-clips"})
    material = dict(material_of(bundle, generated_meld))
    first, *rest = material["dev"].conversations
    said = (replace(first.utterances[0], clip=None, pictures=None), *first.utterances[1:])
    talks = (replace(first, utterances=said), *rest)
    material["dev"] = CorpusMaterial("meld-clips", talks)
    return Task(bundle, material)


def test_a_bundle_is_measured_on_its_own_corpus_as_the_robot_answers(own: Task) -> None:
    logits = all_logits(own)
    said = own.utterances("dev", len(logits))
    assert not len(said[0].audio) and not said[0].faces and len(said[1].faces) > 4
    with EmotionRecognizer(own.bundle) as recognizer:
        answers = np.array([recognizer.feed(utterance).probabilities for utterance in said])
    scaled = logits / own.bundle.calibration.temperature
    expected = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(answers, expected, atol=1e-4)
    assert "those of meld-clips" in own.material["dev"].told


def test_what_nobody_labelled_counts_for_nothing(own: Task) -> None:
    material = own.material["dev"]
    assert isinstance(material, CorpusMaterial)
    talk = material.conversations[0]
    unlabelled = tuple(replace(u, label=None) for u in talk.utterances[:4])
    changed = replace(talk, utterances=(*unlabelled, *talk.utterances[4:]))
    few = replace(material, conversations=(changed,))
    bench = Bench(Task(own.bundle, {"dev": few}))
    assert bench.compare(bench.floats, "dev").agreement == 1
    with pytest.raises(ValueError, match="utterance"):
        CorpusMaterial("meld-clips", (replace(talk, utterances=unlabelled),))


def test_a_corpus_with_other_labels_is_refused(own: Task, generated_iemocap: Path) -> None:
    with pytest.raises(ValueError, match=r"iemocap-6.*happy.*sad"):
        material_of(own.bundle, generated_iemocap, "iemocap-6")
    strange = replace(own.bundle, labels=("a", "b"), training={})
    with pytest.raises(ValueError, match="learned"):
        material_of(strange, generated_iemocap)
