"""What is measured is what the robot would have answered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_folder import need

from erc_ros.inference.recogniser import Recogniser
from erc_ros.networks.network import Network
from erc_ros.networks.session import signature
from erc_ros.training.quantization.schemes import check_calibration
from erc_ros.training.quantization.task import ENCODERS, PARTS, Material, Task, draw, read_material


def all_logits(task: Task, split: str = "dev") -> np.ndarray:
    embeddings = {part: task.embed(part, Network(task.file(part)), split) for part in ENCODERS}
    return task.logits(Network(task.file("fusion")), embeddings, split)


def test_the_answers_are_those_of_the_recogniser(task: Task) -> None:
    material = task.material["dev"]
    embeddings = {part: task.embed(part, Network(task.file(part)), "dev") for part in ENCODERS}
    text_only = task.logits(Network(task.file("fusion")), embeddings, "dev", (True, False, False))
    count = len(material.labels)
    said = [replace(u, audio=u.audio[:0], faces=()) for u in task.utterances("dev", count)]
    with Recogniser(task.bundle) as recogniser:
        answers = np.array([recogniser.feed(utterance).probabilities for utterance in said])
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
    with pytest.raises(ValueError, match="no sound has the labels neutral"):
        replace(material["dev"], sound_labels=np.maximum(material["dev"].sound_labels, 1))
    with pytest.raises(ValueError, match="no utterance"):
        replace(material["dev"], conversations=())


def test_missing_data_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"train_sent_emo\.csv"):
        read_material(tmp_path)


def test_the_real_data_make_three_splits() -> None:
    found = read_material(need("meld_annotations", "ravdess_speech_16k", "emodb", "fer2013plus"))
    assert {split: len(m.labels) for split, m in found.items() if split != "calibration"} == {
        "dev": 1109,
        "test": 2610,
    }
    assert 200 < len(found["calibration"].labels) < 1000
