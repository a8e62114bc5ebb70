from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor, nn

from erc_ros.inference.backend import Network
from erc_ros.training.quantization import (
    quantize_dynamic,
    quantize_rows,
    quantize_static,
    quantize_text,
)


class Words(nn.Module):
    """A table of 2000 words, a table of 8 places, and two layers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.places = nn.Embedding(2000, 64), nn.Embedding(8, 64)
        self.layers = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 64))

    def forward(self, ids: Tensor) -> Tensor:
        return self.layers(self.words(ids) + self.places(ids % 8))


class Picture(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1), nn.ReLU()
        )
        self.project = nn.Linear(16, 8)

    def forward(self, faces: Tensor) -> Tensor:
        return self.project(self.layers(faces).mean(dim=(2, 3)))


def export(model: nn.Module, name: str, example: Tensor, file: Path, axes: dict[int, str]) -> Path:
    torch.onnx.export(
        model.eval(),
        (example,),
        str(file),
        input_names=[name],
        output_names=["embedding"],
        dynamic_axes={name: axes, "embedding": axes},
        opset_version=17,
        dynamo=False,
    )
    return file


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("words") / "float.onnx"
    return export(Words(), "ids", torch.zeros(1, 4, dtype=torch.long), file, {0: "B", 1: "L"})


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("picture") / "float.onnx"
    return export(Picture(), "faces", torch.zeros(1, 1, 48, 48), file, {0: "N"})


def likeness(one: np.ndarray, two: np.ndarray) -> float:
    """Mean cosine of the rows."""
    one, two = one.reshape(-1, one.shape[-1]), two.reshape(-1, two.shape[-1])
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
    return float(((one * two).sum(axis=1) / norms).mean())


def portable(file: Path) -> bool:
    model = onnx.load(str(file))
    domains = {node.domain for node in model.graph.node}
    return model.ir_version <= 9 and model.opset_import[0].version == 17 and domains == {""}


def test_tables_and_matrices_become_small_and_say_the_same(words: Path, tmp_path: Path) -> None:
    quantize_text(words, tmp_path / "int8.onnx")
    assert (tmp_path / "int8.onnx").stat().st_size < 0.35 * words.stat().st_size
    ids = np.random.default_rng(0).integers(0, 2000, (3, 17))
    before, after = (Network(f)({"ids": ids})["embedding"] for f in (words, tmp_path / "int8.onnx"))
    assert before.shape == after.shape and likeness(before, after) > 0.99
    assert portable(tmp_path / "int8.onnx")


def test_without_its_tables_the_file_stays_large(words: Path, tmp_path: Path) -> None:
    quantize_dynamic(words, tmp_path / "int8.onnx")
    assert (tmp_path / "int8.onnx").stat().st_size > 2000 * 64 * 4
    kinds = [node.op_type for node in onnx.load(str(tmp_path / "int8.onnx")).graph.node]
    assert kinds.count("MatMulInteger") == 2 and "MatMul" not in kinds


def test_convolutions_take_their_scales_from_calibration(picture: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    faces = rng.random((64, 1, 48, 48), np.float32)
    quantize_static(picture, tmp_path / "int8.onnx", ({"faces": f[None]} for f in faces[:32]))
    before, after = (
        Network(f)({"faces": faces})["embedding"] for f in (picture, tmp_path / "int8.onnx")
    )
    assert likeness(before, after) > 0.99 and portable(tmp_path / "int8.onnx")
    kinds = {node.op_type for node in onnx.load(str(tmp_path / "int8.onnx")).graph.node}
    assert {"Conv", "QuantizeLinear", "DequantizeLinear"} <= kinds


@settings(max_examples=50, deadline=None)
@given(arrays(np.float32, (5, 7), elements=st.floats(-1e4, 1e4, width=32)))
def test_a_row_is_off_by_half_a_step_at_most(table: np.ndarray) -> None:
    rows, scales = quantize_rows(table)
    assert rows.dtype == np.int8 and (np.abs(rows.astype(int)) <= 127).all()
    assert (np.abs(rows * scales - table) <= scales * 0.501 + 1e-6).all()


def test_a_row_of_zeros_stays_zero() -> None:
    rows, scales = quantize_rows(np.zeros((2, 3), np.float32))
    assert not rows.any() and np.isfinite(scales).all()
