"""Smaller and faster networks: int8 in three ways, each for the networks that it suits (CPU).

- `quantize_text`: the transformer. Weights int8 per output channel, activations int8 as they come
  (dynamic); the embedding tables int8 with one scale per row, which no dynamic quantizer does.
- `quantize_dynamic`: the same without tables, for the fusion.
- `quantize_static`: convolutions (audio, face), with scales measured on calibration inputs. Dynamic
  quantization makes convolutions ten times slower.

All write plain ONNX operators of opset 17 (onnxruntime 1.23.2 loads them).
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

SMALLEST_TABLE = 1000
"""Rows; smaller tables (positions, token types) gain nothing."""

# The quantizer advises at level INFO and warning about models without shapes; we prepare them.
logging.getLogger("onnxruntime.quantization").setLevel(logging.ERROR)


def quantize_text(source: Path, target: Path) -> None:
    """float32 text.onnx -> int8 weights, activations and embedding tables."""
    with tempfile.TemporaryDirectory() as folder:
        smaller = Path(folder) / "rows.onnx"
        model = onnx.load(str(source))
        quantize_tables(model)
        onnx.save(model, str(smaller))
        quantize_dynamic(smaller, target)


def quantize_dynamic(source: Path, target: Path) -> None:
    """MatMul with constant weights -> int8, activations quantized as they come.

    7 of the 8 bits are used: CPUs without VNNI add pairs of products in 16 bits, which would
    overflow with 8. The loss in quality is not measurable here.
    """
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        _prepare(source, prepared)
        quantization.quantize_dynamic(
            str(prepared),
            str(target),
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            reduce_range=True,
            weight_type=quantization.QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )


def quantize_static(
    source: Path, target: Path, calibration: Iterable[Mapping[str, NDArray[Any]]]
) -> None:
    """Convolutions and matrix products -> int8 between QuantizeLinear and DequantizeLinear.

    Args:
        calibration: inputs as the network will get them, some hundred; activation ranges are the
            smallest and largest values seen.
    """
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        _prepare(source, prepared)
        quantization.quantize_static(
            str(prepared),
            str(target),
            _Reader(calibration),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "MatMul", "Gemm"],
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            reduce_range=True,
        )


def quantize_tables(model: onnx.ModelProto) -> int:
    """Replace every large embedding table of `model` by int8 rows with a scale each.

    Gather(table, ids) becomes Cast(Gather(int8 table, ids)) * Gather(scales, ids).

    Returns:
        How many tables were replaced.
    """
    tables = {tensor.name: tensor for tensor in model.graph.initializer}
    replaced: set[str] = set()
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        name = node.input[0] if node.op_type == "Gather" else ""
        table = tables.get(name)
        if table is None or len(table.dims) != 2 or table.dims[0] < SMALLEST_TABLE:
            nodes.append(node)
            continue
        if name not in replaced:
            rows, scales = quantize_rows(numpy_helper.to_array(table))
            model.graph.initializer.append(numpy_helper.from_array(rows, f"{name}_rows"))
            model.graph.initializer.append(numpy_helper.from_array(scales, f"{name}_scales"))
            replaced.add(name)
        nodes += _looked_up(node, name)
    kept = [node for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    still_used = {name for node in kept for name in node.input}
    for name in replaced - still_used:
        model.graph.initializer.remove(tables[name])
    onnx.checker.check_model(model)
    return len(replaced)


def quantize_rows(table: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """(V, d) -> int8 (V, d) and scales (V, 1): row * scale differs by at most half a scale."""
    largest = np.abs(table).max(axis=1, keepdims=True)
    scales = (np.where(largest > 0, largest, 1) / 127).astype(np.float32)
    return np.rint(table / scales).astype(np.int8), scales


def _prepare(source: Path, target: Path) -> None:
    """Shapes for the quantizer. ONNX Runtime's optimizations are left to the robot's."""
    quant_pre_process(str(source), str(target), skip_optimization=True, skip_symbolic_shape=True)


def _looked_up(node: onnx.NodeProto, table: str) -> list[onnx.NodeProto]:
    ids, output = node.input[1], node.output[0]
    rows, wide, scales = (f"{output}_{suffix}" for suffix in ("rows", "wide", "scales"))
    return [
        helper.make_node("Gather", [f"{table}_rows", ids], [rows], axis=0),
        helper.make_node("Gather", [f"{table}_scales", ids], [scales], axis=0),
        helper.make_node("Cast", [rows], [wide], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", [wide, scales], [output]),
    ]


class _Reader(quantization.CalibrationDataReader):
    """Calibration inputs in the form that ONNX Runtime asks for."""

    def __init__(self, inputs: Iterable[Mapping[str, NDArray[Any]]]) -> None:
        self._inputs: Iterator[Mapping[str, NDArray[Any]]] = iter(inputs)

    def get_next(self) -> Mapping[str, NDArray[Any]] | None:
        return next(self._inputs, None)
