from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bundles import tiny_tokenizer, write_tiny_bundle
from safetensors.numpy import save_file

from erc_ros.training import metrics
from erc_ros.training.command import data_folder
from erc_ros.training.part_tests import PartTest, measure_part, side_by_side, text_test


def test_a_file_is_scored_with_the_head_it_was_trained_with(tmp_path: Path) -> None:
    file = write_tiny_bundle(tmp_path) / "face.onnx"
    rng = np.random.default_rng(0)
    inputs = [{"faces": rng.random((1, 1, 48, 48), np.float32)} for _ in range(20)]
    head = (rng.normal(size=(7, 128)).astype(np.float32), np.zeros(7, np.float32))
    both = {"dev": inputs, "test": inputs[:10]}
    blank = PartTest(
        both, {"dev": np.zeros(20, int), "test": np.zeros(10, int)}, head, metrics.accuracy, "x"
    )
    _, embeddings = measure_part(blank, file, "float32")
    assert embeddings["dev"].shape == (20, 128)
    right = (embeddings["dev"] @ head[0].T).argmax(axis=1)
    blank.labels["dev"][:], blank.labels["test"][:] = right, (right[:10] + 1) % 7
    measured, _ = measure_part(blank, file, "float32")
    assert (measured.dev, measured.test) == (1.0, 0.0)
    assert measured.bytes == file.stat().st_size
    assert all(speed > 0 for speed in side_by_side([file, file], inputs))


def test_meld_is_prompted_utterance_by_utterance(tmp_path: Path) -> None:
    if not (data_folder() / "meld_annotations").is_dir():
        pytest.skip("MELD is not there (set ERC_DATA)")
    tiny_tokenizer().save(str(tmp_path / "tokenizer.json"))
    save_file(
        {"weight": np.zeros((7, 384), np.float32), "bias": np.zeros(7, np.float32)},
        tmp_path / "head.safetensors",
    )
    found = text_test(tmp_path, data_folder(), 96)
    assert {split: len(rows) for split, rows in found.inputs.items()} == {"dev": 1109, "test": 2610}
    assert all(rows["input_ids"].shape[1] <= 96 for rows in found.inputs["dev"])
    assert len(found.labels["test"]) == 2610
