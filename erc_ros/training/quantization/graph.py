"""Find and quantize the weights of any ONNX graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

SMALLEST_TABLE = 1000
"""Minimum number of rows of quantized tables; smaller ones (positions, speakers) give no gain."""
LEVELS = 127
"""int8 is symmetric, -127..127, so that zero is exact and weights need no zero point."""

_FORMS = ("multiply", "dequantize")


@dataclass(frozen=True, slots=True)
class Weight:
    """A constant factor of a node. axis: its output channels, each with a scale."""

    name: str
    axis: int


def channels(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> list[Weight]:
    """Return the inputs of a node that are weights: of matrix products, convolutions, recurrences.

    shapes: of the graph's constants. The weight of a matrix product may have leading dimensions
    (such as experts), which share the scales.
    """
    candidates: list[Weight] = []
    if node.op_type == "MatMul":
        candidates = [Weight(node.input[1], len(shapes.get(node.input[1], ())) - 1)]
    elif node.op_type == "Gemm":
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        candidates = [Weight(node.input[1], 0 if transposed else 1)]
    elif node.op_type == "Conv":
        candidates = [Weight(node.input[1], 0)]
    elif node.op_type in ("GRU", "LSTM", "RNN"):
        candidates = [
            Weight(name, 1) for name in node.input[1:3]
        ]  # (directions, gates x hidden, ...)
    return [weight for weight in candidates if len(shapes.get(weight.name, ())) >= 2]


def weights(model: onnx.ModelProto) -> dict[str, Weight]:
    """Return every float weight of the graph, by name."""
    shapes = {
        tensor.name: tuple(tensor.dims)
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT
    }
    return {w.name: w for node in model.graph.node for w in channels(node, shapes)}


def settle(model: onnx.ModelProto) -> None:
    """Make weights initializers with unique names instead of `Constant` and `Identity` nodes."""
    graph = model.graph
    alias: dict[str, str] = {}
    stored = {tensor.name for tensor in graph.initializer}
    outputs = {port.name for port in graph.output}
    kept = []
    for node in graph.node:
        value = next((a.t for a in node.attribute if a.name == "value"), None)
        if node.op_type == "Constant" and value is not None and len(value.dims) >= 2:
            tensor = graph.initializer.add()
            tensor.CopyFrom(value)
            tensor.name = node.output[0]
            stored.add(tensor.name)
            continue
        known = alias.get(node.input[0], node.input[0]) if node.input else ""
        if node.op_type == "Identity" and known in stored and node.output[0] not in outputs:
            alias[node.output[0]] = known
            continue
        kept.append(node)
    for node in kept:
        for place, name in enumerate(node.input):
            node.input[place] = alias.get(name, name)
    _replace_nodes(model, kept)


def quantize_channels(
    array: NDArray[np.float32], axis: int
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return int8 values and a scale per index of `axis`, max|W| / 127 (DDVLM, 3.7)."""
    others = tuple(n for n in range(array.ndim) if n != axis)
    largest = np.abs(array).max(axis=others)
    smallest = np.finfo(np.float32).tiny * LEVELS  # smaller values become 0
    scales = (np.where(largest >= smallest, largest, 1) / LEVELS).astype(np.float32)
    shape = [1] * array.ndim
    shape[axis] = -1
    rounded = np.rint(array / scales.reshape(shape))
    return np.clip(rounded, -LEVELS, LEVELS).astype(np.int8), scales


def quantize_rows(table: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return int8 (V, d) and scales (V, 1) of a table; the error is at most half a scale."""
    rows, scales = quantize_channels(table, 0)
    return rows, scales[:, None]


def quantize_weights(model: onnx.ModelProto, form: str) -> int:
    """Replace every float weight by int8 values and a scale for each output channel.

    Args:
        form: operators that restore the float weight. "multiply": Cast and Mul, which every ONNX
            Runtime computes once while loading: exact with all session options.
            "dequantize": DequantizeLinear for TensorRT; ONNX Runtime 1.31 converts it to
            MatMulNBits, whose activations are int8 in blocks of 32, and 1.23 computes it in every
            run.

    Returns:
        the number of replaced weights.
    """
    if form not in _FORMS:
        raise ValueError(f"form is {form!r}, must be one of {', '.join(_FORMS)}")
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    chosen = weights(model)
    made: list[onnx.NodeProto] = []
    for name, weight in chosen.items():
        array = numpy_helper.to_array(stored[name])
        small, scales = quantize_channels(array, weight.axis)
        if form == "multiply":
            shape = [1] * array.ndim
            shape[weight.axis] = -1
            scales = scales.reshape(shape)
            made.append(
                helper.make_node(
                    "Cast", [f"{name}_int8"], [f"{name}_wide"], to=onnx.TensorProto.FLOAT
                )
            )
            made.append(helper.make_node("Mul", [f"{name}_wide", f"{name}_scales"], [name]))
        else:
            made.append(
                helper.make_node(
                    "DequantizeLinear", [f"{name}_int8", f"{name}_scales"], [name], axis=weight.axis
                )
            )
        model.graph.initializer.append(numpy_helper.from_array(small, f"{name}_int8"))
        model.graph.initializer.append(numpy_helper.from_array(scales, f"{name}_scales"))
        model.graph.initializer.remove(stored[name])
    _replace_nodes(model, [*made, *model.graph.node])
    return len(chosen)


def quantize_tables(model: onnx.ModelProto) -> int:
    """Replace every large embedding table of `model` by int8 rows with a scale each.

    Gather(table, ids) becomes Cast(Gather(int8 table, ids)) * Gather(scales, ids).

    Returns:
        the number of replaced tables.
    """
    tables = {
        tensor.name: tensor
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT
    }
    replaced: set[str] = set()
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        name = node.input[0] if node.op_type == "Gather" else ""
        table = tables.get(name)
        axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
        if table is None or len(table.dims) != 2 or table.dims[0] < SMALLEST_TABLE or axis != 0:
            nodes.append(node)
            continue
        if name not in replaced:
            rows, scales = quantize_rows(numpy_helper.to_array(table))
            model.graph.initializer.append(numpy_helper.from_array(rows, f"{name}_rows"))
            model.graph.initializer.append(numpy_helper.from_array(scales, f"{name}_scales"))
            replaced.add(name)
        nodes += _looked_up(node, name)
    _replace_nodes(model, nodes)
    still_used = {name for node in nodes for name in node.input}
    for name in replaced - still_used:
        model.graph.initializer.remove(tables[name])
    return len(replaced)


def _looked_up(node: onnx.NodeProto, table: str) -> list[onnx.NodeProto]:
    ids, output = node.input[1], node.output[0]
    rows, wide, scales = (f"{output}_{suffix}" for suffix in ("rows", "wide", "scales"))
    return [
        helper.make_node("Gather", [f"{table}_rows", ids], [rows], axis=0),
        helper.make_node("Gather", [f"{table}_scales", ids], [scales], axis=0),
        helper.make_node("Cast", [rows], [wide], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", [wide, scales], [output]),
    ]


def _replace_nodes(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    copies = []
    for node in nodes:  # removing a node from the list deletes it
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copies.append(copy)
    del model.graph.node[:]
    model.graph.node.extend(copies)
