"""What a model is tested on, it has not seen: on small corpora that are written here, and on ours.

`test_corpora.py` checks the same of the real ones, on machines that have them.
"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("soundfile", reason="needs the extra [train]")
pytest.importorskip("torch", reason="needs the extra [train]")

from erc_ros.training.datasets import corpora, ferplus


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=60, max_size=60))
def test_no_picture_is_in_two_splits_however_often_it_comes(
    tmp_path_factory: pytest.TempPathFactory, which: list[int]
) -> None:
    """Picture `which[n]` is the n-th of the corpus, whose splits take turns."""
    folder = tmp_path_factory.mktemp("fer")
    noise = np.random.default_rng(0).integers(0, 256, (34, 48, 48), np.uint8)
    tiles = np.zeros((1000, 48, 48), np.uint8)
    order = [31, 32, 33, *which]  # one of each split is there in any case
    tiles[: len(order)] = noise[order]
    mosaic = tiles.reshape(25, 40, 48, 48).swapaxes(1, 2).reshape(1200, 1920)
    (folder / "mosaic").mkdir()
    lossless = [cv2.IMWRITE_WEBP_QUALITY, 101]
    cv2.imwrite(str(folder / "mosaic" / "fer_00.webp"), mosaic, lossless)
    votes = np.zeros((len(order), 10), np.uint8)
    votes[:, 1] = 10
    np.savez(folder / "labels.npz", votes10=votes, split=np.arange(len(order), dtype=np.uint8) % 3)
    data = ferplus.load(folder)
    splits = [
        [picture.tobytes() for picture in faces.pictures]
        for faces in (data.train, data.valid, data.test)
    ]
    for split in splits:
        assert len(split) == len(set(split))
    assert not any(set(one) & set(other) for one, other in combinations(splits, 2))
    assert sum(map(len, splits)) == len(set(order))  # each picture is still there once


def test_no_robot_dialogue_and_no_last_sentence_is_in_two_splits(tmp_path: Path) -> None:
    dialogues, last = [], []
    for split in ("train", "dev", "test"):
        read = corpora.read("robot-dialogues", tmp_path, split).conversations
        assert read
        said = [tuple(u.text.lower() for u in c.utterances) for c in read]
        dialogues.append(set(said))
        last.append({each[-1] for each in said if len(each[-1].split()) >= 4})
    assert not any(one & other for one, other in combinations(dialogues, 2))
    assert not any(one & other for one, other in combinations(last, 2))
