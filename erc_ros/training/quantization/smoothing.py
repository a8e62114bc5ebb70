"""SmoothQuant (Xiao et al. 2023): move the outliers of activations into the weights.

X W = (X / s)(s W) for any s > 0, one number for each input channel. With
s = max|X|^alpha / max|W|^(1 - alpha) neither factor has channels that are much larger than the
others, which would reduce the resolution of int8 with one scale for all of X.

DDVLM (section 3.7) writes s = (max|X| / max|W|)^rho; at alpha = rho = 0.5 the two are the same.

Implemented here because no maintained library does this on ONNX graphs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from erc_ros.networks.network import Network

SMALLEST, LARGEST = 1e-3, 1e3  # bounds of s, for channels that were never active

Feed = Mapping[str, NDArray[Any]]
Array = NDArray[np.float32]


def smooth(
    source: Path,
    alphas: Sequence[float],
    calibration: Sequence[Feed],
    quantize: Callable[[Path, Path], None],
) -> Path:
    """Smooth and quantize with every alpha; return the file with outputs closest to float32.

    Args:
        source: float32 network; the results are written next to it.
        quantize: (float file, target) writes the int8 network.
    """
    ranges = activation_ranges(source, calibration)
    expected = _outputs(source, calibration)
    errors: dict[Path, float] = {}
    for alpha in alphas:
        smoothed = source.with_name(f"smoothed-{alpha:g}.onnx")
        target = source.with_name(f"int8-{alpha:g}.onnx")
        onnx.save(smoothed_model(source, ranges, alpha), str(smoothed))
        quantize(smoothed, target)
        errors[target] = float(np.mean((_outputs(target, calibration) - expected) ** 2))
        smoothed.unlink()
    return min(errors, key=lambda file: errors[file])


def activation_ranges(source: Path, calibration: Sequence[Feed]) -> dict[str, Array]:
    """Return the largest |X| per channel (K,) of every X with a product by a constant matrix."""
    model = onnx.load(str(source))
    names = sorted(_products(model))
    outputs = {port.name for port in model.graph.output}
    inputs = {port.name for port in model.graph.input}
    watched = [name for name in names if name not in outputs | inputs]
    model.graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in watched
    )
    file = source.with_name("watched.onnx")
    onnx.save(model, str(file))
    network = Network(file)
    ranges: dict[str, Array] = {}
    for feed in calibration:
        values = {**feed, **network(dict(feed))}
        for name in names:
            largest = np.abs(values[name]).reshape(-1, values[name].shape[-1]).max(axis=0)
            ranges[name] = np.maximum(ranges.get(name, largest), largest)
    file.unlink()
    return ranges


def smoothed_model(source: Path, ranges: Mapping[str, Array], alpha: float) -> onnx.ModelProto:
    """Return `source` with X / s and s W in every product with a constant matrix.

    Products of the same X (query, key and value) share s, so X is divided once.
    """
    model = onnx.load(str(source))
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    divisions: dict[str, onnx.NodeProto] = {}
    for name, nodes in _products(model).items():
        matrices = {node.input[1]: numpy_helper.to_array(stored[node.input[1]]) for node in nodes}
        largest = np.max([np.abs(w).max(axis=1) for w in matrices.values()], axis=0)  # (K,)
        scale = smoothing_scale(ranges[name], largest, alpha)
        quotient = f"{name}_smooth"
        inverse = numpy_helper.from_array((1 / scale).astype(np.float32), f"{name}_inverse")
        model.graph.initializer.append(inverse)
        divisions[name] = helper.make_node("Mul", [name, inverse.name], [quotient])
        for number, (node, weight) in enumerate((n, n.input[1]) for n in nodes):
            scaled = (matrices[weight] * scale[:, None]).astype(np.float32)
            tensor = numpy_helper.from_array(scaled, f"{quotient}_{number}")
            model.graph.initializer.append(tensor)
            node.input[0], node.input[1] = quotient, tensor.name
    ordered: list[onnx.NodeProto] = []
    placed: set[str] = set()
    for node in model.graph.node:
        for name, division in divisions.items():
            if name not in placed and node.input and node.input[0] == division.output[0]:
                ordered.append(division)
                placed.add(name)
        ordered.append(onnx.NodeProto.FromString(node.SerializeToString()))
    del model.graph.node[:]
    model.graph.node.extend(ordered)
    used = {name for node in model.graph.node for name in node.input}
    for tensor in stored.values():
        if tensor.name not in used:
            model.graph.initializer.remove(tensor)
    onnx.checker.check_model(model)
    return model


def smoothing_scale(activation: Array, weight: Array, alpha: float) -> Array:
    """Return s (K,) for the largest |X| and |W| per input channel; 1 where one of them is 0."""
    used = (activation > 0) & (weight > 0)
    x, w = np.where(used, activation, 1.0), np.where(used, weight, 1.0)
    scale = np.clip(x**alpha / w ** (1 - alpha), SMALLEST, LARGEST)
    result: Array = np.where(used, scale, 1.0).astype(np.float32)
    return result


def _products(model: onnx.ModelProto) -> dict[str, list[onnx.NodeProto]]:
    """Return name of X -> its products with constant float matrices (K, N)."""
    matrices = {
        tensor.name
        for tensor in model.graph.initializer
        if len(tensor.dims) == 2 and tensor.data_type == onnx.TensorProto.FLOAT
    }
    products: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1] in matrices:
            products[node.input[0]].append(node)
    return products


def _outputs(file: Path, feeds: Sequence[Feed]) -> Array:
    """Return all outputs of all runs as one array (n,)."""
    network = Network(file)
    return np.concatenate(
        [array.ravel() for feed in feeds for array in network(dict(feed)).values()]
    )
