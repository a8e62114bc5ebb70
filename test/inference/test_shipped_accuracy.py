"""Accuracy of the shipped bundle on a fixed part of the data (needs ERC_DATA).

This is a check against damaged weights, preprocessing or runtimes, and **not an evaluation**: the
audio part was trained on these clips, and there are few utterances. See docs/results/index.md for
the accuracy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
import pytest
from data_folder import DATA, need

pytest.importorskip("soundfile", reason="the extra [train] is not installed")

from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.metrics.classification import accuracy, unweighted_recall, weighted_f1
from erc_ros.resources import model_folder
from erc_ros.training.datasets import ferplus
from erc_ros.training.datasets.corpora import find, read_split, sound
from erc_ros.training.datasets.utterances import LABELS
from erc_ros.values.utterance import FaceCrop, Utterance

SECOND = 10**9
# Of erc_ros/models/edge-small in this version with onnxruntime 1.31.1 on x86-64, by this file.
VERSION = "1.6.0"
TEXT = 0.574  # weighted F1 over 7 labels
SOUND = 0.741  # unweighted recall over 7 labels
FACES = 0.824  # accuracy over 7 labels
TOLERANCE = 0.02  # between processors and versions of onnxruntime


@pytest.fixture(scope="module")
def recognizer() -> Iterator[EmotionRecognizer]:
    with EmotionRecognizer(load_bundle(model_folder("edge-small"))) as opened:
        yield opened


def predicted(recognizer: EmotionRecognizer, utterances: Iterable[Utterance]) -> list[int]:
    """Return the label index of each utterance; a new conversation begins with an empty history."""
    assert tuple(recognizer.bundle.labels) == LABELS
    assert recognizer.bundle.version == VERSION, "measure the figures of this file again"
    return [LABELS.index(recognizer.feed(utterance).label) for utterance in utterances]


@pytest.mark.data
def test_text_alone(recognizer: EmotionRecognizer) -> None:
    """The first 40 dialogues of MELD dev in order, with history."""
    need("meld_annotations")
    truth, utterances = [], []
    for conversation in read_split(find("meld"), DATA, "dev").conversations[:40]:
        for number, said in enumerate(conversation.utterances):
            assert said.label is not None
            truth.append(said.label)
            utterances.append(
                Utterance(
                    conversation_id=conversation.name,
                    utterance_id=str(number),
                    start=number * 3 * SECOND,
                    end=number * 3 * SECOND + 2 * SECOND,
                    text=said.text,
                    speaker_id=str(said.speaker - 1),
                )
            )
    score = weighted_f1(truth, predicted(recognizer, utterances), len(LABELS))
    assert score == pytest.approx(TEXT, abs=TOLERANCE)


@pytest.mark.data
def test_audio_only(recognizer: EmotionRecognizer) -> None:
    """Every eighth clip of RAVDESS and EmoDB, each in a new conversation: training data."""
    truth, utterances = [], []
    for corpus, folder in (("ravdess", "ravdess_speech_16k"), ("emodb", "emodb")):
        need(folder)
        for conversation in read_split(find(corpus), DATA, "all").conversations[::8]:
            (clip,) = conversation.utterances
            assert clip.clip is not None and clip.label is not None
            samples = sound(corpus, clip.clip)
            truth.append(clip.label)
            utterances.append(
                Utterance(
                    conversation_id=conversation.name,
                    utterance_id="0",
                    start=0,
                    end=len(samples) * SECOND // 16_000,
                    audio=np.round(samples * 32767).clip(-32768, 32767).astype(np.int16),
                )
            )
    score = unweighted_recall(truth, predicted(recognizer, utterances), len(LABELS))
    assert score == pytest.approx(SOUND, abs=TOLERANCE)


@pytest.mark.data
def test_faces_alone(recognizer: EmotionRecognizer) -> None:
    """Every tenth image of FER+ test without near-duplicates of training images."""
    need("fer2013plus")
    faces = ferplus.load(DATA / "fer2013plus").test
    labels = [LABELS.index(ferplus.TO_MELD[name]) for name in ferplus.CLASSES]
    truth = [labels[number] for number in faces.labels[::10]]
    utterances = (
        Utterance(
            conversation_id=str(number),
            utterance_id="0",
            start=0,
            end=SECOND,
            faces=(FaceCrop(0, cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)),),
        )
        for number, picture in enumerate(faces.pictures[::10])
    )
    score = accuracy(truth, predicted(recognizer, utterances), len(LABELS))
    assert score == pytest.approx(FACES, abs=TOLERANCE)
