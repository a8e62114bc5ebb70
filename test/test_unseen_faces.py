"""Posed faces of a corpus with a bundle (benchmarks/unseen_faces.py)."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("soundfile", reason="needs the extra [train]")

from benchmarks.unseen_faces import EMOTIONS, look_at, main, read_pictures
from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.resources import model_folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of three people with two images of each emotion, of noise."""
    noise = np.random.default_rng(0)
    for name in EMOTIONS:
        folder = tmp_path / "ckplus48" / name
        folder.mkdir(parents=True)
        for person in range(3):
            for number in range(2):
                picture = noise.integers(0, 255, (48, 48), np.uint8)
                cv2.imwrite(str(folder / f"S{person:03}_001_{number:08}.png"), picture)
    return tmp_path


def test_figures_of_all_images_and_people_are_printed(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--data", str(data)])
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].endswith("36 images of 3 people")
    assert [row.split()[0] for row in rows[1:4]] == [
        "accuracy",
        "unweighted_recall",
        "calibration_error",
    ]
    assert [row.split()[1] for row in rows[4:]] == list(EMOTIONS.values())
    # By hand: every emotion has the same number of images, so both rates are the same.
    pictures, labels, _ = read_pictures(data / "ckplus48")
    bundle = load_bundle(model_folder("edge-small"))
    with EmotionRecognizer(bundle) as recognizer:
        answers = look_at(recognizer, pictures)
    answered = [bundle.labels[place] for place in answers.argmax(axis=1)]
    right = {label: 0 for label in EMOTIONS.values()}
    for label, answer in zip(labels, answered, strict=True):
        right[label] += label == answer
    rate = 100 * sum(right.values()) / 36
    assert float(rows[1].split()[1]) == pytest.approx(rate, abs=0.051)
    assert float(rows[2].split()[1]) == pytest.approx(rate, abs=0.051)
    recalls = [int(re.split(r"[ ,]+", row)[2]) for row in rows[4:]]
    assert recalls == [round(100 * count / 6) for count in right.values()]
    assert sum(right.values()) < 36  # images of noise: most are called neutral


def test_images_have_their_label_and_person(data: Path) -> None:
    pictures, labels, people = read_pictures(data / "ckplus48")
    assert {picture.shape for picture in pictures} == {(48, 48, 3)}
    assert labels.count("joy") == 6 and set(people) == {"S000", "S001", "S002"}


def test_the_estimate_of_an_image_depends_only_on_its_face(data: Path) -> None:
    pictures = read_pictures(data / "ckplus48")[0][:3]
    with EmotionRecognizer(load_bundle(model_folder("edge-small"))) as recognizer:
        both = look_at(recognizer, [*pictures, *pictures[::-1]])
    np.testing.assert_allclose(both[:3], both[:2:-1], atol=1e-6)
    np.testing.assert_allclose(both.sum(axis=1), 1, atol=1e-5)
    assert np.abs(both[0] - both[1]).max() > 1e-4


def test_a_file_that_is_not_an_image_and_an_empty_folder_are_named(data: Path) -> None:
    (data / "ckplus48" / "fear" / "S009_001_00000001.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"S009_001_00000001\.png"):
        read_pictures(data / "ckplus48")
    with pytest.raises(FileNotFoundError, match="images"):
        read_pictures(data / "elsewhere")
