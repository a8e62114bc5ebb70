"""Images of FER+ that show a training image again are in no validation and no test split."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from data_folder import need

from erc_ros.training.datasets import ferplus, ferplus_index, near_duplicates
from erc_ros.training.datasets.near_duplicates import digest, known_near_duplicates, read_index

SIZE = 48


def photographs(count: int, seed: int = 0) -> np.ndarray:
    """(count, 48, 48): smooth random images, which hardly correlate with each other."""
    noise = np.random.default_rng(seed).normal(size=(count, SIZE, SIZE)).astype(np.float32)
    smooth = np.stack([cv2.GaussianBlur(each, (0, 0), 4) for each in noise])
    return (smooth / np.abs(smooth).max() * 120 + 128).astype(np.uint8)


def watermarked(image: np.ndarray) -> np.ndarray:
    """Brighter, with less contrast, and with letters over it."""
    changed = (image * 0.6 + 60).astype(np.uint8)
    return cv2.putText(changed, "w", (4, 44), cv2.FONT_HERSHEY_PLAIN, 0.6, 150)


def cropped(image: np.ndarray) -> np.ndarray:
    """The same photograph, cut a pixel nearer."""
    return cv2.resize(image[1:-1, 1:-1], (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)


def write_corpus(folder: Path, images: np.ndarray, split: np.ndarray) -> None:
    (folder / "mosaic").mkdir(parents=True)
    votes = np.zeros((len(images), 10), np.uint8)
    votes[:, 0] = 10
    np.savez(folder / "labels.npz", votes10=votes, split=split)
    tiles = np.zeros((1000, SIZE, SIZE), np.uint8)
    tiles[: len(images)] = images
    mosaic = tiles.reshape(25, 40, SIZE, SIZE).swapaxes(1, 2).reshape(1200, 1920)
    cv2.imwrite(str(folder / "mosaic" / "fer_00.webp"), mosaic, [cv2.IMWRITE_WEBP_QUALITY, 101])


def test_watermarked_and_cropped_images_correlate_and_others_do_not() -> None:
    train, others = photographs(30), photographs(30, seed=1)
    copies = np.stack([watermarked(train[3]), cropped(train[7]), train[9]])
    flat = np.full((1, SIZE, SIZE), 77, np.uint8)
    pairs = near_duplicates.near_duplicates(np.concatenate([copies, others, flat]), train)
    assert pairs[:3].all() and not pairs[3:].any()


def test_the_command_lists_them_and_the_reader_excludes_them(tmp_path: Path) -> None:
    train, valid, test = photographs(20), photographs(6, seed=1), photographs(6, seed=2)
    valid[2], test[1], test[4] = watermarked(train[0]), cropped(train[5]), watermarked(train[6])
    folder = tmp_path / ferplus.FOLDER
    split = np.repeat([0, 1, 2], [20, 6, 6]).astype(np.uint8)
    write_corpus(folder, np.concatenate([train, valid, test]), split)
    index = tmp_path / "index.txt"
    assert ferplus_index.main(["--data", str(tmp_path), "--out", str(index)]) == 0
    listed = read_index(index)
    assert listed == {digest(image) for image in (valid[2], test[1], test[4])}
    faces = ferplus.load(folder, listed)
    assert (len(faces.train.pictures), len(faces.valid.pictures), len(faces.test.pictures)) == (
        20, 5, 4
    )  # fmt: skip
    assert faces.skipped["test: near duplicate"] == 2
    assert faces.skipped["valid: near duplicate"] == 1


def test_missing_data_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ferplus_index.main(["--data", str(tmp_path)]) == 1
    assert str(tmp_path) in capsys.readouterr().err


@pytest.mark.data
def test_no_image_of_fer_test_shows_a_training_image_again() -> None:
    """A sample: all of test takes a quarter of a minute."""
    data = ferplus.load(need("fer2013plus") / ferplus.FOLDER)
    sample = data.test.pictures[::10]
    assert not near_duplicates.near_duplicates(sample, data.train.pictures).any()
    assert data.skipped["test: near duplicate"] > 150
    assert len(known_near_duplicates()) == sum(
        data.skipped[f"{split}: near duplicate"] for split in ("valid", "test")
    )
